"""Weights for a backbone with fewer expanded channels out of trained ones: a start that needs little learning, not none.

    python scripts/narrow.py mobilenet_v2_0.5 wide.weights.h5 mobilenet_v2_0.5_slim start.weights.h5 [flags of export]

In each narrowed block those expanded channels go, one after the other, whose loss the others can make up for best: the
projection behind them is fitted anew by least squares on what the block sees of frames as in training, of the photos that
--data and the other flags say. How much of the projection's variance that explains is printed. The rest is taken over.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from export import model  # noqa: E402
from export.__main__ import parser as export_parser  # noqa: E402
from export.augment import Augmenter  # noqa: E402
from export.build import gather, input_size  # noqa: E402

FRAMES, CELLS = 256, 20_000  # cells of a block that the fit sees, of so many frames
RIDGE = 1e-6  # of the channels' mean variance


def narrow(wide: keras.Model, target: keras.Model, frames: np.ndarray) -> dict[str, float]:
    """Fill `target` from `wide`, given float frames (N, H, W, 3); returns {block: share of the variance explained}."""
    explained = {}
    for layer in (layer for layer in target.layers if layer.weights):
        given = wide.get_layer(layer.name).get_weights()
        if all(array.shape == tuple(weight.shape) for array, weight in zip(given, layer.weights)):
            layer.set_weights(given)
        elif layer.name.endswith("_expand"):
            block = layer.name.removesuffix("_expand")
            explained[block] = _narrow_block(wide, target, block, frames)
    return explained


def _narrow_block(wide: keras.Model, target: keras.Model, block: str, frames: np.ndarray) -> float:
    seen = keras.Model(wide.input, [wide.get_layer(f"{block}_{part}").output for part in ("depthwise_relu", "project")])
    expanded, projected = (array.reshape(-1, array.shape[-1]) for array in seen.predict(frames, verbose=0))
    cells = np.random.default_rng(0).permutation(len(expanded))[:CELLS]
    kept, kernel, shift, share = fewest(expanded[cells], projected[cells], target.get_layer(f"{block}_expand").filters)
    for part, axis in (("expand", 3), ("depthwise", 2), ("expand_BN", 0), ("depthwise_BN", 0)):
        arrays = wide.get_layer(f"{block}_{part}").get_weights()
        target.get_layer(f"{block}_{part}").set_weights([np.take(array, kept, axis=axis) for array in arrays])
    target.get_layer(f"{block}_project").set_weights([kernel[None, None].astype(np.float32)])
    gamma, beta, mean, variance = wide.get_layer(f"{block}_project_BN").get_weights()
    target.get_layer(f"{block}_project_BN").set_weights([gamma, beta, mean - shift.astype(np.float32), variance])
    return share


def fewest(inputs: np.ndarray, outputs: np.ndarray, count: int) -> tuple[list[int], np.ndarray, np.ndarray, float]:
    """Of inputs (N, C) those `count` channels from which outputs (N, D) are guessed best, found by dropping one at a time.

    Returns the channels kept, in order, their kernel (count, D), the shift (D,) to add, and the share of the outputs' variance
    that they explain.
    """
    middle_in, middle_out = inputs.mean(0, dtype=np.float64), outputs.mean(0, dtype=np.float64)
    inputs, outputs = inputs - middle_in, outputs - middle_out
    within, between = inputs.T @ inputs, inputs.T @ outputs
    within += RIDGE * np.trace(within) / len(within) * np.eye(len(within))
    kept = list(range(inputs.shape[1]))
    while True:
        inverse = np.linalg.inv(within[np.ix_(kept, kept)])
        kernel = inverse @ between[kept]
        if len(kept) == count:
            break
        kept.pop(int(np.argmin((kernel ** 2).sum(axis=1) / np.diag(inverse))))  # what dropping it adds to the squared error
    return kept, kernel, middle_out - middle_in[kept] @ kernel, float((kernel * between[kept]).sum() / (outputs ** 2).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wide_backbone", choices=model.BACKBONES)
    parser.add_argument("wide", type=Path, help=".weights.h5, from --save-checkpoint")
    parser.add_argument("target_backbone", choices=model.BACKBONES)
    parser.add_argument("target", type=Path, help=".weights.h5 to write")
    options, rest = parser.parse_known_args()
    flags = export_parser().parse_args(rest)
    size_wh = input_size(flags.size)
    material = gather(flags)
    augmenter = Augmenter(material.train_photos, material.train_frames, material.hands, material.labels, size_wh, (1, 1),
                          flags.seed, places=material.places, people=material.people)
    target = model.build(options.target_backbone, "random", size_wh)
    explained = narrow(model.build(options.wide_backbone, str(options.wide), size_wh), target,
                       model.normalise(augmenter.batch(FRAMES).frames))
    model.keep(target, options.target, model.seen_by(str(options.wide)))
    print(f"{options.target}; explained", ", ".join(f"{block} {share:.3f}" for block, share in explained.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
