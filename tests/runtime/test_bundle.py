"""Each way a bundle can be wrong, and the words it is refused with."""
from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

import runtime.bundle
from runtime.bundle import CLUSTER_CENTERS, CLUSTER_WEIGHTS, MANIFEST, PROTOTYPES, default_bundle_path, load_bundle
from runtime.errors import BundleError


def npy(array: np.ndarray, **settings) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **settings)
    return stream.getvalue()


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    return str(caught.value)


def pack(folder: Path, target: Path, top: str) -> Path:
    with tarfile.open(target, "w:gz") as tar:
        tar.add(folder, arcname=top)
    return target


def test_an_empty_folder_has_no_manifest(tmp_path):
    words = f"manifest.json is missing: given {tmp_path}, expected a bundle with a manifest. Copy the bundle again"
    assert words in refusal(tmp_path)


def test_no_folder_at_all(tmp_path):
    words = refusal(tmp_path / "nowhere")
    assert f"no bundle there: given {tmp_path / 'nowhere'}, expected a bundle folder or .tar.gz" in words
    assert "--bundle" in words and "make export" in words


def test_a_good_bundle_comes_out_whole(tiny):
    assert (tiny.name, tiny.labels) == ("tiny", ("gu", "choki", "pa", "none"))
    assert (tiny.size_wh, tiny.feature_shape_hwc, tiny.embedding_dim) == ((16, 16), (4, 4, 8), 8)
    assert tiny.cluster_centers.shape == (3, 8) and tiny.cluster_weights.shape == (3, 8)
    assert tiny.prototypes.shape == (4, 8) and tiny.prototypes.dtype == np.float32


@pytest.mark.parametrize("top", ["tiny-0.1.0", "."])
def test_a_tarball_gives_the_same_bundle(tiny, tiny_path, tmp_path, top):
    packed = load_bundle(pack(tiny_path, tmp_path / "tiny.tar.gz", top))
    assert packed.manifest == tiny.manifest
    assert packed.feature_map_tflite == tiny.feature_map_tflite
    assert (packed.prototypes == tiny.prototypes).all()


@pytest.mark.parametrize("name", ["feature_map.tflite", "embedding.tflite", CLUSTER_CENTERS, CLUSTER_WEIGHTS, PROTOTYPES])
def test_a_missing_file_is_named(bundle_copy, name):
    size = (bundle_copy.path / name).stat().st_size
    (bundle_copy.path / name).unlink()
    assert f"{name} is missing: expected a file of {size} bytes. Copy the bundle again" in refusal(bundle_copy.path)


def test_a_cut_off_file_is_refused_by_its_size(bundle_copy):
    file = bundle_copy.path / "embedding.tflite"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    words = f"embedding.tflite: size: given {len(whole) - 1} bytes, expected {len(whole)} bytes. Copy the bundle again"
    assert words in refusal(bundle_copy.path)


def test_one_flipped_bit_is_refused_by_the_sha256(bundle_copy):
    file = bundle_copy.path / "feature_map.tflite"
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    words = refusal(bundle_copy.path)
    assert "feature_map.tflite: sha256: given " in words and "Copy the bundle again" in words


def test_a_file_of_the_packed_runtime_is_checked_too(bundle_copy):
    (bundle_copy.path / "runtime").mkdir()
    bundle_copy.write("runtime/pipeline.py", b"print()\n")
    load_bundle(bundle_copy.path)
    (bundle_copy.path / "runtime" / "pipeline.py").write_bytes(b"print(1)")
    assert "runtime/pipeline.py: sha256" in refusal(bundle_copy.path)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("schema", 2, "manifest.json: schema: given 2, expected 1. Build the bundle anew"),
        ("task", "detect", 'given "detect", expected one of classify, anomaly'),
        ("name", "", 'name: given "", expected a name'),
        ("version", None, "version: given null, expected a version"),
        ("labels", [], "labels: given [], expected different names"),
        ("labels", ["gu", "gu"], 'given ["gu", "gu"]'),
        ("labels", ["none", "gu"], "'none' only last"),
        ("labels", ["none"], "a hand class first"),
        ("input", None, "input.channel_order: given null"),
        ("input.channel_order", "BGR", 'given "BGR", expected "RGB"'),
        ("input.crop", "centre", 'input.crop: given "centre", expected "whole"'),
        ("input.resize", "area", 'input.resize: given "area", expected "stretch-2x2"'),
        ("input.size_wh", [96], "input.size_wh: given [96], expected [width, height]"),
        ("input.size_wh", [96, 0], "input.size_wh: given [96, 0]"),
        ("input.scaling.subtract", "128", 'subtract: given "128", expected a number'),
        ("input.scaling.divide", 0, "divide: given 0, expected a number other than 0"),
        ("feature_layer.shape_hwc", [4, 4], "feature_layer.shape_hwc: given [4, 4], expected [rows, columns, channels]"),
        ("embedding_dim", True, "embedding_dim: given true"),
        ("score_scale", -16, "score_scale: given -16, expected a number above 0"),
        ("thresholds.reject", 2, "thresholds.reject: given 2, expected a cosine"),
        ("thresholds.reject", float("nan"), "thresholds.reject: given NaN"),
        ("thresholds.closer", -0.1, "thresholds.closer: given -0.1, expected a cosine, 0 to 2"),
        ("thresholds.closer", "much", "thresholds.closer: given \"much\""),
        ("thresholds.box", 0, "thresholds.box: given 0, expected a fraction above 0"),
        ("clusters.count", "3", 'clusters.count: given "3"'),
        ("files", {}, "files: given {}, expected files of the bundle with sha256 and bytes"),
        ("files.embedding.tflite", {}, "files: given"),
    ],
)
def test_a_wrong_field_of_the_manifest_is_named_with_what_was_expected(bundle_copy, field, value, words):
    if field == "files.embedding.tflite":
        bundle_copy.edit("files", {**load_bundle(bundle_copy.path).manifest["files"], "embedding.tflite": value})
    else:
        bundle_copy.edit(field, value)
    assert words in refusal(bundle_copy.path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_a_manifest_that_is_no_manifest(bundle_copy, content):
    (bundle_copy.path / MANIFEST).write_bytes(content)
    assert refusal(bundle_copy.path).startswith("manifest.json")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../b", "a\\b", "./x", ""])
def test_a_name_that_could_lead_out_of_the_bundle_is_refused(bundle_copy, name):
    files = load_bundle(bundle_copy.path).manifest["files"]
    bundle_copy.edit("files", {**files, name: files[PROTOTYPES]})
    assert "files: given" in refusal(bundle_copy.path)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        (CLUSTER_CENTERS, np.zeros((3, 7), np.float32), "given float32 (3, 7), expected float32 (3, 8)"),
        (CLUSTER_CENTERS, np.zeros((2, 8), np.float32), "given float32 (2, 8), expected float32 (3, 8)"),
        (CLUSTER_CENTERS, np.zeros((3, 8), np.float32), "given rows of length 0.0000 to 0.0000"),
        (CLUSTER_WEIGHTS, np.zeros((3, 8), np.float64), "given float64 (3, 8), expected float32 (3, 8)"),
        (CLUSTER_WEIGHTS, np.full((3, 8), np.nan, np.float32), "given a value that is not finite"),
        (PROTOTYPES, np.eye(3, 8, dtype=np.float32), "given float32 (3, 8), expected float32 (4, 8)"),
        (PROTOTYPES, 2 * np.eye(4, 8, dtype=np.float32), "given rows of length 2.0000 to 2.0000"),
    ],
)
def test_an_array_that_does_not_fit_is_named_with_its_shape(bundle_copy, name, array, words):
    bundle_copy.write(name, npy(array))
    assert f"{name}: array: {words}" in refusal(bundle_copy.path)


NPZ = io.BytesIO()
np.savez(NPZ, np.zeros((3, 8), np.float32))


@pytest.mark.parametrize("content", [b"?", b"no npy", npy(np.zeros((3, 8), np.float32))[:-4], NPZ.getvalue()])
def test_an_array_file_that_is_none_is_refused(bundle_copy, content):
    bundle_copy.write(CLUSTER_WEIGHTS, content)
    assert f"{CLUSTER_WEIGHTS}: not a plain array: given" in refusal(bundle_copy.path)


def test_a_file_that_is_no_tarball(tmp_path):
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(b"no gzip at all")
    assert f"{path}: the bundle cannot be read" in refusal(path)


def test_a_cut_off_tarball(tiny_path, tmp_path):
    path = pack(tiny_path, tmp_path / "tiny.tar.gz", "tiny")
    path.write_bytes(path.read_bytes()[:-500])
    assert "Copy the bundle again" in refusal(path)


def test_links_in_a_tarball_count_as_missing(tiny_path, tmp_path):
    path = tmp_path / "tiny.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for file in tiny_path.iterdir():
            if file.name != PROTOTYPES:
                tar.add(file, arcname=file.name)
        link = tarfile.TarInfo(PROTOTYPES)
        link.type, link.linkname = tarfile.SYMTYPE, str(tiny_path / PROTOTYPES)
        tar.addfile(link)
    assert f"{PROTOTYPES} is missing" in refusal(path)


def test_reading_a_tarball_writes_nothing(tiny_path, tmp_path, monkeypatch):
    path = pack(tiny_path, tmp_path / "tiny.tar.gz", "../../escape")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.parent.rglob("*"))
    load_bundle(path)
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_the_default_is_the_bundle_around_the_runtime_else_models_janken(tmp_path, monkeypatch):
    module = tmp_path / "runtime" / "bundle.py"
    monkeypatch.setattr(runtime.bundle, "__file__", str(module))
    assert default_bundle_path() == tmp_path / "models" / "janken"
    (tmp_path / MANIFEST).write_text("{}")
    assert default_bundle_path() == tmp_path
