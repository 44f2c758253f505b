"""The networks that are measured, made once and kept in build/bench/networks/: ours with each backbone, float and int8, and
those of the peers. Their weights are random wherever the real ones are not at hand: that costs a frame just the same.

    .venv/bin/python scripts/bench_assets.py FOLDER [--bundle models/janken]       needs tensorflow

FOLDER/peers/       reference-float.tflite, reference-int8.tflite (float in and out), fomo.tflite
FOLDER/float/       feature_map.tflite and embedding.tflite of <bundle>-float.keras
FOLDER/BACKBONE/    a bundle for each of export.model.BACKBONES; FOLDER/BACKBONE-float/ the same networks in float
FOLDER/map-N/       a bundle with a feature map of N x N cells behind a network of one layer
FOLDER/clusters-K/  the same with 12 x 12 cells and K clusters
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

from export import bundle, convert, model  # noqa: E402
from runtime.bundle import EMBEDDING, FEATURE_MAP  # noqa: E402

REFERENCE = ROOT / ".." / "shared" / "reference_model"
REFERENCE_LAYER = "block_16_expand_relu"
LABELS = ["gu", "choki", "pa"]  # without none, every frame has heat and a box
MAP_CELLS = (3, 4, 6, 8, 12)  # divisors of the image size
CLUSTERS = (10, 30, 100, 300, 1000)
TOP_CHANNELS = 50


def reference_network() -> keras.Model:
    """image (96, 96, 3) -> [feature map 3x3x480, embedding (1280,)], with its public weights where they are at hand."""
    whole = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=0.5, include_top=False, weights=None, pooling="avg")
    if REFERENCE.is_dir():
        whole.load_weights(REFERENCE / "weights.h5", by_name=True)
    return keras.Model(whole.input, [whole.get_layer(REFERENCE_LAYER).output, whole.output], name="reference")


def fomo_network(classes: int = len(LABELS)) -> keras.Model:
    """image (96, 96, 3) -> (12, 12, classes + background): MobileNetV2 0.35 cut at block 6, two 1x1 convolutions, softmax."""
    whole = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=0.35, include_top=False, weights=None)
    x = layers.Conv2D(32, 1, activation="relu", name="head")(whole.get_layer("block_6_expand_relu").output)
    return keras.Model(whole.input, layers.Softmax()(layers.Conv2D(classes + 1, 1, name="logits")(x)), name="fomo")


def float_tflite(network: keras.Model) -> bytes:
    """As a network is converted without further thought."""
    return tf.lite.TFLiteConverter.from_keras_model(network).convert()


def noise(network: keras.Model, count: int = 2) -> np.ndarray:
    """Inputs to calibrate random weights with: every pixel value there is, so that they get the scale of real networks."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, *network.input_shape[1:]))
    return ((pixels - model.SUBTRACT) / model.DIVIDE).astype(np.float32)


def integer_tflite(network: keras.Model, inside: type = np.int8) -> bytes:
    """Post-training int8; `inside` float32 leaves input and output float, as the reference's port does."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in noise(network))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(inside)
    return converter.convert()


def write_peers(folder: Path) -> None:
    reference = reference_network()
    for name, content in {
        "reference-float": float_tflite(reference),
        "reference-int8": integer_tflite(reference, np.float32),
        "fomo": integer_tflite(fomo_network()),
    }.items():
        (folder / f"{name}.tflite").write_bytes(content)


def write_float(folder: Path, network: keras.Model) -> None:
    for name, half in zip((FEATURE_MAP, EMBEDDING), model.split(network)):
        (folder / name).write_bytes(float_tflite(half))


def write_bundle(folder: Path, networks: tuple[bytes, bytes], network: keras.Model, clusters: int) -> None:
    """A whole bundle with random centres and prototypes around the two int8 networks of a Keras model."""
    (height, width), feature_shape, dim = network.input_shape[1:3], network.outputs[0].shape[1:], network.outputs[1].shape[1]
    rng = np.random.default_rng(0)
    centres, prototypes = (rng.normal(size=(rows, dim)) for rows in (clusters, len(LABELS)))
    weights = np.zeros((clusters, feature_shape[2]))
    weights[:, :TOP_CHANNELS] = rng.random((clusters, min(TOP_CHANNELS, feature_shape[2]))) / TOP_CHANNELS
    fields = {
        "name": "bench", "version": bundle.VERSION, "task": "classify", "labels": LABELS,
        "input": {"size_wh": [width, height], "channel_order": "RGB", "crop": "whole", "resize": "stretch-2x2",
                  "scaling": {"subtract": model.SUBTRACT, "divide": model.DIVIDE}},
        "feature_layer": {"name": model.FEATURE_LAYER, "shape_hwc": list(feature_shape)},
        "embedding_dim": dim, "score_scale": 16.0, "thresholds": {"reject": -1.0, "box": 0.5},
        "clusters": {"count": clusters, "top_channels": TOP_CHANNELS},
    }
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (centres, prototypes)]
    bundle.write(folder, fields, *networks, unit[0], weights, unit[1])


def stand_in(cells: int, channels: int = model.CHANNELS, dim: int = 160) -> keras.Model:
    """One strided convolution to a feature map of cells x cells, and one 1x1 to the embedding."""
    stride = 96 // cells
    image = keras.Input((96, 96, 3), batch_size=1)
    feature_map = layers.Conv2D(channels, 3, stride, padding="same", activation="relu6", name="cells")(image)
    embedding = layers.GlobalAveragePooling2D()(layers.Conv2D(dim, 1, name="mix")(feature_map))
    return keras.Model(image, [feature_map, embedding])


def int8_halves(network: keras.Model) -> tuple[bytes, bytes]:
    return convert.halves_to_int8(*model.split(network), noise(network))


def make(folder: Path, write: Callable[[Path], None], of: Path = Path(__file__)) -> Path:
    """`write` into a new folder, unless it is there already, made by the same code and of the same file `of`."""
    sources = [Path(__file__), ROOT / "export" / "model.py", ROOT / "export" / "convert.py", of]
    recipe = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    stamp = folder / "recipe.sha256"
    if not stamp.is_file() or stamp.read_text() != recipe:
        print(f"making {folder.name}", flush=True)
        with bundle.building(folder) as partial:
            write(partial)
            (partial / stamp.name).write_text(recipe)
    return folder


def write_backbone(folder: Path, name: str) -> None:
    network = model.build(name, init="random")
    write_bundle(folder, int8_halves(network), network, CLUSTERS[0])


def write_stand_in(folder: Path, cells: int, clusters: int) -> None:
    network = stand_in(cells)
    write_bundle(folder, int8_halves(network), network, clusters)


def make_all(folder: Path, own: Path) -> None:
    """Everything into `folder`. `own`: the bundle's float network, left out where it is not there."""
    for stale in folder.glob("mobilenet*"):  # of a backbone that is no more
        if stale.name.removesuffix("-float") not in model.BACKBONES:
            shutil.rmtree(stale)
    make(folder / "peers", write_peers)
    if own.is_file():
        make(folder / "float", lambda to: write_float(to, keras.models.load_model(own)), own)
    for name in model.BACKBONES:
        make(folder / name, lambda to, name=name: write_backbone(to, name))
        make(folder / f"{name}-float", lambda to, name=name: write_float(to, model.build(name, init="random")))
    for cells in MAP_CELLS:
        make(folder / f"map-{cells}", lambda to, cells=cells: write_stand_in(to, cells, CLUSTERS[0]))
    for count in CLUSTERS:
        make(folder / f"clusters-{count}", lambda to, count=count: write_stand_in(to, max(MAP_CELLS), count))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--bundle", type=Path, default=ROOT / "models" / "janken")
    options = options.parse_args()
    make_all(options.folder, options.bundle.with_name(f"{options.bundle.name}-float.keras"))


if __name__ == "__main__":
    main()
