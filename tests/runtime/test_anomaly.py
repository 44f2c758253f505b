"""Anomaly detection on models/tiny made into an anomaly bundle: grey frames are normal, a coloured patch is a defect."""
from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.anomaly_pipeline import (
    COLD_HEAT,
    EMBEDDING_SHARE,
    AnomalyPipeline,
    PatchDistance,
    deviations,
    farthest_mean,
    open_pipeline,
    patch_heat,
    probability,
    smoothed,
)
from runtime.bundle import load_bundle
from runtime.errors import BundleError, FrameError
from runtime.image import stretch_2x2
from runtime.interpreter import load_networks
from runtime.pipeline import Pipeline
from runtime.quantize import dequantize, pixel_table
from runtime.scoring import unit_length

SECTION = {"scorer": "both", "embedding": [0.01, 0.05], "patch": [0.05, 0.1], "top_cells": 3, "threshold": 3.0, "cold": 0.5,
           "hot": 4.0}


def npy(array: np.ndarray, path: Path) -> bytes:
    np.save(path, array.astype(np.float32), allow_pickle=False)
    return path.read_bytes()


@pytest.fixture
def anomaly_copy(bundle_copy, tmp_path):
    """The tiny bundle with what its networks say of grey frames stored as normal."""
    tiny = load_bundle(bundle_copy.path)
    networks = load_networks(tiny)
    table = pixel_table(tiny.subtract, tiny.divide, networks.image_quantization)
    said = [networks(table[stretch_2x2(np.full((48, 64, 3), grey, np.uint8), tiny.size_wh)]) for grey in range(0, 256, 15)]
    cells = dequantize(np.stack([m for m, _ in said]), networks.feature_quantization).reshape(-1, tiny.feature_shape_hwc[2])
    normals = np.stack([unit_length(dequantize(e, networks.embedding_quantization)) for _, e in said])
    patches = np.unique(cells, axis=0)
    places = np.stack([np.zeros(tiny.feature_shape_hwc[:2]), np.ones(tiny.feature_shape_hwc[:2])])
    for name, array in (("normals", normals), ("whitening", np.eye(tiny.embedding_dim)), ("patches", patches),
                        ("places", places), ("prototypes", tiny.prototypes[[0, 3]])):
        bundle_copy.write(f"{name}.npy", npy(array, tmp_path / f"{name}.npy"))
    bundle_copy.edit("task", "anomaly")
    bundle_copy.edit("labels", ["defect", "none"])
    bundle_copy.edit("anomaly", {**SECTION, "normals": len(normals), "patches": len(patches),
                                 "patch_channels": patches.shape[1]})
    return bundle_copy


@pytest.mark.parametrize("scorer", ["both", "patch", "embedding"])
def test_a_patch_of_colour_is_a_defect_and_grey_is_not(anomaly_copy, draw_frame, scorer):
    anomaly_copy.edit("anomaly.scorer", scorer)
    pipeline = open_pipeline(anomaly_copy.path)
    assert isinstance(pipeline, AnomalyPipeline)
    normal = pipeline(draw_frame("none"))
    assert (normal.label, normal.box_xyxy, normal.peak_xy) == ("none", None, None)
    assert normal.score == pytest.approx(1 - normal.scores["defect"]) and normal.scores["defect"] < 0.5
    defect = pipeline(draw_frame("gu"))
    assert defect.label == "defect" and defect.score == defect.scores["defect"] > 0.5
    x, y = defect.peak_xy
    assert 16 <= x < 32 and 12 <= y < 24
    assert defect.heat.max() > 5 * normal.heat.max()


def test_a_normal_frame_stays_cold_whatever_its_grey(anomaly_copy):
    pipeline = open_pipeline(anomaly_copy.path)
    for grey in (0, 90, 255):
        assert pipeline(np.full((48, 64, 3), grey, np.uint8)).heat.max() <= COLD_HEAT


def test_no_frame_is_refused_in_words(anomaly_copy):
    with pytest.raises(FrameError, match="no frame came"):
        open_pipeline(anomaly_copy.path)(None)


def test_a_classifying_bundle_gets_its_own_pipeline(tiny_path):
    assert type(open_pipeline(tiny_path)) is Pipeline


def test_nearest_patch_by_hand():
    distance = PatchDistance(np.float32([[0, 0], [3, 4]]))
    cells = np.float32([[[0, 0], [3, 4]], [[6, 8], [0, 1]]])
    np.testing.assert_allclose(distance(cells), [[0, 0], [5, 1]], atol=1e-3)


def test_patches_of_fewer_channels_are_compared_with_the_first_ones():
    np.testing.assert_allclose(PatchDistance(np.float32([[0, 0]]))(np.float32([[3, 4, 99]])), [5], atol=1e-3)


def test_smoothing_by_hand_keeps_the_mean_of_what_is_even():
    one = np.zeros((4, 5), np.float32)
    one[1, 2] = 36
    np.testing.assert_array_equal(smoothed(one)[:3, 1:4], [[1, 4, 1], [4, 16, 4], [1, 4, 1]])
    assert (smoothed(np.full((2, 4, 5), 3.0)) == 3).all()


def test_deviations_by_hand():
    of = {"embedding": (1.0, 0.5), "patch": (10.0, 2.0)}
    assert deviations("embedding", 2.0, 16.0, of) == 2 and deviations("patch", 2.0, 16.0, of) == 3
    assert deviations("both", 2.0, 16.0, of) == pytest.approx(2 * EMBEDDING_SHARE + 3 * (1 - EMBEDDING_SHARE))


def test_a_distance_that_is_usual_at_its_place_is_no_defect(anomaly_copy, draw_frame, tmp_path):
    """The same frame, once the place of its colour is known to be far from the patches on normal frames too."""
    anomaly_copy.edit("anomaly.scorer", "patch")
    strange = open_pipeline(anomaly_copy.path)(draw_frame("gu"))
    places = np.load(anomaly_copy.path / "places.npy")
    places[0] = strange.heat.max() * 10
    anomaly_copy.write("places.npy", npy(places, tmp_path / "places.npy"))
    usual = open_pipeline(anomaly_copy.path)(draw_frame("gu"))
    assert (strange.label, usual.label) == ("defect", "none") and usual.heat.max() == 0


def test_places_without_deviation_are_refused(anomaly_copy, tmp_path):
    places = 0 * np.load(anomaly_copy.path / "places.npy")
    anomaly_copy.write("places.npy", npy(places, tmp_path / "places.npy"))
    with pytest.raises(BundleError, match="places.npy: array.*deviations above 0"):
        load_bundle(anomaly_copy.path)


def test_farthest_mean_of_few_cells_and_of_more_than_there_are():
    distances = np.float32([[1, 5], [3, 2]])
    assert farthest_mean(distances, 2) == 4
    assert farthest_mean(distances, 9) == 2.75


def test_heat_meets_its_marks_and_never_falls(anomaly_copy):
    anomaly = load_bundle(anomaly_copy.path).anomaly
    heat = patch_heat(np.float32([[0, 0.25, 0.5, 4.0, 8.0]]), anomaly)[0]
    np.testing.assert_allclose(heat[:4], [0, COLD_HEAT / 2, COLD_HEAT, 1], atol=1e-6)
    assert (np.diff(heat) > 0).all()


def test_probability_is_a_half_at_the_threshold_and_does_not_overflow():
    assert probability(3.0, 3.0) == 0.5
    assert 0 < probability(-1e9, 3.0) < 1e-9 and probability(1e9, 3.0) > 1 - 1e-9


@pytest.mark.parametrize("field, value, words", [
    ("task", "guess", "one of classify, anomaly"),
    ("anomaly", None, "anomaly.normals"),
    ("anomaly.scorer", "best", "one of embedding, patch, both"),
    ("anomaly.embedding", [0.1, 0], "the latter above 0"),
    ("anomaly.patches", 3, "patches.npy: array"),
    ("anomaly.normals", 0, "a whole number above 0"),
    ("anomaly.patch_channels", 1000, "a whole number from 1 to"),
    ("anomaly.hot", 0.5, "above that of `cold`"),
    ("anomaly.threshold", None, "a number of deviations"),
])
def test_a_wrong_field_is_refused_and_named(anomaly_copy, field, value, words):
    anomaly_copy.edit(field, value)
    with pytest.raises(BundleError, match=words):
        load_bundle(anomaly_copy.path)


def test_a_spoilt_or_missing_file_is_refused(anomaly_copy):
    good = (anomaly_copy.path / "patches.npy").read_bytes()
    (anomaly_copy.path / "patches.npy").write_bytes(good[:-1] + b"x")
    with pytest.raises(BundleError, match="patches.npy: sha256"):
        load_bundle(anomaly_copy.path)
    manifest = json.loads((anomaly_copy.path / "manifest.json").read_text())
    del manifest["files"]["patches.npy"]
    (anomaly_copy.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="whitening.npy, patches.npy, places.npy among them"):
        load_bundle(anomaly_copy.path)


def test_the_scorer_alone_decides_what_counts(anomaly_copy, draw_frame):
    bundle = load_bundle(anomaly_copy.path)
    never = replace(bundle, anomaly=replace(bundle.anomaly, scorer="patch", patch=(1e6, 1.0)))
    assert AnomalyPipeline(never, load_networks(bundle))(draw_frame("gu")).label == "none"


def test_anomaly_py_writes_json_lines(anomaly_copy, frames_npy, clean_environment, root):
    done = subprocess.run(
        [sys.executable, str(root / "runtime" / "anomaly.py"), "--bundle", str(anomaly_copy.path), "--display", "none",
         "--source", str(frames_npy), "--json", "-", "--render"],
        capture_output=True, text=True, timeout=60, env=clean_environment)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["defect", "defect", "defect", "none"]
