"""How well defects are told from normal frames, and where: AUROC by frame and by pixel, PRO, peaks, false alarms.

Scores and maps are judged on their order alone, but for the label, which has a threshold of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from sklearn.metrics import auc, roc_auc_score
from tqdm import tqdm

from calibration.anomaly_photos import GOOD, Sample
from runtime.anomaly_pipeline import AnomalyPipeline
from runtime.bundle import SCORERS, Bundle
from runtime.heatmap import Enlarger
from runtime.pipeline import Networks
from runtime.results import NONE_LABEL, Result

PRO_MOST = 0.3  # false positive rate up to which PRO is integrated, as is usual
STEPS = 200  # thresholds of PRO's curve
PATCHCORE = "patchcore"  # measured beside the bundle's scorers: the distance of the farthest cell to the same stored patches
COLUMNS = (*SCORERS, PATCHCORE)


@dataclass(frozen=True)
class Quality:
    """One network on frames nothing was fitted on. Shares, 0 to 1, nan where no frame can tell.

    normal_below: normal frames that are labelled `none`; defects_found: those with a defect that are not. peak_inside: heat
    peaks inside the defect's mask, whatever the label; pixel_auroc and pro: over the frames whose mask is known.
    """

    frames: int
    defects: int
    image_auroc: float
    pixel_auroc: float
    pro: float
    peak_inside: float
    normal_below: float
    defects_found: float


class Remembering:
    """Networks that are not run again on the image they were run on last: several scorers ask about each frame."""

    def __init__(self, networks: Networks):
        self._networks, self._image, self._said = networks, None, None
        self.image_quantization = networks.image_quantization
        self.feature_quantization = networks.feature_quantization
        self.embedding_quantization = networks.embedding_quantization

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._image is None or not np.array_equal(image, self._image):
            self._image, self._said = image.copy(), self._networks(image)
        return self._said


class PatchCore(AnomalyPipeline):
    """Cells as far as they are: neither smoothed nor counted in what is usual at their place."""

    def distances(self, feature_map: np.ndarray) -> np.ndarray:
        return self._distance(feature_map)


def judge(bundle: Bundle, networks: Networks, samples: Sequence[Sample], what: str) -> dict[str, dict[str, float]]:
    """Scorer -> Quality as a dict, over the samples. Only for the bundle's own scorer a threshold was fitted: for the others
    what depends on it is nan."""
    once, own = Remembering(networks), bundle.anomaly
    each = {name: AnomalyPipeline(replace(bundle, anomaly=replace(own, scorer=name)), once) for name in SCORERS}
    each[PATCHCORE] = PatchCore(replace(bundle, anomaly=replace(own, scorer="patch", top_cells=1)), once)
    results: dict[str, list[Result]] = {name: [] for name in COLUMNS}
    for sample in tqdm(samples, desc=what, unit="frame", mininterval=2):
        frame_rgb = np.ascontiguousarray(sample.frame_rgb())
        for name, pipeline in each.items():
            results[name].append(pipeline(frame_rgb))
    defective, masks = [s.kind != GOOD for s in samples], [s.mask for s in samples]
    unknown = {"normal_below": float("nan"), "defects_found": float("nan")}
    return {name: {**asdict(quality(results[name], defective, masks)), **({} if name == own.scorer else unknown)}
            for name in COLUMNS}


def table(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """Lines of text: a row a figure, a column for each network ("float", "int8") and scorer of `judge`'s."""
    rows = ("image_auroc", "pixel_auroc", "pro", "peak_inside", "normal_below", "defects_found")
    columns = [(kind, name) for kind in measured for name in COLUMNS]
    lines = [f"{'':<16}" + "".join(f"{kind + ' ' + name:>17}" for kind, name in columns)]
    return "\n".join(lines + [f"{row:<16}" + "".join(f"{measured[k][n][row]:>17.3f}" for k, n in columns) for row in rows])


def quality(results: Sequence[Result], defective: Sequence[bool], masks: Sequence[np.ndarray | None]) -> Quality:
    """masks: uint8 (H, W), 255 = defect, one size for all, None where it is not known."""
    truth = np.array(defective, bool)
    said = np.array([r.label != NONE_LABEL for r in results])
    known = [i for i, mask in enumerate(masks) if mask is not None]
    maps = enlarged([results[i].heat for i in known], masks[known[0]].shape) if known else None
    shown = np.stack([masks[i] for i in known]) > 127 if known else None
    inside = [shown[k][np.unravel_index(maps[k].argmax(), maps[k].shape)] for k, i in enumerate(known) if truth[i]]
    return Quality(
        frames=len(results), defects=int(truth.sum()),
        image_auroc=image_auroc([next(iter(r.scores.values())) for r in results], truth),
        pixel_auroc=pixel_auroc(maps, shown) if known else float("nan"),
        pro=pro(maps, shown) if known else float("nan"),
        peak_inside=float(np.mean(inside)) if inside else float("nan"),
        normal_below=float(np.mean(~said[~truth])) if (~truth).any() else float("nan"),
        defects_found=float(np.mean(said[truth])) if truth.any() else float("nan"),
    )


def enlarged(heats: Sequence[np.ndarray], size_hw: tuple[int, int]) -> np.ndarray:
    """Heat (h, w) of every frame, stretched as the overlay stretches it: float32 (N, H, W)."""
    enlarge = Enlarger(heats[0].shape, size_hw)
    return np.stack([enlarge(heat) for heat in heats])


def image_auroc(scores: Sequence[float], defective: np.ndarray) -> float:
    """Probability that a defective frame has a higher score than a normal one, ties counting half; nan without both kinds."""
    return float(roc_auc_score(defective, scores)) if 0 < np.sum(defective) < len(defective) else float("nan")


def pixel_auroc(maps: np.ndarray, masks: np.ndarray) -> float:
    """The same for pixels of maps (N, H, W) and bool masks (N, H, W)."""
    return image_auroc(maps.ravel(), masks.ravel())


def pro(maps: np.ndarray, masks: np.ndarray, most: float = PRO_MOST) -> float:
    """Per-region overlap: at each threshold the mean share of every connected defect that is above it, integrated over the
    false positive rate up to `most` and divided by it (Bergmann et al., https://arxiv.org/abs/1911.02357). nan without defects.
    """
    regions = [maps[i][labels == k] for i, mask in enumerate(masks)
               for count, labels in [cv2.connectedComponents(mask.astype(np.uint8))] for k in range(1, count)]
    if not regions:
        return float("nan")
    normal = np.sort(maps[~masks])
    rates = np.linspace(0, most, STEPS)
    thresholds = normal[np.minimum((len(normal) * (1 - rates)).astype(int), len(normal) - 1)]
    above = [1 - np.searchsorted(np.sort(region), thresholds, side="left") / len(region) for region in regions]
    overlap = np.mean(above, axis=0)
    return float(auc(rates, overlap) / most)
