"""Adaptive rounding and bias correction on networks of a few weights, whose right answer is known."""

from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from export import convert
from export.fold import Rounding, fold
from export.rounding import adapted, covariance, rounded_well, walk


def rounded_away() -> keras.Model:
    """One large weight sets the step of its channel; ten small ones of a third of that step each are rounded to zero."""
    image = keras.Input((4, 4, 11))
    feature_map = layers.ReLU(6.0)(layers.Conv2D(1, 1, name="first")(image))
    second = layers.Conv2D(1, 1, name="second")
    model = keras.Model(image, [feature_map, layers.GlobalAveragePooling2D()(second(feature_map))])
    kernel = np.full((1, 1, 11, 1), 0.33 / 127, np.float32)
    kernel[0, 0, 0] = 1
    model.get_layer("first").set_weights([kernel, np.float32([1])])
    second.set_weights([np.ones((1, 1, 1, 1), np.float32), np.float32([0])])
    return model


def test_correction_takes_away_the_bias_that_rounding_brought():
    model = rounded_away()
    frames = np.random.default_rng(0).uniform(0, 20, (32, 4, 4, 11)).astype(np.float32)
    frames[..., 0] /= 20

    def rounded_mean(network) -> float:
        rounding = Rounding()
        student = fold(network, rounding)
        rounding.state = "observe"
        student(frames)
        rounding.state = "on"
        return float(student(frames)[1].numpy().mean())

    wanted = float(model(frames)[1].numpy().mean())
    corrected = rounded_well(model, frames, adapt=False)
    assert wanted - rounded_mean(model) == pytest.approx(10 * 10 * 0.33 / 127, abs=0.03)
    assert rounded_mean(corrected) == pytest.approx(wanted, abs=0.01)
    np.testing.assert_array_equal(corrected.get_layer("first").kernel, model.get_layer("first").kernel)


def test_a_walk_gives_what_the_network_gives():
    """A branch that skips the middle is kept until the sum that reads it."""
    image = keras.Input((4, 4, 3))
    entry = layers.Conv2D(3, 1, name="entry")(image)
    middle = layers.Conv2D(3, 1, name="middle")(layers.ReLU()(entry))
    model = keras.Model(image, layers.Add(name="sum")([entry, middle]))
    frames = np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 3)).astype(np.float32)
    seen = {}
    walk(model, frames, lambda layer, inputs: seen.setdefault(layer.name, layer(inputs)))
    np.testing.assert_allclose(seen["sum"], model(frames), rtol=1e-6)
    assert [name for name in seen if name in ("entry", "middle", "sum")] == ["entry", "middle", "sum"]


def loss(weights, rounded, covariances) -> np.ndarray:
    """d' C d of each column."""
    error = rounded - weights
    return np.einsum("im,mij,jm->m", error, np.broadcast_to(covariances, (weights.shape[1], *covariances.shape[1:])), error)


def nearest(weights) -> np.ndarray:
    step = np.abs(weights).max(axis=0) / 127
    return np.round(weights / step) * step


def test_errors_of_weights_that_read_the_same_cancel():
    """Two of 0.4 steps: to the nearest both become 0 and 0.8 steps are lost; one turned up loses 0.2."""
    weights = np.array([[127.0], [0.4], [0.4]])
    alike = np.array([[[1.0, 0, 0], [0, 1, 1], [0, 1, 1]]])
    assert sorted(adapted(weights, alike).ravel()) == pytest.approx([0, 1, 127])
    assert adapted(weights, np.eye(3)[None]).ravel() == pytest.approx([127, 0, 0]), "nothing in common: to the nearest"


@pytest.mark.parametrize("groups", [1, 5])
def test_rounding_is_nearly_as_good_as_the_best_of_all_ways(groups):
    rng = np.random.default_rng(groups)
    weights, read = rng.normal(size=(6, 5)), rng.normal(size=(groups, 40, 6)) + rng.normal(size=(groups, 40, 1)) * 3
    covariances = read.transpose(0, 2, 1) @ read / 40
    step = np.abs(weights).max(axis=0) / 127
    found = adapted(weights, covariances)
    np.testing.assert_allclose(found / step, np.round(found / step), atol=1e-4)
    np.testing.assert_allclose(np.abs(found).max(axis=0), np.abs(weights).max(axis=0), rtol=1e-6)
    assert (np.abs(found - weights) <= step).all()
    assert (loss(weights, found, covariances) <= 1.001 * loss(weights, nearest(weights), covariances)).all()
    down = np.floor(weights / step + 1e-9)
    best = np.min([loss(weights, np.where(np.abs(weights) >= step * 126.99, weights, (down + np.reshape(up, (6, 1))) * step),
                        covariances) for up in product([0, 1], repeat=6)], axis=0)
    assert loss(weights, found, covariances).sum() < 1.5 * best.sum() < loss(weights, nearest(weights), covariances).sum()


@pytest.mark.parametrize("depthwise", [False, True])
def test_covariance_is_of_what_the_weights_read(depthwise):
    """The mean of what a convolution gives varies as its weights and the covariance say."""
    kind = layers.DepthwiseConv2D if depthwise else layers.Conv2D
    layer = kind(3, strides=2, padding="same") if depthwise else kind(4, 3, strides=2, padding="same")
    frames = tf.constant(np.random.default_rng(0).normal(size=(5, 9, 9, 2)).astype(np.float32))
    variance = layer(frames).numpy().reshape(-1, 2 if depthwise else 4).var(axis=0)
    kernel = layer.get_weights()[0].reshape(18 if not depthwise else 9, -1)
    np.testing.assert_allclose(loss(np.zeros_like(kernel), kernel, covariance(layer, frames)), variance, rtol=1e-4)


def test_the_converter_takes_over_every_weight_as_it_was_rounded():
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    feature_map = layers.ReLU(6.0)(layers.DepthwiseConv2D(3)(layers.ReLU(6.0)(layers.Conv2D(5, 3, name="first")(image))))
    model = keras.Model(image, [feature_map, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(feature_map))])
    frames = np.random.default_rng(0).uniform(-1, 1, (20, 8, 8, 3)).astype(np.float32)
    rounded = rounded_well(model, frames)
    kernel = rounded.get_layer("first").get_weights()[0]
    content = convert.to_int8(keras.Model(rounded.input, rounded.outputs[0]), [frame[None] for frame in frames])
    interpreter = Interpreter(model_content=content)
    stored = next(d for d in interpreter.get_tensor_details() if tuple(d["shape"]) == (5, 3, 3, 3))
    weights = interpreter.get_tensor(stored["index"]).transpose(1, 2, 3, 0) * stored["quantization_parameters"]["scales"]
    np.testing.assert_allclose(weights, kernel, atol=1e-6)
    assert not np.allclose(kernel, fold(model).get_layer("first").get_weights()[0], atol=1e-6)
