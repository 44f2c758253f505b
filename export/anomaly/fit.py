"""What the device compares frames with, fitted on the int8 outputs: stored normals and patches, their spread, thresholds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from export.clusters import unit
from runtime.anomaly_pipeline import PatchDistance, farthest_mean

NORMALS = 64  # embeddings stored at most
PATCHES = 1000  # cells stored
POOL = 20_000  # cells they are chosen from
FOLDS = 5
TOP_SHARE = 0.005  # of a frame's cells: the farthest, whose mean is its patch distance
COLD = 99.8  # percentile of the cells of normal frames: above, colour begins
HOT = 50  # percentile of the peaks inside synthetic defects: full heat
MARGIN = 0.5  # deviations from the farthest normal photo to the threshold
LEAST_THRESHOLD = 3.0  # deviations: few photos do not show how far normal ones go


@dataclass(frozen=True)
class Outputs:
    """What the int8 networks say of F frames of P photos: maps float32 (F, h, w, C), embeddings (F, D) of unit length, and the
    index of each frame's photo (F,): views of one photo never judge each other."""

    maps: np.ndarray
    embeddings: np.ndarray
    photo: np.ndarray

    def of(self, chosen: np.ndarray) -> Outputs:
        """The frames of some photos."""
        kept = np.isin(self.photo, chosen)
        return Outputs(self.maps[kept], self.embeddings[kept], self.photo[kept])


@dataclass(frozen=True)
class Stored:
    """normals (N, D), rows of unit length; patches (M, C); top_cells: see TOP_SHARE."""

    normals: np.ndarray
    patches: np.ndarray
    top_cells: int


@dataclass(frozen=True)
class Distances:
    """Of frames to what is stored: embedding (F,), patch (F,), cells (F, h, w)."""

    embedding: np.ndarray
    patch: np.ndarray
    cells: np.ndarray


def store(normal: Outputs, seed: int, normals: int = NORMALS, patches: int = PATCHES) -> Stored:
    """Embeddings by k-means, cells by a greedy coreset."""
    cells = normal.maps.reshape(-1, normal.maps.shape[-1])
    pool = cells[np.random.default_rng(seed).permutation(len(cells))[:POOL]]
    top = max(3, round(TOP_SHARE * normal.maps.shape[1] * normal.maps.shape[2]))
    return Stored(_centres(normal.embeddings, normals, seed), coreset(pool, patches, seed), top)


def _centres(embeddings: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most `count` unit vectors: k-means of the embeddings, or the embeddings themselves where they are no more."""
    distinct = np.unique(embeddings, axis=0)
    if len(distinct) <= count:
        return distinct.astype(np.float32)
    return unit(KMeans(count, n_init=3, random_state=seed).fit(distinct).cluster_centers_).astype(np.float32)


def coreset(cells: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` of the cells (P, C), each the farthest from those chosen before it (greedy k-centre, as in PatchCore)."""
    if len(cells) <= count:
        return cells
    chosen = [int(np.random.default_rng(seed).integers(len(cells)))]
    squares = (cells * cells).sum(axis=1)
    nearest = np.full(len(cells), np.inf, np.float32)
    while len(chosen) < count:
        last = cells[chosen[-1]]
        np.minimum(nearest, squares - 2 * (cells @ last) + last @ last, out=nearest)
        chosen.append(int(nearest.argmax()))
    return cells[chosen]


def distances(frames: Outputs, stored: Stored) -> Distances:
    """The runtime's own rule."""
    measure = PatchDistance(stored.patches)
    cells = np.stack([measure(feature_map) for feature_map in frames.maps])
    nearest = 1 - (frames.embeddings @ stored.normals.T).max(axis=1)
    return Distances(nearest, np.array([farthest_mean(d, stored.top_cells) for d in cells]), cells)


def unseen(normal: Outputs, seed: int) -> Distances:
    """Every photo's distances to what would be stored without it and the rest of its fold."""
    photos = np.random.default_rng(seed).permutation(np.unique(normal.photo))
    parts = []
    for fold in np.array_split(photos, min(FOLDS, len(photos))):
        parts.append(distances(normal.of(fold), store(normal.of(np.setdiff1d(photos, fold)), seed)))
    return Distances(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("embedding", "patch", "cells")))


def spread(values: np.ndarray) -> list[float]:
    """[mean, deviation]."""
    return [round(float(values.mean()), 6), round(max(float(values.std()), 1e-6), 6)]


def heat_scale(normal_cells: np.ndarray, defect_peaks: np.ndarray) -> dict[str, float]:
    """{"cold", "hot"}: distances of normal cells (F, h, w) that were not stored, and the peaks inside defects (T,)."""
    cold = float(np.percentile(normal_cells, COLD))
    return {"cold": round(cold, 5), "hot": round(max(float(np.percentile(defect_peaks, HOT)), 1.25 * cold), 5)}
