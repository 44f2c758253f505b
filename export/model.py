"""The network: a backbone, cut at its feature layer into feature map and embedding. The one place to change either."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras

from calibration.photos import DataError


@dataclass(frozen=True)
class Backbone:
    """`build(shape_hwc, weights)` gives a Keras functional model; `feature_layer` names the tensor the heat is read from.

    The feature layer must be the only path to the output at its depth (so the network can be cut there) and end in ReLU6,
    whose fixed range 0..6 gives both halves the same int8 scale.
    """

    build: Callable[[tuple[int, int, int], str | None], keras.Model]
    feature_layer: str


def _mobilenet_v2(alpha: float) -> Backbone:
    def build(shape_hwc, weights):
        return keras.applications.MobileNetV2(input_shape=shape_hwc, alpha=alpha, include_top=False, weights=weights,
                                              pooling="avg")
    # stride 16: 6x6 cells at 96 px, against 3x3 behind block_16; both are compared in models/README.md
    return Backbone(build, "block_13_expand_relu")


BACKBONES = {
    "mobilenet_v2_0.35": _mobilenet_v2(0.35),
    "mobilenet_v2_0.5": _mobilenet_v2(0.5),
    "mobilenet_v2_1.0": _mobilenet_v2(1.0),
}
BACKBONE = "mobilenet_v2_0.5"
SIZE_WH = (96, 96)  # pixels
SUBTRACT, DIVIDE = 128.0, 128.0  # pixel -> network input in [-1, 127/128]; int8 then needs no rounding (scale 1/128, zero 0)

BATCH_NORM_MOMENTUM = 0.98  # Keras' 0.999 is for ImageNet's millions of steps: after hundreds it still remembers the start

CHECKPOINT = Path(__file__).parent.parent / "models" / "checkpoint" / f"{BACKBONE}.weights.h5"
NOTHING_SEEN = {"folders": [], "test_files": []}


def build(backbone: str = BACKBONE, init: str = "checkpoint", size_wh: tuple[int, int] = SIZE_WH) -> keras.Model:
    """Keras model: float32 (B, H, W, 3) -> [feature map (B, h, w, C), embedding (B, D), not normalised].

    `init`: "checkpoint" (models/checkpoint, already taught hands), "imagenet" (downloaded by Keras), "random", or a file: a
    .weights.h5 from --save-checkpoint, or an older .h5 whose layers are named as the backbone's.
    Raises DataError when the wanted starting weights are not to be had.
    """
    if backbone not in BACKBONES:
        raise DataError(f"unknown backbone {backbone!r}; known: {', '.join(BACKBONES)}")
    entry = BACKBONES[backbone]
    try:
        whole = entry.build((size_wh[1], size_wh[0], 3), "imagenet" if init == "imagenet" else None)
    except Exception as error:  # Keras wraps every download failure differently
        raise DataError(f"could not fetch the ImageNet weights of {backbone}: {error}; "
                        "use INIT=checkpoint or INIT=random, which need no network") from error
    for layer in whole.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    model = keras.Model(whole.input, [whole.get_layer(entry.feature_layer).output, whole.output], name=backbone)
    if init == "checkpoint":
        if not CHECKPOINT.is_file() or backbone != BACKBONE:
            raise DataError(f"no checkpoint for {backbone} in {CHECKPOINT.parent}; use INIT=imagenet or INIT=random")
        model.load_weights(CHECKPOINT)
    elif init.endswith(".weights.h5"):
        model.load_weights(init)
    elif init.endswith(".h5"):
        whole.load_weights(init, by_name=True)  # before Keras 3, layers were stored by name
    return model


def seen_by(init: str) -> dict[str, list[str]]:
    """What the starting weights were trained on already: names of the data sets, and which of their photos were held out.

    A bundle that starts from them must not count the other photos as held out.
    """
    record = photos_record(CHECKPOINT if init == "checkpoint" else Path(init))
    return json.loads(record.read_text()) if record.is_file() else NOTHING_SEEN


def photos_record(weights: Path) -> Path:
    """The file beside a .weights.h5 that says what `seen_by` returns."""
    return weights.with_name(f"{weights.name.removesuffix('.weights.h5')}.photos.json")


def split(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """(feature net: image -> feature map, embedding net: feature map -> embedding); both share the model's weights."""
    feature_map, embedding = model.outputs
    return keras.Model(model.input, feature_map, name="feature_map"), keras.Model(feature_map, embedding, name="embedding")


def normalise(frames):
    """uint8 pixels -> the network's float input."""
    return (frames.astype("float32") - SUBTRACT) / DIVIDE
