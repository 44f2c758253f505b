"""The exporter as its users meet it: errors, exit codes, the last good bundle, and one small run from photos to bundle."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration import heldout
from export import bundle
from export.__main__ import main
from runtime.bundle import load_bundle
from runtime.pipeline import Pipeline

ROOT = Path(__file__).parent.parent
TINY = ROOT / "models" / "tiny"


def photos(folder: Path, classes: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for i, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for k in range(count):
            frame = rng.integers(0, 60, (48, 64, 3), np.uint8)
            frame[10:40, 10:40, i % 3] = 220  # every class has a colour, so that a small run has something to learn
            cv2.imwrite(str(folder / name / f"IMG_{k:04d}.png"), frame)
    return folder


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    """What is fitted here need not be good; reference kernels are slow."""
    monkeypatch.setattr("export.build.REFERENCE_FRAMES", 200)


@pytest.fixture
def good_bundle(tmp_path) -> Path:
    """A bundle from an earlier export, where the next one would go."""
    target = tmp_path / "dist" / "janken-0.1.0"
    target.mkdir(parents=True)
    (target / "keep.txt").write_text("the last good bundle")
    return target


# --- nothing is lost ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError("bug")])
def test_failed_build_leaves_the_last_bundle_and_no_litter(good_bundle, fault):
    with pytest.raises(type(fault)), bundle.building(good_bundle) as folder:
        (folder / "half").write_text("written")
        raise fault
    assert (good_bundle / "keep.txt").read_text() == "the last good bundle"
    assert [p.name for p in good_bundle.parent.iterdir()] == [good_bundle.name]


def test_finished_build_replaces_the_last_bundle_whole(good_bundle):
    with bundle.building(good_bundle) as folder:
        (folder / "new.txt").write_text("new")
        assert (good_bundle / "keep.txt").exists()
    assert [p.name for p in good_bundle.iterdir()] == ["new.txt"]
    assert [p.name for p in good_bundle.parent.iterdir()] == [good_bundle.name]


def test_a_folder_that_cannot_be_written_is_said_before_the_training(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("export.build.build", lambda options: pytest.fail("trained"))
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "dist")]) == 1
    words = capsys.readouterr().err
    assert f"Not a directory: {tmp_path / 'file'}" in words and "the last good bundle was not touched" in words


def test_full_disk_is_said_in_words(monkeypatch, capsys, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "dist/janken-0.1.0")
    monkeypatch.setattr("export.__main__.pack", full)
    assert main(["pack"]) == 1
    assert "No space left on device: dist/janken-0.1.0; the last good bundle was not touched" in capsys.readouterr().err


# --- photos that cannot be used -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes, words", [
    ({}, "holds no class folders"),
    ({"gu": 3}, "only one class found (gu)"),
    ({"gu": 3, "pa": 0}, "holds no photos"),
])
def test_unusable_folders_end_with_2_and_words(tmp_path, capsys, good_bundle, classes, words):
    folder = photos(tmp_path / "photos", classes)
    folder.mkdir(exist_ok=True)
    assert main(["--data", str(folder), "--out", str(good_bundle.parent), "--init", "random"]) == 2
    assert words in capsys.readouterr().err
    assert (good_bundle / "keep.txt").exists()


def test_missing_folder_ends_with_2(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_unknown_backbone_names_the_known_ones(tmp_path, capsys):
    folder = photos(tmp_path / "photos", {"a": 4, "b": 4})
    assert main(["--data", str(folder), "--backbone", "resnet"]) == 2
    assert "known: mobilenet_v2_0.35, mobilenet_v2_0.5, " in capsys.readouterr().err


@pytest.mark.parametrize("given, said", [("72", "72x72"), ("16x96", "16x96")])
def test_a_size_that_the_network_cannot_have_ends_with_2(tmp_path, capsys, given, said):
    folder = photos(tmp_path / "photos", {"a": 4, "b": 4})
    assert main(["--data", str(folder), "--size", given]) == 2
    assert f"--size {said}: expected multiples of 16 from 32 on, such as 64, 80 or 96" in capsys.readouterr().err


def test_a_size_that_is_none_ends_with_2(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--size", "96*80"])
    assert ended.value.code == 2
    assert "given '96*80', expected pixels: a side such as 96, or a width and height, 96x80" in capsys.readouterr().err


@pytest.mark.parametrize("file, words", [
    ("models/janken-float.keras", "gives a feature map of (10, 12, 96), the network to be taught one of (10, 10, 96)"),
    ("README.md", "give a -float.keras that `make export` left"),
])
def test_a_teacher_that_cannot_teach_ends_with_2(tmp_path, capsys, file, words):
    folder = photos(tmp_path / "photos", {"a": 4, "b": 4})
    assert main(["--data", str(folder), "--size", "80", "--init", "random", "--teacher", str(ROOT / file)]) == 2
    assert words in capsys.readouterr().err


# --- packing --------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (TINY / "manifest.json").exists(), reason="models/tiny is not built")
def test_packed_bundle_is_whole_and_repeats_byte_for_byte(tmp_path):
    folder = bundle.pack(TINY, tmp_path / "a")
    names = json.loads((folder / "manifest.json").read_text())["files"]
    assert {"feature_map.tflite", "runtime/janken.py", "runtime/pipeline.py", "requirements.txt", "README.md"} <= set(names)
    assert not [name for name in names if "pycache" in name]
    again = bundle.pack(TINY, tmp_path / "b")
    archive, other = (f.with_name(f.name + ".tar.gz").read_bytes() for f in (folder, again))
    assert archive == other
    assert load_bundle(folder.with_name(folder.name + ".tar.gz")).labels == load_bundle(TINY).labels


# --- one small run --------------------------------------------------------------------------------------------------------

SMALL = ["--init", "random", "--steps", "2", "--rendered", "0", "--clusters", "2"]


def test_photos_to_bundle(tmp_path, capsys):
    """Two batches teach nothing, but every step runs: the bundle opens, answers, and says where it came from."""
    folder = photos(tmp_path / "mugs", {"blue": 12, "red": 12})
    (folder / "red" / "broken.jpg").write_bytes(b"not a photo")
    assert main(["--data", str(folder), "--name", "mugs", "--out", str(tmp_path / "dist"), *SMALL]) == 0
    target = tmp_path / "dist" / "mugs-0.1.0"
    made = load_bundle(target)
    assert made.labels == ("blue", "red", "none")
    assert made.manifest["data"]["folders"] == ["mugs"] and len(made.manifest["data"]["fingerprint"]) == 64
    assert {"float", "int8", "int8_against_float"} <= set(made.manifest["metrics"])
    assert np.count_nonzero(made.cluster_weights, axis=1).max() <= 50
    result = Pipeline.open(target)(np.zeros((48, 64, 3), np.uint8))
    assert result.label in made.labels
    assert "broken.jpg" in capsys.readouterr().err
    made = sorted(p.name for p in (tmp_path / "dist").iterdir())
    assert made == ["mugs-0.1.0", "mugs-0.1.0-float.keras", "mugs-0.1.0.tar.gz"]


def test_without_photos_rendered_hands_do_and_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("export.build.photos_module.public_folders", list)
    assert main(["--out", str(tmp_path), *SMALL[:-4], "--rendered", "24", "--clusters", "2"]) == 0
    made = load_bundle(tmp_path / "janken-0.1.0")
    assert made.labels == ("gu", "choki", "pa", "none")
    assert made.manifest["metrics"]["frames"] == "RENDERED hands, held out"
    assert made.manifest["data"]["representative"] == "rendered hands"
    assert "RENDERED" in capsys.readouterr().out


def test_what_was_fitted_for_a_checkpoint_is_taken_over_without_photos(tmp_path, monkeypatch):
    monkeypatch.setattr("export.build.photos_module.public_folders", list)
    weights, rendered = str(tmp_path / "hands.weights.h5"), ["--rendered", "24", "--clusters", "2"]
    assert main(["--out", str(tmp_path / "a"), *SMALL[:-4], *rendered, "--save-checkpoint", weights]) == 0
    assert main(["--out", str(tmp_path / "b"), "--init", weights, "--steps", "0", *rendered]) == 0
    first, again = (load_bundle(tmp_path / run / "janken-0.1.0") for run in "ab")
    assert again.manifest["training"]["steps"] == 0 and again.manifest["training"]["init"] == "hands.weights.h5", "no folders"
    np.testing.assert_array_equal(again.prototypes, first.prototypes)


def test_rendered_frames_can_be_kept_for_the_check(tmp_path):
    path = tmp_path / "frames.npz"
    assert main(["heldout", "--file", str(path), "--count", "40"]) == 0
    frames = heldout.read(path)
    assert {f.label for f in frames} == {"gu", "choki", "pa", "none"}
    assert all(f.rendered for f in frames)
    assert all((f.box_xyxy is None) == (f.label == "none") for f in frames)


def test_ctrl_c_in_training_leaves_the_last_bundle(tmp_path, good_bundle):
    folder = photos(tmp_path / "photos", {"a": 12, "b": 12})
    command = [sys.executable, "-m", "export", "--data", str(folder), "--out", str(good_bundle.parent), "--init", "random",
               "--steps", "100000", "--rendered", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # ignored in background jobs
    seen = b""
    while b"training" not in seen and process.poll() is None:
        seen += os.read(process.stderr.fileno(), 4096)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, rest
    assert b"interrupted; the last good bundle was not touched" in rest
    assert [p.name for p in good_bundle.parent.iterdir()] == [good_bundle.name]
    assert (good_bundle / "keep.txt").exists()
