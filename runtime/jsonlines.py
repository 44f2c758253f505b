"""Results as lines of JSON, to a file or to standard output."""
from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

from .errors import OutputError, UsageError
from .results import Result

STDOUT = "-"


class JsonLines:
    """Writes one object a line and flushes each, so that a reader at the other end of a pipe is never behind.

    Args:
        target: a file name, overwritten when it exists, or STDOUT.

    Raises:
        UsageError: the file cannot be opened.
    """

    def __init__(self, target: str):
        self._target = target
        try:
            # Kept open for the run's length and closed by `close`.
            self._stream = sys.stdout if target == STDOUT else open(target, "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UsageError("--json", given=error, expected="a file that can be written, or -") from error

    def write(self, result: Result) -> None:
        """Raises OutputError when it cannot be written (a full disk), BrokenPipeError when nobody reads any more."""
        try:
            self._stream.write(json.dumps(result.to_json_dict()) + "\n")
            self._stream.flush()
        except OSError as error:
            self._give_up()
            if isinstance(error, BrokenPipeError):
                raise
            raise OutputError(
                f"{self._target}: the JSON lines cannot be written", given=error, remedy="Is the disk full?"
            ) from error

    def _give_up(self) -> None:
        """Let what is stuck in the buffer go nowhere: Python flushes stdout once more at exit, and would fail again."""
        if self._stream is sys.stdout:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def close(self) -> None:
        if self._stream is not sys.stdout:
            with suppress(OSError):  # only what `write` has already reported can fail here
                self._stream.close()
