"""Embeddings -> k-means clusters with one row of channel weights each: what the device multiplies the feature map with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

FULL_HEAT = 90  # percentile of the peaks in a cluster's own photos that is drawn as full heat


@dataclass(frozen=True)
class Clusters:
    """centers float32 (K, D), unit length; weights float32 (K, C), zero outside each row's top channels, and scaled so that
    a heat of 1 is the peak of a clear photo of that cluster: the scale is fixed here, never by the frame on show."""

    centers: np.ndarray
    weights: np.ndarray


def unit(rows: np.ndarray) -> np.ndarray:
    """Each row divided by its own length; zero rows stay zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def fit(embeddings: np.ndarray, channel_weights: np.ndarray, feature_maps: np.ndarray, count: int = 10,
        top_channels: int = 50, seed: int = 0) -> Clusters:
    """Cluster (N, D) embeddings, average the (N, C) channel weights per cluster, keep the largest, scale by (N, h, w, C)."""
    embeddings = unit(embeddings).astype(np.float64)
    count = min(count, len(np.unique(embeddings.round(6), axis=0)))
    member = KMeans(count, n_init=10, random_state=seed).fit_predict(embeddings)
    centers = unit(np.stack([embeddings[member == k].mean(0) for k in range(count)]))
    rows = []
    for k in range(count):
        row = keep_top(unit(channel_weights[member == k]).mean(0), top_channels)
        peaks = np.maximum(feature_maps[member == k] @ row, 0).max(axis=(1, 2))
        full = np.percentile(peaks, FULL_HEAT)
        rows.append(row / full if full > 0 else row)
    return Clusters(centers.astype(np.float32), np.stack(rows).astype(np.float32))


def keep_top(row: np.ndarray, count: int) -> np.ndarray:
    """The row with all but its `count` largest values set to zero."""
    kept = np.zeros_like(row)
    top = np.argsort(row, kind="stable")[-count:]
    kept[top] = row[top]
    return kept


def prototypes(embeddings: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Class centres float32 (L, D), unit length: the mean of each class's unit embeddings. Every class must occur."""
    return unit(np.stack([unit(embeddings[labels == k]).mean(0) for k in range(classes)])).astype(np.float32)
