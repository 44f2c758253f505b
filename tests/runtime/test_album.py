"""Photos collected with `python3 -m runtime capture`: on disk whole, never over another, and told about at the end."""
from __future__ import annotations

import http.client
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from runtime.camera import Frame, Gap
from runtime.capture import album as album_module
from runtime.capture import cli, screens
from runtime.capture.album import KEYS, QUIT, Album, png
from runtime.display import window
from runtime.errors import OutputError, UsageError

SECONDS = 60
RED = np.full((6, 8, 3), (250, 10, 10), np.uint8)


@pytest.fixture(autouse=True)
def plain_photos(monkeypatch):
    """PNG wherever these tests run, whatever is installed."""
    monkeypatch.setattr(album_module, "jpeg_compressor", lambda quality: None)


def decoded(content: bytes) -> np.ndarray:
    """uint8 (H, W, 3) of a PNG as `png` writes it, every checksum verified."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        data = content[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", content, at + 8 + length)[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


# --- on disk --------------------------------------------------------------------------------------------------------------


def test_an_album_without_photos_counts_none_and_makes_no_class_folders(tmp_path):
    album = Album(tmp_path / "new" / "mugs", ["mug", "none"])
    assert album.counts == album.added == {"mug": 0, "none": 0}
    assert list((tmp_path / "new" / "mugs").iterdir()) == []


def test_a_png_holds_every_pixel():
    frame_rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(decoded(png(frame_rgb)), frame_rgb)
    np.testing.assert_array_equal(decoded(png(frame_rgb[:, ::2])), frame_rgb[:, ::2])  # not contiguous


def test_photos_go_into_their_class_under_the_runs_name_and_a_number(tmp_path):
    album = Album(tmp_path, ["mug", "my cup"], started="20260102-030405")
    paths = [album.add(name, RED) for name in ("mug", "my cup", "mug")]
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == [
        "mug/20260102-030405_0001.png", "my cup/20260102-030405_0001.png", "mug/20260102-030405_0002.png"]
    np.testing.assert_array_equal(decoded(paths[0].read_bytes()), RED)
    assert album.added == album.counts == {"mug": 2, "my cup": 1}


def test_nothing_is_overwritten_even_if_the_clock_stands_still(tmp_path):
    first = Album(tmp_path, ["mug"], started="now").add("mug", RED)
    album = Album(tmp_path, ["mug"], started="now")
    assert album.counts == {"mug": 1} and album.added == {"mug": 0}
    second = album.add("mug", 255 - RED)
    assert (first.name, second.name) == ("now_0001.png", "now_0002.png")
    np.testing.assert_array_equal(decoded(first.read_bytes()), RED)


def test_without_hard_links_nothing_is_overwritten_either(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(os, "link", refuse)
    first = Album(tmp_path, ["mug"], started="now").add("mug", RED)
    second = Album(tmp_path, ["mug"], started="now").add("mug", 255 - RED)
    assert [decoded(path.read_bytes())[0, 0, 0] for path in (first, second)] == [250, 5]
    assert len(list((tmp_path / "mug").iterdir())) == 2


def test_a_photo_that_cannot_be_written_leaves_nothing_half(tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    album = Album(tmp_path, ["mug"])
    with pytest.raises(OutputError, match="mug: the photo cannot be written: given No space left on device"):
        album.add("mug", RED)
    assert list((tmp_path / "mug").iterdir()) == [] and album.added == {"mug": 0}


MANY = list(map(str, range(60)))


@pytest.mark.parametrize("names", [["a", "a"], ["a/b"], ["../up"], [".hidden"], ["_x"], [""], [" "], [], MANY])
def test_names_that_cannot_be_class_folders_are_refused(tmp_path, names):
    with pytest.raises(UsageError, match="--classes: given"):
        Album(tmp_path / "mugs", names)
    assert not (tmp_path / "mugs").exists()


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="photos cannot be kept there: given .*file"):
        Album(tmp_path / "file", ["mug"])


# --- the loop -------------------------------------------------------------------------------------------------------------


class Presses:
    """A screen on which one key after the other is pressed, then q."""

    def __init__(self, keys: str):
        self.keys, self.seen = list(keys), []

    def show(self, frame_rgb, last, hold_ms):
        self.seen.append((int(frame_rgb[0, 0, 0]), last, hold_ms))
        return self.keys.pop(0) if self.keys else QUIT

    def lost(self, seconds):
        self.seen.append(("lost", seconds))
        return self.keys.pop(0) if self.keys else QUIT


def source(*items, live=False):
    class Source:
        hold_ms = 1
        def __iter__(self):
            return iter(items)
    Source.live = live
    return Source()


def frame(value: int) -> Frame:
    return Frame(np.full((2, 2, 3), value, np.uint8), "camera")


def test_keys_keep_the_frame_on_show_and_what_has_an_end_starts_over(tmp_path):
    album = Album(tmp_path, ["mug", "cup"], started="now")
    screen = Presses("1x 21")
    cli.collect(source(frame(1), frame(2)), screen, album)
    assert [seen[0] for seen in screen.seen] == [1, 2, 1, 2, 1, 2]
    assert [seen[1] for seen in screen.seen] == ["", "mug", "mug", "mug", "cup", "mug"]
    assert {seen[2] for seen in screen.seen} == {cli.LEAST_HOLD_MS}
    kept = {p.relative_to(tmp_path).as_posix(): int(decoded(p.read_bytes())[0, 0, 0]) for p in tmp_path.rglob("*.png")}
    assert kept == {"mug/now_0001.png": 1, "cup/now_0001.png": 2, "mug/now_0002.png": 1}


def test_while_the_camera_is_lost_nothing_is_kept_and_q_ends(tmp_path):
    album = Album(tmp_path, ["mug"])
    screen = Presses("11")
    cli.collect(source(Gap(3), Gap(4), Gap(5), frame(1), live=True), screen, album)
    assert screen.seen == [("lost", 3), ("lost", 4), ("lost", 5)]
    assert album.added == {"mug": 0}


def test_q_is_no_class_and_there_are_keys_for_fifty():
    assert QUIT not in KEYS and len(set(KEYS)) == len(KEYS) >= 50 and KEYS.startswith("123456789")


def test_the_window_shows_keys_names_and_counts(tmp_path, monkeypatch):
    class Gui:
        COLOR_RGB2BGR = WND_PROP_VISIBLE = 1
        def namedWindow(self, title): self.title = title
        def cvtColor(self, image, code): return image
        def imshow(self, title, image): self.image = image
        def waitKey(self, ms): return ord("2")
        def getWindowProperty(self, *_): return 1
        def destroyAllWindows(self): self.closed = True
    gui = Gui()
    monkeypatch.setitem(sys.modules, "cv2", gui)
    monkeypatch.setattr(window, "PROBE", "")
    screen = screens.open_screen("window", Album(tmp_path / "mugs", ["mug", "cup"]), "", 0, print)
    assert screen.show(np.full((48, 64, 3), 90, np.uint8), "", 1) == "2"
    assert gui.title.startswith("mugs") and gui.image.shape == (480, 640, 3)
    assert (gui.image[-1] == 90).all(), "the picture is untouched below"
    plain = gui.image.copy()
    screen.show(np.full((48, 64, 3), 90, np.uint8), "cup", 1)
    changed = np.flatnonzero((gui.image != plain).any(axis=(1, 2)))
    assert changed.min() >= 22 and changed.max() < 44, "the second line is marked"
    assert screen.lost(3) == "2"
    screen.close()
    assert gui.closed


# --- what is told ---------------------------------------------------------------------------------------------------------


def test_the_summary_tells_counts_what_is_few_and_the_lines_to_go_on_with(tmp_path):
    album = Album(tmp_path / "my mügs", ["mug", "none"])
    for _ in range(20):
        album.add("mug", RED[:1, :1])
    words = cli.summary(album)
    assert f"collected 20 photos in {tmp_path}/my mügs: mug 20 (+20), none 0 (+0)\nbelow 20 photos: none;" in words
    assert "  make export DATA='my\\ mügs' NAME=my-m-gs" in words
    done = subprocess.run(["sh", "-c", f"printf '%s' {re.search('DATA=(.*) NAME', words)[1]}"], capture_output=True, text=True)
    again = subprocess.run(["sh", "-c", f"printf '%s' {done.stdout}"], capture_output=True, text=True)
    assert again.stdout == "my mügs", "after make's shell"


def run(*arguments, cwd: Path, root: Path, environment: dict) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "runtime", "capture", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env={**environment, "PYTHONPATH": str(root)}, capture_output=True, text=True,
                          timeout=SECONDS)


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["mugs"], 2, "no classes: given no --classes and no class folders in mugs"),
    (["mugs", "--classes", "a/b"], 2, "--classes: given 'a/b'"),
    (["mugs", "--classes", "a", "--source", "nowhere.npy"], 4, "no such source"),
    ([], 2, "FOLDER"),
])
def test_what_cannot_be_is_said_with_its_exit_code(tmp_path, root, clean_environment, arguments, code, words):
    done = run(*arguments, cwd=tmp_path, root=root, environment=clean_environment)
    assert done.returncode == code and words in done.stderr
    assert "Traceback" not in done.stderr and "collected" not in done.stdout


def test_class_folders_that_are_there_are_the_default(tmp_path):
    for name in ("mug", "cup", ".git", "_old"):
        (tmp_path / name).mkdir()
    assert album_module.class_folders(tmp_path) == ["cup", "mug"]
    assert album_module.class_folders(tmp_path / "nowhere") == []


def ask(url: str, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=SECONDS)
    try:
        connection.request(method, path, body)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def test_the_whole_program_by_its_page(tmp_path, root, clean_environment, frames_npy):
    """Two photos by the page's keys, a key that is none, and the end; the .npy stands in for the camera."""
    command = [sys.executable, "-m", "runtime", "capture", "mugs", "--classes", "mug", "cup", "--source", str(frames_npy),
               "--display", "web", "--port", "0"]
    program = subprocess.Popen(command, cwd=tmp_path, env={**clean_environment, "PYTHONPATH": str(root)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        url = re.search(r"http://\S+", program.stderr.readline())[0]
        html = ask(url, "GET", "/")[1].decode()
        assert "<title>mugs, photos</title>" in html and "{{" not in html
        assert all(ask(url, "GET", path)[0] == 200 for path in ("/capture.js", "/capture.css", "/page.css", "/feed.js"))
        assert ask(url, "POST", "/key", "3") == (400, b"Expected POST /key with one of 1, 2, q.\n")
        assert [ask(url, "POST", "/key", key)[0] for key in "12"] == [204, 204]
        header = {"added": 0}
        while header["added"] < 2:
            message = ask(url, "GET", "/frame?after=-1")[1]
            header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "big")])
        assert header["classes"] == [{"key": "1", "name": "mug", "count": 1, "few": True},
                                     {"key": "2", "name": "cup", "count": 1, "few": True}]
        assert header["last"] == "cup" and header["size_wh"] == [64, 48]
        ask(url, "POST", "/key", "q")
        told = program.communicate(timeout=SECONDS)[0]
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 0
    assert "collected 2 photos" in told and "make export DATA=mugs NAME=mugs" in told
    kept = sorted(p.relative_to(tmp_path / "mugs").as_posix() for p in (tmp_path / "mugs").rglob("*") if p.is_file())
    assert [re.sub(r"\d{8}-\d{6}", "TIME", name.rpartition(".")[0]) for name in kept] == ["cup/TIME_0001", "mug/TIME_0001"]


def test_numpy_missing_is_said(tmp_path, root, broken_packages):
    environment = broken_packages("numpy")
    done = subprocess.run([sys.executable, "-m", "runtime", "capture", "mugs"], cwd=root, env=environment, text=True,
                          capture_output=True, timeout=SECONDS)
    assert done.returncode == 5 and "runtime: numpy is missing. Run: " in done.stderr


