"""A pool of rendered hands, drawn once by all cores and kept in build/ for the next run."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from export.rendering.render import POSES, RenderedHand, render_hand

CACHE = Path(__file__).parents[2] / "build"
RENDERER = ("hand_model", "hand_poses", "light", "render", "rooms", "skin")  # a change in any of these draws the pool anew


def rendered_hands(count: int, seed: int) -> list[RenderedHand]:
    """`count` hands, as many of each pose as of any other; the same ones for the same seed and renderer."""
    code = b"".join(Path(__file__).with_name(f"{module}.py").read_bytes() for module in RENDERER)
    path = CACHE / f"rendered-{count}-{seed}-{hashlib.sha256(code).hexdigest()[:12]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            columns = [arrays[name] for name in ("frames", "alpha", "hand", "poses")]
        return [RenderedHand(f, a, h, str(p)) for f, a, h, p in zip(*columns)]
    jobs = [(pose, seed, i) for pose in POSES for i in range(count // len(POSES))]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        hands = list(tqdm(workers.map(_one, jobs, chunksize=16), total=len(jobs), desc="rendering hands", unit="hand",
                          mininterval=2))
    CACHE.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, frames=np.stack([h.frame_rgb for h in hands]), alpha=np.stack([h.alpha for h in hands]),
             hand=np.stack([h.hand_alpha for h in hands]), poses=np.array([h.pose for h in hands]))
    partial.rename(path)
    return hands


def _one(job: tuple[str, int, int]) -> RenderedHand:
    pose, seed, index = job
    return render_hand(pose, np.random.default_rng([seed, POSES.index(pose), index]))
