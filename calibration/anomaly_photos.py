"""Photos for anomaly detection: normal ones to learn from and, where there are any, good and defective ones to judge by.

Understood layouts of a folder:

* photos in it or in folders below it: all of them normal;
* MVTec AD's (https://www.mvtec.com/company/research/datasets/mvtec-ad): `train/good/*`, `test/good/*`, `test/<defect>/*`,
  `ground_truth/<defect>/<stem>_mask.png` (255 = defect; `<stem>.png` will do);
* the same, flat: `train_good/*`, `test_good/*`, `test_<defect>/*`, `masks/<stem>.png`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from calibration.photos import LEAST_SIDE, DataError
from runtime.camera.images import PHOTO_SUFFIXES, photo_decoder
from runtime.errors import SourceError

GOOD = "good"
LEAST_NORMALS = 10  # below, neither spread nor threshold can be told
MASK_WH = (256, 256)  # pixels; masks are compared with heat at this size, as is usual for MVTec AD


@dataclass(frozen=True)
class Sample:
    """One photo, read when it is asked for: large photos of a whole data set would not fit into memory.

    kind: GOOD or the name of its defect; mask: uint8 of MASK_WH, 255 = defect, None where it is not known.
    """

    name: str
    kind: str
    read: Callable[[], np.ndarray]
    mask: np.ndarray | None = None

    def frame_rgb(self) -> np.ndarray:
        """uint8 (H, W, 3), in full size: the device, too, is given the whole photo."""
        return self.read()


@dataclass(frozen=True)
class AnomalyPhotos:
    """`train`: normal photos; `test`: good and defective ones, empty where the folder has none."""

    train: list[Sample]
    test: list[Sample]


def read(folder: Path, least: int = LEAST_NORMALS) -> AnomalyPhotos:
    """All photos of a folder in one of the layouts above. Raises DataError for a missing folder or fewer normal photos than
    `least`."""
    if not folder.is_dir():
        raise DataError(f"data folder {folder} does not exist; give a folder of normal photos")
    if (folder / "train" / GOOD).is_dir() or (folder / "test").is_dir():
        normals = folder / "train" / GOOD
        tests = {path.name: path for path in _folders(folder / "test")}
    elif (folder / f"train_{GOOD}").is_dir() or (folder / f"test_{GOOD}").is_dir():
        normals = folder / f"train_{GOOD}"
        tests = {path.name.removeprefix("test_"): path for path in _folders(folder) if path.name.startswith("test_")}
    else:
        normals, tests = folder, {}
    train = _samples(folder, normals, GOOD)
    if len(train) < least:
        raise DataError(f"{normals} holds {len(train)} readable photos; at least {least} normal ones are needed, and "
                        "50 to 200 are better")
    return AnomalyPhotos(train, [sample for kind in sorted(tests) for sample in _samples(folder, tests[kind], kind)])


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _samples(root: Path, folder: Path, kind: str) -> list[Sample]:
    decode = photo_decoder()  # the runtime's own, so that both sides see the same pixels
    samples = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES):
        try:
            height, width = decode(path).shape[:2]
        except SourceError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if min(height, width) < LEAST_SIDE:
            print(f"left out: {path} is {width}x{height} px; at least {LEAST_SIDE} a side are needed", file=sys.stderr)
            continue
        mask = np.zeros(MASK_WH[::-1], np.uint8) if kind == GOOD else _mask(root, kind, path.stem)
        samples.append(Sample(path.relative_to(root).as_posix(), kind, partial(decode, path), mask))
    return samples


def _mask(root: Path, kind: str, stem: str) -> np.ndarray | None:
    for path in (root / "ground_truth" / kind / f"{stem}_mask.png", root / "ground_truth" / kind / f"{stem}.png",
                 root / "masks" / f"{stem}.png"):
        if path.is_file():
            mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            if mask is None:
                raise DataError(f"mask {path} cannot be read; expected a greyscale PNG, 255 = defect")
            return small_mask(np.where(mask > 0, 255, 0).astype(np.uint8))
    return None


def small_mask(mask: np.ndarray) -> np.ndarray:
    """uint8 (H, W), 255 = defect, to MASK_WH: a pixel counts where a quarter of it is covered, so that scratches stay."""
    return np.where(cv2.resize(mask, MASK_WH, interpolation=cv2.INTER_AREA) >= 64, 255, 0).astype(np.uint8)


def fingerprint(samples: Sequence[Sample]) -> str:
    """sha256 over names and pixels, so that a manifest says exactly what it was made from."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.name.encode())
        digest.update(hashlib.sha256(sample.frame_rgb().tobytes()).digest())
    return digest.hexdigest()


def describe(photos: AnomalyPhotos) -> str:
    """One line: how many of each kind."""
    kinds = sorted({sample.kind for sample in photos.test})
    counts = ", ".join(f"{kind} {sum(s.kind == kind for s in photos.test)}" for kind in kinds)
    return f"  {len(photos.train)} normal photos to learn from; to judge by: {counts or 'none'}"
