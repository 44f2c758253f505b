"""`make export DATA=my_photos`: any classes, photos without boxes, and what is wrong with them said before time is spent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from calibration import photos as photos_module
from export import build, train
from export.__main__ import main, parser
from export.augment import Augmenter
from runtime.bundle import load_bundle
from runtime.capture.album import Album
from runtime.pipeline import Pipeline

SMALL = ["--init", "random", "--steps", "3", "--clusters", "2"]
SHAPES = ["round cup", "Käse", "box"]


@pytest.fixture(autouse=True)
def few_frames(monkeypatch):
    """What is fitted here need not be good; reference kernels are slow."""
    monkeypatch.setattr("export.build.REFERENCE_FRAMES", 200)


def drawn(name: str, rng: np.random.Generator) -> np.ndarray:
    """A frame uint8 (60, 80, 3) with a disc, a triangle or a square somewhere on a grey ground; without, for any other name."""
    frame = np.full((60, 80, 3), rng.integers(60, 120), np.uint8)
    x, y = (int(v) for v in rng.integers((20, 20), (60, 40)))
    colour = tuple(int(v) for v in rng.integers(160, 256, 3))
    if name == SHAPES[0]:
        cv2.circle(frame, (x, y), 14, colour, -1)
    elif name == SHAPES[1]:
        cv2.fillPoly(frame, [np.array([(x - 14, y + 12), (x + 14, y + 12), (x, y - 14)])], colour)
    elif name == SHAPES[2]:
        cv2.rectangle(frame, (x - 12, y - 12), (x + 12, y + 12), colour, -1)
    return frame


def shapes(folder: Path, classes: list[str], count: int) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(count):
            assert cv2.imwrite(str(folder / name / f"now_{k:04d}.png"), drawn(name, rng))
    return folder


# --- said before time is spent --------------------------------------------------------------------------------------------


def refused(capsys, folder: Path, *more: str) -> str:
    """What an export that must end with exit code 2 says."""
    assert main(["--data", str(folder), "--out", str(folder.parent / "dist"), *SMALL, *more]) == 2
    assert not (folder.parent / "dist").exists()
    return capsys.readouterr().err


def test_fifty_one_classes_are_one_too_many(tmp_path, capsys):
    for i in range(51):
        (tmp_path / "many" / f"c{i}").mkdir(parents=True)
        (tmp_path / "many" / f"c{i}" / "a1.jpg").touch()
    assert "51 classes found; at most 50 beside `none`" in refused(capsys, tmp_path / "many")
    (tmp_path / "many" / "c50").rename(tmp_path / "many" / "None")  # however it is capitalised
    assert len(photos_module.labels_of(photos_module.scan([tmp_path / "many"]))) == 51


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "photos").write_text("")
    assert "does not exist, or is no folder" in refused(capsys, tmp_path / "photos")


def test_a_class_without_a_readable_photo_is_said_before_training(tmp_path, capsys):
    folder = shapes(tmp_path / "mine", SHAPES[:2], 5)
    for file in (folder / SHAPES[1]).iterdir():
        file.write_bytes(b"not a photo")
    words = refused(capsys, folder)
    assert words.count("left out:") == 5 and f"no readable photo is left in class {SHAPES[1]}" in words


def test_unreadable_photos_do_not_count_as_held_out(tmp_path, capsys):
    folder = shapes(tmp_path / "mine", SHAPES[:2], 6)
    for k in (3, 4, 5):
        (folder / SHAPES[0] / f"now_{k:04d}.png").write_bytes(b"")
    (folder / SHAPES[0] / "._now_0001.png").write_bytes(b"what a Mac leaves beside a photo")
    material = build.gather(parser().parse_args(["--data", str(folder)]))
    assert [p.split for p in material.photos if p.label == SHAPES[0]] == ["train", "validation", "test"]
    assert capsys.readouterr().err.count("left out:") == 3


@pytest.mark.parametrize("name", ["my mugs", "../up", ".hidden", ""])
def test_a_name_that_is_no_folders_is_refused(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--name", name])
    assert ended.value.code == 2
    assert "expected letters, digits and . _ -" in capsys.readouterr().err


def test_photos_of_one_run_of_capture_are_one_session(tmp_path):
    """The very names that are taken on the device: five runs are held out as whole runs."""
    for run in range(5):
        album = Album(tmp_path / "mugs", ["mug", "cup", "none"], started=f"20260102-03040{run}")
        for k in range(12):
            album.add(album.classes[k % 3], np.full((40, 40, 3), 20 * run, np.uint8))
    found = photos_module.split(photos_module.scan([tmp_path / "mugs"]))
    held = {p.session: {other.split for other in found if other.session == p.session} for p in found}
    assert len(held) == 5 and all(len(splits) == 1 for splits in held.values())
    assert {p.split for p in found} == {"train", "validation", "test"}


# --- what is missing, and what is done about it ---------------------------------------------------------------------------


def test_advice_names_what_would_help(tmp_path):
    found = photos_module.scan([shapes(tmp_path / "mine", SHAPES, 5)])
    few, no_none, no_boxes = photos_module.advice(found)
    assert few.startswith("few photos: Käse 5, box 5, round cup 5; from 20 a class on")
    assert no_none.startswith("no class folder `none`: drawn places stand for it")
    assert no_boxes.startswith("no boxes and no masks: the heat is not taught its place")


def test_nothing_is_advised_where_nothing_is_missing(tmp_path):
    folder = shapes(tmp_path / "mine", [*SHAPES, "none"], 20)
    rows = [f"{p.label}/{p.path.name}\t1\t1\t20\t20\t80\t60" for p in photos_module.scan([folder])]
    (folder / "boxes.tsv").write_text("path\tx0\ty0\tx1\ty1\twidth\theight\n" + "\n".join(rows) + "\n")
    assert photos_module.advice(photos_module.scan([folder])) == []


def test_photos_of_the_empty_place_are_backgrounds_and_other_things_are_not(tmp_path):
    def empty_of(name: str) -> int:
        folder = shapes(tmp_path / name, [*SHAPES[:2], name], 4)
        kept, frames = photos_module.load(photos_module.scan([folder]))
        labels = photos_module.labels_of(kept)
        return len(Augmenter(kept, frames, [], labels, (96, 96), (12, 12), 0).empty)
    assert (empty_of("none"), empty_of("other")) == (4, 0)


def test_silence_beside_an_unknown_place_is_measured_by_the_whole_frame():
    """Photos without boxes: a frame of `none` half as loud as theirs costs 0.5, not a million times that."""
    activity = tf.constant([[[[2.0]] * 4] * 4, [[[1.0]] * 4] * 4])  # a photo whose place nobody knows, a frame of `none`
    target, has_heat = tf.zeros((2, 4, 4)), tf.constant([0.0, 1.0])
    assert float(train.loudness(activity, target, has_heat)) == pytest.approx(0.5)


def test_the_classes_decide_how_far_training_goes_from_the_checkpoint(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(train, "train", lambda network, head, batches, recipe, *_: asked.append(
        (recipe.steps, recipe.learning_rate, network.get_layer("Conv1").trainable)))
    monkeypatch.setattr(build, "_class_means", lambda network, augmenter: np.zeros((len(augmenter.labels), 160), np.float32))
    network = build.model.build()
    for names in (["gu", "choki", "pa"], SHAPES):
        folder = shapes(tmp_path / names[0], names, 4)
        kept, frames = photos_module.load(photos_module.scan([folder]))
        augmenter = Augmenter(kept, frames, [], photos_module.labels_of(kept), (96, 96), (12, 12), 0)
        build.teach(network, augmenter, parser().parse_args([]), {})
    assert asked == [(build.CHECKPOINT_STEPS, build.CHECKPOINT_RATE, True), (build.NEW_STEPS, build.NEW_RATE, False)]


def test_the_checkpoint_is_not_trained_again_on_the_photo_sets_it_learned_from(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build.model, "seen_by", lambda init: {"folders": ["mine", "yours"], "test_files": []})

    def learned(names: list[str], init: str = "checkpoint") -> bool:
        return build._learned(build.Material([tmp_path / name for name in names], *[[]] * 7), init)

    assert learned(["mine"]) and learned(["yours", "mine"])
    assert not learned([]) and not learned(["mine", "new"]) and not learned(["mine"], "other.weights.h5")
    folder = shapes(tmp_path / "mine", ["gu", "choki", "pa"], 4)
    kept, frames = photos_module.load(photos_module.scan([folder]))
    augmenter = Augmenter(kept, frames, [], photos_module.labels_of(kept), (96, 96), (12, 12), 0)
    network = build.model.build()
    assert build.teach(network, augmenter, parser().parse_args([]), {}, learned=True) == 0
    assert "not trained again" in capsys.readouterr().out


@pytest.mark.parametrize("init, learns", [("imagenet", False), ("random", True)])
def test_edges_and_textures_that_imagenet_taught_stay_as_they_are(monkeypatch, tmp_path, init, learns):
    caught = []
    network = build.model.build("mobilenet_v2_0.35", "random", (64, 64))
    monkeypatch.setattr(train, "train", lambda network, *_: caught.append(network.get_layer("Conv1").trainable))
    augmenter = Augmenter([], [], [], ["gu", "choki", "pa", "none"], (64, 64), (8, 8), 0)
    build.teach(network, augmenter, parser().parse_args(["--init", init]), {})
    assert caught == [learns]


def test_a_learner_s_own_centres_go_on_below_a_teacher_of_another_width(monkeypatch, tmp_path):
    caught = []
    network, wide = (build.model.build(name, "random", (64, 64)) for name in ("mobilenet_v2_0.35", "mobilenet_v2_1.0"))
    monkeypatch.setattr(train, "train", lambda network, head, batches, recipe, keep, teacher: caught.append((head, teacher)))
    monkeypatch.setattr(build, "load_teacher", lambda path, network: wide)
    monkeypatch.setattr(build, "_class_means", lambda of, augmenter: np.eye(4, of.outputs[1].shape[-1], dtype=np.float32))
    folder = shapes(tmp_path / "gu", ["gu", "choki", "pa"], 4)
    kept, frames = photos_module.load(photos_module.scan([folder]))
    augmenter = Augmenter(kept, frames, [], photos_module.labels_of(kept), (64, 64), (8, 8), 0)
    for init in ("hands.weights.h5", "random"):
        build.teach(network, augmenter, parser().parse_args(["--init", init, "--teacher", "wide.keras"]), {})
    (learned, teacher), (new, _) = caught
    assert not teacher.embeds and teacher.centres.shape == (4, wide.outputs[1].shape[-1])
    np.testing.assert_array_equal(learned.centres, np.eye(network.outputs[1].shape[-1], 4))
    assert np.abs(np.array(new.centres) - np.eye(network.outputs[1].shape[-1], 4)).max() > 0.1, "random ones"


# --- from photos to a bundle ----------------------------------------------------------------------------------------------


def test_three_drawn_classes_become_a_bundle(tmp_path, capsys):
    """Three batches teach nothing, but every step runs, on photos without boxes, masks or `none`."""
    folder = shapes(tmp_path / "my photos", SHAPES, 8)
    assert main(["--data", str(folder), "--name", "shapes", "--out", str(tmp_path / "dist"), *SMALL]) == 0
    said = capsys.readouterr().out
    assert "no class folder `none`" in said and "no boxes and no masks" in said and "RENDERED" not in said
    made = load_bundle(tmp_path / "dist" / "shapes-0.1.0")
    assert made.labels == ("Käse", "box", "round cup", "none")
    assert len(made.cluster_centers) == 3, "as many clusters as classes"
    assert np.count_nonzero(made.cluster_weights, axis=1).min() > 0
    training = made.manifest["training"]
    assert (training["rendered_hands"], training["rendered_people"]) == (0, 0)
    text = (tmp_path / "dist" / "shapes-0.1.0" / "manifest.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert made.manifest["metrics"]["int8"]["box_iou"] is None, "no box, no IoU"
    result = Pipeline.open(tmp_path / "dist" / "shapes-0.1.0.tar.gz")(drawn("box", np.random.default_rng(1)))
    assert result.label in made.labels and math.isfinite(float(result.heat.sum()))
