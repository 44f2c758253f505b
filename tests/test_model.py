"""export/model.py: every backbone gets the same feature map in its middle, and nothing reaches the embedding beside it."""

import keras
import numpy as np
import pytest

from calibration.photos import DataError
from export import fold, model
from runtime.bundle import load_bundle

FRAMES = np.random.default_rng(0).uniform(-1, 1, (4, 64, 64, 3)).astype("float32")


@pytest.mark.parametrize("name", model.BACKBONES)
def test_every_backbone_is_cut_at_a_map_of_stride_8(name):
    keras.utils.set_random_seed(0)
    network = model.build(name, "random", (64, 64))
    feature_net, embedding_net = model.split(network)
    assert feature_net.output_shape == (None, 8, 8, model.CHANNELS)
    feature_map, embedding = network.predict(FRAMES, verbose=0)
    assert feature_map.min() >= 0 and feature_map.max() <= 6
    np.testing.assert_allclose(embedding_net.predict(feature_map, verbose=0), embedding, atol=1e-6)
    for before, after in zip((feature_map, embedding), fold.fold(network).predict(FRAMES, verbose=0)):
        np.testing.assert_allclose(after, before, atol=1e-4)


def test_the_backbones_own_weights_go_on_behind_the_neck():
    """The deep layers are copies that read the neck: what they had learned before must come with them."""
    entry = model.BACKBONES["mobilenet_v2_0.35"]
    whole = entry.build((64, 64, 3), None)
    kernel = whole.get_layer("block_14_expand").get_weights()[0]
    network = model._with_neck(whole, entry, "net")
    np.testing.assert_array_equal(network.get_layer("block_14_expand").get_weights()[0], kernel)


def test_what_is_held_early_is_what_the_finer_half_of_the_map_reads():
    network = model.build("mobilenet_v2_0.35", "random", (64, 64))
    model.hold_early(network)
    held = {layer.name for layer in network.layers if not layer.trainable}
    assert {"Conv1", "bn_Conv1", "block_5_project", "block_6_expand"} <= held
    assert not held & {"detail", "block_6_depthwise", "block_13_expand", "context", "gather"}


def test_no_checkpoint_for_another_backbone():
    with pytest.raises(DataError, match="no checkpoint for mobilenet_v2_0.35"):
        model.build("mobilenet_v2_0.35", "checkpoint")


def test_the_checkpoint_and_the_shipped_bundle_are_of_one_run():
    """An export without photos takes over what was fitted for the checkpoint: to the bit what the shipped bundle holds."""
    shipped = load_bundle(model.CHECKPOINT.parents[1] / "janken")
    of_bundle = (shipped.prototypes, shipped.cluster_centers, shipped.cluster_weights, [shipped.reject, shipped.box_threshold])
    of_checkpoint = model.fitted_for("checkpoint")
    assert len(of_checkpoint) == len(of_bundle)
    for kept, held in zip(of_checkpoint, of_bundle):
        np.testing.assert_array_equal(kept, held, err_msg="ship the bundle that the run with --save-checkpoint made")


def test_a_slip_in_the_starting_weights_is_no_random_start():
    with pytest.raises(DataError, match="unknown starting weights 'chekpoint'; known: checkpoint, imagenet, random"):
        model.build(init="chekpoint")


def test_what_is_kept_beside_a_checkpoint(tmp_path):
    weights = str(tmp_path / "hands.weights.h5")
    assert model.fitted_for(weights) is None and model.seen_by(weights) == model.NOTHING_SEEN
    np.savez(tmp_path / "hands.fitted.npz", np.eye(3), np.ones(2))
    (tmp_path / "hands.photos.json").write_text('{"folders": ["mugs"], "test_files": []}')
    first, second = model.fitted_for(weights)
    np.testing.assert_array_equal(first, np.eye(3))
    np.testing.assert_array_equal(second, np.ones(2))
    assert model.seen_by(weights)["folders"] == ["mugs"]


def test_new_weights_take_the_place_of_all_that_was_known_of_the_old(tmp_path):
    """Half-way through a run too: centres of other weights would be wrong, and photos not named would count as held out."""
    weights = tmp_path / "deep" / "hands.weights.h5"
    network = model.build("mobilenet_v2_0.35", "random", (64, 64))
    model.keep(network, weights, {"folders": ["mugs"], "test_files": []})
    np.savez(model.fitted_record(weights), np.eye(3))
    model.keep(network, weights, {"folders": ["mugs", "cups"], "test_files": []})
    assert model.fitted_for(str(weights)) is None
    assert model.seen_by(str(weights))["folders"] == ["mugs", "cups"]
