"""export/twin.py: what learns is the same network, its activations on int8's steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import fold, model
from export.twin import twin

FRAMES = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """With norms that have something to do."""
    keras.utils.set_random_seed(0)
    network = model.build("mobilenet_v2_0.35", "random", (32, 32))
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, weight.shape).astype(np.float32) for weight in layer.weights])
    return network


@pytest.mark.parametrize("training", [False, True])
def test_unrounded_it_gives_what_the_network_gives(network, training):
    weights = network.get_weights()
    copy = twin(network, rounded=False)
    for ours, keras_own in zip(copy(FRAMES, training=training), network(FRAMES, training=training)):
        np.testing.assert_allclose(ours, keras_own, atol=1e-3)
    moved, wanted = copy.get_weights(), network.get_weights()
    network.set_weights(weights)
    for weight, ours, keras_own in zip(network.weights, moved, wanted):
        if "variance" in weight.path:  # of 8 frames of one cell the sample's variance is 8/7 of theirs
            np.testing.assert_allclose(ours, keras_own, rtol=0.05)
        else:
            np.testing.assert_allclose(ours, keras_own, atol=1e-4)


def test_every_relu6_lies_on_the_steps_that_int8_has(network):
    copy = twin(network)
    maps = copy(FRAMES, training=False)[0].numpy()
    np.testing.assert_allclose(maps * 255 / 6, np.round(maps * 255 / 6), atol=1e-3)
    assert len(np.unique(maps)) > 10


def test_what_is_rounded_is_what_export_fold_rounds(network):
    """Norms and sums behind which a ReLU comes are one operator with it on the device."""
    rounding = fold.Rounding()
    rounds = {layer.name for layer in fold.fold(network, rounding).layers if isinstance(layer, fold._RoundsOutput)}
    ours = {layer.name for layer in twin(network).layers if type(layer).__module__ == "export.twin"
            and type(layer).__name__ != "FusedBatchNorm"}
    assert rounds - ours == {"pool"}, "the embedding's own rounding is left out"
    assert ours <= rounds


def test_gradients_pass_the_rounding(network):
    copy = twin(network)
    with tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(output ** 2) for output in copy(FRAMES, training=True))
    gradients = tape.gradient(loss, [variable.value for variable in copy.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    assert float(tf.reduce_max(tf.abs(gradients[0]))) > 0, "of the first convolution"
