"""The picture at the top of the README: a row of held-out photos and, below, what the device shows of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from runtime.camera.images import photo_decoder  # noqa: E402
from runtime.draw import Overlay  # noqa: E402
from runtime.pipeline import Pipeline  # noqa: E402

SIZE_WH = (240, 180)


def column(pipeline: Pipeline, frame_rgb: np.ndarray) -> np.ndarray:
    """uint8 (2 H, W, 3): heatmap above box."""
    result = pipeline(frame_rgb)
    overlay = Overlay(result.size_wh, result.heat.shape, SIZE_WH)
    return np.vstack([overlay(frame_rgb, result, mode) for mode in ("heatmap", "box")])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("photos", nargs="+", type=Path)
    options.add_argument("--bundle", type=Path, default=ROOT / "models" / "janken")
    options.add_argument("--out", type=Path, default=ROOT / "models" / "preview.jpg")
    options = options.parse_args()
    pipeline, decode = Pipeline.open(options.bundle), photo_decoder()
    picture = np.hstack([column(pipeline, decode(path)) for path in options.photos])
    cv2.imwrite(str(options.out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(options.out)


if __name__ == "__main__":
    main()
