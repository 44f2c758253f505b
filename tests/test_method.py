"""The maths of training and export, against numbers worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import arcface, clusters, convert, fit, fold, gradcam
from export.arcface import ArcFace, normalise


def small_network() -> keras.Model:
    """conv-bn-relu6, depthwise-bn-relu6, conv-bn, residual sum, pooling: every kind of joint that MobileNetV2 has."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv")(image)
    first = x = keras.layers.ReLU(6.0, name="first")(keras.layers.BatchNormalization(name="conv_bn")(x))
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False, name="dw")(x)
    x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(name="dw_bn")(x))
    y = keras.layers.BatchNormalization(name="pw_bn")(keras.layers.Conv2D(4, 1, use_bias=False, name="pw")(x))
    out = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()([x, y]))
    model = keras.Model(image, [first, out])
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2, 4), rng.normal(0, 1, 4), rng.normal(0, 1, 4), rng.uniform(0.5, 2, 4)])
    return model


FRAMES = np.random.default_rng(2).uniform(-1, 1, (16, 8, 8, 3)).astype("float32")


# --- ArcFace ------------------------------------------------------------------------------------------------------------


def test_each_embedding_is_normalised_by_itself():
    """The reference's fault: a norm over the whole batch lets one large embedding shrink all the others."""
    rows = np.array([[3.0, 4.0], [300.0, 400.0]], np.float32)
    np.testing.assert_allclose(normalise(rows), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_zero_embedding_stays_finite():
    np.testing.assert_array_equal(normalise(np.zeros((1, 3), np.float32)), np.zeros((1, 3)))


def test_margin_is_added_to_the_angle_of_the_true_class_only():
    cosines = np.cos([[0.5, 1.0]]).astype("float32")
    logits = np.array(ArcFace.logits(tf.constant(cosines), tf.constant([0]), scale=10.0, margin=0.2))
    np.testing.assert_allclose(logits, [[10 * np.cos(0.7), 10 * np.cos(1.0)]], rtol=1e-5)


def test_the_farther_from_its_class_the_worse_up_to_the_very_opposite():
    """Beyond pi the cosine rises again: opposite to every centre all classes would seem to be right."""
    cosines = np.linspace(-1, 1, 201, dtype=np.float32)[:, None]
    logits = np.array(ArcFace.logits(tf.constant(cosines), tf.zeros(201, tf.int32), scale=1.0, margin=0.2))[:, 0]
    assert (np.diff(logits) > 0).all()
    np.testing.assert_allclose(logits[0], -1 - (1 - np.cos(0.2)), rtol=1e-4)


def test_cosines_ignore_the_length_of_the_centres():
    head = ArcFace(2)
    head.build((None, 2))
    head.centres.assign([[5.0, 0.0], [0.0, 0.1]])
    np.testing.assert_allclose(head(np.array([[3.0, 4.0]], np.float32)), [[0.6, 0.8]], rtol=1e-6)


# --- folding and rounding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", [None, fold.Rounding()])
def test_folding_changes_nothing(rounding):
    model = small_network()
    folded = fold.fold(model, rounding)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    for before, after in zip(model.predict(FRAMES, verbose=0), folded.predict(FRAMES, verbose=0)):
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_folding_back_gives_plain_layers():
    rounded = fold.fold(small_network(), fold.Rounding())
    assert all(type(layer).__module__.startswith("keras.") for layer in fold.fold(rounded).layers)


def test_weights_land_on_the_grid_of_their_channel():
    kernel = tf.reshape(tf.constant([1.0, 0.25, -127.0, 40.2]), (1, 1, 2, 2))  # channel 0: 1, -127; channel 1: 0.25, 40.2
    step = 40.2 / 127
    np.testing.assert_allclose(tf.reshape(fold.round_weights(kernel, 3), -1), [1.0, step, -127.0, 40.2], rtol=1e-6)


def test_activations_land_on_the_grid_of_their_range():
    rounded = fold.round_activation(tf.constant([-1.0, 0.0, 0.013, 6.0, 7.0]), 0.0, 6.0)
    np.testing.assert_allclose(rounded, [0, 0, 6 / 255, 6, 6], atol=1e-6)


def test_gradient_passes_the_rounding_and_stops_at_the_ends():
    x = tf.constant([0.013, 3.0, 7.0, -1.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(fold.round_activation(x, 0.0, 6.0))
    np.testing.assert_array_equal(tape.gradient(total, x), [1, 1, 0, 0])


def test_simulated_int8_is_what_the_converter_makes():
    """The rounding in training is only worth something if the converted network then gives the same answers."""
    from runtime.interpreter import Network, find_interpreter
    from runtime.quantize import dequantize, quantize

    rounding = fold.Rounding()
    student = fold.fold(small_network(), rounding)
    rounding.state = "observe"
    student(FRAMES)
    rounding.state = "on"
    simulated = np.array(student(FRAMES)[0])
    maps = keras.Model(*(lambda plain: (plain.input, plain.outputs[0]))(fold.fold(student)))
    network = Network("feature map", convert.to_int8(maps, [row[None] for row in FRAMES]), find_interpreter()[1], 1)
    inputs = [quantize(row, network.input_quantization) for row in FRAMES]
    real = np.stack([dequantize(network(row), network.output_quantization) for row in inputs])
    assert np.abs(real - simulated).max() <= 2.01 * 6 / 255  # two steps: the input is rounded in one and not in the other
    assert np.abs(real - simulated).mean() < 0.3 * 6 / 255


# --- Grad-CAM and clusters ------------------------------------------------------------------------------------------------


def test_gradcam_weights_of_a_network_that_can_be_differentiated_by_hand():
    """embedding = mean over the map = (1, 0); target (0, 1): d cos / d e = (0, 1), spread over the map's four cells: 1/4 each.

    Channel 1 is silent (S = 0), so Grad-CAM++ halves each and sums the four.
    """
    maps = keras.Input((2, 2, 2))
    net = keras.Model(maps, keras.layers.GlobalAveragePooling2D()(maps))
    feature_map = np.zeros((1, 2, 2, 2), np.float32)
    feature_map[..., 0] = 1
    weights = gradcam.channel_weights(net, feature_map, np.array([[0.0, 1.0]]))
    np.testing.assert_allclose(weights, [[0.0, 0.5]], atol=1e-6)


def test_plus_plus_weighs_what_rises_by_one_over_two_and_the_channels_sum():
    feature_map = np.array([[[[2.0], [1.0]]]], np.float32)  # S = 3
    weights = gradcam.plus_plus(feature_map, np.array([[[[4.0], [-7.0]]]], np.float32)).numpy()
    np.testing.assert_allclose(weights, [[4 / (2 + 3 * 4)]])  # what falls has no say


def test_gradcam_of_nothing():
    maps = keras.Input((2, 2, 3))
    net = keras.Model(maps, keras.layers.GlobalAveragePooling2D()(maps))
    assert gradcam.channel_weights(net, np.zeros((0, 2, 2, 3), np.float32), np.zeros((0, 3))).shape == (0, 3)


def test_fitted_centres_part_classes_whose_means_do_not():
    """Class 1 is of two kinds; its mean lies at 45 degrees, and class 0, at 30, is nearer to that than half of its own."""
    angles, labels = np.radians([30.0, 30.0, 0.0, 0.0, 0.0, 0.0, 90.0]), np.array([0, 0, 1, 1, 1, 1, 1])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    means = clusters.prototypes(embeddings, labels, 2)
    assert (np.argmax(embeddings @ means.T, axis=1) == labels).mean() < 1
    centres = arcface.fit_centres(embeddings[:6], labels[:6], means, np.ones(6))
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-5)
    assert (np.argmax(embeddings[:6] @ centres.T, axis=1) == labels[:6]).all()


def test_all_hands_together_count_as_much_as_none():
    weights = fit.frame_weights(np.array([0, 0, 1, 2, 2, 2]), 3)
    np.testing.assert_allclose(weights, [0.5, 0.5, 1, 2 / 3, 2 / 3, 2 / 3])


def test_only_the_largest_channels_are_kept():
    np.testing.assert_array_equal(clusters.keep_top(np.array([0.1, -5.0, 0.3, 0.2]), 2), [0, 0, 0.3, 0.2])
    np.testing.assert_array_equal(clusters.keep_top(np.array([0.1, 0.2]), 5), [0.1, 0.2])


def test_clusters_average_their_members_and_fix_the_scale():
    embeddings = np.array([[1, 0.0], [1, 0.01], [0, 1], [0.01, 1]])
    weights = np.array([[2, 0, 0.1], [4, 0, 0.1], [0, 3, 0.1], [0, 5, 0.1]])
    maps = np.zeros((4, 2, 2, 3))
    maps[:2, 0, 0, 0], maps[2:, 1, 1, 1] = 4.0, 2.0
    found = clusters.fit(embeddings, weights, maps, count=2, top_channels=1)
    first = int(np.argmax(found.centers @ [1, 0]))
    np.testing.assert_allclose(found.weights[first], [1 / 4, 0, 0], atol=1e-6)  # full heat where the members peak, at 4
    np.testing.assert_allclose(found.weights[1 - first], [0, 1 / 2, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.centers, axis=1), 1, atol=1e-6)


def test_no_more_clusters_than_embeddings():
    assert len(clusters.fit(np.eye(2), np.ones((2, 3)), np.ones((2, 1, 1, 3)), count=10).centers) == 2


def test_prototypes_weigh_every_photo_alike_whatever_its_length():
    made = clusters.prototypes(np.array([[9.0, 0], [0, 1.0], [0, 2.0]]), np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(made, [[np.sqrt(0.5), np.sqrt(0.5)], [0, 1]], atol=1e-6)


# --- conversion -----------------------------------------------------------------------------------------------------------


def halves(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    return keras.Model(model.input, model.outputs[0]), keras.Model(*model.outputs)


def test_two_halves_meet_at_equal_quantisation():
    features, tail = halves(fold.fold(small_network()))
    maps = features.predict(FRAMES, verbose=0)
    first = convert.to_int8(features, [row[None] for row in FRAMES])
    scale, zero_point = convert.joint(first, convert.to_int8(tail, [row[None] for row in maps]))
    assert 0 < scale <= 6 / 255 + 1e-6 and zero_point == -128
    with pytest.raises(convert.ConversionError, match="scale and zero point"):
        convert.joint(first, convert.to_int8(tail, [row[None] * 0.1 for row in maps]))


def test_float_network_is_refused():
    features, _ = halves(fold.fold(small_network()))
    content = tf.lite.TFLiteConverter.from_keras_model(features).convert()
    with pytest.raises(convert.ConversionError, match="expected int8 or int32"):
        convert.check(content, "feature_map")


def test_operator_the_device_does_not_know_is_refused():
    image = keras.Input((4, 4, 2))
    net = keras.Model(image, keras.layers.Activation("tanh")(image))
    with pytest.raises(convert.ConversionError, match="operator TANH"):
        convert.to_int8(net, [np.ones((1, 4, 4, 2), np.float32) * v for v in (-1, 1)])
