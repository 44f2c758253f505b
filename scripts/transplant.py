"""Weights for another backbone out of trained ones of a kin, layer by layer, by name: a start, not a network that works yet.

    python scripts/transplant.py mobilenet_v2_0.5 trained.weights.h5 mobilenet_v2_thin start.weights.h5

A layer of the same shape is taken over. A kernel that became smaller at its right and lower edge gives the taps it lost to
their neighbours; an expansion with fewer channels keeps those that the projection behind it weighs most. Whatever else has no
counterpart stays random and is named.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from export import model  # noqa: E402


def transplant(source: keras.Model, target: keras.Model) -> list[str]:
    """Fill `target` from `source`; returns the names of the layers of `target` that nothing was found for."""
    there = {layer.name: layer for layer in source.layers if layer.weights}
    missing = []
    for layer in (layer for layer in target.layers if layer.weights):
        wanted = [tuple(weight.shape) for weight in layer.weights]
        found = there[layer.name].get_weights() if layer.name in there else []
        if any(given < size for array, shape in zip(found, wanted) for given, size in zip(array.shape, shape)):
            found = []  # it would have to grow
        if found and [array.shape for array in found] != wanted:
            found = [fit(array, shape, kept_channels(source, layer.name, shape)) for array, shape in zip(found, wanted)]
        if found:
            layer.set_weights(found)
        else:
            missing.append(layer.name)
    return missing


def kept_channels(source: keras.Model, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Which expanded channels of the block that layer `name` belongs to go on, in order; None outside of blocks."""
    block, _, part = name.rpartition("_project" if "_project" in name else "_depthwise" if "_depthwise" in name else "_expand")
    if not block.startswith("block"):
        return None
    projection = source.get_layer(f"{block}_project").get_weights()[0][0, 0]  # (expanded, channels)
    count = shape[2] if "_project" in name or name.endswith("_depthwise") else shape[-1]
    return np.sort(np.argsort(-np.linalg.norm(projection, axis=1))[:count])


def fit(array: np.ndarray, shape: tuple[int, ...], channels: np.ndarray | None) -> np.ndarray:
    """`array` cut to `shape`: to the given channels along the axis that shrank, or along a kernel's edges."""
    for axis, (given, wanted) in enumerate(zip(array.shape, shape)):
        if given == wanted:
            continue
        if channels is not None:
            array = np.take(array, channels, axis=axis)
        else:
            head, tail = np.split(array, [wanted], axis=axis)
            last = [slice(None)] * array.ndim
            last[axis] = slice(wanted - 1, wanted)
            head[tuple(last)] += tail.sum(axis=axis, keepdims=True)
            array = head
    return array


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source_backbone", choices=model.BACKBONES)
    parser.add_argument("source", type=Path, help=".weights.h5, from --save-checkpoint")
    parser.add_argument("target_backbone", choices=model.BACKBONES)
    parser.add_argument("target", type=Path, help=".weights.h5 to write")
    options = parser.parse_args()
    target = model.build(options.target_backbone, "random")
    missing = transplant(model.build(options.source_backbone, str(options.source)), target)
    options.target.parent.mkdir(parents=True, exist_ok=True)
    target.save_weights(options.target)
    shutil.copy(model.photos_record(options.source), model.photos_record(options.target))
    print(f"{options.target}; left random: {', '.join(missing) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
