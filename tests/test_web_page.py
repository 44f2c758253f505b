"""The web page in headless Chromium: what a person sees and does, from a frame in the loop to a pixel on the screen.

SCREENSHOTS=folder keeps pictures of the page at desktop and phone size.
"""
from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from time import monotonic, perf_counter, sleep
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from runtime.display.web import WebDisplay
from runtime.draw import BLOCK, BOX_RGB, MODES, Overlay
from runtime.results import Box, Result
from tests.chromium import SECONDS

ROOT = Path(__file__).resolve().parents[1]
GREY = 120
SIZE_WH = (640, 480)
LIVE = "document.getElementById('state').textContent === 'live'"
NOTICE = "document.getElementById('notice').hidden ? '' : document.getElementById('notice').textContent"


def make_result(heat: np.ndarray, label: str = "gu") -> Result:
    scores = {"gu": 0.08, "choki": 0.02, "pa": 0.05, label: 0.87}
    return Result(
        label=label, score=0.87, scores=scores, size_wh=SIZE_WH, box_xyxy=Box(160, 120, 400, 360), peak_xy=(280, 240),
        cluster=0, heat=heat.astype(np.float32), embedding=np.zeros(4, np.float32), source="gu/IMG_0731.JPG",
    )


def spot(shape_hw: tuple[int, int]) -> np.ndarray:
    """Heat with one hot place, a little above full, at 44 % of the width and half of the height."""
    y, x = np.mgrid[: shape_hw[0], : shape_hw[1]]
    x, y = (x + 0.5) / shape_hw[1] - 0.44, (y + 0.5) / shape_hw[0] - 0.5
    return 1.2 * np.exp(-(x**2 + y**2) / 0.03)


FRAME_RGB = np.full((SIZE_WH[1], SIZE_WH[0], 3), GREY, np.uint8)
RESULT = make_result(spot((12, 12)))


class Stage:
    """A loop's stand-in: a thread that presents `frame_rgb` and `result`, or a lost camera, about 20 times a second."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0):
        self.frame_rgb, self.result, self.mode = FRAME_RGB, RESULT, MODES[0]
        self.lost, self.keys, self.seconds = False, "", []
        self.display = WebDisplay(host, port, lambda line: None, "my <mugs>")
        self.url = self.display.url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.05):
            began = perf_counter()
            view = self.frame_rgb, self.result, self.mode
            key = self.display.lost(3) if self.lost else self.display.present(*view, 1)
            self.seconds.append(perf_counter() - began)
            self.keys += key
            if key == "s":
                self.mode = MODES[1 - MODES.index(self.mode)]

    def close(self) -> None:
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            self.display.close()


@pytest.fixture
def open_stage():
    stages = []

    def open_(*address) -> Stage:
        stages.append(Stage(*address))
        return stages[-1]

    yield open_
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(open_stage) -> Stage:
    return open_stage()


@pytest.fixture
def page(open_page, stage):
    page = open_page(stage.url)
    page.wait(LIVE)
    return page


def pixel(page, x: float, y: float) -> np.ndarray:
    """RGB of the canvas at shares x and y of its width and height."""
    return np.array(page.evaluate(f"Array.from(context.getImageData({x} * canvas.width, {y} * canvas.height, 1, 1).data)")[:3])


def wait_for(condition) -> None:
    deadline = monotonic() + SECONDS
    while not condition():
        assert monotonic() < deadline
        sleep(0.02)


def is_hot(rgb: np.ndarray) -> bool:
    """Red, where the frame is grey."""
    return int(rgb[0]) - int(rgb[2]) > 60


POINTS = [(x, y) for x in (0.05, 0.25, 0.35, 0.44, 0.6, 0.95) for y in (0.25, 0.5, 0.62, 0.95)]


@pytest.mark.parametrize("shape_hw", [(6, 6), (12, 12)])
def test_the_heat_is_that_of_the_window(open_page, stage, shape_hw):
    stage.result = make_result(spot(shape_hw))
    page = open_page(stage.url)
    page.wait(LIVE)
    window = Overlay(SIZE_WH, shape_hw)(FRAME_RGB, stage.result, "heatmap").astype(int)
    for x, y in POINTS:
        row, column, shown = int(y * window.shape[0]), int(x * window.shape[1]), pixel(page, x, y)
        # the window draws heat in blocks, the page does not: a block away at most there is a like colour
        near = window[max(0, row - BLOCK):row + BLOCK + 1, max(0, column - BLOCK):column + BLOCK + 1]
        assert np.abs(near - shown).max(axis=-1).min() <= 12, (x, y, shown, window[row, column])
    assert is_hot(pixel(page, 0.44, 0.5))
    assert np.abs(pixel(page, 0.95, 0.95) - GREY).max() <= 2, "untouched where it is cold"


def test_the_page_tells_label_scores_pace_and_source(page):
    text = page.text()
    assert re.search(r"gu\s+87 %", text) and re.search(r"choki\s+2 %", text)
    assert page.wait(r"/^\d+\.\d frames\/s$/.test(document.getElementById('fps').textContent)")
    assert "gu/IMG_0731.JPG" in text and "End program" in text


def test_the_title_is_the_bundles_name(page):
    assert page.evaluate("document.title") == "my <mugs>, live"
    assert page.evaluate("document.querySelector('h1').textContent") == "my <mugs>"


def test_temperature_and_throttling_are_shown_where_they_are_known(page, stage):
    stage.display._vitals.latest = {"celsius": 61.25, "power": "now: under-voltage; since boot: well", "power_bad": True}
    page.wait("document.body.innerText.includes('under-voltage')")
    assert "61.3 °C" in page.text()
    stage.display._vitals.latest = {"celsius": None, "power": None, "power_bad": False}
    page.wait("!document.body.innerText.includes('temperature')")
    assert "power" not in page.text()


def test_the_key_s_switches_to_the_box_and_back(page, stage):
    edge, inside = (160.8 / 640, 0.6), (0.44, 0.5)
    assert is_hot(pixel(page, *inside))
    page.press("s")
    page.wait("document.getElementById('switch').textContent.includes('heat')")
    assert np.abs(pixel(page, *edge) - BOX_RGB).max() <= 10
    assert np.abs(pixel(page, *inside) - GREY).max() <= 2
    page.click("#switch")
    page.wait("document.getElementById('switch').textContent.includes('box')")
    assert is_hot(pixel(page, *inside))
    assert stage.keys == "ss"


def test_q_comes_from_the_key_and_from_the_button_pressed_twice(page, stage):
    page.click("#quit")
    sleep(0.3)
    assert stage.keys == "" and "Really end?" in page.text()
    page.click("#quit")
    wait_for(lambda: stage.keys == "q")
    page.press("q")
    wait_for(lambda: stage.keys == "qq")


def test_the_token_is_refused_and_accepted(open_page, open_stage):
    stage = open_stage("0.0.0.0")
    address, token = urlsplit(stage.url), urlsplit(stage.url).query
    here = f"http://127.0.0.1:{address.port}/"
    page = open_page(here)
    page.wait("document.body.innerText.includes('Open that whole address')")
    page.open(f"{here}?token=wrong")
    page.wait("location.search && document.body.innerText.includes('Not without the token')")
    page.open(f"{here}?{token}")
    page.wait(LIVE)
    assert page.evaluate("location.href") == here, "the token is not left in the address bar"
    assert page.evaluate("document.cookie") == "", "and no script can read it"
    page.press("s")
    wait_for(lambda: stage.keys == "s")
    page.open(here)
    page.wait(LIVE)
    other = open_page(here)
    other.wait("document.body.innerText.includes('Not without the token')")


def test_the_camera_is_lost_and_comes_back(page, stage):
    assert page.evaluate(NOTICE) == ""
    stage.lost = True
    page.wait(f"({NOTICE}) === 'camera lost, trying again (3 s)'")
    assert page.evaluate("document.getElementById('state').textContent") == "camera lost"
    stage.lost = False
    page.wait(LIVE)
    assert page.evaluate(NOTICE) == ""


def test_the_end_is_told_and_the_next_start_is_found(page, stage, open_stage):
    stage.close()
    page.wait(f"({NOTICE}) === 'the program has ended'")
    sleep(2.5)
    assert page.evaluate(NOTICE) == "the program has ended", "also while nobody answers"
    assert page.evaluate("document.getElementById('switch').disabled")
    open_stage("127.0.0.1", urlsplit(stage.url).port)
    page.wait(LIVE)


def test_ten_viewers_see_it_and_the_loop_does_not_wait_for_them(open_page, stage):
    pages = [open_page(stage.url) for _ in range(10)]
    for page in pages:
        page.wait(LIVE)
    stage.result = replace(RESULT, label="pa")
    stage.seconds.clear()
    for page in pages:
        page.wait("document.getElementById('label').textContent === 'pa'")
    assert statistics.median(stage.seconds) < 0.01


def test_snapshot_and_recording_are_made_by_the_browser(page, tmp_path):
    page.click("#snapshot")
    wait_for(lambda: list(tmp_path.glob("my *mugs*-*.png")))
    (png,) = tmp_path.glob("my *mugs*-*.png")
    wait_for(lambda: cv2.imread(str(png)) is not None)
    assert cv2.imread(str(png)).shape == (600, 800, 3)
    page.click("#record")
    page.wait("document.getElementById('record').textContent.startsWith('Stop')")
    sleep(1.5)
    page.click("#record")
    wait_for(lambda: list(tmp_path.glob("my *mugs*-*.webm")))
    assert page.evaluate("document.getElementById('record').textContent") == "Record"
    (webm,) = tmp_path.glob("my *mugs*-*.webm")
    wait_for(lambda: webm.stat().st_size > 1000)
    came, frame_bgr = cv2.VideoCapture(str(webm)).read()
    assert came and frame_bgr.shape == (600, 800, 3)
    assert is_hot(frame_bgr[300, 352, ::-1]) and not is_hot(frame_bgr[580, 780, ::-1])


def test_without_opencv_and_pillow_the_picture_still_shows(open_page, open_stage, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    stage = open_stage()
    stage.frame_rgb = np.full_like(FRAME_RGB, (200, 60, 20))
    page = open_page(stage.url)
    page.wait(LIVE)
    assert pixel(page, 0.95, 0.95).tolist() == [200, 60, 20]


@pytest.mark.parametrize(
    ("name", "width", "height", "phone", "scheme"),
    [("desktop", 1280, 800, False, "light"), ("phone", 390, 844, True, "dark"), ("small", 360, 640, True, "light")],
)
def test_it_fits_the_screen(page, stage, name, width, height, phone, scheme):
    stage.display._vitals.latest = {"celsius": 81.0, "power": "now: throttled; since boot: throttled", "power_bad": True}
    page.size(width, height, phone=phone)
    page.colours(scheme)
    page.wait(f"innerWidth === {width}")
    sleep(0.5)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing to scroll sideways"
    bottoms = page.evaluate("[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect().bottom)")
    heights = page.evaluate("[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect().height)")
    assert len(bottoms) == 4 and max(bottoms) <= height, "every button is in view"
    assert min(heights) >= 44, "large enough for a thumb"
    png = page.screenshot()
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert picture.shape == (height * (1 + phone), width * (1 + phone), 3)
    assert (picture[-1, 0] > 128).all() == (scheme == "light")
    reddish = (picture[..., 0] > 180) & (picture[..., 1] < 120) & (picture[..., 2] < 120)
    assert reddish.mean() > 0.005, "the heat is seen"
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder, f"page-{name}.png").write_bytes(png)


def test_the_whole_program(open_page, tmp_path):
    frames = np.full((3, 48, 64, 3), 90, np.uint8)
    frames[:, 12:24, 16:32] = (255, 0, 0)  # what models/tiny takes for gu
    np.save(tmp_path / "frames.npy", frames)
    command = [sys.executable, "runtime/janken.py", "--bundle", "models/tiny", "--source", str(tmp_path / "frames.npy"),
               "--loop", "--display", "web", "--port", "0"]
    program = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        url = next(filter(None, (re.search(r"http://\S+", line) for line in program.stderr)))[0]  # interpreters talk too
        page = open_page(url)
        page.wait(LIVE)
        assert page.evaluate("document.getElementById('label').textContent") == "gu"
        page.press("s")
        page.wait("document.getElementById('switch').textContent.includes('heat')")
        page.press("q")
        assert program.wait(SECONDS) == 0
        page.wait(f"({NOTICE}) === 'the program has ended'")
        assert re.search(r"\d+ frames in", program.stderr.read())
    finally:
        program.kill()
        program.wait()
        program.stderr.close()
