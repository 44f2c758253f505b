"""Equalisation on networks of a few weights, whose right answer is known."""

import keras
import numpy as np
import pytest
from keras import layers

from export import equalise as remedy
from export.fold import Rounding, fold

FRAMES = np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 3)).astype(np.float32)
CHANNELS = 6


def network(loud: float = 1.0) -> keras.Model:
    """Linear stream with a residual sum, then a ReLU6 stream, then a feature map; channels of very unequal ranges.

    `loud`: factor of the channels behind the ReLU6; at 10 one of them reaches its limit, at 100 all do.
    """
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    entry = layers.Conv2D(CHANNELS, 1, name="entry")(image)
    branch = layers.Conv2D(CHANNELS, 1, name="branch")(entry)
    joined = layers.ZeroPadding2D(1)(layers.Add(name="sum")([entry, branch]))
    opened = layers.ReLU(6.0, name="opened")(layers.Conv2D(CHANNELS, 1, name="open")(joined))
    filtered = layers.ReLU(6.0, name="filtered")(layers.DepthwiseConv2D(3, name="filter")(opened))
    feature_map = layers.ReLU(6.0, name="feature_map")(layers.Conv2D(CHANNELS, 1, name="last")(filtered))
    embedding = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(4, 1, name="out")(feature_map))
    model = keras.Model(image, [feature_map, embedding])
    for name in ("entry", "branch", "open", "last"):
        kernel, bias = model.get_layer(name).get_weights()
        by_channel = np.float32(10) ** np.linspace(-1, 1, CHANNELS, dtype=np.float32)
        model.get_layer(name).set_weights([kernel * (loud if name == "open" else by_channel / 10), bias + 0.01])
    return model


def ranges(model: keras.Model, name: str, writes: bool) -> np.ndarray:
    return remedy.channel_range(model.get_layer(name), writes)


def test_channels_that_may_not_be_scaled_are_in_no_stream():
    found = remedy.streams(fold(network(), Rounding()))
    described = sorted((sorted(layer.name for layer in s.writers), sorted(layer.name for layer in s.readers),
                        [layer.name for layer in s.limited]) for s in found)
    assert described == [(["branch", "entry"], ["branch", "open"], []), (["filter"], ["last"], ["filtered"]),
                         (["open"], ["filter"], ["opened"])], "neither the image, nor the feature map, nor the embedding"


def test_a_convolution_with_an_activation_of_its_own_is_left_alone():
    image = keras.Input((4, 4, 3))
    inner = layers.Conv2D(2, 1, activation="relu6")(image)
    feature_map = layers.Conv2D(2, 1)(inner)
    assert remedy.streams(keras.Model(image, [feature_map, layers.GlobalAveragePooling2D()(feature_map)])) == []


@pytest.mark.parametrize("loud", [1.0, 10.0, 100.0])
def test_equalised_network_gives_the_same(loud):
    model = network(loud)
    for given, wanted in zip(remedy.equalise(model, FRAMES)(FRAMES), model(FRAMES)):
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)


def test_ranges_of_writers_and_readers_become_equal():
    model = network()
    equalised = remedy.equalise(model, FRAMES)
    written = np.maximum(ranges(equalised, "entry", True), ranges(equalised, "branch", True))
    read = np.maximum(ranges(equalised, "branch", False), ranges(equalised, "open", False))
    np.testing.assert_allclose(written, read, rtol=0.01)
    before = np.maximum(ranges(model, "entry", True), ranges(model, "branch", True))
    assert before.max() / before.min() > 100 > 15 > written.max() / written.min()


def test_a_channel_that_reaches_the_limit_of_a_relu6_is_left_alone_and_no_other_is_driven_past_it():
    def peaks(model: keras.Model) -> np.ndarray:
        return keras.Model(model.input, model.get_layer("open").output)(FRAMES).numpy().max(axis=(0, 1, 2))

    model = network(loud=10.0)
    before, after = peaks(model), peaks(remedy.equalise(model, FRAMES))
    clipped = before >= 6
    assert 0 < clipped.sum() < CHANNELS
    np.testing.assert_allclose(after[clipped], before[clipped], rtol=1e-4)
    assert not np.allclose(after[~clipped], before[~clipped], rtol=0.1)
    assert after[~clipped].max() < 6.001


@pytest.mark.parametrize("weight, bias", [(1e-20, 0.5), (0.3, -50.0)])
def test_idle_channels_are_left_alone(weight, bias):
    """Trained networks hold channels with weights of 1e-20, and some that a ReLU6 never lets through."""
    model = network()
    kernel, biases = model.get_layer("open").get_weights()
    kernel[..., 2], biases[2] = weight, bias
    model.get_layer("open").set_weights([kernel, biases])
    equalised = remedy.equalise(model, FRAMES)
    assert equalised.get_layer("open").bias[2] == np.float32(bias)
    for given, wanted in zip(equalised(FRAMES), model(FRAMES)):
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)
