"""The time of a frame, 640x480 RGB in, label and 288x288 overlay out: four ways, in turn, in one process.

* TF Grad-CAM: the gradient taken on every frame, compiled (tf.function), per-frame maximum scaling.
* reference loop: Faster-Grad-CAM's demo written anew from its description: float network, distance to 40 stored vectors,
  scikit-learn k-means, the cluster's 50 channels summed at 288x288, colour map and blend. Its k-means was a pickle that is
  not part of its public weights; one of the same shape is fitted to its stored vectors here.
* ours float: this project's runtime around the same networks in float TFLite.
* ours int8: the bundle.

The four take turns frame by frame, so that a change of the machine's speed meets all of them; medians are printed and kept in
build/bench.csv. Times are of this machine: compare the ratios. tflite-runtime's int8 has no fast kernels on x86, so both of
ours run on ai-edge-litert here.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from tqdm import trange  # noqa: E402

from calibration.__main__ import load_float, newest_bundle  # noqa: E402
from runtime.bundle import load_bundle  # noqa: E402
from runtime.draw import Overlay  # noqa: E402
from runtime.interpreter import find_interpreter, load_networks  # noqa: E402
from runtime.pipeline import Pipeline  # noqa: E402
from runtime.quantize import Quantization  # noqa: E402

FRAME_WH, OVERLAY_WH = (640, 480), (288, 288)
REFERENCE = ROOT / ".." / "shared" / "reference_model"
REFERENCE_LAYER = "block_16_expand_relu"


def heat_overlay(frame_rgb: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """What both older ways do in the end: scale by the frame's own maximum, colour, blend; heat is of OVERLAY_WH."""
    heat = np.maximum(heat, 0) / max(float(heat.max()), 1e-12)
    coloured = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET)
    return np.uint8(cv2.resize(frame_rgb, OVERLAY_WH) * 0.5 + coloured[..., ::-1] * 0.5)


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


class ReferenceLoop:
    """Faster-Grad-CAM's loop as described, with its public weights; raises FileNotFoundError without them."""

    def __init__(self):
        whole = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=0.5, include_top=False, weights=None,
                                               pooling="avg")
        whole.load_weights(REFERENCE / "weights.h5", by_name=True)
        model = keras.Model(whole.input, [whole.get_layer(REFERENCE_LAYER).output, whole.output])
        self.network = LiteNetwork(float_tflite(model), {"maps": 4, "embedding": 2})
        names = ("vector_pa", "channel_adress", "channel_weight")
        read = [np.loadtxt(REFERENCE / f"{name}.csv", delimiter=",") for name in names]
        self.vectors, self.channels, self.weights = read[0].astype(np.float32), read[1].astype(int), read[2]
        self.kmeans = KMeans(len(self.channels), n_init=1, random_state=0).fit(self.vectors)

    def __call__(self, frame_rgb):
        image = cv2.resize(frame_rgb, (96, 96))[None].astype(np.float32) / 127.5 - 1
        out = self.network(image)
        distance = np.linalg.norm(self.vectors - out["embedding"], axis=1).min()
        cluster = int(self.kmeans.predict(out["embedding"])[0])
        chosen = np.ascontiguousarray(out["maps"][0][..., self.channels[cluster]])
        heat = (cv2.resize(chosen, OVERLAY_WH) * self.weights[cluster]).sum(axis=2)
        return "pa" if distance < 1 else "gu", heat_overlay(frame_rgb, heat)


class LiteNetwork:
    """A float TFLite model with outputs told apart by their rank."""

    def __init__(self, content: bytes, ranks: dict[str, int]):
        self.interpreter = find_interpreter()[1](model_content=content, num_threads=1)
        self.interpreter.allocate_tensors()
        self.into = self.interpreter.get_input_details()[0]["index"]
        outputs = self.interpreter.get_output_details()
        self.out = {name: next(o["index"] for o in outputs if len(o["shape"]) == rank) for name, rank in ranks.items()}

    def __call__(self, values):
        self.interpreter.set_tensor(self.into, values)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self.out.items()}


class FloatLite:
    """The bundle's two networks in float TFLite behind the pipeline's interface."""

    feature_quantization = embedding_quantization = Quantization(1.0, 0)

    def __init__(self, model, divide: float):
        maps, embedding = model.outputs
        self.features = LiteNetwork(float_tflite(keras.Model(model.input, maps)), {"out": 4})
        self.tail = LiteNetwork(float_tflite(keras.Model(maps, embedding)), {"out": 2})
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


def float_tflite(model: keras.Model) -> bytes:
    return tf.lite.TFLiteConverter.from_keras_model(model).convert()


def frames(source: Path | None, count: int, seed: int = 0) -> np.ndarray:
    """uint8 (N, 480, 640, 3): photos under `source`, or without them rendered hands."""
    if source:
        files = sorted(f for f in source.rglob("*") if f.suffix.lower() in {".jpg", ".jpeg", ".png"})
        chosen = np.random.default_rng(seed).permutation(len(files))[:count]
        return np.stack([cv2.resize(cv2.imread(str(files[i])), FRAME_WH)[..., ::-1] for i in chosen])
    from export.build import rendered_frames
    return np.stack([cv2.resize(f.frame_rgb, FRAME_WH) for f in rendered_frames("test", count)])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bundle", type=Path, default=None)
    options.add_argument("--source", type=Path, default=None, help="folder of photos; default: rendered hands")
    options.add_argument("--frames", type=int, default=60)
    options = options.parse_args()
    folder = options.bundle or newest_bundle()
    bundle = load_bundle(folder)
    model = load_float(folder.with_name(f"{folder.name}-float.keras"), bundle)
    shown = frames(options.source, options.frames)
    ways = {"TF Grad-CAM": GradCam(bundle, model)}
    if REFERENCE.is_dir():
        ways["reference loop"] = ReferenceLoop()
    else:
        print(f"the reference loop is left out: its weights are not in {REFERENCE}", file=sys.stderr)
    ways["ours float"] = Ours(bundle, FloatLite(model, bundle.divide))
    ways["ours int8"] = Ours(bundle, load_networks(bundle, threads=1))
    times = {name: [] for name in ways}
    for i in trange(-5, len(shown), desc="frames"):  # five to warm up
        for name, way in ways.items():
            frame = np.ascontiguousarray(shown[i])
            start = time.perf_counter()
            way(frame)
            if i >= 0:
                times[name].append(1000 * (time.perf_counter() - start))
    write(times, folder, "photos" if options.source else "rendered hands")


def write(times: dict[str, list[float]], folder: Path, what: str) -> None:
    ours = np.median(times["ours int8"])
    rows = [(name, *(round(float(np.percentile(ms, p)), 3) for p in (50, 10, 90)), round(float(np.median(ms) / ours), 2))
            for name, ms in times.items()]
    print(f"{folder}, {len(times['ours int8'])} {what}, {FRAME_WH[0]}x{FRAME_WH[1]} to label and overlay, "
          "one thread but for TensorFlow")
    print(f"{'':<16}{'median ms':>10}{'p10':>8}{'p90':>8}{'times ours int8':>17}")
    for name, median, low, high, ratio in rows:
        print(f"{name:<16}{median:>10.2f}{low:>8.2f}{high:>8.2f}{ratio:>17.1f}")
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "bench.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("way", "median_ms", "p10_ms", "p90_ms", "times_ours_int8"), *rows])


if __name__ == "__main__":
    main()
