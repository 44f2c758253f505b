"""Being told to end from outside, by real signals to a real process: what was begun is finished, and the exit code is 0."""
from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

import numpy as np
import pytest

from runtime.camera.live import LiveSource
from runtime.display.web import WebDisplay

SECONDS = 60  # anything waited for comes long before
ENDINGS = [signal.SIGTERM, signal.SIGHUP]

# A Pi camera that tells in a file what is done with it. By CAMERA_SLOW_AT its opening or closing can take long.
PICAMERA2 = """
import os, time
from concurrent.futures import Future
from enum import Enum
import numpy as np

Platform = Enum("Platform", "VC4 PISP")
get_platform = lambda: Platform.PISP

def tell(event):
    with open(os.environ["CAMERA_LOG"], "a") as log:
        log.write(event + "\\n")
    if os.environ.get("CAMERA_SLOW_AT") == event:
        time.sleep(1)

class Request:
    config = {"lores": {"size": (640, 480)}}
    make_array = lambda self, name: np.zeros((480, 640, 3), np.uint8)
    release = lambda self: None

class Picamera2:
    def __init__(self):
        tell("opening")
    create_video_configuration = lambda self, **settings: settings
    configure = lambda self, config: None
    start = lambda self: None
    capture_request = lambda self, wait: Future()
    cancel_all_and_flush = lambda self: None
    def wait(self, job, timeout):
        time.sleep(0.01)
        return Request()
    def close(self):
        tell("closing")
        tell("closed")
"""


@pytest.fixture
def start(root, tiny_path, frames_npy, clean_environment, tmp_path):
    """Start an endless run whose JSON lines go to out.jsonl; killed at the end, and by a watchdog if it never ends."""
    started = []

    def start_(*arguments: object, heed=ENDINGS, **overrides) -> subprocess.Popen:
        def begin():  # what the signals do must not depend on how these tests were started
            for number in ENDINGS:
                signal.signal(number, signal.SIG_DFL if number in heed else signal.SIG_IGN)

        defaults = [] if "--source" in arguments else ["--source", frames_npy, "--loop"]
        defaults += [] if "--display" in arguments else ["--display", "none"]
        command = [root / "runtime" / "janken.py", "--bundle", tiny_path, "--json", "out.jsonl", *defaults, *arguments]
        settings = {"env": clean_environment, "stderr": subprocess.PIPE, "preexec_fn": begin, **overrides}
        process = subprocess.Popen([sys.executable, *map(str, command)], cwd=tmp_path, text=True, **settings)
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        started.append((process, watchdog))
        return process

    yield start_
    for process, watchdog in started:
        watchdog.cancel()
        process.kill()
        process.wait()


def wait_for(happened) -> None:
    deadline = monotonic() + SECONDS
    while not happened():
        assert monotonic() < deadline, "it never came to that"
        sleep(0.01)


def wait_for_frames(path: Path, frames: int = 1) -> None:
    wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") >= frames)


def end(process: subprocess.Popen, number: int) -> str:
    """Send the signal; returns what was said on stderr by the end, which has to be a good one."""
    process.send_signal(number)
    words = process.stderr.read()
    assert process.wait() == 0, words
    assert "Traceback" not in words and "Exception ignored" not in words, words
    return words


@pytest.mark.parametrize("number", ENDINGS)
def test_it_ends_with_the_summary_and_whole_lines(start, tmp_path, number):
    process = start()
    wait_for_frames(tmp_path / "out.jsonl")
    words = end(process, number)
    frames = int(re.search(r"janken: (\d+) frames? in", words).group(1))
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert frames - len(written) in (0, 1)  # a frame may have been counted but not yet written


def test_nohup_is_respected(start, tmp_path):
    process = start(heed=[signal.SIGTERM])
    wait_for_frames(tmp_path / "out.jsonl")
    process.send_signal(signal.SIGHUP)
    before = (tmp_path / "out.jsonl").read_bytes().count(b"\n")
    wait_for_frames(tmp_path / "out.jsonl", before + 5)
    assert process.poll() is None
    end(process, signal.SIGTERM)


@pytest.fixture
def camera(clean_environment, tmp_path):
    """The environment with the stand-in camera, and a function that reads its log."""
    (tmp_path / "packages" / "picamera2").mkdir(parents=True)
    (tmp_path / "packages" / "picamera2" / "__init__.py").write_text(PICAMERA2)
    log = tmp_path / "camera.log"
    environment = {**clean_environment, "PYTHONPATH": str(tmp_path / "packages"), "CAMERA_LOG": str(log)}
    return environment, lambda: log.read_text().split() if log.exists() else []


@pytest.mark.parametrize("number", ENDINGS)
def test_the_camera_is_released(start, camera, tmp_path, number):
    environment, events = camera
    process = start("--source", "picamera2", env=environment)
    wait_for_frames(tmp_path / "out.jsonl")
    end(process, number)
    assert events() == ["opening", "closing", "closed"]


def test_a_second_signal_does_not_cut_the_end_short(start, camera, tmp_path):
    environment, events = camera
    process = start("--source", "picamera2", env={**environment, "CAMERA_SLOW_AT": "closing"})
    wait_for_frames(tmp_path / "out.jsonl")
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: "closing" in events())
    process.send_signal(signal.SIGTERM)
    end(process, signal.SIGHUP)
    assert events() == ["opening", "closing", "closed"]


def test_it_ends_while_it_is_still_opening_the_camera(start, camera):
    environment, events = camera
    process = start("--source", "picamera2", env={**environment, "CAMERA_SLOW_AT": "opening"})
    wait_for(events)
    assert "janken:" not in end(process, signal.SIGTERM)  # nothing to sum up


def test_the_recording_is_finished(start, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed, and recordings need it")
    process = start("--record", "out.mp4")
    wait_for_frames(tmp_path / "out.jsonl", 8)
    end(process, signal.SIGTERM)
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 7


def test_who_looks_at_the_page_is_told(start):
    process = start("--display", "web", "--port", "0")
    said = next(line for line in process.stderr if "the page is at" in line)  # the interpreter may have said something before
    address = urlsplit(said.split()[-1])
    viewer = http.client.HTTPConnection(address.hostname, address.port, timeout=SECONDS)

    def look() -> dict:
        viewer.request("GET", "/frame")
        message = viewer.getresponse().read()
        return json.loads(message[4 : 4 + int.from_bytes(message[:4], "big")])

    assert look()["state"] == "live"
    process.send_signal(signal.SIGTERM)
    states = [look()["state"]]
    while states[-1] != "ended":
        states.append(look()["state"])
    viewer.close()
    assert process.wait() == 0 and "mean ms a frame" in process.stderr.read()


def test_a_terminal_that_goes_away_leaves_whole_lines(start, tmp_path):
    """As when an ssh session dies: the kernel sends SIGHUP, and nothing can be said on the terminal any more."""
    ours, terminal = os.openpty()

    def on_the_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = start(stdin=terminal, stdout=terminal, stderr=terminal, preexec_fn=on_the_terminal, pass_fds=[terminal])
    os.close(terminal)
    wait_for_frames(tmp_path / "out.jsonl")
    os.close(ours)
    assert process.wait() == 0
    assert [json.loads(line)["frame"] for line in (tmp_path / "out.jsonl").read_text().splitlines()][0] == 0


def test_it_goes_on_when_nobody_reads_its_words(start, frames_npy, tmp_path):
    """The page's address is said into a pipe that has no reader: `| tee` that was killed, a terminal that was closed."""
    reader, writer = os.pipe()
    os.close(reader)
    process = start("--display", "web", "--port", "0", "--frames", "6", stderr=writer)
    os.close(writer)
    assert process.wait() == 0
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == 6


def interrupt(work, times: int = 1500) -> None:
    """Call `work` over and over, so often broken off by a signal, wherever it is by then."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, end)
    try:
        for number in range(times):
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-4 + 1e-6 * (number % 100))
                while True:
                    work()
            except KeyboardInterrupt:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ends(close) -> bool:
    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(SECONDS / 4)
    return not closing.is_alive()


def test_nothing_of_the_page_stays_locked():
    web = WebDisplay("127.0.0.1", 0, lambda line: None)
    interrupt(lambda: web.lost(1))
    assert ends(lambda: web._press("s")) and web.lost(1) == "s"
    assert ends(web.close)


def test_nothing_of_a_camera_stays_locked():
    class Device:
        def read(self) -> np.ndarray:
            sleep(1e-4)
            return np.zeros((2, 2, 3), np.uint8)

        def close(self) -> None:
            self.closed = True

    device = Device()
    source = LiveSource(lambda: device, "cam", lambda line: None, 0)
    next(iter(source))  # starts its thread
    interrupt(source._wait)
    assert ends(source.close) and device.closed
