"""The loop over frames: each through the pipeline, and to whoever wants the result or the picture."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

from .camera import Frame, Source
from .display import Display
from .display.recorder import Recorder
from .draw import MODES, Overlay
from .jsonlines import JsonLines
from .pipeline import Pipeline
from .results import STAGES, Result


@dataclass(frozen=True)
class Outputs:
    """Where results go. `render` draws pictures although neither the display nor the recorder wants them."""

    display: Display
    recorder: Recorder | None = None
    lines: JsonLines | None = None
    render: bool = False

    @property
    def draws(self) -> bool:
        return self.display.looks or self.recorder is not None or self.render


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

    def summary(self, skipped: int) -> str:
        """Two lines: counts, and the mean time of each stage."""
        counts = ", ".join(f"{label} {count}" for label, count in sorted(self.labels.items()))
        unread = f"; {skipped} unreadable, skipped" if skipped else ""
        stages = ", ".join(f"{stage} {self.ms[stage] / max(1, self.frames):.2f}" for stage in STAGES)
        head = f"{self.frames} frame{'' if self.frames == 1 else 's'} in {self.seconds:.1f} s: {counts or 'no result'}{unread}"
        return f"{head}\nmean ms a frame: {stages}"


def timed_frames(source: Source, over_again: bool, limit: int | None) -> Iterator[tuple[int, float, float, Frame]]:
    """Running number, milliseconds of capture, seconds since the start, and the frame.

    At most `limit` frames; at the source's end the next round begins when `over_again` is set.
    """
    began = perf_counter()
    number = 0
    while True:
        frames = iter(source)
        asked = perf_counter()
        for frame in frames:
            came = perf_counter()
            yield number, 1000 * (came - asked), came - began, frame
            number += 1
            if number == limit:
                return
            asked = perf_counter()
        if not over_again:
            return


def play(
    source: Source,
    pipeline: Pipeline,
    outputs: Outputs,
    tally: Tally,
    *,
    mode: str,
    over_again: bool,
    limit: int | None,
) -> None:
    """Run until the source ends, `limit` frames are done, or the key q is pressed.

    Raises:
        SourceError, OutputError: the source died, or an output cannot be written any more.
        BrokenPipeError: nobody reads the JSON lines any more.
    """
    overlay: Overlay | None = None  # for the size of the last frame
    for number, capture_ms, seconds, frame in timed_frames(source, over_again, limit):
        result = pipeline(frame.rgb).at(number, frame.source, seconds)
        started = perf_counter()
        if outputs.draws:
            if overlay is None or overlay.frame_size_wh != result.size_wh:
                overlay = Overlay(result.size_wh, result.heat.shape)
            picture = overlay(frame.rgb, result, mode)
        draw_ms = 1000 * (perf_counter() - started)
        result = result.with_ms(capture=capture_ms, draw=draw_ms if outputs.draws else 0.0)
        tally.add(result)
        if outputs.lines:
            outputs.lines.write(result)
        if outputs.recorder:
            outputs.recorder.write(picture)
        key = outputs.display.show(picture, source.hold_ms) if outputs.display.looks else ""
        if key == "s":
            mode = MODES[1 - MODES.index(mode)]
        if key == "q":
            return
