"""The bundle, read side: a folder or the same folder as .tar.gz, checked whole before the first frame.

Everything is read into memory, the .tar.gz too: nothing is unpacked onto the disk, only regular files that the manifest
names are read, and the bytes whose sha256 was checked are the bytes that are used.
"""
from __future__ import annotations

import hashlib
import io
import json
import math
import posixpath
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Callable

import numpy as np
from numpy.lib import format as npy_format  # np.load would also take .npz and pickles

from .errors import BundleError
from .results import NONE_LABEL

SCHEMA = 1
MANIFEST = "manifest.json"
FEATURE_MAP = "feature_map.tflite"
EMBEDDING = "embedding.tflite"
CLUSTER_CENTERS = "cluster_centers.npy"
CLUSTER_WEIGHTS = "cluster_weights.npy"
PROTOTYPES = "prototypes.npy"
NORMALS, WHITENING, PATCHES, PLACES = "normals.npy", "whitening.npy", "patches.npy", "places.npy"
ANOMALY_FILES = (NORMALS, WHITENING, PATCHES, PLACES)  # of the task "anomaly" alone
REQUIRED_FILES = (FEATURE_MAP, EMBEDDING, CLUSTER_CENTERS, CLUSTER_WEIGHTS, PROTOTYPES)

TASKS = ("classify", "anomaly")
SCORERS = ("embedding", "patch", "both")

UNIT_TOLERANCE = 1e-3  # how far the length of a "unit" row may be from 1
GIVEN_LENGTH = 120  # an error shows no more of a manifest's value
COPY_AGAIN = "Copy the bundle again, or build it anew with `make export`."
REBUILD = "Build the bundle anew with `make export`, or use the runtime that came with it."


@dataclass(frozen=True)
class Anomaly:
    """What the task "anomaly" needs besides: how far a frame may be from the normal ones. N stored normals, M patches.

    Attributes:
        scorer: one of SCORERS, what judges; "both" is the two together, each in its own deviations.
        embedding, patch: (mean, deviation) of each distance over normal photos that it had not stored.
        top_cells: the patch distance of a frame is the mean over this many of its farthest cells.
        threshold: deviations above the mean from which on a frame has a defect.
        cold, hot: deviations of a cell from what is usual at its place: below `cold` nearly no colour, full heat at `hot`.
        normals: (N, D) float32, whitened embeddings.
        whitening: (D, D) float32: embedding @ whitening is compared with the normals.
        patches: (M, P) float32, the first P channels of cells of normal feature maps, dequantised.
        places: (2, h, w) float32: mean and deviation, at each place of the map, of a normal cell's distance to the patches.
    """

    scorer: str
    embedding: tuple[float, float]
    patch: tuple[float, float]
    top_cells: int
    threshold: float
    cold: float
    hot: float
    normals: np.ndarray = field(repr=False)
    whitening: np.ndarray = field(repr=False)
    patches: np.ndarray = field(repr=False)
    places: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check. L labels, D embedding values, K clusters, (h, w, C) feature map.

    Attributes:
        labels: L names, `none` last where there is one; row i of prototypes belongs to labels[i].
        size_wh: image size of the network, pixels.
        subtract, divide: network input = (pixel - subtract) / divide.
        score_scale: ArcFace's s.
        reject: least cosine to the best hand's prototype.
        box_threshold: where the box ends, as a fraction of the heat's peak.
        closer: a frame whose nearest label leads by less, in cosine, or whose hand is small, is looked at closer; 0, in bundles
            that say nothing: none is.
        feature_map_tflite, embedding_tflite: the models, as bytes.
        cluster_centers, prototypes: (K, D) and (L, D) float32, rows of unit length.
        cluster_weights: (K, C) float32.
        manifest: the whole manifest.json.
        anomaly: of the task "anomaly" alone.
    """

    name: str
    version: str
    task: str
    labels: tuple[str, ...]
    size_wh: tuple[int, int]
    subtract: float
    divide: float
    feature_shape_hwc: tuple[int, int, int]
    embedding_dim: int
    score_scale: float
    reject: float
    box_threshold: float
    closer: float
    feature_map_tflite: bytes = field(repr=False)
    embedding_tflite: bytes = field(repr=False)
    cluster_centers: np.ndarray = field(repr=False)
    cluster_weights: np.ndarray = field(repr=False)
    prototypes: np.ndarray = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)
    anomaly: Anomaly | None = None


def default_bundle_path() -> Path:
    """The folder above runtime/ when it is itself a bundle, else the janken bundle of the checkout."""
    above = Path(__file__).resolve().parent.parent
    return above if (above / MANIFEST).is_file() else above / "models" / "janken"


def load_bundle(path: str | Path) -> Bundle:
    """Read a bundle folder or .tar.gz.

    Raises:
        BundleError: not there, a file missing, damaged, or not what the manifest or the contract says.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read(path, _Folder(path))
        if path.is_file():
            with tarfile.open(path, "r:gz") as tar:
                return _read(path, _Tarball(tar))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BundleError(
            f"{path}: the bundle cannot be read", given=error, expected="a bundle folder or .tar.gz", remedy=COPY_AGAIN
        ) from error
    raise BundleError(
        "no bundle there",
        given=path,
        expected="a bundle folder or .tar.gz",
        remedy="Give one with --bundle, or build one with `make export`.",
    )


class _Folder:
    def __init__(self, folder: Path):
        self._folder = folder

    def size(self, name: str) -> int | None:
        file = self._folder / name
        return file.stat().st_size if file.is_file() else None

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()


class _Tarball:
    """A .tar.gz that holds the bundle's files directly or in one folder. Links and devices count as missing."""

    def __init__(self, tar: tarfile.TarFile):
        self._tar = tar
        members = {posixpath.normpath(member.name): member for member in tar.getmembers() if member.isfile()}
        manifests = [name for name in members if posixpath.basename(name) == MANIFEST]
        top = min(manifests, key=lambda name: name.count("/"), default=MANIFEST)[: -len(MANIFEST)]
        self._members = {name[len(top) :]: member for name, member in members.items() if name.startswith(top)}

    def size(self, name: str) -> int | None:
        return self._members[name].size if name in self._members else None

    def read(self, name: str) -> bytes:
        with self._tar.extractfile(self._members[name]) as file:
            return file.read()


def _read(path: Path, files: _Folder | _Tarball) -> Bundle:
    if files.size(MANIFEST) is None:
        raise BundleError(f"{MANIFEST} is missing", given=path, expected="a bundle with a manifest", remedy=COPY_AGAIN)
    try:
        manifest = json.loads(files.read(MANIFEST).decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{MANIFEST} is damaged", given=error, expected="JSON in UTF-8", remedy=COPY_AGAIN) from error
    fields = _read_fields(manifest)
    content = {name: _checked_bytes(files, name, entry) for name, entry in manifest["files"].items()}
    labels, dim = len(fields["labels"]), fields["embedding_dim"]
    clusters = manifest["clusters"]["count"]
    height, width, channels = fields["feature_shape_hwc"]
    anomaly = fields.pop("anomaly")
    if anomaly:
        stored = manifest["anomaly"]
        anomaly = Anomaly(
            **anomaly,
            normals=_array(content, NORMALS, (stored["normals"], dim), unit=False),
            whitening=_array(content, WHITENING, (dim, dim), unit=False),
            patches=_array(content, PATCHES, (stored["patches"], stored["patch_channels"]), unit=False),
            places=_places(content, (2, height, width)),
        )
    return Bundle(
        **fields,
        anomaly=anomaly,
        feature_map_tflite=content[FEATURE_MAP],
        embedding_tflite=content[EMBEDDING],
        cluster_centers=_array(content, CLUSTER_CENTERS, (clusters, dim), unit=True),
        cluster_weights=_array(content, CLUSTER_WEIGHTS, (clusters, channels), unit=False),
        prototypes=_array(content, PROTOTYPES, (labels, dim), unit=True),
        manifest=manifest,
    )


def _read_fields(manifest: Any) -> dict[str, Any]:
    """The manifest's fields that the runtime uses, each checked; keys are Bundle's attributes."""

    def need(path: str, accepts: Callable[[Any], bool], expected: str) -> Any:
        value = manifest
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not accepts(value):
            given = json.dumps(value)[:GIVEN_LENGTH]
            raise BundleError(f"{MANIFEST}: {path}", given=given, expected=expected, remedy=REBUILD)
        return value

    def constant(path: str, only: Any) -> None:
        need(path, lambda value: value == only, json.dumps(only))

    constant("schema", SCHEMA)
    task = need("task", lambda value: value in TASKS, f"one of {', '.join(TASKS)}")
    constant("input.channel_order", "RGB")
    constant("input.crop", "whole")
    constant("input.resize", "stretch-2x2")
    need("clusters.count", _is_count, "a whole number above 0")
    need("files", _is_file_table, f"files of the bundle with sha256 and bytes, among them {', '.join(REQUIRED_FILES)}")
    return {
        "name": need("name", _is_text, "a name"),
        "version": need("version", _is_text, "a version"),
        "task": task,
        "anomaly": _anomaly_fields(need) if task == "anomaly" else None,
        "labels": tuple(need("labels", _are_labels, f"different names, a hand class first, {NONE_LABEL!r} only last")),
        "size_wh": tuple(need("input.size_wh", lambda v: _are_counts(v, 2), "[width, height] in pixels")),
        "subtract": need("input.scaling.subtract", _is_number, "a number"),
        "divide": need("input.scaling.divide", lambda v: _is_number(v) and v != 0, "a number other than 0"),
        "feature_shape_hwc": tuple(
            need("feature_layer.shape_hwc", lambda v: _are_counts(v, 3), "[rows, columns, channels]")
        ),
        "embedding_dim": need("embedding_dim", _is_count, "a whole number above 0"),
        "score_scale": need("score_scale", lambda v: _is_number(v) and v > 0, "a number above 0"),
        "reject": need("thresholds.reject", lambda v: _is_number(v) and -1 <= v <= 1, "a cosine, -1 to 1"),
        "box_threshold": need("thresholds.box", lambda v: _is_number(v) and 0 < v <= 1, "a fraction above 0, up to 1"),
        "closer": need("thresholds.closer", lambda v: v is None or _is_number(v) and 0 <= v <= 2, "a cosine, 0 to 2") or 0.0,
    }


def _anomaly_fields(need: Callable[..., Any]) -> dict[str, Any]:
    """Those of the manifest's section "anomaly"; keys are Anomaly's attributes."""

    def spread(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[1] > 0

    need("files", lambda files: set(ANOMALY_FILES) <= set(files), f"files of the bundle, {', '.join(ANOMALY_FILES)} among them")
    need("anomaly.normals", _is_count, "a whole number above 0")
    need("anomaly.patches", _is_count, "a whole number above 0")
    channels = need("feature_layer.shape_hwc", lambda v: _are_counts(v, 3), "[rows, columns, channels]")[2]
    need("anomaly.patch_channels", lambda v: _is_count(v) and v <= channels, f"a whole number from 1 to {channels}")
    cold = need("anomaly.cold", lambda v: _is_number(v) and v > 0, "a number of deviations above 0")
    return {
        "scorer": need("anomaly.scorer", lambda v: v in SCORERS, f"one of {', '.join(SCORERS)}"),
        "embedding": tuple(need("anomaly.embedding", spread, "[mean, deviation], the latter above 0")),
        "patch": tuple(need("anomaly.patch", spread, "[mean, deviation], the latter above 0")),
        "top_cells": need("anomaly.top_cells", _is_count, "a whole number above 0"),
        "threshold": need("anomaly.threshold", _is_number, "a number of deviations"),
        "cold": cold,
        "hot": need("anomaly.hot", lambda v: _is_number(v) and v > cold, "a number of deviations above that of `cold`"),
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0  # not isinstance: True is an int too


def _are_counts(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(_is_count, value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are_labels(value: Any) -> bool:
    if not (isinstance(value, list) and value and all(map(_is_text, value)) and len(set(value)) == len(value)):
        return False
    return NONE_LABEL not in value[:-1] and value != [NONE_LABEL]


def _is_file_table(value: Any) -> bool:
    def is_entry(name: str, entry: Any) -> bool:
        path = PurePosixPath(name)
        inside = not path.is_absolute() and ".." not in path.parts and "\\" not in name and str(path) == name
        return inside and isinstance(entry, dict) and _is_text(entry.get("sha256")) and _is_count(entry.get("bytes"))

    complete = isinstance(value, dict) and set(REQUIRED_FILES) <= set(value)
    return complete and all(is_entry(*item) for item in value.items())


def _checked_bytes(files: _Folder | _Tarball, name: str, entry: dict[str, Any]) -> bytes:
    size = files.size(name)
    if size is None:
        raise BundleError(f"{name} is missing", expected=f"a file of {entry['bytes']} bytes", remedy=COPY_AGAIN)
    if size != entry["bytes"]:
        raise BundleError(f"{name}: size", given=f"{size} bytes", expected=f"{entry['bytes']} bytes", remedy=COPY_AGAIN)
    content = files.read(name)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry["sha256"]:
        raise BundleError(f"{name}: sha256", given=sha256, expected=entry["sha256"], remedy=COPY_AGAIN)
    return content


def _places(content: dict[str, bytes], shape: tuple[int, int, int]) -> np.ndarray:
    places = _array(content, PLACES, shape, unit=False)
    if places[1].min() <= 0:
        raise BundleError(f"{PLACES}: array", given=f"a deviation of {places[1].min():.4f}", expected="deviations above 0",
                          remedy=REBUILD)
    return places


def _array(content: dict[str, bytes], name: str, shape: tuple[int, ...], *, unit: bool) -> np.ndarray:
    expected = f"float32 {shape}, finite" + (", rows of length 1" if unit else "")
    try:
        array = npy_format.read_array(io.BytesIO(content[name]), allow_pickle=False)
    except ValueError as error:
        raise BundleError(f"{name}: not a plain array", given=error, expected=expected, remedy=REBUILD) from error
    if array.dtype != np.float32 or array.shape != shape:
        raise BundleError(f"{name}: array", given=f"{array.dtype} {array.shape}", expected=expected, remedy=REBUILD)
    if not np.isfinite(array).all():
        raise BundleError(f"{name}: array", given="a value that is not finite", expected=expected, remedy=REBUILD)
    if unit and np.abs((lengths := np.linalg.norm(array, axis=1)) - 1).max() > UNIT_TOLERANCE:
        raise BundleError(f"{name}: array", given=f"rows of length {lengths.min():.4f} to {lengths.max():.4f}",
                          expected=expected, remedy=REBUILD)
    return array
