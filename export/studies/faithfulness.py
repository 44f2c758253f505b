"""Does the network agree with the heat? Deletion and insertion curves of RISE (Petsiuk et al., arXiv 1806.07421).

Deletion blurs a photo's pixels from the hottest on, insertion begins with the blurred photo and brings them back in the
same order; after each step the network is asked for the photo's true class. Where the heat lies on what decides, the
probability falls soon (small area under the deletion curve) and rises soon (large area under the insertion curve).
RISE deletes to grey; here both curves blur, because a hard grey edge is a shape of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import keras
import numpy as np
from tqdm import tqdm

from export.clusters import unit
from runtime.bundle import Bundle
from runtime.heatmap import Enlarger
from runtime.scoring import softmax

STEPS = 20  # each takes the same number of pixels, to within one
BLUR = 0.1  # sigma as a share of the image's width: of a photo blurred like that the janken network knows nothing any more

Score = Callable[[np.ndarray], np.ndarray]  # images float32 (N, H, W, 3) -> probability of the photo's class (N,)


def mean_areas(network: keras.Model, bundle: Bundle, images: np.ndarray, labels: Sequence[str],
               heats: Sequence[np.ndarray], what: str = "") -> tuple[float, float]:
    """(deletion, insertion): areas under the curves, 0 to 1, mean over photos; `what` is said by the progress bar.

    `network` gives [feature map, embedding]; images float32 (N, H, W, 3) are its inputs, heats (h, w) of any scale.
    """
    score = scorer(network, bundle)
    areas = []
    for i, label in enumerate(tqdm(labels, desc=what or None, unit="photo", mininterval=2, leave=False)):
        class_index = bundle.labels.index(label)
        pair = curves(lambda frames, k=class_index: score(frames)[:, k], images[i], heats[i], seed=i)
        areas.append([area(curve) for curve in pair])
    return tuple(float(v) for v in np.mean(areas, axis=0))


def scorer(network: keras.Model, bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """images float32 (N, H, W, 3) -> probabilities (N, L): softmax(score_scale * cosine to each prototype)."""
    embed = keras.Model(network.input, network.outputs[1])

    def score(images: np.ndarray) -> np.ndarray:
        cosines = unit(np.asarray(embed.predict_on_batch(images))) @ bundle.prototypes.T
        return np.stack([softmax(row) for row in bundle.score_scale * cosines])

    return score


def curves(score: Score, image: np.ndarray, heat: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion of one photo: the class's probability after 0 .. STEPS steps, (STEPS + 1,) each.

    image float32 (H, W, 3); heat (h, w). The score is asked once, for 2 * STEPS images: the curves share their ends.
    """
    soft = cv2.GaussianBlur(image, (0, 0), BLUR * image.shape[1])
    taken = np.arange(STEPS + 1)[:, None, None, None] > STEPS * turns(heat, image.shape[:2], seed)[..., None]
    deleted, inserted = np.where(taken, soft, image), np.where(taken[1:-1], image, soft)
    scores = score(np.concatenate([deleted, inserted]))
    whole, nothing = scores[:1], scores[STEPS:STEPS + 1]
    return scores[:STEPS + 1], np.concatenate([nothing, scores[STEPS + 1:], whole])


def turns(heat: np.ndarray, size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """When each pixel's turn comes, (H, W): the share of pixels that come before it, 0 for the hottest, below 1.

    The heat is enlarged bilinearly. Pixels of the same heat take their turns in the order of a random heat of `seed`, so no
    heat at all (a hand taken for none) counts as heat that knows nothing, not as one that begins in some corner.
    """
    enlarge = Enlarger(heat.shape, size_hw)
    chance = enlarge(np.random.default_rng(seed).random(heat.shape))
    order = np.lexsort((-chance.ravel(), -enlarge(heat).ravel()))
    turn = np.empty(len(order))
    turn[order] = np.arange(len(order)) / len(order)
    return turn.reshape(size_hw)


def area(curve: np.ndarray) -> float:
    """Under a curve over 0 to 1 with equal steps, by the trapezoidal rule."""
    return float((curve[:-1] + curve[1:]).mean() / 2)


def controls(size_hw: tuple[int, int], count: int, seed: int) -> dict[str, np.ndarray]:
    """Heat that knows nothing of its photo, (count, h, w) each: random, and a Gaussian whose sigma is a quarter of the map."""
    bells = [np.exp(-0.5 * (((np.arange(n) + 0.5) / n - 0.5) / 0.25) ** 2) for n in size_hw]
    return {"random": np.random.default_rng(seed).random((count, *size_hw)),
            "middle of the frame": np.broadcast_to(np.outer(*bells), (count, *size_hw))}
