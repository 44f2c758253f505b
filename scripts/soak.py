#!/usr/bin/env python3
"""Play frames through the runtime's loop, round after round, and fail when memory, threads or descriptors grow.

    python scripts/soak.py --source frames.npy [--frames 100000] [--display web]

Pipeline, smoothing, drawing and loop are the program's own. A reading is printed every 5 %. The first 5 % warm up: tables
are made, the heap finds its size, the pages of a .npy are mapped. After that resident memory may rise by 2 MB at most,
threads and open descriptors not at all. Linux only: the readings come from /proc.
"""
from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread
from time import perf_counter, sleep
from urllib.parse import urlsplit

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as runtime/__main__.py does
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runtime.camera import open_source  # noqa: E402
from runtime.display import open_display  # noqa: E402
from runtime.loop import Loop, Outputs, Tally  # noqa: E402
from runtime.pipeline import Pipeline  # noqa: E402
from runtime.results import Result  # noqa: E402
from runtime.steady import Steady  # noqa: E402

READINGS = 20  # over the whole run; what comes before the first is the warm-up
MAY_GROW = {"VmRSS MB": 2.0, "threads": 0, "descriptors": 0}  # what a reading consists of, and by how much each may rise
ROW = "{:9d} {:7.0f} {:9.2f} {:8d} {:12d}"


def read() -> tuple[float, int, int]:
    """This process now. Other threads open files for a moment, so the fewest descriptors of three looks count."""
    looks = [len(os.listdir("/proc/self/fd")) for _ in range(3) if not sleep(0.02)]
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(fields["VmRSS"].split()[0]) / 1024, 2), int(fields["Threads"]), min(looks)


def growth(readings: list[tuple[float, int, int]]) -> list[str]:
    """What rose too far above the first reading, in words."""
    columns = zip(MAY_GROW.items(), readings[0], map(max, zip(*readings)))
    return [f"FAULT: {name} grew from {first} to {most}" for (name, may), first, most in columns if most - first > may]


class Watch(Tally):
    """The loop's tally, with a printed reading after every `step` frames."""

    def __init__(self, step: int):
        super().__init__()
        self.step, self.readings, self.began = step, [], perf_counter()
        print("   frames       s ", "  ".join(MAY_GROW))

    def add(self, result: Result) -> None:
        super().add(result)
        if self.frames % self.step == 0:
            self.readings.append(read())
            print(ROW.format(self.frames, perf_counter() - self.began, *self.readings[-1]), flush=True)


def look_on(url: str) -> None:
    """A viewer of the page, until it ends."""
    seen = {"state": "", "number": -1}
    with closing(http.client.HTTPConnection(urlsplit(url).netloc)) as viewer:
        while seen["state"] != "ended":
            viewer.request("GET", f"/frame?after={seen['number']}")
            message = viewer.getresponse().read()
            seen = json.loads(message[4 : 4 + int.from_bytes(message[:4], "big")]) if message else seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="what to play, such as a .npy of uint8 frames (N, H, W, 3)")
    parser.add_argument("--bundle", type=Path, default=ROOT / "models" / "janken")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--display", choices=("none", "web"), default="none", help="web has one viewer here")
    options = parser.parse_args()
    pipeline = Pipeline.open(options.bundle)
    print(f"{pipeline.networks.interpreter}, Python {sys.version.split()[0]}, {options.bundle}, display {options.display}")
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(options.source, print)))
        display = stack.enter_context(closing(open_display(options.display, port=0)))
        if options.display == "web":
            Thread(target=look_on, args=[display.url]).start()
        watch = Watch(max(1, options.frames // READINGS))
        loop = Loop(pipeline, Outputs(display, render=True), watch, mode="heatmap", steady=Steady())
        loop.play(source, over_again=True, limit=options.frames)
    grown = growth(watch.readings)
    print("\n".join(grown) or "nothing grew")
    return bool(grown)


if __name__ == "__main__":
    sys.exit(main())
