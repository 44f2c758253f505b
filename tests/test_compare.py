"""Float against int8: figures on hand-made results, the gate, and `python -m calibration check` as a user meets it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration import compare, heldout, photos
from calibration.__main__ import held_out, main, newest_bundle, unseen
from calibration.heldout import HeldOut
from runtime.bundle import EMBEDDING, PROTOTYPES, load_bundle
from runtime.errors import BundleError, UsageError
from runtime.pipeline import Pipeline
from runtime.results import Box, Result

ROOT = Path(__file__).parent.parent
TINY, JANKEN, JANKEN_FLOAT = (ROOT / "models" / name for name in ("tiny", "janken", "janken-float.keras"))
PHOTOS, MORE_PHOTOS = (ROOT.parent / "shared" / name for name in ("janken_dataset", "hands_dataset"))
FRAME = np.zeros((80, 60, 3), np.uint8)
WARM, COLD = np.eye(3, dtype=np.float32), np.zeros((3, 3), np.float32)


def result(label: str, embedding=(1.0, 0.0), box=None, peak=None, heat=COLD) -> Result:
    return Result(label, 0.9, {label: 0.9}, (60, 80), box and Box(*box), peak, 0, heat, np.array(embedding, np.float32))


def hand(label: str = "gu", box=(0.0, 0.0, 40.0, 40.0)) -> HeldOut:
    return HeldOut(FRAME, f"mine/{label}/1.png", label, box)


NOTHING = HeldOut(FRAME, "mine/none/1.png", "none")

# --- quality --------------------------------------------------------------------------------------------------------------


def test_quality_of_nothing_is_unknown():
    known = asdict(compare.quality([], []))
    assert known.pop("frames") == 0 and known.pop("hands") == 0
    assert all(math.isnan(value) for value in known.values())


def test_quality_by_hand():
    frames = [hand("gu"), hand("gu"), hand("pa"), hand("pa", box=None), NOTHING, NOTHING]
    results = [result("gu", box=(0, 0, 40, 20), peak=(5, 5)), result("none"), result("pa", box=(20, 0, 60, 40), peak=(50, 5)),
               result("gu", box=(0, 0, 1, 1), peak=(0, 0)), result("none"), result("pa", box=(0, 0, 9, 9), peak=(1, 1))]
    found = compare.quality(frames, results)
    assert found.frames == 6
    assert found.accuracy == 3 / 6
    assert found.accuracy_by_label_mean == 0.5
    assert found.accuracy_hands == 2 / 4
    assert found.false_alarms == 1 / 2
    assert found.peak_inside == pytest.approx(1 / 3), "three hands have a known box: one peak in it, one missing, one beside"
    assert found.box_iou == pytest.approx((0.5 + 0 + 800 / 2400) / 3)
    assert found.looked_closer == 0
    assert compare.quality(frames, [replace(results[0], looks=2), *results[1:]]).looked_closer == 1 / 6


def test_the_mean_over_labels_weighs_rare_ones_alike():
    frames = [hand("gu")] * 9 + [hand("pa")]
    found = compare.quality(frames, [result("gu")] * 10)
    assert (found.accuracy, found.accuracy_by_label_mean) == (0.9, 0.5)
    assert math.isnan(found.false_alarms), "no frame without a hand can tell"


# --- fidelity -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return load_bundle(TINY)


def test_fidelity_of_equals(tiny):
    results = [result("gu", box=(0, 0, 9, 9), peak=(1, 1), heat=WARM), result("none")]
    found = compare.fidelity([hand(), NOTHING], results, results, tiny)
    assert (found.accuracy_int8, found.accuracy_drop, found.label_agreement) == (1, 0, 1)
    assert (found.embedding_cosine_mean, found.embedding_cosine_worst, found.heat_correlation) == pytest.approx((1, 1, 1))
    assert (found.peak_distance, found.box_iou) == (0, 1)
    assert found.size_mb == pytest.approx(sum(file.stat().st_size for file in TINY.glob("*.tflite")) / 1e6)


def test_fidelity_by_hand(tiny):
    of_float = [result("gu", (1, 0), (0, 0, 40, 40), (0, 0), WARM), result("pa", (0, 2)), result("none", (1, 1))]
    of_int8 = [result("gu", (3, 4), (0, 0, 40, 20), (30, 40), WARM), result("gu", (0, 1), (0, 0, 9, 9), (1, 1), WARM),
               result("none", (1, 1))]
    found = compare.fidelity([hand("gu"), hand("pa"), NOTHING], of_float, of_int8, tiny)
    assert found.embedding_cosine_mean == pytest.approx((0.6 + 1 + 1) / 3)
    assert found.embedding_cosine_worst == pytest.approx(0.6)
    assert found.embedding_cosine_worst_1_percent == pytest.approx(0.6 + 0.4 * 0.02), "1 % of the way from first to third"
    assert found.label_agreement == found.accuracy_int8 == pytest.approx(2 / 3)
    assert found.accuracy_drop == pytest.approx(1 / 3)
    assert (found.peak_distance, found.box_iou) == (0.5, 0.5), "only the first frame has both peaks; its diagonal is 100"


def test_an_int8_that_never_sees_a_hand_has_no_heat_to_compare(tiny):
    found = compare.fidelity([hand()], [result("gu", box=(0, 0, 9, 9), peak=(1, 1), heat=WARM)], [result("none")], tiny)
    assert math.isnan(found.heat_correlation) and math.isnan(found.peak_distance) and math.isnan(found.box_iou)
    assert not all(verdict.passed for verdict in compare.gate(found))


def test_the_float_pipeline_differs_in_its_networks_alone(tiny):
    """The stand-in gets the pixels as the Keras network was trained on them: (pixel - subtract) / divide."""
    seen = []

    class Model:
        def predict_on_batch(self, batch):
            seen.append(batch)
            return np.zeros((1, *tiny.feature_shape_hwc), np.float32), np.ones((1, tiny.embedding_dim), np.float32)

    pipeline = compare.float_pipeline(tiny, Model())
    assert isinstance(pipeline, Pipeline)
    (judged,) = compare.judge(pipeline, [HeldOut(np.full((32, 32, 3), 200, np.uint8), "mine/none/1.png", "none")], "float")
    np.testing.assert_array_equal(seen[0], np.full((1, 16, 16, 3), (200 - tiny.subtract) / tiny.divide))
    np.testing.assert_allclose(judged.embedding, np.full(tiny.embedding_dim, tiny.embedding_dim ** -0.5), rtol=1e-6)


# --- gate -----------------------------------------------------------------------------------------------------------------

GOOD = compare.Fidelity(accuracy_int8=0.97, embedding_cosine_mean=0.996, embedding_cosine_worst=0.9,
                        embedding_cosine_worst_1_percent=0.97, label_agreement=0.99, accuracy_drop=0.0, heat_correlation=0.97,
                        peak_distance=0.01, box_iou=0.95, size_mb=0.8)


def failed(measured: compare.Fidelity, gate: Path = compare.GATE) -> list[str]:
    return [verdict.figure for verdict in compare.gate(measured, gate) if not verdict.passed]


def test_the_shipped_gate():
    assert failed(GOOD) == []
    assert failed(replace(GOOD, label_agreement=0.97)) == ["label_agreement"]
    assert failed(replace(GOOD, embedding_cosine_mean=0.99)) == ["embedding_cosine_mean"]
    assert failed(replace(GOOD, accuracy_int8=0.3)) == ["accuracy_int8"], "agreeing with a spoiled float is not enough"
    assert failed(replace(GOOD, size_mb=1.3)) == ["size_mb"]


def test_what_was_not_measured_is_not_passed(tmp_path):
    (tmp_path / "gate.json").write_text('{"box_iou": {"least": 0.8}, "peak_distance": {"most": 0.1}}')
    unknown = replace(GOOD, box_iou=math.nan, peak_distance=math.nan)
    assert failed(unknown, tmp_path / "gate.json") == ["box_iou", "peak_distance"]


def test_a_changed_gate_file(tmp_path):
    gate = tmp_path / "gate.json"
    gate.write_text('{"label_agreement": {"least": 0.5, "most": 0.8}}')
    (verdict,) = compare.gate(GOOD, gate)
    assert verdict == compare.Verdict("label_agreement", 0.99, "at least 0.5, at most 0.8", False)
    gate.write_text('{"label_agreement": {"least": 0.99}}')
    assert failed(GOOD, gate) == [], "the bound itself is still inside"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"label_agrement": {"least": 1}}', '{"box_iou": {"min": 1}}',
                                  '{"box_iou": {}}', '{"box_iou": {"least": "high"}}', '{"box_iou": 0.9}'])
def test_a_gate_file_that_guards_nothing_is_refused(tmp_path, text):
    gate = tmp_path / "gate.json"
    gate.write_text(text)
    with pytest.raises(UsageError, match="gate.json"):
        compare.gate(GOOD, gate)


# --- the command ----------------------------------------------------------------------------------------------------------


def patch_frames(count: int = 48) -> list[HeldOut]:
    """Frames that the tiny bundle understands: red, green or blue on grey, over 2x2 of the feature map's 4x4 cells.

    One of the cells is brightest, so that there is a single peak.
    """
    rng = np.random.default_rng(7)
    frames = []
    for i in range(count):
        label = ("gu", "choki", "pa", "none")[i % 4]
        frame, mask = np.full((64, 64, 3), rng.integers(0, 256), np.uint8), np.zeros((64, 64), np.uint8)
        if label != "none":
            x, y = rng.integers(0, 3, 2) * 16
            mask[y:y + 32, x:x + 32] = 255
            frame[mask > 0] = np.eye(3)[i % 4] * 160
            frame[y:y + 16, x:x + 16] = np.eye(3)[i % 4] * 255
        frames.append(HeldOut(frame, f"rendered/{label}/{i:04d}", label, heldout.bounds(mask) if mask.any() else None, mask))
    return frames


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a copy of the tiny bundle, the float network that it was converted from, and frames."""
    import keras

    from scripts.make_tiny_bundle import FRAMES_PER_LABEL, LABELS, SEED, build_networks, colour_frame

    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(TINY, folder / "tiny")
    rng = np.random.default_rng(SEED)
    for label in LABELS:  # the script draws its frames before its weights
        for _ in range(FRAMES_PER_LABEL):
            colour_frame(label, rng)
    feature_net, embedding_net = build_networks(rng)
    whole = keras.Model(feature_net.input, [feature_net.output, embedding_net(feature_net.output)])
    whole.save(folder / "tiny-float.keras")
    heldout.save(patch_frames(), folder / "frames.npz")
    return folder


def check(folder: Path, name: str = "tiny", *extra: str) -> int:
    return main(["check", "--bundle", str(folder / name), "--float", str(folder / "tiny-float.keras"),
                 "--data", str(folder / "frames.npz"), "--report", str(folder / "report"), *extra])


def sign(folder: Path) -> None:
    """Enter the files' sha256 as they are now: whoever spoils a bundle on purpose can do that too."""
    from export.bundle import write_manifest

    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, {key: value for key, value in manifest.items() if key not in ("schema", "files")})


def spoil_prototypes(folder: Path) -> None:
    np.save(folder / PROTOTYPES, np.roll(np.load(folder / PROTOTYPES), 1, axis=0))


def spoil_embedding(folder: Path) -> None:
    """Turn the sign of the embedding network's kernel, in place."""
    from tensorflow.lite.python import schema_py_generated as schema

    content = (folder / EMBEDDING).read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    kernels = [model.buffers[t.buffer].data for t in model.subgraphs[0].tensors if t.type == schema.TensorType.INT8]
    kernel = max((k for k in kernels if k is not None), key=len)
    assert content.count(kernel.tobytes()) == 1
    turned = -np.maximum(kernel.view(np.int8), -127)
    (folder / EMBEDDING).write_bytes(content.replace(kernel.tobytes(), turned.tobytes()))


def test_an_untouched_bundle_passes(made, capsys):
    assert check(made) == 0
    said = capsys.readouterr().out
    assert "PASSED" in said and "measured on 48 rendered hands, held out" in said
    written = json.loads((made / "report" / "report.json").read_text())
    assert written["passed"] and written["int8"]["accuracy"] > 0.9
    assert "PASSED" in (made / "report" / "index.html").read_text()


@pytest.mark.parametrize("spoil", [spoil_prototypes, spoil_embedding])
def test_a_bundle_spoiled_on_purpose_fails(made, spoil, capsys):
    spoiled = made / spoil.__name__
    shutil.copytree(TINY, spoiled)
    spoil(spoiled)
    sign(spoiled)
    assert check(made, spoil.__name__) == 1
    assert f"FAILED: {spoiled} must not ship" in capsys.readouterr().out
    assert "must not ship" in (made / "report" / "index.html").read_text()


@pytest.mark.parametrize("name", ["feature_map.tflite", "cluster_weights.npy"])
def test_one_flipped_byte_is_refused(made, tmp_path, name, capsys):
    damaged = tmp_path / "tiny"
    shutil.copytree(TINY, damaged)
    content = bytearray((damaged / name).read_bytes())
    content[-1] ^= 1
    (damaged / name).write_bytes(content)
    assert main(["check", "--bundle", str(damaged), "--data", str(made / "frames.npz")]) == 3
    assert f"check: {name}: sha256: given" in capsys.readouterr().err


def test_without_photos(tmp_path):
    """From an empty folder, in a process of its own: no data/ here, and no photos given."""
    done = subprocess.run([sys.executable, "-m", "calibration", "check", "--bundle", str(TINY)], cwd=tmp_path, text=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 2
    assert done.stderr == ("check: no photos to judge on: run `make data`, or give DATA=, or make rendered frames with "
                           "`python -m export heldout` and give that file\n")


def test_float_networks_that_are_not_the_bundles(made, tmp_path, capsys):
    import keras

    pixels = keras.Input((16, 16, 3))
    (tmp_path / "torn.keras").write_bytes(b"no network")
    keras.Model(pixels, keras.layers.Flatten()(pixels)).save(tmp_path / "single.keras")
    keras.Model(pixels, [keras.layers.Flatten()(pixels)] * 2).save(tmp_path / "other.keras")
    for name, words in {"absent": "the float network is missing", "torn": "torn.keras cannot be loaded",
                        "single": "given 1 outputs", "other": "is not this bundle's float network"}.items():
        assert check(made, "tiny", "--float", str(tmp_path / f"{name}.keras")) == 3
        assert words in capsys.readouterr().err


def test_usage(made, tmp_path, capsys):
    (tmp_path / "gate.json").write_text('{"label_agrement": {"least": 1}}')
    assert check(made, "tiny", "--gate", str(tmp_path / "gate.json")) == 2
    assert "a figure being one of accuracy_int8, " in capsys.readouterr().err
    (tmp_path / "taken").write_text("a file where the report's folder would go")
    assert check(made, "tiny", "--report", str(tmp_path / "taken")) == 1
    assert "taken" in capsys.readouterr().err


def test_the_validation_split_is_neither_test_nor_training(tiny, tmp_path):
    for name in [f"known/{label}/{i:02d}" for label in ("gu", "pa") for i in range(20)]:
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
    known = photos.split(photos.scan([tmp_path / "known"]))
    names = {split: {p.name for p in known if p.split == split} for split in ("train", "validation", "test")}
    trained = replace(tiny, manifest={"data": {"folders": ["known"], "test_files": sorted(names["test"])}}, labels=("gu", "pa"))
    judged = {f.name for f in held_out(trained, [tmp_path / "known"], "validation")}
    assert judged and judged == names["validation"]
    assert {f.name for f in held_out(trained, [tmp_path / "known"])} == names["test"]


def test_photos_of_training_are_not_judged_on(tiny, tmp_path):
    for name in ("known/gu/1", "known/pa/1", "new/gu/1", "new/pa/1"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
    folders = [tmp_path / "known", tmp_path / "new"]
    trained = replace(tiny, manifest={"data": {"folders": ["known"], "test_files": ["known/pa/1.png"]}})
    assert [p.name for p in unseen(trained, folders)] == ["known/pa/1.png", "new/gu/1.png", "new/pa/1.png"]
    with pytest.raises(BundleError, match="does not say which photos the bundle was trained on"):
        unseen(replace(tiny, manifest={}), folders)


def test_labels_that_the_bundle_does_not_know(made, tmp_path, capsys):
    heldout.save([HeldOut(FRAME, "mine/lizard/1.png", "lizard")], tmp_path / "lizard.npz")
    assert check(made, "tiny", "--data", str(tmp_path / "lizard.npz")) == 2
    assert "lizard are not labels of the bundle (gu, choki, pa, none)" in capsys.readouterr().err


def test_newest_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert newest_bundle() == Path("models/janken")
    for age, name in enumerate(("b", "a")):
        (tmp_path / "dist" / name).mkdir(parents=True)
        (tmp_path / "dist" / name / "manifest.json").write_text("{}")
        os.utime(tmp_path / "dist" / name / "manifest.json", (1000 - age, 1000 - age))
    assert newest_bundle() == Path("dist/b")


# --- the shipped bundle on real photos -------------------------------------------------------------------------------------

real = pytest.mark.skipif(not (JANKEN / "manifest.json").is_file() or not JANKEN_FLOAT.is_file() or not PHOTOS.is_dir(),
                          reason="needs models/janken, models/janken-float.keras and ../shared/janken_dataset")


@real
@pytest.mark.parametrize("name", ["janken", "janken-light"])
def test_the_shipped_bundles_pass(tmp_path, name):
    data = [str(folder) for folder in (PHOTOS, MORE_PHOTOS) if folder.is_dir()]
    assert main(["check", "--bundle", str(JANKEN.with_name(name)), "--data", *data, "--report", str(tmp_path)]) == 0


@real
@pytest.mark.parametrize("spoil", [spoil_prototypes, spoil_embedding])
def test_the_shipped_bundle_spoiled_on_purpose_fails(tmp_path, spoil):
    shutil.copytree(JANKEN, tmp_path / "spoiled")
    spoil(tmp_path / "spoiled")
    sign(tmp_path / "spoiled")
    assert main(["check", "--bundle", str(tmp_path / "spoiled"), "--float", str(JANKEN_FLOAT), "--data", str(PHOTOS),
                 "--report", str(tmp_path / "report")]) == 1
