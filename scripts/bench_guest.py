"""Runs inside an emulated Pi, for scripts/bench_pi.py: the instructions of a frame, stage by stage, as lines of JSON.

    python bench_guest.py count JOBS.json             under the plugin pi_count.so, numpy and OpenCV held to one thread
    python bench_guest.py count JOBS.json unlimited   the same, their threads left as a program finds them
    python bench_guest.py memory BUNDLE FRAME         without it: resident bytes of a run of the demo over one frame

The runtime is measured as it is: it times its own stages with time.perf_counter, and that is here a clock which says
how many instructions the processor has executed. What warms up in the first N frames is left out: every figure is (what 2N
frames cost - what the first N cost) / N.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

UNLIMITED = "unlimited" in sys.argv
if not UNLIMITED:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"

import numpy as np  # noqa: E402

HERE = 0x746E756F636970  # see pi_count.c
OVERLAY_WH = (288, 288)
CLOSER = "closer look"  # what it adds to a frame that is not sure
FRAME_WH = {"320x240": (320, 240), "640x480": (640, 480), "1280x720": (1280, 720), "1920x1080": (1920, 1080)}
SAMPLE_S, MEMORY_FRAMES = 0.02, 40
INVOKES = 3  # of a bare network, after as many to warm up: they do not differ


class Clock:
    """Executed instructions. The clock stands still while it is read."""

    def __init__(self):
        self._file = os.memfd_create("instructions")
        self._calls = self._cost = 0
        readings = [self() for _ in range(20)]
        self._cost = min(later - earlier for earlier, later in itertools.pairwise(readings))

    def __call__(self) -> int:
        self._calls += 1
        return int.from_bytes(os.pread(self._file, 8, HERE), "little") - self._calls * self._cost


class Stages:
    """Adds up what lies between `begin` and each `lap`."""

    def __init__(self, clock: Callable[[], int]):
        self._clock, self._last = clock, 0
        self.sums: dict[str, int] = {}

    def begin(self) -> None:
        self._last = self._clock()

    def lap(self, stage: str) -> None:
        now = self._clock()
        self.sums[stage] = self.sums.get(stage, 0) + now - self._last
        self._last = self._clock()


def steady(clock: Callable[[], int], frames: int, each: Callable[[int], None]) -> float:
    """Instructions of each(i), the mean over i = N .. 2N - 1 after 0 .. N - 1."""
    for i in range(frames):
        each(i)
    began = clock()
    for i in range(frames, 2 * frames):
        each(i)
    return (clock() - began) / frames


def interpreters(models: list[str]) -> list:
    """An allocated interpreter of one thread for each .tflite file, by the package that is installed here."""
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError:
        from ai_edge_litert.interpreter import Interpreter
    made = [Interpreter(model_path=path, num_threads=1) for path in models]
    for interpreter in made:
        interpreter.allocate_tensors()
    return made


class Guest:
    """The measurements; each yields (stage, instructions a frame)."""

    def __init__(self, clock: Clock, frames_rgb: np.ndarray, count: int):
        self.clock, self.frames_rgb, self.count = clock, frames_rgb, count

    def bare(self, models: list[str]) -> float:
        """The invokes alone, one after the other, on inputs that stay."""
        networks = interpreters(models)
        return steady(self.clock, INVOKES, lambda i: [network.invoke() for network in networks])

    def models(self, files: list[str]) -> Iterator[tuple[str, float]]:
        """Networks without a loop around them, each and together."""
        found = {Path(file).stem: self.bare([file]) for file in files}
        yield from found.items()
        yield "invoke", sum(found.values())

    def ours(self, bundle: str, float_folder: str | None = None) -> Iterator[tuple[str, float]]:
        """The whole frame, by the runtime's own stages. With `float_folder` around its float networks."""
        from runtime.draw import Overlay
        from runtime.jsonlines import JsonLines
        from runtime.pipeline import Pipeline

        pipeline = open_pipeline(bundle, float_folder)
        frames, results = self.with_hand(pipeline)
        yield from self.headless(pipeline, frames, float_folder or bundle)
        overlay = Overlay(frames[0].shape[1::-1], results[0].heat.shape, OVERLAY_WH)
        yield "overlay", steady(self.clock, self.count, lambda i: overlay(frames[i % len(frames)], results[i % len(frames)],
                                                                          "heatmap"))
        if not float_folder:
            never_sure = Pipeline(replace(pipeline.bundle, closer=2.0), pipeline.networks)
            both = steady(self.clock, self.count, lambda i: never_sure(frames[i % len(frames)]))
            yield CLOSER, both - steady(self.clock, self.count, lambda i: pipeline(frames[i % len(frames)]))
        with contextlib.closing(JsonLines(os.devnull)) as lines:
            yield "json", steady(self.clock, self.count, lambda i: lines.write(results[i % len(frames)]))

    def headless(self, pipeline, frames: list[np.ndarray], networks: str) -> Iterator[tuple[str, float]]:
        """Frame to result; `networks`: the folder of the two, for what their invokes cost."""
        sums: dict[str, float] = {}

        def frame(i: int) -> None:
            result = pipeline(frames[i % len(frames)])
            if i >= self.count:
                for stage, ms in result.ms.items():
                    sums[stage] = sums.get(stage, 0) + ms / 1000 / self.count

        total = steady(self.clock, self.count, frame)
        invoke = self.bare([f"{networks}/{name}.tflite" for name in ("feature_map", "embedding")])
        yield from [("preprocess", sums["preprocess"]), ("invoke", invoke), ("heatmap", sums["heatmap"])]
        yield "infer", total - sums["preprocess"] - sums["heatmap"] - invoke  # what the result itself costs included

    def with_hand(self, pipeline) -> tuple[list[np.ndarray], list]:
        """The frames in which a hand is found at once, and their results: without one there is no heat, which costs less."""
        judged = [(frame, pipeline(frame)) for frame in self.frames_rgb]
        hands = [(frame, result) for frame, result in judged if result.box_xyxy is not None and result.looks == 1]
        if not hands:
            raise ValueError("the bundle finds no hand in any of the frames, so there is no heat to count")
        frames, results = zip(*hands)
        return list(frames), list(results)

    def peer(self, kind: str, model: str, folder: str | None = None) -> Iterator[tuple[str, float]]:
        """A whole loop of bench_peers, its network's invoke told apart."""
        import bench_peers
        import cv2

        if not UNLIMITED:
            cv2.setNumThreads(1)
        network = interpreters([model])[0]
        loop = bench_peers.FomoLoop(network) if kind == "fomo" else bench_peers.ReferenceLoop(network, folder and Path(folder))
        stages = Stages(self.clock)

        def frame(i: int) -> None:
            if i == self.count:
                stages.sums.clear()
            stages.begin()
            loop(self.frames_rgb[i % len(self.frames_rgb)], stages.lap)

        for i in range(2 * self.count):
            frame(i)
        invoke = self.bare([model])
        for stage, total in stages.sums.items():
            yield stage, total / self.count - (invoke if stage == "infer" else 0)
        yield "invoke", invoke

    def sizes(self, bundle: str) -> Iterator[tuple[str, float]]:
        """Preprocess and overlay for frames of several sizes."""
        from runtime.draw import Overlay

        pipeline = open_pipeline(bundle)
        frame, result = (found[0] for found in self.with_hand(pipeline))
        for name, (width, height) in FRAME_WH.items():
            rows, columns = np.arange(height) * frame.shape[0] // height, np.arange(width) * frame.shape[1] // width
            sized = np.ascontiguousarray(frame[rows][:, columns])
            overlay = Overlay((width, height), result.heat.shape, OVERLAY_WH)
            shown = replace(result, size_wh=(width, height))
            total = 0.0

            def each(i: int, sized=sized, overlay=overlay, shown=shown) -> None:
                nonlocal total
                prepared = pipeline(sized).ms["preprocess"] / 1000
                began = self.clock()
                overlay(sized, shown, "heatmap")
                total += (prepared + self.clock() - began) / self.count if i >= self.count else 0

            steady(self.clock, self.count, each)
            yield name, total

    def beyond(self, bundle: str) -> Iterator[tuple[str, float]]:
        """All that is neither preprocess nor invoke: scores, cluster, heat, box."""
        pipeline = open_pipeline(bundle)
        stages = dict(self.headless(pipeline, self.with_hand(pipeline)[0], bundle))
        yield "beyond", stages["infer"] + stages["heatmap"]


def open_pipeline(bundle: str, float_folder: str | None = None):
    """The runtime's pipeline for a bundle, or the same around its networks in float."""
    from runtime.bundle import load_bundle
    from runtime.pipeline import Pipeline

    if not float_folder:
        return Pipeline.open(bundle)
    loaded = load_bundle(bundle)
    return Pipeline(loaded, FloatNetworks(float_folder, loaded.divide))


class FloatNetworks:
    """The two networks in float behind the pipeline's interface."""

    def __init__(self, folder: str, divide: float):
        from bench_peers import LiteNetwork

        from runtime.quantize import Quantization

        features, tail = interpreters([f"{folder}/{name}.tflite" for name in ("feature_map", "embedding")])
        self._features, self._tail = LiteNetwork(features, out=4), LiteNetwork(tail, out=2)
        self._scale = np.float32(1 / divide)
        self.image_quantization = Quantization(1 / divide, 0)
        self.feature_quantization = self.embedding_quantization = Quantization(1.0, 0)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        maps = self._features(image[None].astype(np.float32) * self._scale)["out"]
        return maps[0], self._tail(maps)["out"][0]


def count(jobs: Path) -> None:
    """Do the jobs one after the other; a line of JSON for each stage, or for why a job failed."""
    plan = json.loads(jobs.read_text())
    clock = Clock()
    time.perf_counter = clock  # before the runtime is imported
    sys.path.insert(0, plan["bundle"])
    guest = Guest(clock, np.load(plan["frames"]), plan["count"])
    for job in plan["jobs"]:
        try:
            for stage, instructions in getattr(guest, job["how"])(**job["with"]):
                print(json.dumps({"what": job["what"], "stage": stage, "value": round(instructions)}), flush=True)
        except Exception as error:  # one peer that fails must not take the others' figures with it
            print(json.dumps({"what": job["what"], "stage": "not run", "why": f"{type(error).__name__}: {error}"}), flush=True)


def memory(bundle: str, frame: str) -> None:
    """The most bytes resident in the program's own mappings while the demo loads and runs, drawing every frame."""
    sys.path.insert(0, bundle)
    done, most = Event(), [0]

    def look() -> None:
        while not done.wait(SAMPLE_S):
            most[0] = max(most[0], resident())

    watcher = Thread(target=look)
    watcher.start()
    from runtime import cli

    demo = ["--bundle", bundle, "--source", frame, "--display", "none", "--render", "--json", os.devnull, "--loop"]
    failed = cli.main([*demo, "--frames", str(MEMORY_FRAMES)])
    done.set()
    watcher.join()
    if failed:
        sys.exit(failed)
    print(json.dumps({"stage": "memory", "value": max(most[0], resident())}))


def resident() -> int:
    """Bytes resident in this program's mappings. /proc/self/smaps is the emulator's too, with what it translates into;
    /proc/self/maps, which qemu-user answers itself, lists the program's alone, at the same addresses."""
    own = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in open("/proc/self/maps")]  # noqa: SIM115
    total, inside = 0, False
    for line in open("/proc/self/smaps"):  # noqa: SIM115
        header = re.match("([0-9a-f]+)-([0-9a-f]+) ", line)
        if header:
            first, end = (int(address, 16) for address in header.groups())
            inside = any(low <= first and end <= high for low, high in own)
        elif inside and line.startswith("Rss:"):
            total += 1024 * int(line.split()[1])
    return total


if __name__ == "__main__":
    if sys.argv[1] == "count":
        count(Path(sys.argv[2]))
    else:
        memory(*sys.argv[2:])
