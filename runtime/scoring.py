"""From an embedding to a label: cosine to one prototype a class, softmax, and two ways to say `none`."""
from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, sqrt

import numpy as np

from .results import NONE_LABEL


def unit_length(vector: np.ndarray) -> np.ndarray:
    """v / |v|, (D,) float32; a zero vector stays zero."""
    length = sqrt(vector.dot(vector))
    return vector / np.float32(length) if length > 0 else vector


def softmax(logits: Sequence[float]) -> list[float]:
    """exp(x_i) / sum_j exp(x_j), shifted by the maximum so that nothing overflows. Plain numbers: there are a few only."""
    highest = max(logits)
    exponentials = [exp(logit - highest) for logit in logits]
    total = sum(exponentials)
    return [exponential / total for exponential in exponentials]


def lead(cosines: np.ndarray) -> float:
    """How much nearer the nearest label is than the next, (L,) float32; infinite where there is but one."""
    nearest, *others = sorted(cosines.tolist(), reverse=True)
    return nearest - others[0] if others else inf


def classify(
    cosines: np.ndarray, labels: tuple[str, ...], score_scale: float, reject: float
) -> tuple[str, float, dict[str, float]]:
    """Label, score and the hand classes' scores.

    Probabilities are softmax(score_scale * cosine), the scale being ArcFace's s
    (https://arxiv.org/abs/1801.07698, eq. 2).
    The label is `none` when the `none` prototype is nearest, or when even the best hand's cosine is below `reject`.

    Args:
        cosines: (L,) float32, one a label.
        labels: hand classes, then `none` last where the bundle has it.
    """
    hands = len(labels) - (labels[-1] == NONE_LABEL)
    values = cosines.tolist()
    scores = dict(zip(labels[:hands], softmax([score_scale * value for value in values])))
    best = values.index(max(values))
    if best >= hands or values[best] < reject:
        return NONE_LABEL, 1.0 - max(scores.values()), scores
    return labels[best], scores[labels[best]], scores
