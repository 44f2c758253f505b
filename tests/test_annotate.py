"""`python3 -m runtime annotate` as a user meets it: photos to files, in public readers, after a kill, on two workers."""
from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import cv2
import numpy as np
import pytest

from calibration.annotation import figures
from calibration.heldout import HeldOut, from_photos
from calibration.photos import scan, split
from runtime.annotate.cli import CONFIDENCE
from runtime.annotate.journal import NAME
from runtime.annotate.look import Looker
from runtime.annotate.records import Instance
from runtime.pipeline import Pipeline
from runtime.results import Box

ROOT = Path(__file__).resolve().parents[1]
TINY, JANKEN = ROOT / "models" / "tiny", ROOT / "models" / "janken"
REAL = [ROOT.parent / "shared" / name for name in ("janken_dataset", "hands_dataset")]
COLOURS = {"gu": (255, 0, 0), "choki": (0, 255, 0), "pa": (0, 0, 255)}  # what models/tiny takes for a hand
SECONDS = 120
FILES = {"voc": "Annotations/{}.xml", "yolo": "labels/{}.txt"}


def write_photo(path: Path, *patches: tuple[str, int, int]) -> None:
    """64x48, grey, with a 16x12 patch in its label's colour at each x, y."""
    photo_rgb = np.full((48, 64, 3), 90, np.uint8)
    for label, x, y in patches:
        photo_rgb[y : y + 12, x : x + 16] = COLOURS[label]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), photo_rgb[..., ::-1])


@pytest.fixture
def photos(tmp_path) -> Path:
    """One hand in each of two folders, two in a third photo, none in a fourth, and a file that is no photo."""
    folder = tmp_path / "photos"
    write_photo(folder / "a" / "gu.png", ("gu", 16, 12))
    write_photo(folder / "b" / "pa.png", ("pa", 40, 30))
    write_photo(folder / "b" / "two.png", ("gu", 0, 0), ("gu", 48, 36))
    write_photo(folder / "none.png")
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


def command(folder: Path, kind: str, out: Path, *options: object) -> list[str]:
    bundle = [] if "--bundle" in options else ["--bundle", TINY]
    return [str(part) for part in (sys.executable, "-m", "runtime", "annotate", folder, "--format", kind, "--out", out,
                                   *bundle, *options)]


def annotate(folder: Path, kind: str, out: Path, *options: object) -> subprocess.CompletedProcess:
    return subprocess.run(command(folder, kind, out, *options), cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder but links, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file() and not any(part.is_symlink() for part in (path, *path.parents))}


@pytest.mark.parametrize("kind", ["voc", "yolo", "coco"])
def test_photos_become_files(photos, tmp_path, kind):
    out = tmp_path / "out"
    done = annotate(photos, kind, out)
    assert done.returncode == 0, done.stderr
    assert "5 of 5" in done.stderr and "4 photos" in done.stderr and "gu 3, pa 1" in done.stderr
    assert "skipped" in done.stderr and "broken.jpg" in done.stderr
    own = {FILES[kind].format(stem) for stem in ("a/gu", "b/pa", "b/two", "none")} if kind in FILES else {"annotations.json"}
    over_all = {"data.yaml"} if kind == "yolo" else set()
    assert set(contents(out)) == own | over_all | {NAME}
    if kind == "yolo":
        assert (out / "images").resolve() == photos.resolve()


# --- public readers -----------------------------------------------------------------------------------------------------------


def near(box, expected) -> bool:
    """Both xyxy; within the cells of heat that the tiny bundle can tell apart."""
    return np.abs(np.subtract(box, expected)).max() <= 4


def test_pycocotools_reads_coco(photos, tmp_path):
    reader = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed here")
    annotate(photos, "coco", tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = reader.COCO(str(tmp_path / "out" / "annotations.json"))
    names = {image["file_name"]: image["id"] for image in coco.loadImgs(coco.getImgIds())}
    assert set(names) == {"a/gu.png", "b/pa.png", "b/two.png", "none.png"}
    assert coco.getAnnIds(imgIds=[names["none.png"]]) == []
    (pa,) = coco.loadAnns(coco.getAnnIds(imgIds=[names["b/pa.png"]]))
    assert coco.loadCats(pa["category_id"])[0]["name"] == "pa" and pa["score"] > 0.8
    x, y, width, height = pa["bbox"]
    assert near((x, y, x + width, y + height), (40, 30, 56, 42))
    assert len(coco.getAnnIds(imgIds=[names["b/two.png"]])) == 2


@pytest.mark.parametrize("kind", ["voc", "yolo", "coco"])
def test_globox_reads_all_three(photos, tmp_path, kind):
    globox = pytest.importorskip("globox", reason="globox is not installed here")
    out = tmp_path / "out"
    annotate(photos, kind, out)
    if kind == "voc":
        read = globox.AnnotationSet.from_pascal_voc(out / "Annotations", recursive=True)
    elif kind == "coco":
        read = globox.AnnotationSet.from_coco(out / "annotations.json")
    else:  # of a folder without sub-folders, and classes by number
        labels, images = out / "labels" / "b", out / "images" / "b"
        read = globox.AnnotationSet.from_yolo_v5(labels, image_folder=images, image_extension=".png")
    boxes = {Path(annotation.image_id).name: annotation.boxes for annotation in read}
    assert len(boxes["two.png"]) == 2
    (pa,) = boxes["pa.png"]
    assert pa.label in ("pa", "2") and near((pa.xmin, pa.ymin, pa.xmax, pa.ymax), (40, 30, 56, 42))


# --- again, killed, by others -------------------------------------------------------------------------------------------------


def many(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        hand = [(list(COLOURS)[number % 3], int(rng.integers(48)), int(rng.integers(36)))] if number % 5 else []
        write_photo(folder / f"s{number % 4}" / f"{number:03}.png", *hand)
    return folder


def wait_for_some(run: subprocess.Popen, out: Path) -> None:
    """Until 20 photos are annotated."""
    deadline = monotonic() + SECONDS
    while not (out / NAME).exists() or (out / NAME).read_bytes().count(b"\n") < 21:
        assert monotonic() < deadline and run.poll() is None
        sleep(0.001)


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_a_killed_run_goes_on(tmp_path, kind):
    folder, out, whole = many(tmp_path / "photos", 300), tmp_path / "out", tmp_path / "whole"
    assert annotate(folder, kind, whole).returncode == 0
    run = subprocess.Popen(command(folder, kind, out), cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for_some(run, out)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    done = (out / NAME).read_bytes().count(b"\n") - 1
    assert 0 < done < 300, "killed in the middle"
    again = annotate(folder, kind, out)
    assert again.returncode == 0 and f"{done} of 300 photos are done already" in again.stderr
    assert contents(out) == contents(whole)


def test_a_run_that_is_told_to_end_says_so_and_goes_on(tmp_path):
    folder, out = many(tmp_path / "photos", 300), tmp_path / "out"
    run = subprocess.Popen(command(folder, "yolo", out), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for_some(run, out)
    run.terminate()
    _, words = run.communicate(timeout=SECONDS)
    assert run.returncode == 130 and "ended" in words and "Traceback" not in words
    assert annotate(folder, "yolo", out).returncode == 0


def test_a_second_run_changes_nothing_and_takes_new_photos_in(photos, tmp_path):
    out = tmp_path / "out"
    annotate(photos, "voc", out)
    before = contents(out)
    done = annotate(photos, "voc", out)
    assert "4 of 5 photos are done already" in done.stderr and contents(out) == before
    write_photo(photos / "new.png", ("pa", 0, 0))
    annotate(photos, "voc", out)
    assert b"<name>pa</name>" in (out / "Annotations" / "new.xml").read_bytes()


def test_a_file_changed_by_hand_is_never_overwritten(photos, tmp_path):
    out = tmp_path / "out"
    annotate(photos, "voc", out)
    (out / "Annotations" / "none.xml").write_text("mine")
    done = annotate(photos, "voc", out, "--again", "--label", "hand")
    assert done.returncode == 0 and (out / "Annotations" / "none.xml").read_text() == "mine"
    assert "left as they are" in done.stderr and "Annotations/none.xml" in done.stderr
    assert b"<name>hand</name>" in (out / "Annotations" / "a" / "gu.xml").read_bytes()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_reviewed_outlives_the_page_and_every_later_run(photos, tmp_path, ending):
    out = tmp_path / "out"
    page = subprocess.Popen(command(photos, "voc", out, "--review", "--port", 0), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    port = next(int(found[1]) for found in (re.search(r"http://127.0.0.1:(\d+)/", line) for line in page.stderr) if found)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    box = {"label": "choki", "box_xyxy": [1, 2, 30, 40]}
    connection.request("POST", "/verdict", json.dumps({"name": "a/gu.png", "verdict": "fixed", "instances": [box]}))
    assert connection.getresponse().status == 200
    connection.close()
    page.send_signal(ending)
    assert page.wait(SECONDS) == (0 if ending == signal.SIGTERM else -ending)
    page.stderr.close()
    file = out / "Annotations" / "a" / "gu.xml"
    corrected = file.read_bytes()
    assert b"<name>choki</name>" in corrected and b"<xmax>30</xmax>" in corrected
    for options in ((), ("--again", "--confidence", "0.1")):
        done = annotate(photos, "voc", out, *options)
        assert "1 reviewed" in done.stderr and file.read_bytes() == corrected


def test_other_settings_and_twins_and_empty_folders_are_refused(photos, tmp_path):
    out = tmp_path / "out"
    annotate(photos, "voc", out)
    other = annotate(photos, "voc", out, "--confidence", "0.5")
    assert other.returncode == 2 and f"given confidence 0.5, expected confidence {CONFIDENCE}" in other.stderr
    write_photo(photos / "none.jpg")
    twins = annotate(photos, "yolo", tmp_path / "twins")
    assert twins.returncode == 2 and "none.jpg, none.png" in twins.stderr
    (tmp_path / "nothing").mkdir()
    assert annotate(tmp_path / "nothing", "voc", tmp_path / "x").returncode == 4
    assert annotate(tmp_path / "nowhere", "voc", tmp_path / "x").returncode == 4


# --- two workers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_two_workers_give_the_same_files(tmp_path, kind):
    pytest.importorskip("distributed", reason="Dask is not installed here")
    folder = many(tmp_path / "photos", 100)
    one, two = annotate(folder, kind, tmp_path / "1"), annotate(folder, kind, tmp_path / "2", "--workers", 2)
    assert one.returncode == 0 and two.returncode == 0, two.stderr
    assert contents(tmp_path / "1") == contents(tmp_path / "2") != {}


def test_a_running_scheduler_gives_the_same_files(tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed here")
    folder = many(tmp_path / "photos", 100)
    annotate(folder, "voc", tmp_path / "1")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = annotate(folder, "voc", tmp_path / "2", "--dask", cluster.scheduler_address)
        assert there.returncode == 0, there.stderr
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_no_scheduler_is_said(photos, tmp_path):
    pytest.importorskip("distributed", reason="Dask is not installed here")
    done = annotate(photos, "voc", tmp_path / "out", "--dask", "tcp://127.0.0.1:9")
    assert done.returncode == 2 and "tcp://127.0.0.1:9" in done.stderr and "dask scheduler" in done.stderr


def test_without_dask_the_install_line_is_said(photos, tmp_path):
    blocked = tmp_path / "blocked" / "distributed"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError('No module named distributed', name='distributed')\n")
    environment = {**os.environ, "PYTHONPATH": str(blocked.parent)}
    done = subprocess.run(command(photos, "voc", tmp_path / "out", "--workers", 2), cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2 and "pip install distributed" in done.stderr


# --- how good -----------------------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    frame = np.zeros((80, 60, 3), np.uint8)
    frames = [HeldOut(frame, "mine/gu/1.png", "gu", (0.0, 0.0, 40.0, 40.0)), HeldOut(frame, "mine/none/1.png", "none"),
              HeldOut(frame, "mine/pa/2.png", "pa", (0.0, 0.0, 9.0, 9.0))]
    right, wrong, unsure = (Instance(*fields) for fields in (
        ("gu", 0.9, Box(0, 0, 40, 30)), ("pa", 0.85, Box(0, 0, 9, 9)), ("gu", 0.2, Box(0, 0, 1, 1))))
    found = [[right, unsure], [wrong], []]
    measured = figures(frames, found, 0.8)
    assert (measured.photos, measured.boxes, measured.kept, measured.iou) == (2, 2, 0.5, 0.75)
    assert (measured.precision, measured.label) == (0.5, 0.5)


def test_the_shipped_bundle_on_photos_it_was_not_trained_on():
    present = [folder for folder in REAL if folder.is_dir()]
    if not present:
        pytest.skip("the photos in ../shared are not there")
    frames = from_photos([photo for photo in split(scan(present)) if photo.split == "test" and photo.box_xyxy])
    look = Looker(Pipeline.open(JANKEN))
    measured = figures(frames, [look(np.ascontiguousarray(f.frame_rgb))[1] for f in frames], 0.8)
    assert measured.iou >= 0.75 and measured.precision >= 0.95 and measured.kept >= 0.8, measured


def test_the_command_prints_its_table():
    if not REAL[0].is_dir():
        pytest.skip("the photos in ../shared are not there")
    done = subprocess.run([sys.executable, "-m", "calibration", "annotation", "--bundle", JANKEN, "--data", REAL[0], "--split",
                           "validation"], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    for words in ("closer look, bounds", "confidence 0.8", "janken_dataset", "with reading them"):
        assert words in done.stdout
