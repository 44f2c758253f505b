#!/usr/bin/env python3
"""Make models/tiny/: a kilobyte-sized int8 bundle for tests, in the contract's form, with behaviour one can predict.

    python scripts/make_tiny_bundle.py [FOLDER]          needs tensorflow, see requirements/

Nothing is trained. The feature network answers to pure colours in 4x4 pixel cells of a 16x16 image, so that a frame
with a red, green or blue patch on grey is gu, choki or pa, its heat lies on the patch, and a grey frame is none. Its
weights come from fixed numbers and one seed; prototypes and cluster centres are means of the int8 network's outputs.
"""
from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runtime.bundle import (  # noqa: E402
    CLUSTER_CENTERS,
    CLUSTER_WEIGHTS,
    EMBEDDING,
    FEATURE_MAP,
    MANIFEST,
    PROTOTYPES,
    load_bundle,
)
from runtime.interpreter import Network  # noqa: E402
from runtime.quantize import dequantize, pixel_table  # noqa: E402
from runtime.scoring import unit_length  # noqa: E402

SEED = 0
LABELS = ("gu", "choki", "pa", "none")
SIZE, CELLS, CHANNELS, DIM, CLUSTERS, TOP_CHANNELS = 16, 4, 8, 8, 3, 4
CELL = SIZE // CELLS
SUBTRACT, DIVIDE = 128.0, 128.0
FULL = 6.0  # where ReLU6 saturates
PURITY_GAIN = 4.0  # (R - (G + B) / 2) of a pure colour is 2 after scaling, so its cell saturates
CONSTANT = 0.3  # one channel is always this warm: the embedding of a frame without colour has a direction, that of none
FRAMES_PER_LABEL = 32


def colour_frame(label: str, rng: np.random.Generator) -> np.ndarray:
    """uint8 (16, 16, 3): a grey, noisy frame with a patch of the label's colour, 1 to 3 cells wide and high."""
    frame = rng.integers(0, 256) + rng.integers(-3, 4, (SIZE, SIZE, 1))
    frame = np.clip(np.repeat(frame, 3, axis=2), 0, 255).astype(np.uint8)
    if label != "none":
        width, height = rng.integers(1, 4, 2) * CELL
        left, top = rng.integers(0, SIZE - width + 1), rng.integers(0, SIZE - height + 1)
        frame[top : top + height, left : left + width] = np.eye(3, dtype=np.uint8)[LABELS.index(label)] * 255
    return frame


def build_networks(rng: np.random.Generator) -> tuple:
    """The float networks: image -> ReLU6 feature map, feature map -> embedding."""
    import keras

    purity = PURITY_GAIN * (1.5 * np.eye(3) - 0.5)  # column i answers to colour i and is 0 for every grey
    kernel = np.zeros((CELL, CELL, 3, CHANNELS), np.float32)
    kernel[..., :3] = purity / CELL**2
    kernel[..., 4:] = rng.normal(0, 0.3, (3, 4)) / CELL**2
    bias = np.zeros(CHANNELS, np.float32)
    bias[3] = CONSTANT
    image = keras.Input((SIZE, SIZE, 3), batch_size=1)
    layer = keras.layers.Conv2D(CHANNELS, CELL, strides=CELL, activation="relu6", name="patches")
    feature_net = keras.Model(image, layer(image))
    layer.set_weights([kernel, bias])

    feature_map = keras.Input((CELLS, CELLS, CHANNELS), batch_size=1)
    mix = keras.layers.Conv2D(DIM, 1, use_bias=False, name="mix")
    embedding_net = keras.Model(feature_map, keras.layers.GlobalAveragePooling2D()(mix(feature_map)))
    mix.set_weights([(np.eye(CHANNELS) + rng.normal(0, 0.05, (CHANNELS, DIM)))[None, None].astype(np.float32)])
    return feature_net, embedding_net


def to_int8(model, samples: list[np.ndarray]) -> bytes:
    """Full int8, input and output included; samples are float inputs without batch axis."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None].astype(np.float32)] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main(folder: Path) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(SEED)
    frames = {label: [colour_frame(label, rng) for _ in range(FRAMES_PER_LABEL)] for label in LABELS}
    images = [(frame - SUBTRACT) / DIVIDE for label in LABELS for frame in frames[label]]
    feature_net, embedding_net = build_networks(rng)
    features = [feature_net(image[None].astype(np.float32)).numpy()[0] for image in images]
    # Both calibrations must see ReLU6's whole range, or the joint gets two different quantisations.
    assert min(f.min() for f in features) == 0 and max(f.max() for f in features) == FULL
    models = {FEATURE_MAP: to_int8(feature_net, images), EMBEDDING: to_int8(embedding_net, features)}

    first, second = (Network(name, models[name], tf.lite.Interpreter, 1) for name in (FEATURE_MAP, EMBEDDING))
    to_network = pixel_table(SUBTRACT, DIVIDE, first.input_quantization)
    means = []
    for label in LABELS:
        outputs = [dequantize(second(first(to_network[frame])), second.output_quantization) for frame in frames[label]]
        means.append(unit_length(np.mean([unit_length(output) for output in outputs], axis=0)))
    prototypes = np.stack(means)
    cluster_weights = np.zeros((CLUSTERS, CHANNELS))
    for cluster in range(CLUSTERS):
        cluster_weights[cluster, cluster] = 1 / FULL  # a saturated cell is full heat
        cluster_weights[cluster, 3:3 + TOP_CHANNELS - 1] = rng.normal(0, 0.01, TOP_CHANNELS - 1)

    folder.mkdir(parents=True, exist_ok=True)
    for name, content in models.items():
        (folder / name).write_bytes(content)
    arrays = {CLUSTER_CENTERS: prototypes[:CLUSTERS], CLUSTER_WEIGHTS: cluster_weights, PROTOTYPES: prototypes}
    for name, array in arrays.items():
        np.save(folder / name, array.astype(np.float32), allow_pickle=False)
    write_manifest(folder, tf.__version__)
    print(f"{folder}: {load_bundle(folder)}, {sum(file.stat().st_size for file in folder.iterdir())} bytes")


def write_manifest(folder: Path, tensorflow_version: str) -> None:
    files = {}
    for name in (FEATURE_MAP, EMBEDDING, CLUSTER_CENTERS, CLUSTER_WEIGHTS, PROTOTYPES):
        content = (folder / name).read_bytes()
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest = {
        "schema": 1,
        "name": "tiny",
        "version": "0.1.0",
        "task": "classify",
        "labels": LABELS,
        "input": {
            "size_wh": [SIZE, SIZE],
            "channel_order": "RGB",
            "crop": "whole",
            "resize": "stretch-2x2",
            "scaling": {"subtract": SUBTRACT, "divide": DIVIDE},
        },
        "feature_layer": {"name": "patches", "shape_hwc": [CELLS, CELLS, CHANNELS]},
        "embedding_dim": DIM,
        "score_scale": 16.0,
        "thresholds": {"reject": 0.55, "box": 0.45},
        "clusters": {"count": CLUSTERS, "top_channels": TOP_CHANNELS},
        "metrics": {},
        "tools": {"tensorflow": tensorflow_version, "numpy": np.__version__},
        "seed": SEED,
        "data": {"what": "coloured patches drawn by scripts/make_tiny_bundle.py"},
        "reproducible": "the same files with the same tools",
        "files": files,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "models" / "tiny")
