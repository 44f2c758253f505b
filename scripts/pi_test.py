"""The bundle on emulated Raspberry Pis, against the same bundle on this machine: `make pi-test`.

    .venv/bin/python scripts/pi_test.py --data ../shared/janken_dataset

The bundle file is copied into each emulated Pi, unpacked and installed there by the one command that its README gives. Then
the demo runs over the same frames in each and here. Photos are read and brought to one size once, on this machine, so that no
JPEG decoder plays a part. What is compared: the JSON lines, and the embeddings. What is counted: the instructions from the
start of Python to the end of a run of one frame, imports included, bytecode cached. Counts are no times.

The reference are TFLite's reference kernels on this machine, which define what int8 gives. Fast kernels may round otherwise:
those of tflite-runtime for ARM give the same numbers, those for x86 do not, hence rows of this machine's own Pythons.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pi_root  # noqa: E402
from pi_root import CACHE, PIS, Pi, RootError  # noqa: E402

from calibration import heldout  # noqa: E402
from calibration.photos import DataError, pictures  # noqa: E402
from export.bundle import pack  # noqa: E402
from runtime.errors import EdgeError  # noqa: E402

MOST_BOX_PX = 1
MOST_COLD_START = 600_000_000  # instructions, with tflite-runtime on arm64
FRAMES, LINES, EMBEDDINGS, COUNTER = "frames.npy", "lines.jsonl", "embeddings.npy", "pi_count.so"
DEMO = ["--source", FRAMES, "--display", "none", "--no-steady", "--json"]

# In front of ANSWER, in the workstation's environment.
REFERENCE_KERNELS = """
import functools
from ai_edge_litert import interpreter
resolver = interpreter.OpResolverType.BUILTIN_REF
interpreter.Interpreter = functools.partial(interpreter.Interpreter, experimental_op_resolver_type=resolver)
"""
# Runs in each machine with its own Python: the demo over all frames, and the embeddings, which it does not write.
ANSWER = f"""
import platform, sys
import numpy as np
bundle = sys.argv[1]
sys.path.insert(0, bundle)
from runtime import cli
from runtime.pipeline import Pipeline
if cli.main(["--bundle", bundle, *{DEMO}, "{LINES}"]):
    sys.exit("the demo failed")
pipeline = Pipeline.open(bundle)
np.save("{EMBEDDINGS}", np.stack([pipeline(frame).embedding for frame in np.load("{FRAMES}", mmap_mode="r")]))
print(platform.machine(), "Python " + platform.python_version(), pipeline.networks.interpreter, sep=", ")
"""


@dataclass(frozen=True)
class Machine:
    """Where a bundle runs: its home folder, seen from here; its Python, seen from there; and what runs a command there."""

    home: Path
    python: str
    run: Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Answers:
    """What one machine said of all frames: the demo's JSON lines, and unit embeddings, float32 (N, D)."""

    what: str
    lines: list[dict]
    embeddings: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Of one machine's answers with the reference's.

    Attributes:
        frames, same_label, same_box: how many; no box on both sides is the same box.
        box_px: the largest difference of a coordinate; inf where one side alone has a box.
    """

    frames: int
    same_label: int
    same_box: int
    box_px: float
    cosine_mean: float
    cosine_worst: float

    @property
    def good(self) -> bool:
        return self.same_label == self.frames and self.box_px <= MOST_BOX_PX


def compare(given: Answers, reference: Answers) -> Comparison:
    """Frame by frame. Raises ValueError when they answered different numbers of frames."""
    pairs = list(zip(given.lines, reference.lines, strict=True))
    differences = [box_difference(one["box_xyxy"], other["box_xyxy"]) for one, other in pairs]
    cosines = np.sum(given.embeddings * reference.embeddings, axis=1)
    return Comparison(
        frames=len(pairs),
        same_label=sum(one["label"] == other["label"] for one, other in pairs),
        same_box=differences.count(0),
        box_px=max(differences),
        cosine_mean=float(cosines.mean()),
        cosine_worst=float(cosines.min()),
    )


def box_difference(one_xyxy: list[int] | None, other_xyxy: list[int] | None) -> float:
    """The largest difference of a coordinate in pixels: 0 for no box on both sides, inf for one on one side alone."""
    if one_xyxy is None or other_xyxy is None:
        return 0 if one_xyxy is other_xyxy else math.inf
    return max(abs(one - other) for one, other in zip(one_xyxy, other_xyxy))


def read_frames(data: list[Path], most: int | None) -> tuple[np.ndarray, str]:
    """Up to `most` frames of each path, of the first one's size, uint8 (N, H, W, 3), and what they are. Raises DataError."""
    frames, words = [], []
    for path in data:
        rendered = path.suffix == ".npz"
        found = ([frame.frame_rgb for frame in heldout.read(path)] if rendered else pictures(path))[:most]
        words.append(f"{len(found)} {'rendered frames' if rendered else f'photos of {path.resolve().name}'}")
        frames += found
    size_wh = frames[0].shape[1::-1]
    return np.stack([cv2.resize(frame, size_wh) for frame in frames]), ", ".join(words)


def native(python: Path) -> Machine:
    """This machine, with one of its Pythons."""
    home = CACHE / "native"

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=home, capture_output=True, text=True)
        if done.returncode:
            raise RootError(f"{python} failed with exit code {done.returncode}:\n{done.stderr.strip()[-2000:]}")
        return done

    return Machine(home, str(python.absolute()), run)


def emulated(pi: Pi) -> Machine:
    """An emulated Pi, in which the bundle has been installed."""
    return Machine(pi.home, "janken/bin/python", pi.run)


def place(home: Path, bundle: Path) -> None:
    """The bundle file and the frames into a machine's home, and nothing left there of an earlier bundle."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(home / bundle.name, ignore_errors=True)
    shutil.copy(bundle.with_name(f"{bundle.name}.tar.gz"), home)
    shutil.copy(CACHE / FRAMES, home)


def install(pi: Pi, name: str) -> str:
    """From the bundle file to a first result, by the README's one command; returns that result, a JSON line.

    OpenCV is left out: nothing here has a camera or a screen.
    """
    done = pi.run("bash", "-c", f"tar xzf {name}.tar.gz && {name}/pi_install.sh --no-opencv")
    results = [line[line.index("{") :] for line in done.stdout.splitlines() if '{"frame": 0' in line]
    if not results:
        raise RootError(f"{pi.arch}: pi_install.sh ended well but showed no result:\n{done.stdout[-2000:]}")
    return results[0]


def answers(machine: Machine, name: str, prelude: str = "") -> Answers:
    """Every frame through the demo. `prelude` is Python that goes first. Raises RootError."""
    what = machine.run(machine.python, "-c", prelude + ANSWER, name).stdout.strip()
    lines = [json.loads(line) for line in (machine.home / LINES).read_text().splitlines()]
    return Answers(what, lines, np.load(machine.home / EMBEDDINGS))


def cold_start(pi: Pi, name: str) -> int:
    """Instructions of a run of one frame, bytecode being cached by runs before. Raises RootError."""
    source, counter = ROOT / "scripts" / "pi_count.c", pi.home / COUNTER
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(counter), str(source)], check=True)
    command = [emulated(pi).python, f"{name}/runtime/janken.py", *DEMO, "-", "--frames", "1"]
    return int(pi.run(*command, plugin=f"/home/pi/{COUNTER}").stderr.rpartition("pi_count: ")[2])


def row(what: str, found: Comparison, count: int | None = None) -> str:
    """A line of the table."""
    cold = f"{count / 1e9:.3f} G" if count else ""
    return (f"| {what} | {found.same_label} of {found.frames} | {found.same_box} | {found.box_px:g} px | "
            f"{found.cosine_mean:.6f} | {found.cosine_worst:.6f} | {cold} |")


def run(options: argparse.Namespace) -> bool:
    """Print the table; whether every emulated Pi is as good as it must be. Raises RootError, DataError, EdgeError."""
    pis = [PIS[arch] for arch in options.arch]
    for pi in pis:
        pi_root.build(pi)
    frames, words = read_frames(options.data, options.frames)
    np.save(CACHE / FRAMES, frames)
    bundle = pack(options.bundle, CACHE / "dist")
    here = native(Path(sys.executable))
    place(here.home, bundle)
    here.run("tar", "xzf", f"{bundle.name}.tar.gz")
    expected = answers(here, bundle.name, REFERENCE_KERNELS)
    rows, good = [], True
    for pi in pis:
        place(pi.home, bundle)
        started = time.monotonic()
        first = install(pi, bundle.name)
        print(f"{pi.arch}: first result {time.monotonic() - started:.0f} s after the bundle file: {first}", flush=True)
        given = answers(emulated(pi), bundle.name)
        found, count = compare(given, expected), cold_start(pi, bundle.name)
        good &= found.good and (pi.arch != "arm64" or count <= MOST_COLD_START)
        rows.append(row(given.what, found, count))
    for machine in map(native, options.native):
        given = answers(machine, bundle.name)
        rows.append(row(given.what, compare(given, expected)))
    print(f"\n{words}, {frames.shape[2]}x{frames.shape[1]}, against {expected.what}, reference kernels:\n")
    print("| machine | same label | same box | largest difference | cosine, mean | worst | instructions to first result |")
    print("|---|---|---|---|---|---|---|", *rows, sep="\n")
    return good


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 good, 1 the emulated Pis answer otherwise, or start too slowly, 2 something is missing."""
    parser = argparse.ArgumentParser(description="The bundle on emulated Raspberry Pis, against this machine.")
    parser.add_argument("--bundle", type=Path, default=ROOT / "models" / "janken")
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="PATH",
                        help="folders of photos, or a .npz of rendered frames (python -m export heldout)")
    parser.add_argument("--arch", nargs="+", choices=PIS, default=list(PIS), help="which Pis (default: both)")
    parser.add_argument("--frames", type=int, default=None, metavar="N", help="no more than N of each PATH")
    parser.add_argument("--native", nargs="+", type=Path, default=[], metavar="PYTHON",
                        help="Pythons of this machine whose own kernels are compared too; nothing is demanded of them")
    options = parser.parse_args(arguments)
    try:
        if run(options):
            return 0
        print(f"\npi_test: expected the same labels, boxes within {MOST_BOX_PX} px and, on arm64, at most "
              f"{MOST_COLD_START / 1e9:g} G instructions to the first result", file=sys.stderr)
        return 1
    except (RootError, DataError, EdgeError) as error:
        print(f"pi_test: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
