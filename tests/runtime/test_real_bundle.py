"""The shipped janken bundles on the real photos held out of their training, wherever both are at hand."""
from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from runtime.bundle import Bundle, load_bundle
from runtime.pipeline import Pipeline
from runtime.results import NONE_LABEL, Result

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = [ROOT / "models" / name for name in ("janken", "janken-light")]
SHARED = ROOT.parent / "shared"
MODEL_BYTES = 1_200_000  # both models together stay below
PEAK_INSIDE = 0.9  # least share of the test photos whose peak lies on the hand

DECODE = """
import sys
from pathlib import Path
import numpy as np
from runtime.camera.images import photo_decoder
decode = photo_decoder()
for number, path in enumerate(sys.stdin.read().splitlines()):
    np.save(Path(sys.argv[1]) / f"{number}.npy", decode(Path(path)))
"""


class Case(NamedTuple):
    """A test photo's result, its class by folder, and where its hand is: bool (H, W), True on the hand."""

    name: str
    folder: str
    result: Result
    hand: np.ndarray


def decode_all(paths: list[Path], folder: Path) -> list[np.ndarray]:
    """Photos and masks as arrays. The device's packages cannot read them: then the workstation's, in .venv, do it."""
    for python in (sys.executable, ROOT / ".venv" / "bin" / "python"):
        if Path(python).exists():
            text = "\n".join(map(str, paths))
            command = [str(python), "-c", DECODE, str(folder)]
            if subprocess.run(command, cwd=ROOT, input=text, text=True, capture_output=True).returncode == 0:
                return [np.load(folder / f"{number}.npy", allow_pickle=False) for number in range(len(paths))]
    pytest.skip("no OpenCV or Pillow to read photos with, neither here nor in .venv")


def hand_boxes() -> dict[str, tuple[float, ...]]:
    """hands_dataset's boxes: path -> x0, y0, x1, y1, and the size they are measured in."""
    with (SHARED / "hands_dataset" / "boxes.tsv").open(newline="") as file:
        columns = ("x0", "y0", "x1", "y1", "width", "height")
        return {row["path"]: tuple(float(row[c]) for c in columns) for row in csv.DictReader(file, delimiter="\t")}


def box_to_mask(box: tuple[float, ...], shape_hw: tuple[int, int]) -> np.ndarray:
    x0, y0, x1, y1, width, height = box
    y, x = np.mgrid[: shape_hw[0], : shape_hw[1]]
    x, y = (x + 0.5) * width / shape_hw[1], (y + 0.5) * height / shape_hw[0]
    return (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda folder: folder.name)
def folder(request) -> Path:
    if not request.param.exists():
        pytest.skip(f"models/{request.param.name} is not in this checkout")
    return request.param


@pytest.fixture(scope="module")
def bundle(folder) -> Bundle:
    return load_bundle(folder)


@pytest.fixture(scope="module")
def cases(folder, bundle, tmp_path_factory) -> list[Case]:
    if not SHARED.exists():
        pytest.skip("the photos in ../shared are not there")
    names = [name for name in bundle.manifest["data"]["test_files"] if (SHARED / name).is_file()]
    masked = [name for name in names if name.startswith("janken_dataset/")]
    masks = [(SHARED / name.replace("janken_dataset", "janken_masks")).with_suffix(".png") for name in masked]
    arrays = decode_all([SHARED / name for name in names] + masks, tmp_path_factory.mktemp("decoded"))
    mask_of = {name: array[..., 0] > 127 for name, array in zip(masked, arrays[len(names) :])}
    boxes = hand_boxes()
    pipeline = Pipeline.open(folder)
    found = []
    for name, frame_rgb in zip(names, arrays):
        _, path = name.split("/", 1)
        hand = mask_of[name] if name in mask_of else box_to_mask(boxes[path], frame_rgb.shape[:2])
        assert hand.shape == frame_rgb.shape[:2]
        found.append(Case(name, path.split("/")[0], pipeline(frame_rgb), hand))
    assert found, "none of data.test_files lies in ../shared"
    return found


def test_the_models_are_small(bundle):
    assert len(bundle.feature_map_tflite) + len(bundle.embedding_tflite) < MODEL_BYTES


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_frame_is_none_and_cold(folder, grey):
    result = Pipeline.open(folder)(np.full((240, 320, 3), grey, np.uint8))
    assert result.label == NONE_LABEL and not result.heat.any()


def test_every_label_is_legal_and_every_box_inside_its_frame(bundle, cases):
    for case in cases:
        result = case.result
        assert result.label in (*bundle.labels, NONE_LABEL), case.name
        if result.label == NONE_LABEL:
            assert result.box_xyxy is None and result.peak_xy is None, case.name
        if result.box_xyxy is not None:
            (x0, y0, x1, y1), (width, height) = result.box_xyxy, result.size_wh
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height, case.name


def test_the_peak_lies_on_the_hand(bundle, cases):
    """A hand that was missed has no peak and counts against it."""
    hands = [case for case in cases if case.folder in bundle.labels and case.folder != NONE_LABEL]
    missed = []
    for case in hands:
        x, y = case.result.peak_xy or (None, None)
        if x is None or not case.hand[y, x]:
            missed.append(f"{case.name} ({case.result.label})")
    inside = 1 - len(missed) / len(hands)
    assert inside >= PEAK_INSIDE, f"{inside:.3f} of {len(hands)}, not in: {', '.join(missed)}"
