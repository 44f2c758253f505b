#!/usr/bin/env python3
"""Make models/tiny/: a kilobyte-sized int8 bundle for tests, in the contract's form, with behaviour one can predict.

    python scripts/make_tiny_bundle.py [FOLDER]          needs tensorflow, see requirements/

Nothing is trained. The feature network answers to pure colours in 4x4 pixel cells of a 16x16 image, so that a frame
with a red, green or blue patch on grey is gu, choki or pa, its heat lies on the patch, and a grey frame is none. Its
weights come from fixed numbers and one seed; prototypes and cluster centres are means of the int8 network's outputs.
"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from export import bundle  # noqa: E402
from export.clusters import prototypes  # noqa: E402
from export.convert import to_int8, weld  # noqa: E402
from export.fit import outputs  # noqa: E402

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


def main(folder: Path) -> None:
    rng = np.random.default_rng(SEED)
    frames = {label: [colour_frame(label, rng) for _ in range(FRAMES_PER_LABEL)] for label in LABELS}
    images = np.stack([(frame - SUBTRACT) / DIVIDE for label in LABELS for frame in frames[label]]).astype(np.float32)
    feature_net, embedding_net = build_networks(rng)
    features = feature_net.predict(images, verbose=0)
    content = to_int8(feature_net, [row[None] for row in images])
    content = content, weld(content, to_int8(embedding_net, [row[None] for row in features]))

    fields = manifest()
    every = [frame for label in LABELS for frame in frames[label]]
    with bundle.building(folder) as partial:
        networks = bundle.open_networks(partial, fields, *content)
        embeddings = outputs(networks, every, (SIZE, SIZE), SUBTRACT, DIVIDE)[1]
        centres = prototypes(embeddings, np.repeat(np.arange(len(LABELS)), FRAMES_PER_LABEL), len(LABELS))
        cluster_weights = np.zeros((CLUSTERS, CHANNELS))
        for cluster in range(CLUSTERS):
            cluster_weights[cluster, cluster] = 1 / FULL  # a saturated cell is full heat
            cluster_weights[cluster, 3:3 + TOP_CHANNELS - 1] = rng.normal(0, 0.01, TOP_CHANNELS - 1)
        made = bundle.write(partial, fields, *content, centres[:CLUSTERS], cluster_weights, centres)
    print(f"{folder}: {made}, {sum(file.stat().st_size for file in folder.iterdir())} bytes")


def manifest() -> dict:
    return {
        "name": "tiny", "version": "0.1.0", "task": "classify", "labels": list(LABELS),
        "input": {"size_wh": [SIZE, SIZE], "channel_order": "RGB", "crop": "whole", "resize": "stretch-2x2",
                  "scaling": {"subtract": SUBTRACT, "divide": DIVIDE}},
        "feature_layer": {"name": "patches", "shape_hwc": [CELLS, CELLS, CHANNELS]},
        "embedding_dim": DIM, "score_scale": 16.0, "thresholds": {"reject": 0.55, "box": 0.45},
        "clusters": {"count": CLUSTERS, "top_channels": TOP_CHANNELS},
        "metrics": {}, "tools": bundle.tools(), "seed": SEED,
        "data": {"what": "coloured patches drawn by scripts/make_tiny_bundle.py"},
        "reproducible": "the same files with the same tools",
    }


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", nargs="?", type=Path, default=ROOT / "models" / "tiny", help="(default %(default)s)")
    main(options.parse_args().folder)
