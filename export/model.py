"""The network: a backbone, cut at its feature layer into feature map and embedding. The one place to change either."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers

from calibration.photos import DataError


@dataclass(frozen=True)
class Backbone:
    """`build(shape_hwc, weights)` gives a Keras functional model without top; the rest names layers of it.

    `fine`: the layer that reads the last features at stride 8; `coarse`: the one that reads the last at stride 16; `last`:
    whose output is pooled into the embedding.
    """

    build: Callable[[tuple[int, int, int], str | None], keras.Model]
    fine: str
    coarse: str
    last: str


def _mobilenet_v2(alpha: float, narrow: dict[int, int] | None = None) -> Backbone:
    def build(shape_hwc, weights):
        whole = keras.applications.MobileNetV2(input_shape=shape_hwc, alpha=alpha, include_top=False, weights=weights)
        return _narrowed(whole, narrow) if narrow else whole
    return Backbone(build, "block_6_pad", "block_13_expand", "block_16_project_BN")


def _narrowed(whole: keras.Model, narrow: dict[int, int]) -> keras.Model:
    """With fewer expanded channels in the blocks of `narrow`: the first of them, where scripts/narrow.py chooses better ones.

    On a Pi an int8 network costs by the values it writes, and the expanded channels of the first blocks are most of them.
    """
    filters = {f"block_{i}_expand": channels for i, channels in narrow.items()}

    def copied(layer):
        fewer = {"filters": filters[layer.name]} if layer.name in filters else {}
        return layer.__class__.from_config(layer.get_config() | fewer)
    made = keras.models.clone_model(whole, clone_function=copied)
    made.set_weights([given[tuple(map(slice, weight.shape))] for weight, given in zip(made.weights, whole.get_weights())])
    return made


def _mobilenet_v3_small(minimalistic: bool) -> Backbone:
    def build(shape_hwc, weights):
        return keras.applications.MobileNetV3Small(input_shape=shape_hwc, minimalistic=minimalistic, include_top=False,
                                                   weights=weights, include_preprocessing=False)
    return Backbone(build, "expanded_conv_3_depthwise_pad", "expanded_conv_8_expand", "expanded_conv_10_add")


# Expanded channels of blocks: what is left explains 91 to 100 % of the projection behind them by least squares.
TRIMMED = {7: 128, 10: 96, 11: 192, 12: 192, 13: 96, 14: 128, 15: 128, 16: 128}
SLIM = {**TRIMMED, 1: 24, 2: 64, 3: 48, 4: 64, 5: 64, 8: 160, 9: 144, 11: 160, 12: 144, 13: 64, 14: 80, 15: 96, 16: 64}
BACKBONES = {
    "mobilenet_v2_0.35": _mobilenet_v2(0.35),
    "mobilenet_v2_0.5": _mobilenet_v2(0.5),
    "mobilenet_v2_1.0": _mobilenet_v2(1.0),
    "mobilenet_v2_0.5_trimmed": _mobilenet_v2(0.5, narrow=TRIMMED),
    "mobilenet_v2_0.5_slim": _mobilenet_v2(0.5, narrow=SLIM),
    "mobilenet_v3_small_minimalistic": _mobilenet_v3_small(minimalistic=True),
}
BACKBONE = "mobilenet_v2_0.5_trimmed"
FEATURE_LAYER, CHANNELS = "feature_map", 96
SIZE_WH = (96, 80)  # pixels: nearly the shape of a camera's frame, so that little is squeezed
SUBTRACT, DIVIDE = 128.0, 128.0  # pixel -> network input in [-1, 127/128]; int8 then needs no rounding (scale 1/128, zero 0)

BATCH_NORM_MOMENTUM = 0.98  # Keras' 0.999 is for ImageNet's millions of steps: after hundreds it still remembers the start

CHECKPOINT = Path(__file__).parent.parent / "models" / "checkpoint" / f"{BACKBONE}.weights.h5"
NOTHING_SEEN = {"folders": [], "test_files": []}


def build(backbone: str = BACKBONE, init: str = "checkpoint", size_wh: tuple[int, int] = SIZE_WH) -> keras.Model:
    """Keras model: float32 (B, H, W, 3) -> [feature map (B, h, w, C), embedding (B, D), not normalised].

    `init`: "checkpoint" (models/checkpoint, already taught hands), "imagenet" (downloaded by Keras),
    "random", or a file: a .weights.h5 from --save-checkpoint, or an older .h5 whose layers are named as the backbone's.
    Raises DataError when the wanted starting weights are not to be had.
    """
    if backbone not in BACKBONES:
        raise DataError(f"unknown backbone {backbone!r}; known: {', '.join(BACKBONES)}")
    if init not in ("checkpoint", "imagenet", "random") and not init.endswith(".h5"):
        raise DataError(f"unknown starting weights {init!r}; known: checkpoint, imagenet, random, or a .h5 file")
    entry = BACKBONES[backbone]
    try:
        whole = entry.build((size_wh[1], size_wh[0], 3), "imagenet" if init == "imagenet" else None)
    except Exception as error:  # Keras wraps every download failure differently
        if init != "imagenet":
            raise
        raise DataError(f"could not fetch the ImageNet weights of {backbone}: {error}; "
                        "use INIT=checkpoint or INIT=random, which need no network") from error
    if init.endswith(".h5") and not init.endswith(".weights.h5"):
        whole.load_weights(init, by_name=True, skip_mismatch=True)  # before Keras 3, layers were stored by name
    model = _with_neck(whole, entry, backbone)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    if init == "checkpoint":
        if not CHECKPOINT.is_file() or backbone != BACKBONE:
            raise DataError(f"no checkpoint for {backbone} in {CHECKPOINT.parent}; use INIT=imagenet or INIT=random")
        model.load_weights(CHECKPOINT)
    elif init.endswith(".weights.h5"):
        model.load_weights(init)
    return model


def _with_neck(whole: keras.Model, entry: Backbone, name: str) -> keras.Model:
    """The backbone with its feature map in the middle: what is where (stride 8) and what it is part of (stride 16) in one.

    Everything the embedding learns of the frame passes through this map, so that a map which is silent beside the hand
    leaves the background no say. It ends in ReLU6, whose fixed range 0..6 gives both halves the same int8 scale.
    """
    fine, coarse = whole.get_layer(entry.fine).input, whole.get_layer(entry.coarse).input
    detail = _conv(fine, CHANNELS, "detail")
    context = layers.UpSampling2D(2, interpolation="bilinear", name="context_up")(_conv(coarse, CHANNELS, "context"))
    feature_map = layers.ReLU(6.0, name=FEATURE_LAYER)(layers.Add(name="neck_add")([detail, context]))

    x = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="gather_depthwise")(feature_map)
    x = layers.ReLU(6.0, name="gather_relu")(layers.BatchNormalization(name="gather_depthwise_BN")(x))
    last = whole.get_layer(entry.last).output
    embedding = layers.GlobalAveragePooling2D(name="pool")(_replay(coarse, last, _conv(x, coarse.shape[-1], "gather")))
    return keras.Model(whole.input, [feature_map, embedding], name=name)


def _replay(first, last, x):
    """Copies of the layers from tensor `first` to tensor `last`, weights and all, but reading `x` (of the shape of `first`)."""
    made = {id(first): x}
    for layer in keras.Model(first, last).layers[1:]:
        several = isinstance(layer.input, list)
        inputs = [made[id(tensor)] for tensor in (layer.input if several else [layer.input])]
        copy = layer.__class__.from_config(layer.get_config())
        made[id(layer.output)] = copy(inputs if several else inputs[0])
        copy.set_weights(layer.get_weights())
    return made[id(last)]


def _conv(x, channels: int, name: str):
    return layers.BatchNormalization(name=f"{name}_BN")(layers.Conv2D(channels, 1, use_bias=False, name=name)(x))


def hold_early(network: keras.Model) -> None:
    """Keep all that comes before the feature map's finer half (stride 8) as it is in training: few photos, or drawn ones, only
    spoil what it knows of edges and textures, and a batch costs half."""
    for layer in keras.Model(network.input, network.get_layer("detail").input).layers:
        layer.trainable = False


def seen_by(init: str) -> dict[str, list[str]]:
    """What the starting weights were trained on already: names of the data sets, and which of their photos were held out.

    A bundle that starts from them must not count the other photos as held out.
    """
    record = photos_record(CHECKPOINT if init == "checkpoint" else Path(init))
    return json.loads(record.read_text()) if record.is_file() else NOTHING_SEEN


def keep(network: keras.Model, weights: Path, seen: dict[str, list[str]]) -> None:
    """Write the weights, and what `seen_by` is to return of them; what was fitted for older ones is removed."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    fitted_record(weights).unlink(missing_ok=True)
    photos_record(weights).write_text(json.dumps(seen, indent=1) + "\n")
    network.save_weights(weights)


def fitted_for(init: str) -> list[np.ndarray] | None:
    """What was fitted on photos for the starting weights and kept beside them, or None: [prototypes (L, D), cluster centers
    (K, D), cluster weights (K, C), thresholds (reject, box)]."""
    path = fitted_record(CHECKPOINT if init == "checkpoint" else Path(init))
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


def fitted_record(weights: Path) -> Path:
    """The file beside a .weights.h5 that holds what `fitted_for` returns."""
    return _beside(weights, "fitted.npz")


def photos_record(weights: Path) -> Path:
    """The file beside a .weights.h5 that says what `seen_by` returns."""
    return _beside(weights, "photos.json")


def _beside(weights: Path, ending: str) -> Path:
    return weights.with_name(f"{weights.name.removesuffix('.weights.h5')}.{ending}")


def split(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """(feature net: image -> feature map, embedding net: feature map -> embedding); both share the model's weights."""
    feature_map, embedding = model.outputs
    return keras.Model(model.input, feature_map, name="feature_map"), keras.Model(feature_map, embedding, name="embedding")


def normalise(frames):
    """uint8 pixels -> the network's float input."""
    return (frames.astype("float32") - SUBTRACT) / DIVIDE
