"""The time of a frame, 640x480 RGB in, label and 288x288 overlay out: ours and its peers, in turn, in one process.

* TF Grad-CAM: the gradient taken on every frame, compiled (tf.function), per-frame maximum scaling.
* reference loop: Faster-Grad-CAM's demo written anew from its description, see scripts/bench_peers.py; its float network, and
  the integer one of its TFLite port. With its public weights where ../shared/reference_model is there, else random ones.
* FOMO-shaped: its network's shape, int8, and its rule. Centroids alone: no heat, no box, no picture.
* ours float: this project's runtime around the same networks in float TFLite.
* ours int8: the bundle.

They take turns frame by frame, so that a change of the machine's speed meets all of them. Times are of this machine: compare
the ratios; they are kept in build/bench/x86-64.csv and shown beside those of the run before. tflite-runtime's int8 has no fast
kernels on x86, so all run on ai-edge-litert here. What a Pi executes: scripts/bench_pi.py. Exit code 1: compiled TF Grad-CAM
is not LEAST_TIMES_GRAD_CAM slower than ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import bench_assets  # noqa: E402
import bench_table  # noqa: E402
import cv2  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from bench_peers import OVERLAY_WH, FomoLoop, LiteNetwork, ReferenceLoop  # noqa: E402
from tqdm import trange  # noqa: E402

from calibration.__main__ import load_float, newest_bundle  # noqa: E402
from runtime.bundle import load_bundle  # noqa: E402
from runtime.draw import Overlay  # noqa: E402
from runtime.interpreter import find_interpreter, load_networks  # noqa: E402
from runtime.pipeline import Pipeline  # noqa: E402
from runtime.quantize import Quantization  # noqa: E402

FRAME_WH = (640, 480)
NETWORKS, KEPT = ROOT / "build" / "bench" / "networks", ROOT / "build" / "bench" / "x86-64.csv"
GRAD_CAM, OURS = "TF Grad-CAM, compiled", bench_table.OURS
LEAST_TIMES_GRAD_CAM = 100


def heat_overlay(frame_rgb: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Scaled by the frame's own maximum, coloured, blended; heat is of OVERLAY_WH."""
    heat = np.maximum(heat, 0) / max(float(heat.max()), 1e-12)
    coloured = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET)
    return cv2.addWeighted(coloured, 0.5, cv2.resize(frame_rgb, OVERLAY_WH), 0.5, 0)


class GradCam:
    """Per-image Grad-CAM of the bundle's float network, label by the bundle's prototypes."""

    def __init__(self, bundle, model):
        maps, embedding = model.outputs
        features, tail = keras.Model(model.input, maps), keras.Model(maps, embedding)
        prototypes = tf.constant(bundle.prototypes)
        self.bundle = bundle

        @tf.function
        def compute(image):
            feature_map = features(image, training=False)
            with tf.GradientTape() as tape:
                tape.watch(feature_map)
                cosines = tf.linalg.matvec(prototypes, tf.math.l2_normalize(tail(feature_map, training=False), 1)[0])
                best = tf.reduce_max(cosines)
            weights = tf.reduce_mean(tape.gradient(best, feature_map), axis=(1, 2))
            return cosines, tf.nn.relu(tf.einsum("bhwc,bc->hw", feature_map, weights))

        self.compute = compute

    def __call__(self, frame_rgb):
        image = cv2.resize(frame_rgb, self.bundle.size_wh)[None].astype(np.float32)
        image = (image - self.bundle.subtract) / self.bundle.divide
        cosines, heat = self.compute(tf.constant(image))
        return self.bundle.labels[int(np.argmax(cosines))], heat_overlay(frame_rgb, cv2.resize(heat.numpy(), OVERLAY_WH))


def interpreter(content: bytes):
    """Of one thread, for a model."""
    return find_interpreter()[1](model_content=content, num_threads=1)


class FloatLite:
    """The bundle's two networks in float TFLite behind the pipeline's interface."""

    feature_quantization = embedding_quantization = Quantization(1.0, 0)

    def __init__(self, model, divide: float):
        maps, embedding = model.outputs
        float_tflite = bench_assets.float_tflite
        self.features = LiteNetwork(interpreter(float_tflite(keras.Model(model.input, maps))), out=4)
        self.tail = LiteNetwork(interpreter(float_tflite(keras.Model(maps, embedding))), out=2)
        self.image_quantization = Quantization(1.0 / divide, 0)

    def __call__(self, image):
        maps = self.features(image[None].astype(np.float32) * np.float32(self.image_quantization.scale))["out"]
        return maps[0], self.tail(maps)["out"][0]


class Ours:
    """The runtime: pipeline and overlay."""

    def __init__(self, bundle, networks):
        self.pipeline = Pipeline(bundle, networks)
        self.overlay = Overlay(FRAME_WH, bundle.feature_shape_hwc[:2], OVERLAY_WH)

    def __call__(self, frame_rgb):
        result = self.pipeline(frame_rgb)
        return result.label, self.overlay(frame_rgb, result, "heatmap")


def frames(source: Path | None, count: int, seed: int = 0) -> np.ndarray:
    """uint8 (N, 480, 640, 3): photos under `source`, or without them rendered hands."""
    if source:
        files = sorted(f for f in source.rglob("*") if f.suffix.lower() in {".jpg", ".jpeg", ".png"})
        chosen = np.random.default_rng(seed).permutation(len(files))[:count]
        return np.stack([cv2.resize(cv2.imread(str(files[i])), FRAME_WH)[..., ::-1] for i in chosen])
    from export.build import rendered_frames
    return np.stack([cv2.resize(f.frame_rgb, FRAME_WH) for f in rendered_frames("test", count)])


def peers() -> dict:
    """The loops of bench_peers around their networks."""
    folder = bench_assets.make(NETWORKS / "peers", bench_assets.write_peers)
    vectors = bench_assets.REFERENCE if bench_assets.REFERENCE.is_dir() else None

    def network(name: str):
        return interpreter((folder / f"{name}.tflite").read_bytes())

    found = {what: ReferenceLoop(network(f"reference-{kind}"), vectors)
             for what, kind in zip(bench_table.REFERENCES, ("float", "int8"))}
    return {**found, bench_table.FOMO: FomoLoop(network("fomo"))}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=None)
    options.add_argument("--source", type=Path, default=None, help="folder of photos; default: rendered hands")
    options.add_argument("--frames", type=int, default=60)
    options = options.parse_args()
    folder = options.bundle or newest_bundle()
    bundle = load_bundle(folder)
    model = load_float(folder.with_name(f"{folder.name}-float.keras"), bundle)
    shown = frames(options.source, options.frames)
    ways = {GRAD_CAM: GradCam(bundle, model), **peers(), "ours float": Ours(bundle, FloatLite(model, bundle.divide)),
            OURS: Ours(bundle, load_networks(bundle, threads=1))}
    times = {name: [] for name in ways}
    for i in trange(-5, len(shown), desc="frames"):  # five to warm up
        for name, way in ways.items():
            frame = np.ascontiguousarray(shown[i])
            start = time.perf_counter()
            way(frame)
            if i >= 0:
                times[name].append(1000 * (time.perf_counter() - start))
    what = "photos" if options.source else "rendered hands"
    print(f"{folder}, {len(shown)} {what}, {FRAME_WH[0]}x{FRAME_WH[1]} to label and overlay, one thread but for TensorFlow")
    return 0 if report(times) else 1


def report(times: dict[str, list[float]], kept: Path = KEPT) -> bool:
    """Print and keep medians and ratios of times in ms; whether compiled TF Grad-CAM is as much slower as it must be."""
    before = bench_table.Figures(bench_table.last_run(bench_table.read(kept)))
    commit = bench_table.commit_id()
    ours, ours_before = np.median(times[OURS]), before.get(OURS, "", "median")
    rows = []
    print(f"{'':<30}{'median ms':>10}{'p10':>8}{'p90':>8}{'times ours int8':>17}{'the run before':>16}")
    for name, ms in times.items():
        median, low, high = (float(np.percentile(ms, p)) for p in (50, 10, 90))
        rows += [bench_table.Row(commit, name, "", stage, round(1000 * value), "microseconds")
                 for stage, value in (("median", median), ("p10", low), ("p90", high))]
        then = before.get(name, "", "median")
        earlier = f"{then / ours_before:.1f}" if then and ours_before else ""
        print(f"{name:<30}{median:>10.2f}{low:>8.2f}{high:>8.2f}{median / ours:>17.1f}{earlier:>16}")
    bench_table.keep(kept, rows)
    target = bench_table.Target(f"{GRAD_CAM}, times ours int8", float(np.median(times[GRAD_CAM]) / ours),
                                least=LEAST_TIMES_GRAD_CAM)
    print(bench_table.verdicts([target]))
    return target.passed


if __name__ == "__main__":
    sys.exit(main())
