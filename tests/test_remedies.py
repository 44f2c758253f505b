"""The table of remedies: all rows on a network of a few weights, and bad input refused."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from calibration.compare import Fidelity
from calibration.heldout import HeldOut
from export import model
from export.__main__ import main
from export.augment import Batch
from export.studies import remedies
from runtime.bundle import load_bundle

TINY = Path(__file__).parent.parent / "models" / "tiny"
FRAMES = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), np.uint8)


def network() -> keras.Model:
    """Batch norm and ReLU6, in the shapes of the tiny bundle: 16x16 px -> 4x4x8 -> 8."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 4, strides=4, use_bias=False)(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(x))
    feature_map = layers.ReLU(6.0, name="feature_map")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(feature_map)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, use_bias=False)(x))
    return keras.Model(image, [feature_map, layers.GlobalAveragePooling2D()(x)])


def batches(count: int = 2) -> list[Batch]:
    return [Batch(FRAMES[:8], np.arange(8, dtype=np.int32) % 4, np.full((8, 4, 4), 0.5, np.float32), np.ones(8, np.float32))
            for _ in range(count)]


@pytest.fixture(scope="module")
def found():
    frames = [HeldOut(frame, f"mine/gu/{i}.png", "gu", (2.0, 2.0, 9.0, 9.0)) for i, frame in enumerate(FRAMES)]
    trial = remedies.Trial(load_bundle(TINY), network(), model.normalise(FRAMES), batches, 2, frames)
    return remedies.compare(trial)


def test_every_remedy_has_a_row(found):
    assert [row.remedy for row in found.rows] == [
        "plain", "folded", "folded, equalised", "folded, bias-corrected", "folded, equalised, bias-corrected",
        "folded, rounded adaptively, bias-corrected", "distilled, 2 batches",
        "trained 2 batches more, activations not rounded; then adaptively",
        "trained 2 batches more, activations rounded; then adaptively"]


def test_rows_share_the_float_network_and_stay_near_it(found):
    assert len({row.accuracy_float for row in found.rows[:-2]}) == 1, "the last two are trained on"
    assert all(0.9 < row.cosine_mean <= 1 and row.seconds > 0 for row in found.rows)
    assert found.equalised_float.embedding_cosine_worst == pytest.approx(1, abs=1e-4)


def test_a_remedy_is_judged_with_the_bundles_own_arrays():
    bundle = load_bundle(TINY)
    made = remedies.to_int8(bundle, network(), model.normalise(FRAMES))
    assert made.prototypes is bundle.prototypes and made.cluster_weights is bundle.cluster_weights
    assert made.feature_map_tflite != bundle.feature_map_tflite and made.embedding_tflite != bundle.embedding_tflite


# --- what is written ------------------------------------------------------------------------------------------------------

ROW = remedies.Row("folded", 0.9912, 0.75, 0.5, 0.96, 0.95, 0.94, 0.97, 0.9, 12.4)


def test_text_has_a_row_a_remedy_and_says_what_equalisation_changed():
    kept = Fidelity(0.9, 0.999999, 0.99, 1.0, 0.75, 0.0, 1.0, 0.0, 1.0, 0.1)
    heading, row, last = remedies.text(remedies.Comparison([ROW], kept)).splitlines()
    assert heading.split()[:3] == ["remedy", "cosine", "mean"] and heading.endswith("seconds")
    assert row.split() == ["folded", "0.9912", "0.7500", "0.5000", "0.9600", "0.9500", "0.9400", "0.9700", "0.9000", "12"]
    assert "cosine 0.999999, worst 0.990000; same label 0.7500" in last


def test_csv_reads_back(tmp_path):
    remedies.write_csv(tmp_path / "new" / "rows.csv", [ROW])
    with (tmp_path / "new" / "rows.csv").open(newline="") as file:
        read, = csv.DictReader(file)
    assert read["remedy"] == "folded" and float(read["cosine_worst"]) == 0.5 and float(read["seconds"]) == 12


# --- what is refused ------------------------------------------------------------------------------------------------------


def test_no_batches_are_refused(capsys):
    assert main(["remedies", "--int8-steps", "0"]) == 2
    assert "expected at least one batch" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"not weights"])
def test_weights_that_cannot_be_read_are_refused(tmp_path, capsys, content):
    weights = tmp_path / "mine.weights.h5"
    if content:
        weights.write_bytes(content)
    assert main(["remedies", "--bundle", str(TINY), "--init", str(weights)]) == 2
    assert "mine.weights.h5 does not fit" in capsys.readouterr().err


def test_a_network_of_another_shape_than_the_bundle_is_refused(capsys, monkeypatch):
    other = model.build("mobilenet_v2_0.35", "random", (32, 32))
    monkeypatch.setattr(model, "build", lambda *_: other)
    assert main(["remedies", "--bundle", str(TINY), "--init", "random"]) == 2
    assert "the bundle's ((4, 4, 8), 8); give --bundle the one made from these weights" in capsys.readouterr().err


def test_a_missing_bundle_is_refused(tmp_path, capsys):
    assert main(["remedies", "--bundle", str(tmp_path / "nowhere")]) == 3
    assert "no bundle there" in capsys.readouterr().err


def test_photos_of_other_labels_are_refused(tmp_path, capsys, monkeypatch):
    import cv2
    for label in ("red", "blue"):
        (tmp_path / label).mkdir()
        for i in range(4):
            cv2.imwrite(str(tmp_path / label / f"IMG_{i}.png"), np.full((48, 48, 3), 40 * i, np.uint8))
    monkeypatch.setattr(remedies, "float_network", lambda bundle, init: network())
    assert main(["remedies", "--bundle", str(TINY), "--data", str(tmp_path)]) == 2
    assert "the photos' labels are blue, red, none, the bundle's gu, choki, pa, none" in capsys.readouterr().err
