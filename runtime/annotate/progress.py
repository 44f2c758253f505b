"""How far a long run is: a bar where somebody looks, else a line now and then."""
from __future__ import annotations

import sys
from time import monotonic
from typing import TextIO

WIDTH = 30  # characters of the bar
BAR_SECONDS, LINE_SECONDS = 0.1, 10.0  # between two updates on a terminal, and in a file


class Progress:
    """Counts up to a total and says so on a stream, by default standard error."""

    def __init__(self, total: int, stream: TextIO | None = None):
        self._total, self._stream = total, stream or sys.stderr
        self._bar = self._stream.isatty()
        self._done, self._began = 0, monotonic()
        self._next = self._began if self._bar else self._began + LINE_SECONDS

    def step(self) -> None:
        self._done += 1
        now = monotonic()
        if now >= self._next or self._done == self._total:
            self._next = now + (BAR_SECONDS if self._bar else LINE_SECONDS)
            self._show(now)

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        print(f"\r\033[K{line}" if self._bar else line, file=self._stream, flush=True)

    def _show(self, now: float) -> None:
        pace = self._done / max(now - self._began, 1e-9)
        left = round((self._total - self._done) / pace)
        filled = WIDTH * self._done // self._total
        text = f"{self._done} of {self._total}, {pace:.1f} photos a second, {left // 60}:{left % 60:02d} left"
        if self._bar:
            end = "\n" if self._done == self._total else ""
            print(f"\r\033[K[{'#' * filled}{'.' * (WIDTH - filled)}] {text}", end=end, file=self._stream, flush=True)
        else:
            print(text, file=self._stream, flush=True)
