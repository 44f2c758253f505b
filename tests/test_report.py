"""The report: the table for the terminal, and the page that people look at."""

from __future__ import annotations

import base64
import math
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration import compare, report
from calibration.heldout import HeldOut
from runtime.bundle import load_bundle
from runtime.draw import BOX_RGB
from runtime.results import Box, Result

TINY = Path(__file__).parent.parent / "models" / "tiny"
VOID = {"meta", "img", "br"}
ODD = 'mine/gu/<b>"one" & two_0001.png'


class Page(HTMLParser):
    """Collects what a page holds, and fails on tags that do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def pictures(self) -> list[np.ndarray]:
        """Every picture, uint8 RGB."""
        prefix = "data:image/jpeg;base64,"
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith(prefix) for source in sources), "a picture would have to be fetched"
        jpegs = [np.frombuffer(base64.b64decode(source[len(prefix):]), np.uint8) for source in sources]
        return [cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[..., ::-1] for jpeg in jpegs]


def frame(name: str, label: str, box=None, size_wh=(64, 48)) -> HeldOut:
    return HeldOut(np.full((size_wh[1], size_wh[0], 3), 120, np.uint8), name, label, box)


def result(label: str, box=None, embedding=(1.0, 0.0, 0.0), cluster=0) -> Result:
    heat = np.full((4, 4), 0.8 if box else 0.0, np.float32)
    return Result(label, 0.75, {label: 0.75}, (64, 48), box and Box(*box), box and box[:2], cluster, heat,
                  np.array(embedding, np.float32))


FRAMES = [frame(ODD, "gu", (0.0, 0.0, 32.0, 48.0)), frame("mine/pa/two_0002.png", "pa", (0.0, 0.0, 32.0, 48.0)),
          frame("mine/none/one_0003.png", "none"), frame("rendered/choki/0004", "choki", (8.0, 8.0, 16.0, 16.0))]
OF_FLOAT = [result("gu", (0, 0, 32, 48)), result("pa", (0, 0, 32, 48), (0, 1, 0)), result("none", None, (0, 0, 1)),
            result("choki", (8, 8, 16, 16))]
OF_INT8 = [result("gu", (0, 0, 32, 24), (1, 0.1, 0), 2), result("gu", (0, 0, 32, 48), (0, 1, 0.1), 1),
           result("none", None, (0, 0, 1)), result("choki", (8, 8, 16, 16), cluster=2)]


def summary_of(frames, of_float, of_int8, bundle) -> dict:
    measured = compare.fidelity(frames, of_float, of_int8, bundle)
    verdicts = compare.gate(measured)
    return {"bundle": "dist/<tiny>", "passed": all(v.passed for v in verdicts), "frames": "held-out photos",
            "float": asdict(compare.quality(frames, of_float)), "int8": asdict(compare.quality(frames, of_int8)),
            "int8_against_float": asdict(measured), "gate": [asdict(v) for v in verdicts]}


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(TINY)


def page_of(tmp_path, bundle, frames=FRAMES, of_float=OF_FLOAT, of_int8=OF_INT8) -> Page:
    path = tmp_path / "index.html"
    report.write(path, summary_of(frames, of_float, of_int8, bundle), bundle, frames, of_float, of_int8)
    return Page(path.read_text(encoding="utf-8"))


# --- the table ------------------------------------------------------------------------------------------------------------


def test_numbers():
    assert [report.number(v) for v in (None, math.nan, 0, 1, 0.12345, -0.5)] == ["-", "-", "0.000", "1.000", "0.123", "-0.500"]


def test_text_has_every_figure_once_with_its_verdict(bundle):
    summary = summary_of(FRAMES, OF_FLOAT, OF_INT8, bundle)
    lines = report.text(summary).splitlines()
    assert "measured on 4 held-out photos, 3 of them not `none`" in lines
    columns = [line.split() for line in lines]
    assert ["accuracy", "1.000", "0.750"] in columns
    assert ["label_agreement", "0.750", "at", "least", "0.99", "FAILED"] in columns
    assert ["size_mb", "0.004", "at", "most", "1.2", "ok"] in columns
    assert ["embedding_cosine_worst", "0.995"] in columns, "figures outside the gate are told too"
    said = [line[0] for line in columns if line]
    assert [said.count(figure) for figure in asdict(compare.Fidelity(*[0.0] * 10)) if figure != "box_iou"] == [1] * 9


# --- the page -------------------------------------------------------------------------------------------------------------


def test_a_failing_page_says_why(tmp_path, bundle):
    page = page_of(tmp_path, bundle)
    assert "FAILED tiny 0.1.0 This bundle must not ship:" in page.text
    assert "label agreement is 0.750, wanted: at least 0.99" in page.text
    assert "int8: gu 0.75, wrong" in page.text
    assert "PASSED" not in page.text
    assert "size, MB 0.004 at most 1.2 ok" in page.text


def test_a_passing_page(tmp_path, bundle):
    page = page_of(tmp_path, bundle, of_int8=OF_FLOAT)
    assert "PASSED tiny 0.1.0 Every figure of the gate is met" in page.text
    assert "FAILED" not in page.text and ", wrong" not in page.text


def test_names_are_text_and_nothing_is_fetched(tmp_path, bundle):
    page = page_of(tmp_path, bundle)
    assert ODD in page.text and "bundle: dist/<tiny>" in page.text
    raw = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&quot;one&quot; &amp; two" in raw
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe"}
    assert "http" not in raw and "url(" not in raw and "@import" not in raw


def test_rendered_frames_are_explained_and_named(tmp_path, bundle):
    text = page_of(tmp_path, bundle).text
    assert "Frames whose names begin with rendered/ are drawn, not photographed." in text
    assert "rendered/choki/0004" in text


def test_confusion_and_sources(tmp_path, bundle):
    text = page_of(tmp_path, bundle).text
    assert "gu choki pa none gu 1 0 0 0 choki 0 1 0 0 pa 1 0 0 0 none 0 0 0 1" in text
    # frames, accuracy of float and int8, then int8's peak inside and box IoU where a box is known
    assert "mine 3 1.000 0.667 1.000 0.750" in text
    assert "one_ 1 1.000 1.000 - -" in text and "two_ 1 1.000 0.000 1.000 1.000" in text
    assert "rendered 1 1.000 1.000 1.000 1.000" in text


def test_pictures_show_photo_heat_and_boxes(tmp_path, bundle):
    pictures = page_of(tmp_path, bundle).pictures()
    assert len(pictures) == 3 * (4 + 3), "four sampled; three in question, the empty frame being right"
    assert {picture.shape for picture in pictures} == {(180, 240, 3)}
    photo, of_float, of_int8 = pictures[12:15]  # the worst: a pa that int8 calls gu
    assert np.abs(photo.astype(int) - 120).max() < 8, "the photo is as it was"
    assert of_float[90, 200, 0] > 150 > of_float[90, 200, 2], "0.8 of full heat is reddish"
    tall = pictures[15:18][2]  # gu, whose int8 box ends at half of the height
    assert np.abs(tall[88, 60].astype(int) - BOX_RGB).max() < 90, "yellow: row 24 of 48 is 90 of 180, the edge lies inside"
    assert tall[100:170, 118:122].max(axis=(1, 2)).min() > 200, "white: the true box goes on to the bottom"


def test_worst_first(bundle):
    rows = [report.Judged(*row) for row in zip(FRAMES, OF_FLOAT, OF_INT8)]
    assert [row.frame.name for row in report.worst(rows)] == ["mine/pa/two_0002.png", ODD, "rendered/choki/0004"]
    assert len(report.worst(rows, 1)) == 1
    assert report.worst([]) == []
    nowhere = report.Judged(replace(FRAMES[0], box_xyxy=None), OF_FLOAT[0], OF_INT8[0])
    assert report.worst([nowhere]) == [], "right, and nobody knows where the hand is"


def test_sample_takes_turns_and_repeats():
    rows = [report.Judged(frame(f"mine/{label}/{i}.png", label), result(label), result(label))
            for label, count in (("gu", 40), ("pa", 3), ("none", 1)) for i in range(count)]
    names = [row.frame.name for row in report.sample(rows)]
    assert len(set(names)) == 12
    assert [sum(f"/{label}/" in name for name in names) for label in ("gu", "pa", "none")] == [8, 3, 1]
    assert names == [row.frame.name for row in report.sample(rows)]
    assert names != [row.frame.name for row in report.sample(rows, seed=1)]
    assert report.sample([]) == []


def test_principal_plane():
    points, share = report.principal_plane(np.array([[5.0, 1.0, 1.0]]))
    assert points.tolist() == [[0, 0]] and share == 1
    line = np.array([[0.0, 0, 0], [3, 4, 0], [6, 8, 0]])
    points, share = report.principal_plane(line)
    np.testing.assert_allclose(np.abs(points), [[5, 0], [0, 0], [5, 0]], atol=1e-9)
    assert share == pytest.approx(1)
    corners = np.array([[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    assert report.principal_plane(corners)[1] == pytest.approx(10 / 12), "variances 8, 2 and 2"


def test_map_marks_label_cluster_and_errors(tmp_path, bundle):
    page = page_of(tmp_path, bundle)
    dots = [attributes for tag, attributes in page.tags if tag == "circle"]
    colours = [dot["fill"] for dot in dots]
    assert colours == [report.COLOURS[0], report.COLOURS[2], report.NONE_COLOUR, report.COLOURS[1]]
    assert ["stroke" in dot for dot in dots] == [False, True, False, False]
    width, height = map(int, next(a["viewbox"] for tag, a in page.tags if tag == "svg").split()[2:])
    assert all(0 < int(dot["cx"]) < width and 0 < int(dot["cy"]) < height for dot in dots)


def test_odd_frames_and_a_single_one(tmp_path, bundle):
    """A panorama, a strip of one pixel, a box beyond the frame, a stored frame that is not in one piece."""
    odd = [frame("mine/none/1", "none", size_wh=(400, 3)), frame("mine/none/2", "none", size_wh=(1, 64)),
           frame("mine/gu/3", "gu", (-5.0, -5.0, 99.0, 99.0))]
    odd[2] = replace(odd[2], frame_rgb=odd[2].frame_rgb[:, ::-1])
    results = [result("none"), result("none"), result("gu", (0, 0, 64, 48))]
    shapes = [picture.shape[:2] for picture in page_of(tmp_path, bundle, odd, results, results).pictures()]
    assert {(2, 240), (180, 3), (180, 240)} == set(shapes)
    assert "accuracy 1.000 1.000" in page_of(tmp_path, bundle, odd[:1], results[:1], results[:1]).text


def test_results_of_other_frames_are_refused(tmp_path, bundle):
    with pytest.raises(ValueError, match="zip"):
        report.write(tmp_path / "index.html", summary_of(FRAMES, OF_FLOAT, OF_INT8, bundle), bundle, FRAMES, OF_FLOAT,
                     OF_INT8[:3])


def test_a_full_page_stays_small(tmp_path, bundle):
    rng = np.random.default_rng(0)
    noisy = [HeldOut(rng.integers(0, 256, (300, 400, 3), np.uint8), f"mine/gu/{i}.png", "gu", (50.0, 50.0, 300.0, 250.0))
             for i in range(40)]
    results = [result("gu", (40, 40, 200, 200))] * 40
    page_of(tmp_path, bundle, noisy, results, results)
    assert (tmp_path / "index.html").stat().st_size < 3e6, "even for noise, which JPEG cannot shrink"
