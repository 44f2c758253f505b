"""scripts/transplant.py: what a thinner backbone takes over from the one it was thinned from."""

import keras
import numpy as np
import pytest

from export import model
from scripts.transplant import fit, transplant


@pytest.fixture(scope="module")
def source():
    keras.utils.set_random_seed(0)
    return model.build("mobilenet_v2_0.5", "random", (64, 64))


@pytest.fixture(scope="module")
def thin(source):
    keras.utils.set_random_seed(1)
    target = model.build("mobilenet_v2_thin", "random", (64, 64))
    assert transplant(source, target) == []
    return target


def kernel(network, name):
    return network.get_layer(name).get_weights()[0]


def test_the_same_backbone_becomes_the_same_network(source):
    keras.utils.set_random_seed(1)
    target = model.build("mobilenet_v2_0.5", "random", (64, 64))
    transplant(source, target)
    frames = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    for given, wanted in zip(target.predict(frames, verbose=0), source.predict(frames, verbose=0)):
        np.testing.assert_array_equal(given, wanted)


@pytest.mark.parametrize("name", ["block_1_expand", "block_9_depthwise", "block_16_project", "detail", "gather"])
def test_layers_of_the_same_shape_are_taken_over(source, thin, name):
    np.testing.assert_array_equal(kernel(thin, name), kernel(source, name))


def test_a_smaller_kernel_answers_an_even_area_alike(source, thin):
    """Taps that were lost are added to their neighbours: on a patch of one colour nothing changes."""
    np.testing.assert_allclose(kernel(thin, "Conv1").sum((0, 1)), kernel(source, "Conv1").sum((0, 1)), atol=1e-6)


def test_a_thinner_block_keeps_whole_channels_and_those_that_weigh_most(source, thin):
    weight = np.linalg.norm(kernel(source, "block_3_project")[0, 0], axis=1)
    kept = sorted(np.argsort(weight)[-64:])
    np.testing.assert_array_equal(kernel(thin, "block_3_expand"), kernel(source, "block_3_expand")[..., kept])
    np.testing.assert_array_equal(kernel(thin, "block_3_depthwise"), kernel(source, "block_3_depthwise")[:, :, kept])
    np.testing.assert_array_equal(kernel(thin, "block_3_project"), kernel(source, "block_3_project")[:, :, kept])
    means = source.get_layer("block_3_depthwise_BN").get_weights()[2]
    np.testing.assert_array_equal(thin.get_layer("block_3_depthwise_BN").get_weights()[2], means[kept])


def test_fit_adds_what_it_cuts_off():
    np.testing.assert_array_equal(fit(np.arange(9.0).reshape(3, 3), (2, 2), None), [[0, 1 + 2], [3 + 6, 4 + 5 + 7 + 8]])


def test_layers_without_a_counterpart_are_named(source):
    keras.utils.set_random_seed(1)
    target = model.build("mobilenet_v3_small_minimalistic", "random", (64, 64))
    missing = transplant(source, target)
    assert "conv" in missing, "this kin has no layer of that name"
    assert "expanded_conv_project" in missing, "more channels cannot be taken from fewer"
    assert "detail" not in missing
