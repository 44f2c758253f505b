"""Annotation without photos on disk: islands, boxes, the closer look, journal, files. With photos: tests/test_annotate.py."""
from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.annotate.boxes import best_box, bounds, flood, islands, overlap
from runtime.annotate.formats import FORMATS
from runtime.annotate.journal import NAME, Journal, write_atomically
from runtime.annotate.look import Looker, around, scale_span
from runtime.annotate.progress import Progress
from runtime.annotate.records import FIXED, KEPT, REJECTED, Instance, Record
from runtime.annotate.store import Store
from runtime.errors import OutputError, UsageError
from runtime.results import Box

LABELS = ("gu", "choki", "pa")
SETTINGS = {"format": "voc", "confidence": 0.8}
SURE, UNSURE = Instance("pa", 0.95, Box(10, 20, 50, 80)), Instance("gu", 0.3, Box(0, 0, 9, 9))
RECORD = Record("b/1.jpg", (100, 80), 0.9, (SURE, UNSURE))
EMPTY = Record("a/2.png", (64, 48), 0.99, ())

# --- islands and boxes ------------------------------------------------------------------------------------------------------


def mask(*rows: str) -> np.ndarray:
    """A picture of a mask: # is set."""
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_cold_heat_has_no_island():
    assert list(islands(np.zeros((5, 4), np.float32), 0.5)) == []


def test_islands_come_hottest_first_and_corners_do_not_join():
    heat = np.array([[0.6, 0.7, 0.0, 0.0], [0.0, 0.0, 1.0, 0.4], [0.0, 0.0, 0.5, 0.0]], np.float32)
    first, second = islands(heat, 0.5)
    assert (first == mask("....", "..#.", "..#.")).all()
    assert (second == mask("##..", "....", "....")).all()


def test_flood_stops_at_gaps():
    assert (flood(mask("##.#", "#..#", "####"), 0, 0) == mask("##.#", "#..#", "####")).all()
    assert (flood(mask("##.#", "...#", ".###"), 0, 1) == mask("##..", "....", "....")).all()


def test_bounds_of_one_cell_and_of_two_corners():
    assert bounds(mask("...", ".#.")) == Box(1, 1, 2, 2)
    assert bounds(mask("#..", "..#")) == Box(0, 0, 3, 2)


def test_the_best_box_leaves_a_whisker_out():
    box, iou = best_box(mask("......", ".###..", ".####.", ".###..", "......"))
    assert box == Box(1, 1, 4, 4) and iou == 9 / 10


@pytest.mark.parametrize("picture", [("#",), ("##", "##"), ("...", ".#.")])
def test_the_best_box_of_a_box_is_itself(picture):
    assert best_box(mask(*picture)) == (bounds(mask(*picture)), 1.0)


def every_box(shape_hw: tuple[int, int]):
    for (y0, y1), (x0, x1) in itertools.product(*(itertools.combinations(range(n + 1), 2) for n in shape_hw)):
        yield Box(x0, y0, x1, y1)


def test_no_box_is_better_than_the_best():
    rng = np.random.default_rng(6)
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        for _ in range(12):
            cells = rng.random((6, 7)) < share
            cells[rng.integers(6), rng.integers(7)] = True
            ious = {}
            for box in every_box(cells.shape):
                both = cells[box.y0 : box.y1, box.x0 : box.x1].sum()
                ious[box] = both / (cells.sum() + (box.x1 - box.x0) * (box.y1 - box.y0) - both)
            box, iou = best_box(cells)
            assert iou == pytest.approx(max(ious.values())) and ious[box] == pytest.approx(iou)


def test_overlap():
    assert overlap(Box(0, 0, 2, 2), Box(1, 0, 3, 2)) == 1 / 3
    assert overlap(Box(0, 0, 2, 2), Box(2, 0, 3, 2)) == 0


# --- the closer look ----------------------------------------------------------------------------------------------------------


def test_the_window_has_the_photos_shape_and_lies_inside():
    assert around(Box(40, 40, 60, 48), (200, 100)) == Box(37, 38, 62, 50)
    for box in (Box(0, 0, 3, 3), Box(190, 90, 200, 100), Box(0, 0, 200, 100), Box(5, 0, 6, 100)):
        x0, y0, x1, y1 = around(box, (200, 100))
        assert 0 <= x0 <= box.x0 and box.x1 <= x1 <= 200 and 0 <= y0 <= box.y0 and box.y1 <= y1 <= 100


@pytest.fixture
def draw():
    """(colour, x, y), ... -> uint8 (48, 64, 3), grey with 16x12 patches; models/tiny takes red for gu, green for choki."""

    def draw_(*patches) -> np.ndarray:
        photo_rgb = np.full((48, 64, 3), 90, np.uint8)
        for colour, x, y in patches:
            photo_rgb[y : y + 12, x : x + 16] = colour
        return photo_rgb

    return draw_


RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.mark.parametrize("tighten", ["bounds", "iou"])
def test_a_photo_with_nothing_has_no_instance(pipeline, draw, tighten):
    score, found = Looker(pipeline, tighten)(draw())
    assert found == [] and score > 0.9


def test_cells_become_the_pixels_they_touch():
    assert scale_span(0, 48, 48, 320) == (0, 320)
    assert scale_span(1, 2, 48, 320) == (6, 14)  # 6.67 to 13.33
    assert scale_span(3, 4, 48, 5) == (0, 1)


def test_the_closer_look_is_tighter(pipeline, draw):
    afar, near = [], []
    for x, y in [(4, 3), (10, 7), (22, 15), (31, 19), (40, 30)]:  # a patch as large as a cell, between cells
        photo_rgb, true = draw((RED, x, y)), Box(x, y, x + 16, y + 12)
        _, (found,) = Looker(pipeline)(photo_rgb)
        assert found.label == "gu" and found.score > 0.9
        near.append(overlap(found.box_xyxy, true))
        afar.append(overlap(pipeline(photo_rgb).box_xyxy, true))
    assert np.mean(near) > np.mean(afar) + 0.1


@pytest.mark.parametrize("tighten", ["bounds", "iou"])
def test_two_islands_are_two_instances(pipeline, draw, tighten):
    _, found = Looker(pipeline, tighten)(draw((RED, 0, 0), (RED, 48, 36)))
    first, second = sorted(instance.box_xyxy for instance in found)
    assert overlap(first, Box(0, 0, 16, 12)) > 0.5 and overlap(second, Box(48, 36, 64, 48)) > 0.5


def test_what_is_found_is_called_as_told(pipeline, draw):
    _, found = Looker(pipeline, label="mug")(draw((RED, 0, 0)))
    assert [instance.label for instance in found] == ["mug"]


def test_scores_survive_being_written_and_read(pipeline, draw):
    score, found = Looker(pipeline)(draw((RED, 16, 12)))
    record = Record("1.png", (64, 48), score, tuple(found))
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


# --- records and formats ------------------------------------------------------------------------------------------------------


def test_unsure_boxes_are_written_once_somebody_kept_them():
    assert RECORD.boxes(0.8) == (SURE,) and EMPTY.boxes(0.8) == ()
    assert RECORD.reviewed(KEPT, RECORD.instances).boxes(0.8) == (SURE, UNSURE)
    assert RECORD.reviewed(REJECTED, RECORD.instances).boxes(0.8) == ()


def test_the_least_sure_comes_first():
    almost = replace(RECORD, instances=(Instance("pa", 0.75, SURE.box_xyxy),))  # probably wrong to leave out
    barely = replace(RECORD, instances=(Instance("pa", 0.82, SURE.box_xyxy),))
    sure = replace(RECORD, instances=(SURE,))
    order = sorted([EMPTY, sure, barely, almost, RECORD], key=lambda record: record.sureness(0.8))
    assert order == [almost, RECORD, barely, sure, EMPTY]


def make(kind: str):
    return FORMATS[kind](LABELS, 0.8, "photos")


def test_voc_counts_pixels_from_1():
    text = make("voc").one(RECORD).decode()
    assert make("voc").file_of("b/1.jpg") == "Annotations/b/1.xml"
    for line in ("<filename>1.jpg</filename>", "<folder>b</folder>", "<width>100</width>", "<height>80</height>",
                 "<name>pa</name>", "<confidence>0.95</confidence>", "<xmin>11</xmin>", "<ymin>21</ymin>", "<xmax>50</xmax>",
                 "<ymax>80</ymax>", "<truncated>1</truncated>"):  # the box ends with the photo
        assert text.count(line) == 1, line
    assert "gu" not in text
    assert "<object>" not in make("voc").one(EMPTY).decode()


def test_yolo_gives_centre_and_size_as_shares():
    assert make("yolo").file_of("b/1.jpg") == "labels/b/1.txt"
    assert make("yolo").one(RECORD) == b"2 0.300000 0.625000 0.400000 0.750000\n"
    assert make("yolo").one(EMPTY) == b""
    assert make("yolo").over_all([])["data.yaml"] == b'train: images\nval: images\nnames:\n  0: "gu"\n  1: "choki"\n  2: "pa"\n'


def test_coco_lists_photos_without_boxes_but_none_that_was_rejected():
    records = [EMPTY, RECORD, Record("c.jpg", (9, 9), 0.5, (SURE,), REJECTED)]
    whole = json.loads(make("coco").over_all(records)["annotations.json"])
    assert whole["images"] == [{"id": 1, "file_name": "a/2.png", "width": 64, "height": 48},
                               {"id": 2, "file_name": "b/1.jpg", "width": 100, "height": 80}]
    (annotation,) = whole["annotations"]
    assert annotation["image_id"] == 2 and annotation["bbox"] == [10, 20, 40, 60] and annotation["area"] == 2400
    assert whole["categories"][annotation["category_id"] - 1] == {"id": 3, "name": "pa"}


# --- journal ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_journal(tmp_path):
    journals = []

    def open_(settings=SETTINGS, again=False) -> Journal:
        while journals:
            journals.pop().close()
        journals.append(Journal(tmp_path, settings, LABELS, again=again))
        return journals[-1]

    yield open_
    for journal in journals:
        journal.close()


def test_a_journal_is_read_back(open_journal):
    open_journal().add(RECORD, "1")
    again = open_journal()
    assert again.records == {RECORD.name: RECORD} and again.hashes[RECORD.name] == {"1"}


def test_a_line_that_a_kill_cut_short_is_forgotten_alone(open_journal, tmp_path):
    journal = open_journal()
    journal.add(EMPTY, "1")
    journal.add(RECORD, "2")
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:-20])
    assert list(open_journal().records) == [EMPTY.name]
    open_journal().add(RECORD, "2")
    assert (tmp_path / NAME).read_bytes() == whole


def test_a_damaged_line_is_named(open_journal, tmp_path):
    open_journal().add(EMPTY, "1")
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"name": "x.jpg"}\n')
    with pytest.raises(UsageError, match=r"line 3: damaged: given \{\"name\": \"x.jpg\"\}"):
        open_journal()


def test_other_settings_are_refused_and_say_which(open_journal):
    open_journal().add(EMPTY, "1")
    with pytest.raises(UsageError, match=r"given confidence 0.5, expected confidence 0.8.*--again"):
        open_journal({**SETTINGS, "confidence": 0.5})


def test_again_forgets_what_nobody_reviewed_also_for_the_next_run(open_journal):
    journal = open_journal()
    journal.add(EMPTY, "1")
    journal.add(RECORD.reviewed(KEPT, (SURE,)), "2")
    changed = {**SETTINGS, "confidence": 0.5}
    assert list(open_journal(changed, again=True).records) == [RECORD.name]
    later = open_journal(changed)
    assert list(later.records) == [RECORD.name] and later.hashes[EMPTY.name] == {"1"}


def test_two_runs_in_one_folder_are_refused(open_journal, tmp_path):
    open_journal()
    with pytest.raises(UsageError, match="another run is at work"):
        Journal(tmp_path, SETTINGS, LABELS)


def test_a_label_that_a_reviewer_used_stays_known(open_journal):
    open_journal().add(RECORD.reviewed(FIXED, (Instance("mug", 1.0, SURE.box_xyxy),)), "1")
    assert open_journal(again=True).labels == ["gu", "choki", "pa", "mug"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "1.txt"
    path.write_text("before")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(path, b"after")
    assert path.read_text() == "before"


# --- store --------------------------------------------------------------------------------------------------------------------


def open_store(journal: Journal, folder: Path, kind: str = "voc") -> Store:
    return Store(folder, journal, kind, 0.8, folder / "photos")


def test_a_rejected_photo_loses_its_file_and_gets_it_back(open_journal, tmp_path):
    store, file = open_store(open_journal(), tmp_path), tmp_path / "Annotations" / "b" / "1.xml"
    assert store.put(RECORD) and file.exists()
    assert store.put(RECORD.reviewed(REJECTED, RECORD.instances)) and not file.exists()
    assert store.put(RECORD.reviewed(KEPT, RECORD.instances)) and b"<name>gu</name>" in file.read_bytes()


def test_what_something_else_wrote_stays(open_journal, tmp_path):
    store, file = open_store(open_journal(), tmp_path), tmp_path / "Annotations" / "b" / "1.xml"
    store.put(RECORD)
    file.write_text("mine")
    assert not store.put(RECORD.reviewed(KEPT, RECORD.instances)) and store.journal.records[RECORD.name] == RECORD
    store.finish()
    assert file.read_text() == "mine" and store.strange == {"Annotations/b/1.xml"}


def test_a_kill_between_journal_and_file_is_made_good(open_journal, tmp_path):
    store, file = open_store(open_journal(), tmp_path), tmp_path / "Annotations" / "b" / "1.xml"
    store.put(RECORD)
    before, judged = file.read_bytes(), RECORD.reviewed(KEPT, RECORD.instances)
    store.put(judged)
    after = file.read_bytes()
    file.write_bytes(before)
    store = open_store(open_journal(), tmp_path)
    store.finish()
    assert file.read_bytes() == after != before and not store.strange


def test_the_order_of_a_run_leaves_no_trace(tmp_path):
    folders = []
    for number, records in enumerate(([RECORD, EMPTY], [EMPTY, RECORD])):
        folder = tmp_path / str(number)
        journal = Journal(folder, {**SETTINGS, "format": "coco"}, LABELS)
        store = open_store(journal, folder, "coco")
        for record in records:
            store.put(record)
        store.finish()
        store.finish()
        journal.close()
        folders.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert folders[0] == folders[1] and set(folders[0]) == {NAME, "annotations.json"}


def test_a_file_over_all_photos_that_was_changed_stays(open_journal, tmp_path):
    store = open_store(open_journal(), tmp_path, "coco")
    store.put(RECORD)
    store.put_all()
    (tmp_path / "annotations.json").write_text("mine")
    store.put(EMPTY)
    store.finish()
    assert (tmp_path / "annotations.json").read_text() == "mine" and store.strange == {"annotations.json"}


# --- progress -----------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_a_line_in_a_file():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = Progress(2, stream)
        progress.step()
        progress.say("skipped x.jpg")
        progress.step()
    last = terminal.getvalue().split("\r")[-1]
    assert f"[{'#' * 30}] 2 of 2" in last and last.endswith("left\n")
    lines = file.getvalue().splitlines()
    assert lines[0] == "skipped x.jpg" and lines[1].startswith("2 of 2, ") and len(lines) == 2
