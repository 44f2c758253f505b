"""The frames that int8 ranges are measured on: training photos, through the very resize and scaling of the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.image import stretch_2x2

COUNT = 1600  # frames, at most: of 300, where training photos or drawn frames differ much, another draw moves every embedding


def representative(frames: Sequence[np.ndarray], size_wh: tuple[int, int], seed: int) -> np.ndarray:
    """Up to COUNT frames, drawn by `seed`, as the device would hand them to the network: uint8 (N, H, W, 3)."""
    chosen = np.random.default_rng(seed).permutation(len(frames))[:COUNT]
    return np.stack([stretch_2x2(np.ascontiguousarray(frames[i]), size_wh) for i in sorted(chosen)])
