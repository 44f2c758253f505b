#!/usr/bin/env python3
"""Anomaly detection on camera frames or photos, runnable from any folder: `python3 runtime/anomaly.py --help`."""
from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # A script's folder comes first on sys.path, where its files would hide modules of the same name; the package needs
    # the folder above instead.
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [os.path.dirname(here)] + [folder for folder in sys.path if os.path.realpath(folder) != here]

    from runtime.__main__ import main

    sys.exit(main(sys.argv[1:]))
