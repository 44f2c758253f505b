"""What the device compares frames with, fitted on the int8 outputs: stored normals and patches, their spread, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student
from sklearn.cluster import KMeans
from sklearn.covariance import ledoit_wolf

from export.anomaly.network import KEPT
from runtime.anomaly_pipeline import PatchDistance, farthest_mean, nearest_normal, smoothed

NORMALS = 64  # embeddings stored at most
PATCHES = 1000  # cells stored
POOL = 160_000  # cells they are chosen from, at random where there are more: from 20,000 of 200 rings' they were chosen worse
FOLDS = 5
TOP_SHARE = 0.005  # of a frame's cells: the farthest, whose mean is its patch distance
EDGE = 4  # cells from the edge of the frame to where places are alike
COLD = 99.9  # percentile of the cells of normal frames: above, colour begins
HOT = 50  # percentile of the peaks inside synthetic defects: full heat
BELOW = 0.9987  # share of normal photos that should stay below the threshold: three deviations, were there many of them


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
    """normals (N, D), whitened by whitening (D, D); patches (M, KEPT)."""

    normals: np.ndarray
    whitening: np.ndarray
    patches: np.ndarray


@dataclass(frozen=True)
class Distances:
    """Of frames to what is stored: embedding (F,), cells (F, h, w), smoothed."""

    embedding: np.ndarray
    cells: np.ndarray

    def patch(self, places: np.ndarray) -> np.ndarray:
        """The patch distance of each frame, (F,), by the runtime's own rule."""
        return np.array([farthest_mean(frame, top_cells(frame.shape)) for frame in by_place(self.cells, places)])


def top_cells(map_hw: tuple[int, int]) -> int:
    """How many cells of a map make its patch distance."""
    return max(3, round(TOP_SHARE * map_hw[0] * map_hw[1]))


def store(normal: Outputs, seed: int, normals: int = NORMALS, patches: int = PATCHES) -> Stored:
    """Embeddings by k-means, cells by a greedy coreset."""
    cells = normal.maps[..., :KEPT].reshape(-1, min(KEPT, normal.maps.shape[-1]))
    pool = cells[np.random.default_rng(seed).permutation(len(cells))[:POOL]]
    whitening = whiten(normal.embeddings)
    return Stored(_centres(normal.embeddings @ whitening, normals, seed), whitening, coreset(pool, patches, seed))


def whiten(embeddings: np.ndarray) -> np.ndarray:
    """(D, D) float32: in embeddings (F, D) @ it all directions vary alike, so that distances are Mahalanobis'.

    The covariance is Ledoit and Wolf's, of values of equal deviation: there are fewer photos than directions.
    """
    deviation = np.maximum(embeddings.std(axis=0), 1e-4)
    covariance, _ = ledoit_wolf((embeddings - embeddings.mean(axis=0)) / deviation, assume_centered=True)
    variances, directions = np.linalg.eigh(covariance)
    return (directions / np.sqrt(np.maximum(variances, 1e-6)) / deviation[:, None]).astype(np.float32)


def _centres(points: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most `count` points: k-means of them, or the points themselves where they are no more."""
    distinct = np.unique(points, axis=0)
    if len(distinct) <= count:
        return distinct.astype(np.float32)
    return KMeans(count, n_init=3, random_state=seed).fit(distinct).cluster_centers_.astype(np.float32)


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
    nearest = [nearest_normal(embedding, stored.normals) for embedding in frames.embeddings @ stored.whitening]
    return Distances(np.array(nearest), smoothed(np.stack([measure(feature_map) for feature_map in frames.maps])))


def unseen(normal: Outputs, seed: int) -> Distances:
    """Every photo's distances to what would be stored without it and the rest of its fold."""
    photos = np.random.default_rng(seed).permutation(np.unique(normal.photo))
    parts = []
    for fold in np.array_split(photos, min(FOLDS, len(photos))):
        parts.append(distances(normal.of(fold), store(normal.of(np.setdiff1d(photos, fold)), seed)))
    return joined(parts)


def joined(parts: Sequence[Distances]) -> Distances:
    """One after the other."""
    return Distances(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("embedding", "cells")))


def usual(cells: np.ndarray) -> np.ndarray:
    """(2, h, w) float32: mean and deviation of distances (F, h, w) of normal cells, for each distance from the frame's edge.

    Zeros around the frame make cells at its edge strange, and there are few of them to compare with. The deviation is the
    mean with that of the inside, so that an edge without anything on it does not count for too much.
    """
    height, width = cells.shape[1:]
    row, column = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    inward = np.minimum(np.minimum(row[:, None], column), min(EDGE, row.max(), column.max()))
    inside = cells[:, inward == inward.max()].var()
    places = np.empty((2, height, width), np.float32)
    for step in range(inward.max() + 1):
        here = cells[:, inward == step]
        places[:, inward == step] = [[here.mean()], [max(np.sqrt((here.var() + inside) / 2), 1e-6)]]
    return places


def by_place(cells: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Distances (..., h, w) in the deviations that are usual at each place."""
    return (cells - places[0]) / places[1]


def spread(values: np.ndarray) -> list[float]:
    """[mean, deviation]."""
    return [round(float(values.mean()), 6), round(max(float(values.std()), 1e-6), 6)]


def threshold(values: np.ndarray, photos: int) -> float:
    """Deviations from which on a frame has a defect, from those of so many normal photos (F,) that were not stored.

    The end of Student's interval for one more value: few photos tell little of how far normal ones go.
    """
    reach = student.ppf(BELOW, photos - 1) * np.sqrt(1 + 1 / photos)
    return round(float(values.mean() + reach * values.std()), 4)


def heat_scale(normal_cells: np.ndarray, defect_peaks: np.ndarray) -> dict[str, float]:
    """{"cold", "hot"}: of normal cells (F, h, w) that were not stored, and the peaks inside defects (T,), both by place."""
    cold = max(float(np.percentile(normal_cells, COLD)), 1e-3)
    return {"cold": round(cold, 5), "hot": round(max(float(np.percentile(defect_peaks, HOT)), 1.25 * cold), 5)}
