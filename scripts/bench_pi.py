"""What a frame costs on an emulated Raspberry Pi, in executed instructions, ours beside its peers: `make bench-pi`.

    .venv/bin/python scripts/bench_pi.py [--bundle models/janken] [--cpu cortex-a72 cortex-a53]

Real aarch64 wheels run under qemu-user, one thread, and scripts/pi_count.c counts. Counts repeat where times do not, and are
no times. Per frame, stage by stage: (2N frames - N frames) / N, over rendered 640x480 frames in which a hand is found. Kept in
build/bench/pi-CPU.csv, a run a commit, and compared with the run before; drawn in build/bench/pi-CPU.svg and sizes.svg.
Exit codes: 0 every target is met, 1 one is not, 2 something is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import bench_plot  # noqa: E402
import bench_table as table  # noqa: E402
import numpy as np  # noqa: E402
import pi_root  # noqa: E402
from bench_table import LITERT, OURS, TFLITE, Figures, Row  # noqa: E402
from pi_root import PIS, RootError  # noqa: E402

from export.bundle import pack  # noqa: E402
from runtime.bundle import default_bundle_path  # noqa: E402
from runtime.errors import EdgeError  # noqa: E402

PI = PIS["arm64"]
CPUS = ("cortex-a72", "cortex-a53")  # Pi 4, Pi 3
BUILD = ROOT / "build" / "bench"
NETWORKS, FRAMES, LOG = BUILD / "networks", BUILD / "frames.npy", BUILD / "making.log"
REFERENCE = ROOT / ".." / "shared" / "reference_model"
GUEST = PI.home / "bench"  # everything of ours in the emulated Pi
N = 20
CANDIDATE_FRAMES = 24
ONE_FRAME = "frame.npy"  # for its memory: a .npy is mapped, and every frame of it that was read would count
# The last ai-edge-litert that runs in qemu 7.2; the device's own 2.x crashes there.
ENVIRONMENTS = {TFLITE: "tflite-runtime==2.14.0", LITERT: "ai-edge-litert==1.4.0"}
WHEELS = [f"--platform={kind}_aarch64" for kind in ("manylinux2014", *(f"manylinux_2_{n}" for n in (17, 27, 28, 34)))]
MEDIAPIPE_WHEEL = "mediapipe==0.10.18"  # the last for aarch64 that carries its hand networks
PALM, LANDMARK = "palm_detection_lite", "hand_landmark_lite"


@dataclass(frozen=True)
class Job:
    """One measurement of bench_guest.Guest: the method `how` with the arguments `given`."""

    what: str
    how: str
    given: dict


def run(command: list[str], what: str) -> None:
    """A command on this machine, its words in LOG. Raises RootError."""
    with LOG.open("a") as log:
        if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT).returncode:
            raise RootError(f"{what} failed, see {LOG}")


def prepare(bundle: Path) -> str:
    """The emulated Pi with interpreters, peers, networks, frames and the packed bundle in it; returns the bundle's name."""
    BUILD.mkdir(parents=True, exist_ok=True)
    LOG.write_text("")
    pi_root.build(PI)
    GUEST.mkdir(exist_ok=True)
    for interpreter in ENVIRONMENTS:
        install(interpreter)
    print("networks and frames", flush=True)
    run([sys.executable, "scripts/bench_assets.py", str(NETWORKS), "--bundle", str(bundle)], "making the networks")
    # Anew each time: frames kept from before a change of the renderer gave other counts than a fresh clone's.
    draw = f"import numpy; from scripts.bench import frames; numpy.save({str(FRAMES)!r}, frames(None, {CANDIDATE_FRAMES}))"
    run([sys.executable, "-c", draw], "drawing the frames")
    fetch_mediapipe()
    packed = pack(bundle, BUILD / "dist")
    for folder in (packed, NETWORKS):
        shutil.rmtree(GUEST / folder.name, ignore_errors=True)
        shutil.copytree(folder, GUEST / folder.name)
    for file in (FRAMES, ROOT / "scripts" / "bench_guest.py", ROOT / "scripts" / "bench_peers.py"):
        shutil.copy(file, GUEST)
    np.save(GUEST / ONE_FRAME, np.load(FRAMES, mmap_mode="r")[:1])
    if REFERENCE.is_dir() and not (GUEST / "reference").is_dir():
        shutil.copytree(REFERENCE, GUEST / "reference")
    plugin = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(GUEST / "pi_count.so"), "scripts/pi_count.c"]
    run(plugin, "compiling scripts/pi_count.c")
    return packed.name


def install(interpreter: str) -> None:
    """An environment in the emulated Pi, from aarch64 wheels; this machine's pip unpacks them, being so much faster."""
    wanted = ROOT / "requirements" / "bench-pi.txt"
    recipe = wanted.read_text() + ENVIRONMENTS[interpreter]
    folder = environment(interpreter)
    stamp = GUEST / folder / "installed.txt"
    if stamp.is_file() and stamp.read_text() == recipe:
        return
    print(f"installing {ENVIRONMENTS[interpreter]} and the peers' packages into the emulated Pi", flush=True)
    PI.run("python3", "-m", "venv", "--clear", "--without-pip", f"bench/{folder}")
    site = next((GUEST / folder).glob("lib/python3*/site-packages"))
    run([sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-compile",
         f"--target={site}", "--only-binary=:all:", f"--python-version={site.parent.name.removeprefix('python')}", *WHEELS,
         "-r", str(wanted), ENVIRONMENTS[interpreter]], "pip install")
    PI.run(f"bench/{folder}/bin/python", "-c", "import cv2, numpy, sklearn.cluster")  # and their bytecode is cached
    stamp.write_text(recipe)


def environment(interpreter: str) -> str:
    return ENVIRONMENTS[interpreter].partition("==")[0]


def fetch_mediapipe() -> None:
    """Its two hand networks, out of its wheel. Without them its rows say so."""
    folder = NETWORKS / "mediapipe"
    if folder.is_dir():
        return
    try:
        run([sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version=3.11", *WHEELS,
             "--disable-pip-version-check", "-d", str(BUILD), MEDIAPIPE_WHEEL], "downloading MediaPipe's wheel")
    except RootError as error:
        print(error, file=sys.stderr)
        return
    folder.mkdir()
    wheel = next(BUILD.glob("mediapipe-*.whl"))
    with zipfile.ZipFile(wheel) as files:
        for name in files.namelist():
            if Path(name).stem in (PALM, LANDMARK) and name.endswith(".tflite"):
                (folder / Path(name).name).write_bytes(files.read(name))
    wheel.unlink()


def references(names: tuple[str, str]) -> list[Job]:
    """The reference loop with its float network and with an integer one."""
    given = {"kind": "reference", "folder": "bench/reference" if REFERENCE.is_dir() else None}
    return [Job(what, "peer", {**given, "model": f"bench/networks/peers/reference-{kind}.tflite"})
            for what, kind in zip(names, ("float", "int8"))]


def jobs(bundle: str, every: bool) -> list[Job]:
    """What is counted on one processor with one interpreter; not `every`: the main rows alone."""
    networks = "bench/networks"
    found = [Job(OURS, "ours", {"bundle": bundle})]
    if (NETWORKS / "float").is_dir():
        found += [Job("ours float", "ours", {"bundle": bundle, "float_folder": f"{networks}/float"})]
    found += references(table.REFERENCES)
    found += [Job(table.FOMO, "peer", {"kind": "fomo", "model": f"{networks}/peers/fomo.tflite"})]
    if not every:
        return found
    if (NETWORKS / "mediapipe").is_dir():
        files = [f"{networks}/mediapipe/{name}.tflite" for name in (PALM, LANDMARK)]
        found += [Job(table.MEDIAPIPE, "models", {"files": files})]
    for folder in sorted(NETWORKS.glob("mobilenet*-float")):
        name = folder.name.removesuffix("-float")
        halves = [f"{networks}/{folder.name}/{half}.tflite" for half in ("feature_map", "embedding")]
        found += [Job(f"ours {name}, random weights, int8", "ours", {"bundle": f"{networks}/{name}"}),
                  Job(f"ours {name}, random weights, float, bare", "models", {"files": halves})]
    return found


def curves(bundle: str) -> list[Job]:
    """Cost against size."""
    def of(series: str) -> list[int]:
        return sorted(int(folder.name.rpartition("-")[2]) for folder in NETWORKS.glob(f"{series}-*"))

    return [Job("frame", "sizes", {"bundle": bundle}),
            *(Job(f"map {n}x{n}", "beyond", {"bundle": f"bench/networks/map-{n}"}) for n in of("map")),
            *(Job(f"clusters {n}", "beyond", {"bundle": f"bench/networks/clusters-{n}"}) for n in of("clusters"))]


def python(interpreter: str) -> str:
    return f"bench/{environment(interpreter)}/bin/python"


def count(bundle: str, interpreter: str, plan: list[Job], commit: str, *unlimited: str) -> list[Row]:
    """Do the jobs in one process of the emulated Pi; with "unlimited" numpy's and OpenCV's threads are left as they are."""
    text = {"bundle": bundle, "frames": "bench/frames.npy", "count": N,
            "jobs": [{"what": job.what, "how": job.how, "with": job.given} for job in plan]}
    (GUEST / "jobs.json").write_text(json.dumps(text))
    done = PI.run(python(interpreter), "bench/bench_guest.py", "count", "bench/jobs.json", *unlimited,
                  plugin="/home/pi/bench/pi_count.so")
    rows = []
    for line in map(json.loads, done.stdout.splitlines()):
        what, stage = line["what"], line["stage"]
        if stage == "beyond":  # a point of a curve: "map 3x3"
            what, _, stage = what.partition(" ")
        rows.append(Row(commit, what, interpreter, stage, line.get("value", 0), line.get("why", "instructions")))
    return rows


def whole(bundle: str, interpreter: str, commit: str) -> list[Row]:
    """The demo as a user starts it: to its first result, a frame in the steady state, and its memory."""
    demo = [python(interpreter), f"{bundle}/runtime/janken.py", "--source", "bench/frames.npy", "--display", "none", "--json",
            "/dev/null", "--loop", "--frames"]

    def instructions(frames: int) -> int:
        return int(PI.run(*demo, str(frames), plugin="/home/pi/bench/pi_count.so").stderr.rpartition("pi_count: ")[2])

    PI.run(*demo, "1")  # caches the bytecode
    memory = PI.run(python(interpreter), "bench/bench_guest.py", "memory", bundle, f"bench/{ONE_FRAME}").stdout
    once = instructions(1)
    loop = round((instructions(2 * CANDIDATE_FRAMES) - instructions(CANDIDATE_FRAMES)) / CANDIDATE_FRAMES)
    return [Row(commit, OURS, interpreter, table.COLD_START, once), Row(commit, OURS, interpreter, table.DEMO, loop),
            Row(commit, OURS, interpreter, table.MEMORY, json.loads(memory.splitlines()[-1])["value"], "bytes")]


def sizes(bundle: str, commit: str) -> list[Row]:
    """What is copied onto a Pi."""
    folder = GUEST / Path(bundle).name
    kinds = {"both networks": list(folder.glob("*.tflite")), "networks, arrays, manifest": list(folder.glob("*.tflite"))
             + list(folder.glob("*.npy")) + [folder / "manifest.json"],
             "packed, with the runtime": [BUILD / "dist" / f"{folder.name}.tar.gz"]}
    return [Row(commit, "bundle", "", kind, sum(file.stat().st_size for file in files), "bytes")
            for kind, files in kinds.items()]


def measure(cpu: str, bundle: str, commit: str) -> list[Row]:
    """Every row of one processor."""
    os.environ["QEMU_CPU"] = cpu  # for scripts/pi_enter.sh
    first = cpu == CPUS[0]
    rows = []
    for interpreter in ENVIRONMENTS:
        print(f"counting on {cpu}, {interpreter}", flush=True)
        rows += count(bundle, interpreter, jobs(bundle, every=first), commit)
        rows += count(bundle, interpreter, [Job(table.UNLIMITED_OURS, "ours", {"bundle": bundle}),
                                            *references(table.UNLIMITED_REFERENCES)], commit, "unlimited")
        rows += whole(bundle, interpreter, commit) if first else []
    if first:
        rows += count(bundle, TFLITE, curves(bundle), commit) + sizes(bundle, commit)
    return rows


def repeat(rows: list[Row], bundle: str) -> str:
    """Ours counted once more: the largest difference of a stage, in words."""
    before = {row[1:4]: row.value for row in rows}
    again = count(bundle, TFLITE, jobs(bundle, every=False)[:1], "")
    apart, row = max((abs(row.value / before[row[1:4]] - 1), row.stage) for row in again)
    return f"counted twice, {OURS} on {TFLITE} differs by at most {apart:.3%} ({row})"


def say(cpu: str, rows: list[Row], before: list[Row]) -> None:
    """Everything that was found on one processor."""
    figures = Figures(rows)
    print(f"\n{cpu}, one thread, {N} frames of 640x480 with a hand that is known at once:\n\n{table.table(figures)}\n")
    for row in rows:
        if row.stage in (table.COLD_START, table.DEMO, table.CLOSER) or row.unit == "bytes":
            print(f"{row.what}, {row.interpreter + ', ' if row.interpreter else ''}{row.stage}: {row.value / 1e6:.3f} "
                  f"{'MB' if row.unit == 'bytes' else 'M instructions'}")
    for series, words in table.SERIES.items():
        curve = figures.series(series)
        if curve:
            print(f"{words}: {', '.join(f'{size} {value / 1e6:.3f} M' for size, value in curve)}")
    print("\n".join(["", f"against the run before ({before[0].commit}):", *table.changes(rows, before)]) if before
          else "no run before to compare with")


def bench(options: argparse.Namespace) -> bool:
    """Whether every target is met. Raises RootError, EdgeError."""
    bundle = f"bench/{prepare(options.bundle)}"
    commit = table.commit_id()
    good = True
    for cpu in options.cpu:
        path = BUILD / f"pi-{cpu}.csv"
        rows, before = measure(cpu, bundle, commit), table.last_run(table.read(path))
        say(cpu, rows, before)
        table.keep(path, rows)
        figures = Figures(rows)
        bench_plot.write_bars(path.with_suffix(".svg"), figures, cpu)
        if cpu == CPUS[0]:
            print(repeat(rows, bundle))
            bench_plot.write_curves(BUILD / "sizes.svg", figures)
            found = table.targets(figures)
            print(f"\n{table.verdicts(found)}\n`make bench` holds the frame against compiled TF Grad-CAM, on this machine.")
            good = all(target.passed for target in found)
    return good


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--cpu", nargs="+", choices=CPUS, default=CPUS)
    try:
        return 0 if bench(parser.parse_args(arguments)) else 1
    except (RootError, EdgeError) as error:
        print(f"bench_pi: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
