"""The loop over frames: each through the pipeline, and to whoever wants the result or the picture."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from .camera import Frame, Gap, Source
from .display import Display
from .display.recorder import Recorder
from .draw import CANVAS_HEIGHT, MODES, Overlay, draw_text
from .jsonlines import JsonLines
from .pipeline import Pipeline
from .results import STAGES, Result
from .steady import Steady
from .watchdog import Watchdog


@dataclass(frozen=True)
class Outputs:
    """Where results go. `render` draws overlays although neither the display nor the recorder wants them."""

    display: Display
    recorder: Recorder | None = None
    lines: JsonLines | None = None
    render: bool = False

    @property
    def draws(self) -> bool:
        shown = self.display.looks and not self.display.composes
        return shown or self.recorder is not None or self.render


@dataclass
class Tally:
    """What a run adds up to, in the same little memory after a minute and after a month."""

    frames: int = 0
    seconds: float = 0.0
    labels: Counter = field(default_factory=Counter)
    ms: Counter = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        self.frames += 1
        self.seconds = result.time
        self.labels[result.label] += 1
        self.ms.update(result.ms)

    def summary(self, skipped: int, dropped: int) -> str:
        """Two lines: counts, and the mean time of each stage."""
        labels = ", ".join(f"{label} {count}" for label, count in sorted(self.labels.items()))
        head = f"{self.frames} frame{'' if self.frames == 1 else 's'} in {self.seconds:.1f} s: {labels or 'no result'}"
        if skipped:
            head += f"; {skipped} unreadable, skipped"
        if dropped:
            head += f"; {dropped} dropped for newer ones"
        stages = ", ".join(f"{stage} {self.ms[stage] / max(1, self.frames):.2f}" for stage in STAGES)
        return f"{head}\nmean ms a frame: {stages}"


class Painter:
    """Draws overlays for frames of whatever size come, and a notice when none do."""

    def __init__(self):
        self._overlay: Overlay | None = None  # for the size of the last frame
        self._last = np.zeros((CANVAS_HEIGHT, CANVAS_HEIGHT * 4 // 3, 3), np.uint8)

    def draw(self, frame_rgb: np.ndarray, result: Result, mode: str) -> np.ndarray:
        """The overlay, uint8 (H, W, 3)."""
        if self._overlay is None or self._overlay.frame_size_wh != result.size_wh:
            self._overlay = Overlay(result.size_wh, result.heat.shape)
        self._last = self._overlay(frame_rgb, result, mode)
        return self._last

    def notice(self, seconds: float) -> np.ndarray:
        """The last overlay, with words over its label that say for how long there has been no frame."""
        draw_text(self._last, f"no frame for {seconds:.0f} s")
        return self._last


def timed(source: Source, over_again: bool) -> Iterator[tuple[float, float, Frame | Gap]]:
    """Milliseconds waited, seconds since the start, and the frame or gap; round after round if `over_again` is set."""
    began = perf_counter()
    while True:
        coming = iter(source)
        asked = perf_counter()
        for item in coming:
            came = perf_counter()
            yield 1000 * (came - asked), came - began, item
            asked = perf_counter()
        if not over_again:
            return


class Loop:
    """One run over a source.

    Args:
        mode: what is drawn first, one of draw.MODES.
        steady: what results go through before anyone sees them; None leaves them as they are.
    """

    def __init__(self, pipeline: Pipeline, outputs: Outputs, tally: Tally, *, mode: str, steady: Steady | None):
        self._pipeline, self._outputs, self._tally = pipeline, outputs, tally
        self._mode, self._steady = mode, steady
        self._painter = Painter()
        self._watchdog = Watchdog()

    def play(self, source: Source, *, over_again: bool, limit: int | None) -> None:
        """Run until the source ends, `limit` frames are done, or the key q is pressed.

        Raises:
            SourceError, OutputError: the source died, or an output cannot be written any more.
            BrokenPipeError: nobody reads the JSON lines any more.
        """
        for capture_ms, seconds, item in timed(source, over_again):
            if isinstance(item, Gap):
                key = self._miss(item.seconds)
            else:
                result = self._pipeline(item.rgb).at(self._tally.frames, item.source, seconds)
                key = self._give_out(item.rgb, result, capture_ms, source.hold_ms)
                self._watchdog.frame(seconds)
            if key == "s":
                self._mode = MODES[1 - MODES.index(self._mode)]
            if key == "q" or self._tally.frames == limit:
                return

    def _give_out(self, frame_rgb: np.ndarray, result: Result, capture_ms: float, hold_ms: int) -> str:
        """A result to everyone who wants it; returns the key pressed."""
        outputs, display = self._outputs, self._outputs.display
        if self._steady:
            result = self._steady(result)
        started = perf_counter()
        picture = self._painter.draw(frame_rgb, result, self._mode) if outputs.draws else None
        draw_ms = 1000 * (perf_counter() - started) if outputs.draws else 0.0
        result = result.with_ms(capture=capture_ms, draw=draw_ms)
        self._tally.add(result)
        if outputs.lines:
            outputs.lines.write(result)
        if outputs.recorder:
            outputs.recorder.write(picture)
        if not display.looks:
            return ""
        if display.composes:
            return display.present(frame_rgb, result, self._mode, hold_ms)
        return display.show(picture, hold_ms)

    def _miss(self, seconds: float) -> str:
        """There is no frame; returns the key pressed."""
        display = self._outputs.display
        if self._steady:
            self._steady.reset()
        if not display.looks:
            return ""
        return display.lost(seconds) if display.composes else display.show(self._painter.notice(seconds), 1)
