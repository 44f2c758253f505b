"""A photo and the box of its hand -> the hand's mask, for photos that nobody cut out.

The hand's colour is learned from the middle of the box, the place's from a ring around it, and GrabCut draws the outline
(Rother et al. 2004, "GrabCut": interactive foreground extraction using iterated graph cuts). This is done in two colour spaces
that fail differently: in Lab the hand's shadow passes for the hand, in log colour ratios a dark fist breaks up. Only what
both call hand is kept, and only where they agree: a bad cut teaches worse than none.
"""

from __future__ import annotations

import cv2
import numpy as np

Box = tuple[float, float, float, float]

RING = 0.25  # of the box's mean side: how far around the box the place's colours and the forearm are looked for
CUT_SIDE = 128  # pixels; a larger crop is reduced to this before it is cut
LEAST_BOX = 16  # pixels a side, after that; below it no outline is left to judge
ITERATIONS = 3  # of GrabCut

# The hand's colour, as a normal distribution; variances are in the squared steps of the 8-bit channels.
CENTRE = 0.25  # of the box: half axes of the ellipse it is first learned from
TRIM_CENTRE = (0.7, 0.57)  # share of pixels kept, the rest being gaps between fingers; what that leaves of the covariance
TRIM_SEED = (0.85, 0.73)
FIRST_VARIANCES, LEAST_VARIANCES = (60.0, 12.0, 12.0), (9.0, 3.0, 3.0)
FARTHEST = 12.0  # squared Mahalanobis distance of a colour that may still be the hand's
LEAST_SEED = 50  # pixels

# The place's colours, as a smoothed histogram.
STEP = (13, 6, 6)
BINS = tuple(256 // step + 1 for step in STEP)

# What a clean cut looks like; limits chosen by looking at the worst of 740 photos.
AGREEMENT = 0.9  # IoU of the two cuts inside the box
AREA = (0.25, 0.88)  # of the box
SHORTFALL = 0.16  # of the box's side: how far the hand may end before it
HOLE = 0.015  # of the cut's area; smaller ones are filled, being knuckle shadows, larger ones spoil it
GATE = 0.06  # of the box's mean side: how far outside of the box its exits are counted
WRIST = 0.7  # of the box's mean side: the one thing that may leave the box is narrower
RAGGED = 1.2  # length of the outline, relative to the smoothed one


def hand_mask(frame_rgb: np.ndarray, box_xyxy: Box) -> tuple[np.ndarray, np.ndarray] | None:
    """(alpha, hand) uint8 (H, W), 255 = object, for the hand in a box of uint8 (H, W, 3); None when no clean cut is found.

    `alpha` is the hand with the forearm up to a quarter of the box's side outside of it; `hand` ends at the box. The box,
    in pixels, must be close around the hand, and its middle must show the hand. The same photo always gives the same mask.
    """
    height, width = frame_rgb.shape[:2]
    x0, y0, x1, y1 = (min(max(round(v), 0), side) for v, side in zip(box_xyxy, (width, height, width, height)))
    if min(x1 - x0, y1 - y0) < LEAST_BOX:
        return None
    margin = round(RING * (x1 - x0 + y1 - y0) / 2)
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    window = np.s_[top:y1 + margin, left:x1 + margin]
    crop = frame_rgb[window]
    scale = min(1.0, CUT_SIDE / max(crop.shape[:2]))
    small_rgb = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    box = tuple(round(v * scale) for v in (x0 - left, y0 - top, x1 - left, y1 - top))
    cut = _agreed_cut(small_rgb, box)
    if cut is None:
        return None
    alpha, hand = np.zeros((2, height, width), np.uint8)
    alpha[window] = cv2.threshold(cv2.resize(cut * 255, crop.shape[1::-1]), 127, 255, cv2.THRESH_BINARY)[1]
    hand[y0:y1, x0:x1] = alpha[y0:y1, x0:x1]
    return alpha, hand


def _agreed_cut(rgb: np.ndarray, box: tuple[int, ...]) -> np.ndarray | None:
    """uint8 (h, w), 1 = object: what both colour spaces call hand; None where they disagree or it does not look like one."""
    x0, y0, x1, y1 = box
    inside = np.zeros(rgb.shape[:2], bool)
    inside[y0:y1, x0:x1] = True
    if min(x1 - x0, y1 - y0) < LEAST_BOX or inside.all():
        return None
    ys, xs = np.ogrid[:rgb.shape[0], :rgb.shape[1]]
    centre = ((xs - (x0 + x1) / 2) / (x1 - x0)) ** 2 + ((ys - (y0 + y1) / 2) / (y1 - y0)) ** 2 < CENTRE ** 2
    cuts = []
    for colours in (cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), _log_ratios(rgb)):
        seed = _seed(cv2.GaussianBlur(colours, (3, 3), 0), inside, centre)
        if seed is None:
            return None
        cuts.append(_grab(colours, inside, seed))
    both, either = cuts[0] & cuts[1], cuts[0] | cuts[1]
    if (both & inside).sum() < AGREEMENT * (either & inside).sum():
        return None
    cut = _in_one_piece(both)
    return cut if _is_clean(cut, box) else None


def _log_ratios(rgb: np.ndarray) -> np.ndarray:
    """uint8 (h, w, 3) -> uint8: brightness, weighing little, and two colour ratios, which shading leaves as they are."""
    red, green, blue = np.moveaxis(np.log(rgb.astype(np.float32) + 12), 2, 0)  # 12: keeps the noise of dark pixels down
    channels = (30 * (red + green + blue) / 3 - 70, 128 + 140 * (red - green), 128 + 140 * (green - blue))
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


def _seed(colours: np.ndarray, inside: np.ndarray, centre: np.ndarray) -> np.ndarray | None:
    """bool (h, w): the patch around the centre whose colours are the hand's rather than the place's, or None.

    The patch may leave the box where the forearm does; those pixels then no longer count as the place's.
    """
    mean, covariance = _trimmed_normal(colours[centre], TRIM_CENTRE)
    place = ~inside
    for last in (False, False, True):
        distance = _squared_distance(colours, mean, covariance)
        as_hand = np.exp(-distance / 2) / np.sqrt((2 * np.pi) ** 3 * np.linalg.det(covariance))
        similar = (distance < FARTHEST) & (as_hand > _density(colours, place))
        parts = cv2.connectedComponents(similar.astype(np.uint8))[1]
        counts = np.bincount(parts[centre & similar], minlength=1)
        seed = similar & (parts == counts.argmax())
        if np.count_nonzero(seed & inside) < LEAST_SEED or (inside | seed).all():
            return None
        if not last:
            mean, covariance = _trimmed_normal(colours[seed & inside], TRIM_SEED)
            place = ~inside & ~seed
    return seed


def _trimmed_normal(pixels: np.ndarray, trim: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the commonest colours of (n, 3) pixels: fitted to the nearest share of them, five times over."""
    share, left_over = trim
    mean, covariance = np.median(pixels, axis=0), np.diag(FIRST_VARIANCES)
    for _ in range(5):
        distance = _squared_distance(pixels, mean, covariance)
        near = pixels[distance <= np.quantile(distance, share)]
        mean, covariance = near.mean(axis=0), np.cov(near.T) / left_over + np.diag(LEAST_VARIANCES)
    return mean, covariance


def _squared_distance(colours: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance of (..., 3) colours, float64 (...)."""
    whitened = (colours - mean) @ np.linalg.cholesky(np.linalg.inv(covariance))
    return (whitened ** 2).sum(axis=-1)


def _density(colours: np.ndarray, where: np.ndarray) -> np.ndarray:
    """float (h, w): how dense, at every pixel's colour, the colours of the pixels `where` are."""
    bins = np.ravel_multi_index(tuple(np.moveaxis(colours // np.array(STEP, np.uint8), 2, 0).astype(np.intp)), BINS)
    counts = np.bincount(bins[where], minlength=np.prod(BINS)).reshape(BINS).astype(np.float32)
    for axis in range(3):
        counts = (np.roll(counts, 1, axis) + 2 * counts + np.roll(counts, -1, axis)) / 4
    never_seen = 1e-7  # so that a colour far from the hand's is not taken for it only because the ring lacks it
    return counts.ravel()[bins] / (np.count_nonzero(where) * np.prod(STEP)) + never_seen


def _grab(colours: np.ndarray, inside: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """uint8 (h, w), 1 = object: GrabCut from a seed; outside of the box only the seed can become object."""
    trimap = np.where(inside, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    trimap[seed] = cv2.GC_PR_FGD
    trimap[cv2.erode((seed & inside).astype(np.uint8), np.ones((5, 5))) > 0] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # GrabCut starts with k-means from random centres
    cv2.grabCut(colours, trimap, None, np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return trimap & 1  # GC_FGD and GC_PR_FGD are the odd ones


def _in_one_piece(cut: np.ndarray) -> np.ndarray:
    """The largest piece of a cut, without hairs and small holes."""
    cut = cv2.morphologyEx(cut, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3)))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(cut)
    if count == 1:
        return cut
    cut = (pieces == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - cut, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < HOLE * cut.sum()
    return np.where(small[holes], 1, cut).astype(np.uint8)


def _is_clean(cut: np.ndarray, box: tuple[int, ...]) -> bool:
    """Whether the cut fills the box as a hand does, leaves it at one narrow place at most, and has a smooth outline."""
    x0, y0, x1, y1 = box
    hand = cut[y0:y1, x0:x1]
    if not AREA[0] < hand.mean() < AREA[1]:
        return False
    for axis in (0, 1):
        filled = np.flatnonzero(hand.any(axis))
        side = hand.shape[1 - axis]
        if max(filled[0], side - 1 - filled[-1]) > SHORTFALL * side:
            return False
    mean_side = (x1 - x0 + y1 - y0) / 2
    around = _loop(cut, box, round(GATE * mean_side))
    exits = np.count_nonzero(around & ~np.roll(around, 1))
    if exits > 1 or np.count_nonzero(around) > WRIST * mean_side:
        return False
    outlines = cv2.findContours(cut, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if len(outlines[0]) > 1:  # a hole too large to be filled
        return False
    smooth = (cv2.GaussianBlur(cut * 255, (0, 0), 2) > 127).astype(np.uint8)
    return _outline(cut) < RAGGED * _outline(smooth)


def _loop(cut: np.ndarray, box: tuple[int, ...], gate: int) -> np.ndarray:
    """bool (n,): the cut along the box widened by `gate` pixels, clockwise from its top left; the image's edge at most."""
    height, width = cut.shape
    x0, y0, x1, y1 = max(0, box[0] - gate), max(0, box[1] - gate), min(width, box[2] + gate) - 1, min(height, box[3] + gate) - 1
    sides = (cut[y0, x0:x1], cut[y0:y1, x1], cut[y1, x1:x0:-1], cut[y1:y0:-1, x0])
    return np.concatenate(sides) > 0


def _outline(cut: np.ndarray) -> float:
    """Length in pixels of a cut's outer outline."""
    outlines, _ = cv2.findContours(cut, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return sum(cv2.arcLength(outline, closed=True) for outline in outlines)
