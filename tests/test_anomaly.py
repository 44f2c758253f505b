"""Anomaly detection on the workstation: drawn rings, twins, folders, metrics by hand, and one small run to a bundle."""

import json

import cv2
import numpy as np
import pytest

from calibration import anomaly as metrics
from calibration import anomaly_photos
from export import bundle
from export.__main__ import main
from export.anomaly import fit, network, rings, twins
from export.anomaly.fit import Outputs
from runtime.anomaly_pipeline import open_pipeline
from runtime.bundle import ANOMALY_FILES, SCORERS, load_bundle

# --- rings and twins ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["good", *rings.DEFECTS])
def test_a_ring_and_its_mask(kind):
    for seed in range(8):
        ring = rings.draw(np.random.default_rng(seed), kind)
        assert ring.frame_rgb.dtype == np.uint8 and ring.frame_rgb.shape == (*ring.mask.shape, 3)
        assert bool(ring.mask.any()) == (kind != "good")
        dark = ring.frame_rgb.mean(axis=2) < ring.frame_rgb.mean() - 40
        assert 0.005 < dark.mean() < 0.2
        if kind in ("stroke", "dot"):
            assert dark[ring.mask > 0].any()  # ink that should not be there


def test_rings_repeat_by_seed():
    a, b, c = rings.defective(3, 1), rings.defective(3, 1), rings.defective(3, 2)
    assert [r.kind for r in a] == list(rings.DEFECTS)
    assert all(np.array_equal(x.frame_rgb, y.frame_rgb) for x, y in zip(a, b))
    assert not np.array_equal(a[0].frame_rgb, c[0].frame_rgb)


def test_a_gap_takes_ink_away():
    ring = rings.draw(np.random.default_rng(5), "gap")
    light = ring.frame_rgb.mean(axis=2)
    middle = cv2.erode(ring.mask, np.ones((2 * rings.MARGIN + 1,) * 2)) > 0
    assert middle.any() and light[middle].mean() > light.mean() - 25


@pytest.mark.parametrize("kind", twins.kinds())
def test_a_twin_differs_where_its_mask_says(kind):
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 256, (12, 12, 3), np.uint8), (96, 96), interpolation=cv2.INTER_CUBIC)
    for _ in range(5):
        twin = twins.twin(photo, rng, [kind])
        assert twin.kind == kind and twin.frame_rgb.shape == photo.shape
        differs = np.abs(twin.frame_rgb.astype(int) - photo).max(axis=2) >= twins.LEAST_CHANGE
        assert differs.mean() >= twins.LEAST_SHARE
        assert (twin.mask[differs] == 255).all()
        assert (twin.mask > 0).sum() <= 4 * differs.sum() + 40


def test_the_halves_of_the_kinds_are_apart_and_each_shows_every_shape_and_filling():
    halves = [twins.kinds(parity) for parity in (0, 1)]
    assert not set(halves[0]) & set(halves[1]) and set(halves[0]) | set(halves[1]) == set(twins.kinds())
    for half in halves:
        assert {shape for shape, _ in half} == set(twins.SHAPES) and {filling for _, filling in half} == set(twins.FILLINGS)


# --- folders --------------------------------------------------------------------------------------------------------------


def write(path, count=1, value=90):
    path.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(path / f"{i:03d}.png"), np.full((40, 50, 3), value, np.uint8))


def test_mvtec_layout_with_its_masks(tmp_path):
    write(tmp_path / "train" / "good", 12)
    write(tmp_path / "test" / "good", 2)
    write(tmp_path / "test" / "scratch", 2)
    (tmp_path / "ground_truth" / "scratch").mkdir(parents=True)
    mask = np.zeros((40, 50), np.uint8)
    mask[:20] = 255
    cv2.imwrite(str(tmp_path / "ground_truth" / "scratch" / "000_mask.png"), mask)
    photos = anomaly_photos.read(tmp_path)
    assert len(photos.train) == 12 and [s.kind for s in photos.test] == ["good", "good", "scratch", "scratch"]
    assert photos.test[0].mask.max() == 0 and photos.test[3].mask is None
    assert photos.test[2].mask[:120].min() == 255 and photos.test[2].mask[136:].max() == 0
    assert photos.test[2].frame_rgb().shape == (40, 50, 3)


def test_flat_layout_and_a_plain_folder_of_normal_photos(tmp_path):
    write(tmp_path / "a" / "train_good", 10)
    write(tmp_path / "a" / "test_good", 1)
    write(tmp_path / "a" / "test_broken", 3)
    assert [s.kind for s in anomaly_photos.read(tmp_path / "a").test] == ["broken"] * 3 + ["good"]
    write(tmp_path / "b" / "monday", 6)
    write(tmp_path / "b" / "tuesday", 6)
    plain = anomaly_photos.read(tmp_path / "b")
    assert len(plain.train) == 12 and plain.test == []


def test_unusable_folders_end_with_2_and_words(tmp_path, capsys):
    write(tmp_path / "few", 3)
    (tmp_path / "few" / "broken.jpg").write_bytes(b"not a photo")
    assert main(["--task", "anomaly", "--data", str(tmp_path / "few")]) == 2
    said = capsys.readouterr().err
    assert "holds 3 readable photos; at least 10" in said and "broken.jpg" in said
    assert main(["--task", "anomaly", "--data", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["--task", "anomaly", "--data", str(tmp_path), str(tmp_path)]) == 2
    assert "takes one folder" in capsys.readouterr().err


# --- what is fitted -------------------------------------------------------------------------------------------------------


def test_a_coreset_takes_what_lies_apart():
    cells = np.float32([[0, 0]] * 50 + [[10, 0], [0, 10]])
    assert {tuple(row) for row in fit.coreset(cells, 3, seed=0)} == {(0, 0), (10, 0), (0, 10)}
    np.testing.assert_array_equal(fit.coreset(cells[:2], 5, seed=0), cells[:2])


def test_views_of_one_photo_do_not_judge_each_other():
    """Each photo is unlike all others, and its views are equal: nothing else would be near it."""
    maps = np.repeat(10 * np.eye(6, dtype=np.float32)[:, None, None], 2, axis=0) * np.ones((1, 4, 4, 1), np.float32)
    embeddings = np.repeat(np.eye(6, dtype=np.float32), 2, axis=0)
    found = fit.unseen(Outputs(maps, embeddings, np.repeat(np.arange(6), 2)), seed=0)
    np.testing.assert_allclose(found.cells, np.sqrt(200), rtol=1e-4)
    assert found.embedding.min() > 1


def test_whitened_embeddings_vary_alike_in_all_directions():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4000, 3)) @ np.array([[5, 1, 0], [0, 1, 0.2], [0, 0, 1]])
    np.testing.assert_allclose(np.cov((rows @ fit.whiten(rows)).T), np.eye(3), atol=0.05)


def test_what_is_usual_is_told_by_the_distance_from_the_edge():
    cells = np.random.default_rng(0).normal(1, 0.1, (200, 12, 14))
    cells[:, 0], cells[:, 5, 6] = cells[:, 0] + 4, cells[:, 5, 6] + 4
    mean, deviation = fit.usual(cells)
    assert mean[0, 5] == mean[-1, 5] == mean[5, 0] > 2 and abs(mean[1, 1] - 1) < 0.05
    assert mean[5, 6] == mean[4, 4] < 1.2  # inside, a single place has no say
    assert (fit.by_place(cells, np.stack([mean, deviation]))[:, 6, 7] < 3).all()


def test_the_threshold_is_three_deviations_away_and_further_for_few_photos():
    values = np.random.default_rng(0).normal(5, 2, 4000)
    assert fit.threshold(values, 4000) == pytest.approx(11, abs=0.2)
    assert fit.threshold(values, 10) > 12.5


def test_components_centre_the_map_and_keep_what_varies():
    rng = np.random.default_rng(0)
    fine, coarse = rng.normal(7, 0.1, (6, 8, 8, 96)), rng.normal(-2, 0.1, (6, 4, 4, 48))
    fine[..., 0] += rng.normal(0, 3, (6, 8, 8))
    of_fine, of_coarse, offset = network.components(fine, coarse, rng)
    assert of_fine.shape == (96, network.KEPT) and of_coarse.shape == (48, network.KEPT)
    mean = fine.mean(axis=(0, 1, 2)) @ of_fine + coarse.mean(axis=(0, 1, 2)) @ of_coarse + offset
    np.testing.assert_allclose(mean, network.MIDDLE, atol=1e-6)
    loud, faint = np.linalg.norm(of_fine[0]) * 3, np.linalg.norm(of_fine[1:], axis=1) * 0.1
    assert loud > 3 * faint.max()  # and yet not thirty times, as their deviations are
    assert loud < 20 * faint.max()


def test_heat_scale_keeps_its_marks_apart():
    scale = fit.heat_scale(np.full((2, 3, 3), 2.0), np.array([0.5, 0.6]))
    assert scale == {"cold": 2.0, "hot": 2.5}


# --- metrics by hand ------------------------------------------------------------------------------------------------------


def test_auroc_by_hand():
    assert metrics.image_auroc([1, 2, 3, 4], np.array([False, True, False, True])) == 0.75
    assert np.isnan(metrics.image_auroc([1, 2], np.array([False, False])))


def test_pro_counts_regions_alike_however_large():
    """One large region is found whole, one small not at all: half, though nearly all defective pixels are found."""
    mask = np.zeros((1, 40, 40), bool)
    mask[0, :20, :20], mask[0, 30, 30] = True, True
    maps = np.zeros((1, 40, 40), np.float32)
    maps[0, :20, :20], maps[0, 30, 30] = 2, -1
    maps[0][~mask[0]] = np.linspace(0, 1, (~mask).sum())
    assert metrics.pro(maps, mask) == pytest.approx(0.5, abs=0.01)
    assert metrics.pro(np.where(mask, 2, maps), mask) == pytest.approx(1.0, abs=0.01)
    assert np.isnan(metrics.pro(maps, np.zeros_like(mask)))


# --- one small run --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """As little as runs: what comes out need not be good."""
    whole, broken = rings.good, rings.defective
    for name, value in {"PAIRS": 24, "HELD_PAIRS": 12, "FRAMES": 12, "REPRESENTATIVE": 16}.items():
        monkeypatch.setattr(f"export.anomaly.build.{name}", value)
    monkeypatch.setattr("export.anomaly.rings.good", lambda count, seed: whole(12, seed))
    monkeypatch.setattr("export.anomaly.rings.defective", lambda count, seed: broken(6, seed))


def test_rings_to_bundle(tmp_path, small, capsys):
    """The way from drawn rings to a bundle that opens, answers, is packed, and says how well each scorer does."""
    assert main(["--task", "anomaly", "--out", str(tmp_path), "--steps", "3", "--clusters", "2", "--size", "96"]) == 0
    target = tmp_path / "rings-0.1.0"
    made = load_bundle(target)
    assert made.task == "anomaly" and made.labels == ("defect", "none")
    assert made.anomaly.patches.shape[1] == network.KEPT < made.feature_shape_hwc[2]
    assert np.count_nonzero(made.cluster_weights[:, :network.KEPT]) == 0  # heat by the channels that learned, alone
    measured = made.manifest["metrics"]
    assert measured["scorer"] == made.anomaly.scorer and set(measured["choice"]) == set(SCORERS)
    assert all(0 <= measured[kind][scorer]["pixel_auroc"] <= 1 for kind in ("float", "int8") for scorer in metrics.COLUMNS)
    labelled = [scorer for scorer in metrics.COLUMNS if measured["int8"][scorer]["defects_found"] is not None]
    assert labelled == [made.anomaly.scorer]
    ring = rings.draw(np.random.default_rng(3))
    assert open_pipeline(target)(ring.frame_rgb).label in made.labels
    packed = bundle.pack(target, tmp_path / "packed")
    assert {*ANOMALY_FILES, "runtime/anomaly.py"} <= set(json.loads((packed / "manifest.json").read_text())["files"])
    assert "image_auroc" in capsys.readouterr().out


def test_without_test_photos_synthetic_defects_judge_and_are_named(tmp_path, small):
    (tmp_path / "photos").mkdir()
    for i, ring in enumerate(rings.good(12, 0)):
        cv2.imwrite(str(tmp_path / "photos" / f"{i:02d}.png"), ring.frame_rgb[..., ::-1])
    assert main(["--task", "anomaly", "--data", str(tmp_path / "photos"), "--out", str(tmp_path / "dist"), "--steps", "2",
                 "--clusters", "2", "--size", "96"]) == 0
    made = load_bundle(tmp_path / "dist" / "photos-0.1.0")
    assert made.manifest["metrics"]["frames"].startswith("SYNTHETIC")
    assert made.manifest["data"]["photos"] == 12 and made.manifest["data"]["held_out"] == 4
