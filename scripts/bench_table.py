"""Counted instructions as rows: kept in a CSV, compared with the run before, laid out as a table, held against targets."""

from __future__ import annotations

import csv
import math
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

TFLITE, LITERT = "tflite-runtime 2.14", "ai-edge-litert 1.4"
OURS = "ours int8"
REFERENCES = ("reference loop, float", "reference loop, integer port")
# As their programs run: threads of numpy, scikit-learn and OpenCV that wait for work by spinning count as well.
UNLIMITED = ", threads not limited"
UNLIMITED_OURS, *UNLIMITED_REFERENCES = (name + UNLIMITED for name in (OURS, *REFERENCES))
FOMO, MEDIAPIPE = "FOMO-shaped, int8", "MediaPipe hands lite, bare"
STAGES = ("preprocess", "invoke", "infer", "heatmap", "overlay", "json")  # of a frame; infer without its invokes
HEADLESS = ("preprocess", "invoke", "infer", "heatmap")  # frame to label, heat and box
DRAWN = (*HEADLESS, "overlay")
MEMORY, COLD_START, DEMO, NOT_RUN = "peak RSS", "cold start", "demo, whole loop with JSON", "not run"
CLOSER = "closer look"  # what it adds to a frame that is not sure
WORTH_SAYING = 0.02  # a change of a stage, as a fraction


class Row(NamedTuple):
    """One figure. `unit`: instructions (a frame, unless the stage says otherwise) or bytes; of NOT_RUN it is the reason."""

    commit: str
    what: str
    interpreter: str
    stage: str
    value: int
    unit: str = "instructions"


class Target(NamedTuple):
    """A demand and what was found; `found` is None where it was not measured, which counts as failed."""

    words: str
    found: float | None
    most: float | None = None
    least: float | None = None

    @property
    def passed(self) -> bool:
        if self.found is None:
            return False
        return self.found <= self.most if self.most is not None else self.found >= self.least


class Figures:
    """Rows looked up by what, interpreter and stage."""

    def __init__(self, rows: Iterable[Row]):
        self.rows = list(rows)
        self._values = {(row.what, row.interpreter, row.stage): row.value for row in self.rows}

    def get(self, what: str, interpreter: str, stage: str) -> int | None:
        return self._values.get((what, interpreter, stage))

    def total(self, what: str, interpreter: str, stages: Sequence[str]) -> int | None:
        """The sum of the stages there are; None when the network's own is not among them."""
        found = [self.get(what, interpreter, stage) for stage in stages]
        return sum(value or 0 for value in found) if self.get(what, interpreter, "invoke") else None

    def series(self, what: str) -> list[tuple[str, int]]:
        """(stage, value) of everything under one name, in order: the points of a curve."""
        return [(row.stage, row.value) for row in self.rows if row.what == what]


def read(path: Path) -> list[Row]:
    """The rows of all runs so far, the last run's last; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [Row(**{**line, "value": int(line["value"])}) for line in csv.DictReader(file)]


def keep(path: Path, rows: list[Row]) -> None:
    """Put a run at the file's end, in the place of an earlier run of the same commit."""
    older = [row for row in read(path) if row.commit != rows[0].commit]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([Row._fields, *older, *rows])


def commit_id() -> str:
    """Of the checkout, with a + where it has changes."""
    def git(*words: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def last_run(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.commit == rows[-1].commit] if rows else []


def changes(rows: list[Row], before: list[Row]) -> list[str]:
    """What got cheaper or dearer than in the run before, by more than WORTH_SAYING; and what is no longer counted. How long
    threads wait differs from run to run: those loops are left out."""
    old, new = ({row[1:4]: row.value for row in of if not row.what.endswith(UNLIMITED)} for of in (before, rows))
    lines = []
    for key, value in new.items():
        if old.get(key) and abs(value / old[key] - 1) > WORTH_SAYING:
            word = "cheaper" if value < old[key] else "dearer"
            lines.append(f"{word}: {', '.join(key)}: {old[key] / 1e6:.3f} -> {value / 1e6:.3f} M ({value / old[key] - 1:+.1%})")
    return lines + [f"gone: {', '.join(key)}" for key in old if key not in new]


def steepest(points: Sequence[tuple[float, float]]) -> float:
    """The largest log-log slope between neighbours of (size, cost): 1 is linear, 2 quadratic."""
    return max(math.log(cost / cheaper) / math.log(size / smaller)
               for (smaller, cheaper), (size, cost) in zip(points, points[1:]))


def table(figures: Figures) -> str:
    """Markdown, millions of instructions a frame, a line for each loop and interpreter."""
    lines = ["| M instructions a frame | interpreter | preprocess | invoke | rest of infer | heat, box | overlay | JSON "
             "| headless | with overlay | x bare |", "|---" * 11 + "|"]
    for what, interpreter in dict.fromkeys((row.what, row.interpreter) for row in figures.rows):
        reasons = [row.unit for row in figures.rows if row[1:4] == (what, interpreter, NOT_RUN)]
        if reasons:
            lines.append(f"| {what} | {interpreter} | not run: {reasons[0]} |" + " |" * 8)
        if figures.get(what, interpreter, "invoke") is None:
            continue
        stages = [figures.get(what, interpreter, stage) for stage in STAGES]
        headless, drawn = (figures.total(what, interpreter, stages) for stages in (HEADLESS, DRAWN))
        bare = figures.get(what, interpreter, "invoke")
        whole = [headless if stages[0] else None, drawn if stages[4] else None]
        ratio = f"{drawn / bare:.2f}" if stages[4] else f"{headless / bare:.2f}"
        cells = [f"{value / 1e6:.2f}" if value is not None else "" for value in (*stages, *whole)]
        lines.append(f"| {what} | {interpreter} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def targets(figures: Figures) -> list[Target]:
    """What a frame may cost on the emulated Cortex-A72."""

    def total(what: str, interpreter: str, stages: Sequence[str]) -> float | None:
        found = figures.total(what, interpreter, stages)
        return found and found / 1e6

    def ratio(above: float | None, below: float | None) -> float | None:
        return above / below if above and below else None

    drawn, headless = total(OURS, TFLITE, DRAWN), total(OURS, TFLITE, HEADLESS)
    bare, fomo = total(OURS, TFLITE, ("invoke",)), total(FOMO, LITERT, ("invoke",))
    reference = [found for name in UNLIMITED_REFERENCES if (found := total(name, TFLITE, DRAWN))]
    memory = figures.get(OURS, TFLITE, MEMORY)
    return [
        Target(f"frame to overlay, {TFLITE}, M instructions", drawn, most=12),
        Target(f"frame to overlay, {LITERT}, M instructions", total(OURS, LITERT, DRAWN), most=7),
        Target(f"frame to overlay, {TFLITE}, times its bare invokes", ratio(drawn, bare), most=1.25),
        Target(f"headless, {TFLITE}, times its bare invokes", ratio(headless, bare), most=1.10),
        Target(f"reference loop as it runs (the cheaper form, threads not limited), {TFLITE}, times ours with overlay",
               ratio(min(reference, default=None), total(UNLIMITED_OURS, TFLITE, DRAWN)), least=3.5),
        Target(f"MediaPipe hands lite, its bare networks, {TFLITE}, times ours with overlay",
               ratio(total(MEDIAPIPE, TFLITE, ("invoke",)), drawn), least=15),
        Target(f"headless, {LITERT}, times the FOMO-shaped bare network", ratio(total(OURS, LITERT, HEADLESS), fomo), most=1.4),
        Target(f"peak RSS of the demo, {TFLITE}, MB", memory and memory / 1e6, most=80),
        *slopes(figures),
    ]


SERIES = {"frame": "preprocess and overlay, pixels of the frame", "map": "heat and box, cells of the map",
          "clusters": "heat and box, clusters"}
SLACK = 0.005  # of a slope: linear is 1.00 by two digits


def points(figures: Figures, series: str) -> list[tuple[float, float]]:
    """(size, instructions) of a curve; a frame's size is its pixels, a map's its cells."""
    return [(math.prod(map(int, size.split("x"))), value) for size, value in figures.series(series)]


def slopes(figures: Figures) -> list[Target]:
    found = {words: points(figures, series) for series, words in SERIES.items()}
    return [Target(f"steepest log-log slope: {words}", steepest(curve) if len(curve) > 1 else None, most=1 + SLACK)
            for words, curve in found.items()]


def verdicts(found: list[Target]) -> str:
    """A line for each target."""
    lines = []
    for target in found:
        bound = f"at most {target.most:g}" if target.most is not None else f"at least {target.least:g}"
        value = "not measured" if target.found is None else f"{target.found:.2f}"
        lines.append(f"{'pass' if target.passed else 'FAIL'}  {target.words}: {value}, {bound}")
    return "\n".join(lines)
