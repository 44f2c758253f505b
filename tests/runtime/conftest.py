"""Shared by the runtime's tests, which need nothing but numpy, pytest and one of the two interpreters."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import MANIFEST, Bundle, load_bundle
from runtime.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[2]
JANKEN = ROOT / "runtime" / "janken.py"
COLOURS = {"gu": (255, 0, 0), "choki": (0, 255, 0), "pa": (0, 0, 255)}  # what models/tiny takes for a hand
SECONDS = 60  # any run of the command line ends long before


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    return ROOT / "models" / "tiny"


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Bundle:
    return load_bundle(tiny_path)


@pytest.fixture
def pipeline(tiny_path: Path) -> Pipeline:
    return Pipeline.open(tiny_path)


@pytest.fixture(scope="session")
def draw_frame():
    """label -> uint8 (48, 64, 3): grey, and for a hand one patch in its colour, at x 16..31 and y 12..23."""

    def draw(label: str) -> np.ndarray:
        frame_rgb = np.full((48, 64, 3), 90, np.uint8)
        if label in COLOURS:
            frame_rgb[12:24, 16:32] = COLOURS[label]
        return frame_rgb

    return draw


@pytest.fixture
def frames_npy(tmp_path: Path, draw_frame) -> Path:
    """A .npy of four frames: gu, choki, pa, none."""
    path = tmp_path / "frames.npy"
    np.save(path, np.stack([draw_frame(label) for label in ("gu", "choki", "pa", "none")]))
    return path


class BundleCopy:
    """A copy of models/tiny to spoil; `sign` makes the manifest agree with the spoilt files again."""

    def __init__(self, path: Path):
        self.path = path

    def edit(self, dotted: str, value: object) -> None:
        """Set one field of the manifest, named like "input.size_wh"."""
        manifest = json.loads((self.path / MANIFEST).read_text())
        *parents, last = dotted.split(".")
        place = manifest
        for key in parents:
            place = place[key]
        place[last] = value
        (self.path / MANIFEST).write_text(json.dumps(manifest))

    def write(self, name: str, content: bytes) -> None:
        """Replace a file and its entry in the manifest."""
        (self.path / name).write_bytes(content)
        manifest = json.loads((self.path / MANIFEST).read_text())
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (self.path / MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture
def bundle_copy(tiny_path: Path, tmp_path: Path) -> BundleCopy:
    return BundleCopy(Path(shutil.copytree(tiny_path, tmp_path / "bundle")))


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """This environment without a screen, other people's folders on the path, and a buffer setting that hides faults."""
    unwanted = {"DISPLAY", "WAYLAND_DISPLAY", "PYTHONPATH", "PYTHONUNBUFFERED"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


@pytest.fixture
def janken(tmp_path: Path, tiny_path: Path, clean_environment):
    """Run `python runtime/janken.py` from another folder, on models/tiny and without a display unless told otherwise."""

    def run(*arguments: object, **overrides) -> subprocess.CompletedProcess:
        defaults = [] if "--bundle" in arguments else ["--bundle", str(tiny_path)]
        defaults += [] if "--display" in arguments else ["--display", "none"]
        command = [sys.executable, str(JANKEN), *defaults, *map(str, arguments)]
        settings = {"cwd": tmp_path, "env": clean_environment, "text": True, "timeout": SECONDS, **overrides}
        settings.setdefault("stdout", subprocess.PIPE)
        return subprocess.run(command, stderr=subprocess.PIPE, **settings)

    return run


@pytest.fixture
def broken_packages(tmp_path: Path, clean_environment):
    """names -> an environment in which importing any of these packages fails as if it were not installed."""

    def make(*names: str) -> dict[str, str]:
        for name in names:
            package = tmp_path / "broken" / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name={name!r})\n")
        return {**clean_environment, "PYTHONPATH": str(tmp_path / "broken")}

    return make
