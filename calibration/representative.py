"""The frames that int8 ranges are measured on: training photos, through the very resize and scaling of the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.image import stretch_2x2

COUNT = 300  # frames


def representative(frames: Sequence[np.ndarray], size_wh: tuple[int, int], seed: int, count: int = COUNT) -> np.ndarray:
    """Up to `count` frames, drawn by `seed`, as the device would hand them to the network: uint8 (N, H, W, 3)."""
    chosen = np.random.default_rng(seed).permutation(len(frames))[:count]
    return np.stack([stretch_2x2(np.ascontiguousarray(frames[i]), size_wh) for i in sorted(chosen)])
