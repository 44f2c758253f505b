"""The bundle, write side: everything into a temporary folder, re-opened as the device would, then moved into place whole."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from calibration.metrics import measurable
from runtime.bundle import (
    ANOMALY_FILES,
    CLUSTER_CENTERS,
    CLUSTER_WEIGHTS,
    EMBEDDING,
    FEATURE_MAP,
    MANIFEST,
    PROTOTYPES,
    REQUIRED_FILES,
    SCHEMA,
    Bundle,
    load_bundle,
)
from runtime.interpreter import SplitNetwork, load_networks

ROOT = Path(__file__).parent.parent
VERSION = "0.1.0"
ON_THE_PI = ("pi_install.sh", "janken.service")
TOOLS = ("tensorflow", "keras", "numpy", "opencv-python-headless", "scikit-learn", "ai-edge-litert")
REPRODUCIBLE = ("clusters, prototypes and thresholds repeat for equal networks; training on several CPU threads adds floats in "
                "varying order, so a second run gives networks of equal quality, not equal bytes")


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes it at the end of the block, or vanishes if the block fails.

    Whatever stood at `target` stays untouched until then, and is put back if the exchange fails half-way.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    partial.chmod(0o755)
    old = partial.with_name(partial.name + "-old")
    try:
        yield partial
        if target.exists():
            target.rename(old)
        try:
            partial.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write(folder: Path, fields: dict[str, Any], feature_map: bytes, embedding: bytes, cluster_centers: np.ndarray,
          cluster_weights: np.ndarray, prototypes: np.ndarray) -> Bundle:
    """Write networks, arrays and manifest into `folder` and re-open it. `fields`: the manifest without schema and files."""
    (folder / FEATURE_MAP).write_bytes(feature_map)
    (folder / EMBEDDING).write_bytes(embedding)
    arrays = {CLUSTER_CENTERS: cluster_centers, CLUSTER_WEIGHTS: cluster_weights, PROTOTYPES: prototypes}
    for name, array in arrays.items():
        np.save(folder / name, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return write_manifest(folder, fields)


def open_networks(folder: Path, fields: dict[str, Any], feature_map: bytes, embedding: bytes) -> SplitNetwork:
    """The networks alone, checked and run by the runtime's own code, before there is anything fitted to go with them."""
    labels, dim, channels = len(fields["labels"]), fields["embedding_dim"], fields["feature_layer"]["shape_hwc"][2]
    draft = write(folder, {**fields, "clusters": {"count": 1, "top_channels": 1}}, feature_map, embedding,
                  np.eye(1, dim), np.zeros((1, channels)), np.eye(labels, dim))
    return load_networks(draft, reference_kernels=True)


def write_manifest(folder: Path, fields: dict[str, Any]) -> Bundle:
    """(Re)write manifest.json over the files that are in `folder`, and re-open the bundle as the device would."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {}
    for name in names:
        content = (folder / name).read_bytes()
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest = {"schema": SCHEMA, **fields, "files": files}
    (folder / MANIFEST).write_text(json.dumps(measurable(manifest), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return load_bundle(folder)


def pack(models: Path, out: Path) -> Path:
    """A bundle folder without runtime -> out/<name>-<version>/ with it, and the same as .tar.gz; returns the folder."""
    bundle = load_bundle(models)
    target = out / f"{bundle.name}-{bundle.version}"
    with building(target) as folder:
        _copy(models, folder)
        add_runtime(folder)
        write_manifest(folder, _fields(bundle))
        tar(folder, target)
    return target


def ship(made: Path, models: Path) -> Path:
    """A bundle that `make export` made -> models/<name>/ without its runtime, and the float network beside it."""
    bundle = load_bundle(made)
    target = models / bundle.name
    with building(target) as folder:
        _copy(made, folder)
        write_manifest(folder, _fields(bundle))
        shutil.copyfile(made.with_name(f"{made.name}-float.keras"), folder / "float.keras")
    (target / "float.keras").replace(target.with_name(f"{target.name}-float.keras"))
    return target


def _copy(source: Path, folder: Path) -> None:
    for name in (*REQUIRED_FILES, *ANOMALY_FILES):
        if name in REQUIRED_FILES or (source / name).is_file():  # the latter two are of one task alone
            shutil.copyfile(source / name, folder / name)


def _fields(bundle: Bundle) -> dict[str, Any]:
    return {key: value for key, value in bundle.manifest.items() if key not in ("schema", "files")}


def add_runtime(folder: Path) -> None:
    """Put the runtime, its two text files and what installs it beside the networks: a copied folder runs by itself."""
    shutil.copytree(ROOT / "runtime", folder / "runtime", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copyfile(ROOT / "requirements" / "runtime.txt", folder / "requirements.txt")
    shutil.copyfile(Path(__file__).with_name("bundle_readme.md"), folder / "README.md")
    for name in ON_THE_PI:
        shutil.copy(ROOT / "scripts" / name, folder / name)  # with its mode: pi_install.sh is a program


def tar(folder: Path, target: Path) -> None:
    """target.tar.gz of a folder, the same bytes for the same files: no times, no owners, sorted."""
    partial = target.with_name(f".{target.name}.tar.gz")

    def neutral(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime, member.uid, member.gid, member.uname, member.gname = 0, 0, 0, "", ""
        return member

    try:
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            for path in sorted(folder.rglob("*")):
                tar.add(path, f"{target.name}/{path.relative_to(folder)}", recursive=False, filter=neutral)
        partial.write_bytes(gzip.compress(plain.getvalue(), mtime=0))
        os.replace(partial, target.with_name(target.name + ".tar.gz"))
    finally:
        partial.unlink(missing_ok=True)


def tools() -> dict[str, str]:
    """Versions of what made the bundle."""
    versions = {"python": platform.python_version()}
    for name in TOOLS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
