"""The review page in headless Chromium: what a person does there is in the files afterwards.

SCREENSHOTS=folder keeps pictures of the page.
"""
from __future__ import annotations

import http.client
import json
import os
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from runtime.annotate.journal import Journal
from runtime.annotate.records import FIXED, KEPT, REJECTED, Instance, Record
from runtime.annotate.review import Reviewer, ReviewServer
from runtime.annotate.store import Store
from runtime.results import Box
from tests.chromium import SECONDS

LABELS = ("gu", "choki", "pa")
WIDTH, HEIGHT = 320, 240
PATCH_BGR = (60, 110, 200)  # what the photos hold in their boxes
SURE = Record("a/sure.png", (WIDTH, HEIGHT), 0.99, (Instance("gu", 0.97, Box(40, 40, 120, 160)),))
UNSURE = Record("b/unsure.png", (WIDTH, HEIGHT), 0.6, (Instance("pa", 0.6, Box(100, 60, 200, 200)),))
EMPTY = Record("empty.png", (WIDTH, HEIGHT), 0.9, ())
SHOWN = "document.getElementById('name').textContent"
COUNT = "document.getElementById('count').textContent"
VERDICT = "document.getElementById('verdict').textContent"



class Desk:
    """Three photos, annotated, and the page that serves them."""

    def __init__(self, folder: Path, kind: str):
        self.photos, self.out = folder / "photos", folder / "out"
        self.journal = Journal(self.out, {"format": kind}, LABELS)
        self.store = Store(self.out, self.journal, kind, 0.8, self.photos)
        for record in (SURE, UNSURE, EMPTY):
            path = self.photos / record.name
            path.parent.mkdir(parents=True, exist_ok=True)
            photo = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            for _, _, (x0, y0, x1, y1) in record.instances:
                photo[y0:y1, x0:x1] = PATCH_BGR
            cv2.imwrite(str(path), photo)
            self.store.put(record)
        self.store.finish()
        self.server = ReviewServer("127.0.0.1", 0, Reviewer(self.store, self.photos, sorted(self.journal.records)))
        self.url = self.server.url
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self._thread.start()

    def voc(self, name: str) -> list[tuple]:
        """Label and xyxy of each object in a photo's file."""
        things = ET.parse(self.out / "Annotations" / Path(name).with_suffix(".xml")).getroot().iter("object")
        return [(thing.findtext("name"), *(int(thing.find("bndbox").findtext(side)) - (side in ("xmin", "ymin"))
                                           for side in ("xmin", "ymin", "xmax", "ymax"))) for thing in things]

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        content = reply.status, reply.read()
        connection.close()
        return content

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
        self.journal.close()


@pytest.fixture
def open_desk(tmp_path):
    desks = []

    def open_(kind: str = "voc") -> Desk:
        desks.append(Desk(tmp_path, kind))
        return desks[-1]

    yield open_
    for desk in desks:
        desk.close()


@pytest.fixture
def desk(open_desk) -> Desk:
    return open_desk()


@pytest.fixture
def open_review(open_page):
    """url -> the page, once it shows how much is reviewed."""
    def open_(url: str):
        page = open_page(url)
        page.wait(f"{COUNT}.includes('reviewed')")
        return page

    return open_


def drag(page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """With the mouse, between two places in pixels of the photo."""
    to_screen = "(([x, y]) => { const p = new DOMPoint(x, y).matrixTransform(canvas.getScreenCTM()); return [p.x, p.y]; })"
    places = [page.evaluate(f"{to_screen}([{x}, {y}])") for x, y in (start, end)]
    (x0, y0), (x1, y1) = places
    for kind, x, y in (("Pressed", x0, y0), ("Moved", (x0 + x1) / 2, y1), ("Moved", x1, y1), ("Released", x1, y1)):
        page.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left", buttons=1, clickCount=1)


def keep_picture(page, name: str) -> None:
    if "SCREENSHOTS" in os.environ:
        Path(os.environ["SCREENSHOTS"], f"{name}.png").write_bytes(page.screenshot())


def test_the_least_sure_photo_comes_first_and_is_seen(open_review, desk):
    page = open_review(desk.url)
    assert page.evaluate(SHOWN) == UNSURE.name and page.evaluate(COUNT) == "0 of 3 reviewed"
    assert page.evaluate("document.querySelectorAll('.box.unsure').length") == 1
    assert page.evaluate("getComputedStyle(document.querySelector('.box')).strokeDasharray") != "none"
    page.wait("performance.getEntriesByType('resource').some(entry => entry.name.includes('photo?name=') && entry.responseEnd)")
    rectangle = "document.querySelector('.box').getBoundingClientRect()"
    x, y = page.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({rectangle})")
    deadline = monotonic() + SECONDS
    while True:  # until it is decoded and painted, too
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        if np.abs(picture[int(y), int(x)].astype(int) - PATCH_BGR).max() <= 3:
            break
        assert monotonic() < deadline, "the photo does not lie under its box"
    keep_picture(page, "review")


def test_a_box_dragged_by_its_corner_is_in_the_file(open_review, desk):
    page = open_review(desk.url)
    page.press("f")
    page.wait(f"{VERDICT} === 'fixing'")
    keep_picture(page, "review-fixing")
    drag(page, (200, 200), (230, 220))
    drag(page, (150, 100), (140, 90))
    page.press("f")
    page.wait(f"{COUNT} === '1 of 3 reviewed'")
    ((label, *box),) = desk.voc(UNSURE.name)
    assert label == "pa" and np.abs(np.subtract(box, (90, 50, 220, 210))).max() <= 1
    assert desk.journal.records[UNSURE.name].verdict == FIXED
    assert page.evaluate(SHOWN) != UNSURE.name, "the next one is shown"


def test_a_box_is_drawn_named_and_deleted(open_review, desk):
    page = open_review(desk.url)
    page.press("f")
    drag(page, (20, 20), (60, 50))
    page.press("2")
    page.click("#boxes li:first-child button")
    page.wait("document.querySelectorAll('#boxes li').length === 1")
    page.click("#fix")
    page.wait(f"{COUNT} === '1 of 3 reviewed'")
    ((label, *box),) = desk.voc(UNSURE.name)
    assert label == "choki" and np.abs(np.subtract(box, (20, 20, 60, 50))).max() <= 1


def test_keep_and_reject_by_key_and_button_until_all_is_reviewed(open_review, desk):
    page = open_review(desk.url)
    page.press("k")
    page.wait(f"{COUNT} === '1 of 3 reviewed'")
    assert desk.voc(UNSURE.name) == [("pa", 100, 60, 200, 200)], "kept, although it was too unsure to be written"
    assert page.evaluate(SHOWN) == EMPTY.name
    page.click("#keep")
    page.wait(f"{COUNT} === '2 of 3 reviewed'")
    page.press("r")
    page.wait(f"{COUNT} === '3 of 3 reviewed'")
    page.wait("document.body.innerText.includes('all photos are reviewed')")
    assert not (desk.out / "Annotations" / "a" / "sure.xml").exists()
    assert desk.voc(EMPTY.name) == []
    assert [desk.journal.records[r.name].verdict for r in (UNSURE, EMPTY, SURE)] == [KEPT, KEPT, REJECTED]


def test_escape_saves_nothing_and_arrows_only_look(open_review, desk):
    page = open_review(desk.url)
    before = (desk.out / "Annotations" / "b" / "unsure.xml").read_bytes()
    page.press("f")
    drag(page, (150, 100), (100, 60))
    page.press("Escape")
    page.press("ArrowRight")
    page.wait(f"{SHOWN} === '{EMPTY.name}'")
    page.press("ArrowLeft")
    page.wait(f"{SHOWN} === '{UNSURE.name}'")
    assert (desk.out / "Annotations" / "b" / "unsure.xml").read_bytes() == before
    assert page.evaluate(COUNT) == "0 of 3 reviewed"


def test_a_reload_goes_on_where_one_was(open_review, desk):
    page = open_review(desk.url)
    page.press("k")
    page.wait(f"{COUNT} === '1 of 3 reviewed'")
    again = open_review(desk.url)
    assert again.evaluate(COUNT) == "1 of 3 reviewed" and again.evaluate(SHOWN) == EMPTY.name


def test_coco_holds_a_correction_at_once(open_review, open_desk):
    desk = open_desk("coco")
    page = open_review(desk.url)
    page.press("f")
    drag(page, (200, 200), (240, 230))
    page.press("f")
    page.wait(f"{COUNT} === '1 of 3 reviewed'")
    whole = json.loads((desk.out / "annotations.json").read_text())
    image = next(image["id"] for image in whole["images"] if image["file_name"] == UNSURE.name)
    (annotation,) = [a for a in whole["annotations"] if a["image_id"] == image]
    assert np.abs(np.subtract(annotation["bbox"], (100, 60, 140, 170))).max() <= 1 and annotation["score"] == 1.0


def test_what_is_no_verdict_is_refused_and_changes_nothing(desk):
    before = (desk.out / "Annotations" / "b" / "unsure.xml").read_bytes()
    box = {"label": "pa", "box_xyxy": [0, 0, 9, 9]}
    for body, words in (
        ({"name": "../secret", "verdict": KEPT}, "no photo of the name"),
        ({"name": UNSURE.name, "verdict": "maybe"}, "expected one of kept, fixed, rejected"),
        ({"name": UNSURE.name, "verdict": FIXED, "instances": [{**box, "label": "cat"}]}, "expected one of gu, choki, pa"),
        ({"name": UNSURE.name, "verdict": FIXED, "instances": [{**box, "box_xyxy": [0, 0, 999, 9]}]}, "inside 320x240"),
        ({"name": UNSURE.name, "verdict": FIXED, "instances": [{**box, "box_xyxy": [5, 0, 5, 9]}]}, "inside 320x240"),
        ({"name": UNSURE.name, "verdict": FIXED, "instances": [{**box, "box_xyxy": [0.5, 0, 5, 9]}]}, "four whole numbers"),
        (["no", "verdict"], "no photo of the name"),
    ):
        status, answer = desk.ask("POST", "/verdict", body)
        assert status == 400 and words in answer.decode(), (body, answer)
    assert (desk.out / "Annotations" / "b" / "unsure.xml").read_bytes() == before


def test_a_file_that_something_else_changed_is_told(desk):
    file = desk.out / "Annotations" / "b" / "unsure.xml"
    file.write_text("mine")
    status, answer = desk.ask("POST", "/verdict", {"name": UNSURE.name, "verdict": KEPT})
    assert status == 400 and b"changed by something else" in answer and file.read_text() == "mine"


def test_other_sites_and_names_are_turned_away(desk):
    body = {"name": UNSURE.name, "verdict": KEPT}
    assert desk.ask("POST", "/verdict", body, Origin="http://evil.example")[0] == 403
    assert desk.ask("GET", "/photos", Host="evil.example")[0] == 403
    assert desk.ask("GET", "/photo?name=../out/annotate.jsonl")[0] == 404
    assert desk.ask("GET", "/photo?name=b/unsure.png") == (200, (desk.photos / "b/unsure.png").read_bytes())


def test_from_elsewhere_the_token_is_asked_for(tmp_path, desk):
    server = ReviewServer("0.0.0.0", 0, Reviewer(desk.store, desk.photos, [UNSURE.name]))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        for path, expected in (("/photos", 403), (f"/photos?{urlsplit(server.url).query}", 200)):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == expected
            connection.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_tiff_is_shown_as_jpeg(desk):
    path = desk.photos / "scan.tiff"
    cv2.imwrite(str(path), np.full((30, 40, 3), 7, np.uint8))
    desk.store.put(Record("scan.tiff", (40, 30), 0.5, ()))
    status, picture = desk.ask("GET", "/photo?name=scan.tiff")
    assert status == 200 and cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == (30, 40, 3)
