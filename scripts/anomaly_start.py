#!/usr/bin/env python3
"""Make the weights that anomaly detection starts from: an ImageNet-born backbone in the project's network.

    python scripts/anomaly_start.py ../shared/reference_model/weights.h5        needs tensorflow, see requirements/

The janken checkpoint will not do: taught hands for hours, it no longer sees much else. The neck and what is above it are made
anew for every set of photos (export/anomaly/network.py), so that only the backbone's weights matter.
"""
from __future__ import annotations

import sys
from pathlib import Path

import keras

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from export import model  # noqa: E402
from export.anomaly.network import BACKBONE, START  # noqa: E402

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/anomaly_start.py WEIGHTS.h5 (or imagenet, which Keras downloads)")
    keras.utils.set_random_seed(0)
    START.parent.mkdir(parents=True, exist_ok=True)
    model.build(BACKBONE, sys.argv[1]).save_weights(START)
    print(f"{START}: {START.stat().st_size} bytes")
