"""Photos on disk -> a checked list with labels, boxes, masks, and a split that keeps neighbours together.

A data set is a folder of class folders (`gu/ choki/ pa/ ...`). Optional beside the photos:

* `boxes.tsv` with columns `path [class] x0 y0 x1 y1 width height`: the object's box in pixels of a width x height image;
* masks, PNG, 255 = object, at `<masks>/<class>/<photo stem>.png`, where `<masks>` is the sibling folder named
  `<data set without _dataset>_masks`; its `hand_boxes.tsv`, when there, cuts a forearm off the mask.

A class folder called `none` or `other`, however it is capitalised, holds frames to be rejected; both become the label `none`.
"""

from __future__ import annotations

import csv
import hashlib
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from runtime.camera.images import PHOTO_SUFFIXES, photo_decoder
from runtime.capture.album import ENOUGH
from runtime.errors import SourceError

NONE = "none"
PUBLIC = (Path("data/janken_dataset"), Path("data/hands_dataset"))  # where `make data` puts the public photo sets
NONE_FOLDERS = {"none", "other"}
JANKEN_ORDER = ("gu", "choki", "pa")
LEAST_SIDE = 32  # pixels; below this a hand is a smudge and the photo only adds noise
MOST_SIDE = 480  # pixels; larger photos are reduced once, since the network sees about 100
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
LEAST_SESSIONS, LEAST_CLASS_SESSIONS = 5, 3  # from here on whole sessions are held out; below, the end of each class
MISSING_COST = 10.0  # of a class in no photo of a set; one that is all in validation costs 9
LEAST_PHOTOS = 3  # of a class: one each to train, validate and test
MOST_CLASSES = 50  # beside `none`


class DataError(Exception):
    """The photos cannot be used as they are; the text says which and what to do."""


@dataclass(frozen=True)
class Photo:
    """One photo. `split` is train, validation or test.

    `box_xyxy` is in pixels of the photo, x1 and y1 exclusive; while `box_size_wh` is set, of an image of that size.
    """

    path: Path
    name: str  # dataset/class/file, stable across machines
    label: str
    session: str
    box_xyxy: tuple[float, float, float, float] | None = None
    mask_path: Path | None = None
    split: str = "train"
    box_size_wh: tuple[float, float] | None = None


def public_folders() -> list[Path]:
    """Those of the public photo sets that are there."""
    return [folder for folder in PUBLIC if folder.is_dir()]


def scan(folders: Sequence[Path]) -> list[Photo]:
    """All photos under the data set folders, in a stable order. Raises DataError for empty or missing folders."""
    photos: list[Photo] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataError(f"data folder {folder} does not exist, or is no folder; give one that holds one folder per class")
        classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "_")))
        if not classes:
            raise DataError(f"{folder} holds no class folders; expected e.g. {folder}/gu, {folder}/choki, {folder}/pa")
        masks = folder.parent / (folder.name.removesuffix("_dataset") + "_masks")
        boxes = _read_boxes(folder / "boxes.tsv") or _read_boxes(masks / "hand_boxes.tsv")
        for class_folder in classes:
            files = sorted(f for f in class_folder.iterdir() if f.suffix.lower() in PHOTO_SUFFIXES and f.name[0] != ".")
            if not files:
                raise DataError(f"class folder {class_folder} holds no photos; add some or remove the folder")
            photos += [_photo(folder, file, boxes, masks) for file in files]
    hands = labels_of(photos)[:-1]
    if len(hands) < 2:
        raise DataError(f"only one class found ({', '.join(hands) or 'none'}); a classifier needs at least two beside `none`")
    if len(hands) > MOST_CLASSES:
        raise DataError(f"{len(hands)} classes found; at most {MOST_CLASSES} beside `none` are supported: each folder in "
                        f"{', '.join(map(str, folders))} counts as one, unless its name begins with . or _")
    return photos


def _photo(folder: Path, file: Path, boxes: dict, masks: Path) -> Photo:
    label = NONE if file.parent.name.lower() in NONE_FOLDERS else file.parent.name
    relative = f"{file.parent.name}/{file.name}"
    mask = masks / file.parent.name / f"{file.stem}.png"
    box_xyxy, box_size_wh = boxes.get(relative, (None, None))
    name = f"{folder.resolve().name}/{relative}"
    return Photo(file, name, label, session_of(name), box_xyxy, mask if mask.is_file() else None, box_size_wh=box_size_wh)


def session_of(name: str) -> str:
    """data set/class/IMG_0731.JPG -> data set/IMG_: 0731 and 0732 follow one another, so the running number is left out.

    What stands behind the number goes with it: "photo (12)" is a neighbour of "photo (13)".
    """
    stem = Path(name.partition("#")[0]).stem
    return f"{name.split('/')[0]}/{re.sub(r'[0-9]+[^0-9]*$', '', stem)}"


def _read_boxes(path: Path) -> dict[str, tuple]:
    """path -> (xyxy, size_wh of the image it is given in). Raises DataError for a table that cannot be read."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        table = csv.DictReader(file, delimiter="\t")
        try:
            return {row["path"]: (tuple(float(row[k]) for k in ("x0", "y0", "x1", "y1")),
                                  (float(row["width"]), float(row["height"]))) for row in table}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}, line {table.line_num}: {error}; expected columns path x0 y0 x1 y1 width height, "
                            "separated by tabs, numbers in pixels") from error


def labels_of(photos: Iterable[Photo]) -> list[str]:
    """Class names, janken's in their own order, the rest sorted, `none` always last."""
    names = {p.label for p in photos} - {NONE}
    janken = [n for n in JANKEN_ORDER if n in names]
    return janken + sorted(names - set(janken)) + [NONE]


def split(photos: Sequence[Photo], seed: int = 0) -> list[Photo]:
    """The same photos with `split` set, never parting consecutive ones at random.

    A data set with at least five sessions, three for every class, is split by whole sessions, chosen so that every class
    keeps about 20 % for test and 10 % for validation; any other by order, the last 20 % of each class for test, the 10 %
    before for validation. Raises DataError for a class of fewer than three photos.
    """
    by_dataset = defaultdict(list)
    for photo in photos:
        by_dataset[photo.name.split("/")[0]].append(photo)
    result: list[Photo] = []
    for members in by_dataset.values():
        result += _split_by_session(members, seed) if _has_sessions(members) else _split_by_order(members)
    return result


def _has_sessions(members: list[Photo]) -> bool:
    """Whether whole sessions can be held out; not where names begin with the class, so that each class is one session."""
    by_class = defaultdict(set)
    for photo in members:
        by_class[photo.label].add(photo.session)
    return (len(set.union(*by_class.values())) >= LEAST_SESSIONS
            and min(map(len, by_class.values())) >= LEAST_CLASS_SESSIONS)


def _split_by_order(members: list[Photo]) -> list[Photo]:
    by_class = defaultdict(list)
    for photo in members:
        by_class[photo.path.parent.name].append(photo)
    result = []
    for group in by_class.values():
        if len(group) < LEAST_PHOTOS:
            raise DataError(f"class folder {group[0].path.parent} holds {len(group)} photos; at least {LEAST_PHOTOS} are "
                            "needed, to train, to validate and to test: add some or remove the folder")
        n_test = max(1, round(len(group) * TEST_SHARE))
        n_validation = max(1, round(len(group) * VALIDATION_SHARE))
        first_test = len(group) - n_test
        for i, photo in enumerate(group):
            name = "test" if i >= first_test else "validation" if i >= first_test - n_validation else "train"
            result.append(replace(photo, split=name))
    return result


def _split_by_session(members: list[Photo], seed: int) -> list[Photo]:
    """The best of many random assignments of whole sessions, judged by the worst class's distance from its share."""
    sessions = sorted({p.session for p in members})
    classes = sorted({p.label for p in members})
    counts = np.array([[sum(p.session == s and p.label == c for p in members) for c in classes] for s in sessions])
    wanted = np.array([TEST_SHARE, VALIDATION_SHARE])[:, None]
    rng = np.random.default_rng(seed)
    best, best_cost = None, np.inf
    for _ in range(5000):
        part = rng.choice(3, size=len(sessions), p=[TEST_SHARE * 1.5, VALIDATION_SHARE * 1.5, 1 - 1.5 * 0.3])
        held = np.stack([counts[part == k].sum(0) for k in (0, 1, 2)])
        # relative, so that both sets count alike; a class missing from a set is worst; many small sessions say more
        cost = np.abs(held[:2] / counts.sum(0) / wanted - 1).sum() + MISSING_COST * (held == 0).sum() - 0.1 * (part < 2).sum()
        if cost < best_cost:
            best, best_cost = part, cost
    names = dict(zip(sessions, np.array(["test", "validation", "train"])[best]))
    return [replace(p, split=str(names[p.session])) for p in members]


def load(photos: Sequence[Photo]) -> tuple[list[Photo], list[np.ndarray]]:
    """Read every photo as uint8 RGB, at most 480 px a side. Unreadable and tiny ones are named on stderr and left out.

    Boxes are scaled with their photo. Raises DataError when a class loses all of its photos.
    """
    pairs = list(_read(photos))
    kept, frames = [photo for photo, _ in pairs], [frame for _, frame in pairs]
    _refuse_lost_classes(photos, kept)
    return kept, frames


def readable(photos: Sequence[Photo]) -> list[Photo]:
    """The photos that `load` would keep, named likewise: to be asked before they are split and minutes are spent on them."""
    whole = {photo.path for photo, _ in _read(tqdm(photos, desc="reading", unit="photo", mininterval=2))}
    kept = [photo for photo in photos if photo.path in whole]
    _refuse_lost_classes(photos, kept)
    return kept


def _refuse_lost_classes(photos: Sequence[Photo], kept: Sequence[Photo]) -> None:
    lost = {p.label for p in photos} - {p.label for p in kept}
    if lost:
        raise DataError(f"no readable photo is left in class {', '.join(sorted(lost))}; the lines above name the files")


def _read(photos: Iterable[Photo]) -> Iterator[tuple[Photo, np.ndarray]]:
    """The photos that can be used, one by one; the others are named on stderr."""
    decode = photo_decoder()  # the runtime's own, so that both sides see the same pixels
    for photo in photos:
        try:
            frame_rgb = decode(photo.path)
        except SourceError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        height, width = frame_rgb.shape[:2]
        if min(height, width) < LEAST_SIDE:
            print(f"left out: {photo.path} is {width}x{height} px; at least {LEAST_SIDE} a side are needed", file=sys.stderr)
            continue
        scale = min(1.0, MOST_SIDE / max(height, width))
        if scale < 1:
            frame_rgb = cv2.resize(frame_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if photo.box_xyxy:
            box_w, box_h = photo.box_size_wh or (width, height)
            sx, sy = frame_rgb.shape[1] / box_w, frame_rgb.shape[0] / box_h
            x0, y0, x1, y1 = photo.box_xyxy
            photo = replace(photo, box_xyxy=(x0 * sx, y0 * sy, x1 * sx, y1 * sy), box_size_wh=None)
        yield photo, frame_rgb


def pictures(folder: Path) -> list[np.ndarray]:
    """Every picture below `folder`, without a label, as uint8 RGB of at most 480 px a side. Raises DataError for none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise DataError(f"no pictures under {folder}; expected a folder of {', '.join(sorted(PHOTO_SUFFIXES))} files")
    return load([Photo(path, path.name, NONE, session=NONE) for path in paths])[1]


def load_hand_mask(photo: Photo, size_wh: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """(alpha, hand) uint8 masks of a photo, 255 = object, or None: `alpha` with forearm, `hand` cut at the hand's box."""
    if photo.mask_path is None:
        return None
    alpha = cv2.imread(str(photo.mask_path), cv2.IMREAD_GRAYSCALE)
    if alpha is None:
        raise DataError(f"mask {photo.mask_path} cannot be read; expected a greyscale PNG, 255 = object")
    alpha = cv2.resize(alpha, size_wh, interpolation=cv2.INTER_AREA)
    return alpha, alpha & box_mask(photo.box_xyxy, size_wh)


def box_mask(box_xyxy: tuple | None, size_wh: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W), 255 inside the box; all 255 without one."""
    mask = np.full(size_wh[::-1], 255 if box_xyxy is None else 0, np.uint8)
    if box_xyxy is not None:
        x0, y0, x1, y1 = (round(v) for v in box_xyxy)
        mask[max(0, y0):y1, max(0, x0):x1] = 255
    return mask


def advice(photos: Sequence[Photo]) -> list[str]:
    """Lines on what is missing that would help, and what is done without it; empty for a set that has everything."""
    counts = Counter(p.label for p in photos)
    few = [f"{label} {counts[label]}" for label in labels_of(photos) if 0 < counts[label] < ENOUGH]
    placed = sum(p.label != NONE and (p.box_xyxy is not None or p.mask_path is not None) for p in photos)
    lines = []
    if few:
        lines.append(f"few photos: {', '.join(few)}; from {ENOUGH} a class on a bundle is worth a try, and what is measured on "
                     "so few held-out ones says little")
    if not counts[NONE]:
        lines.append(f"no class folder `{NONE}`: " + (
            "parts of the photos beside the boxes, and drawn places, stand for it" if placed else
            "drawn places stand for it, which are unlike real ones; photos of the empty place in such a folder help most"))
    if not placed:
        lines.append("no boxes and no masks: the heat is not taught its place, it comes from Grad-CAM's weights alone")
    return lines


def fingerprint(photos: Iterable[Photo]) -> str:
    """sha256 over names and contents of the photos, so that a manifest says exactly what it was made from."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(photo.name.encode())
        digest.update(hashlib.sha256(photo.path.read_bytes()).digest())
    return digest.hexdigest()


def describe(photos: Iterable[Photo]) -> str:
    """One line a split: how many photos of each class."""
    counts = Counter((p.split, p.label) for p in photos)
    labels = labels_of(photos)
    return "\n".join(f"  {name:<10} " + "  ".join(f"{label} {counts[name, label]}" for label in labels)
                     for name in ("train", "validation", "test"))
