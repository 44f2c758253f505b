"""The page of `python3 -m runtime capture` in headless Chromium: a button a class, its count, and a photo on disk.

SCREENSHOTS=folder keeps pictures of the page at desktop and phone size.
"""
from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.camera.replay import ArraySource
from runtime.capture import cli, screens
from runtime.capture.album import Album

LIVE = "document.getElementById('state').textContent === 'live'"
COUNTS = "[...document.querySelectorAll('#classes button')].map(b => b.innerText.split('\\n').slice(0, 2).join(' ')).join(', ')"
CLASSES = ["mug", "<i>cup", "Käse 語"]


@pytest.fixture
def collecting(tmp_path):
    """(the page's address, the folder, the thread that collects): what `capture` runs, on frames of one blue."""
    np.save(tmp_path / "frames.npy", np.full((2, 48, 64, 3), (20, 60, 200), np.uint8))
    album = Album(tmp_path / "my <photos>", CLASSES)
    screen = screens.open_screen("web", album, "127.0.0.1", 0, lambda line: None)
    thread = threading.Thread(target=cli.collect, args=(ArraySource(tmp_path / "frames.npy"), screen, album))
    thread.start()
    yield screen.url, album, thread
    screen._press("q")
    thread.join()
    screen.close()


@pytest.fixture
def page(collecting, open_page):
    page = open_page(collecting[0])
    page.wait(LIVE)
    return page


def test_a_button_and_a_key_each_take_a_photo_and_the_count_says_so(page, collecting):
    _, album, thread = collecting
    assert page.evaluate("document.title") == "my <photos>, photos"
    assert page.evaluate(COUNTS) == "mug 0, <i>cup 0, Käse 語 0"
    assert "no photo taken yet" in page.text()
    page.click("#classes button:nth-child(3)")
    page.wait(f"{COUNTS} === 'mug 0, <i>cup 0, Käse 語 1'")
    page.press("1")
    page.wait(f"{COUNTS} === 'mug 1, <i>cup 0, Käse 語 1'")
    page.wait("document.body.innerText.includes('2 taken, the last of mug')")  # with the next frame; the count is there at once
    assert page.evaluate("document.querySelector('.last').innerText").startswith("mug")
    (photo,) = (album.folder / "Käse 語").iterdir()
    assert np.abs(cv2.imread(str(photo))[24, 32, ::-1].astype(int) - (20, 60, 200)).max() <= 4
    page.click("#quit")
    page.click("#quit")
    thread.join(10)
    assert not thread.is_alive()


def test_few_photos_are_marked_until_there_are_enough(page, collecting):
    collecting[1].counts["mug"] = 20
    page.wait("!document.querySelector('#classes button').classList.contains('few')")
    assert page.evaluate("document.querySelectorAll('#classes .few').length") == 2


@pytest.mark.parametrize(("name", "width", "height", "phone"), [("desktop", 1280, 800, False), ("phone", 390, 844, True)])
def test_it_fits_the_screen(page, name, width, height, phone):
    page.size(width, height, phone=phone)
    page.wait(f"innerWidth === {width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing to scroll sideways"
    boxes = page.evaluate("[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect())"
                          ".map(b => [b.bottom, b.height])")
    assert len(boxes) == 4 and max(bottom for bottom, _ in boxes) <= height, "every button is in view"
    assert min(tall for _, tall in boxes[:3]) >= 70, "large enough to press without looking"
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder, f"capture-{name}.png").write_bytes(page.screenshot())
