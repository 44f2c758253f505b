"""scripts/narrow.py: a narrower backbone that starts out of a wide one."""

import keras
import numpy as np
import pytest

from export import model
from scripts.narrow import fewest, narrow

FRAMES = np.random.default_rng(0).uniform(-1, 1, (8, 64, 64, 3)).astype("float32")


@pytest.fixture(scope="module")
def wide():
    keras.utils.set_random_seed(0)
    return model.build("mobilenet_v2_0.5", "random", (64, 64))


def test_channels_that_others_can_stand_for_are_dropped_and_nothing_is_lost():
    rng = np.random.default_rng(0)
    own = rng.normal(3, 1, (500, 4))
    inputs = np.column_stack([own, own @ rng.normal(size=(4, 5))])
    outputs = inputs @ rng.normal(size=(9, 3)) + 7
    kept, kernel, shift, share = fewest(inputs, outputs, 4)
    assert len(kept) == 4 and share == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(inputs[:, kept] @ kernel + shift, outputs, atol=0.05)


def test_fewer_channels_than_it_takes_explain_less():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, 6))
    assert fewest(inputs, inputs, 3)[3] == pytest.approx(0.5, abs=0.1)


def test_a_narrowed_block_answers_much_as_the_wide_one(wide):
    keras.utils.set_random_seed(1)
    target = model.build("mobilenet_v2_0.5_slim", "random", (64, 64))
    explained = narrow(wide, target, FRAMES)
    assert set(explained) == {f"block_{i}" for i in model.SLIM} and min(explained.values()) > 0.7
    given, wanted = (keras.Model(net.input, net.get_layer("block_1_project_BN").output).predict(FRAMES, verbose=0)
                     for net in (target, wide))
    error = ((given - wanted) ** 2).mean() / wanted.var(axis=(0, 1, 2)).mean()  # about each channel's own mean, as the fit
    assert error == pytest.approx(1 - explained["block_1"], abs=0.02)


def test_layers_of_the_same_shape_are_taken_over(wide):
    target = model.build("mobilenet_v2_0.5_slim", "random", (64, 64))
    narrow(wide, target, FRAMES)
    for name in ("Conv1", "block_6_expand", "block_6_depthwise", "block_6_project", "detail", "gather"):
        np.testing.assert_array_equal(target.get_layer(name).get_weights()[0], wide.get_layer(name).get_weights()[0])
