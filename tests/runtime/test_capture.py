"""Live sources: the thread, the newest frame, loss, return and giving up; then a real stream over HTTP."""
from __future__ import annotations

import gc
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from runtime.camera import Frame, Gap, live, open_source
from runtime.camera.live import LiveSource
from runtime.errors import SourceError

PATIENCE_S = 10  # nothing here takes as long; a test that would hang fails instead


class FakeDevice:
    """Hands out what the test puts: a frame, or an error to raise. Reading waits until there is something."""

    def __init__(self, coming: queue.Queue):
        self.coming, self.closed = coming, 0

    def read(self) -> np.ndarray:
        item = self.coming.get(timeout=PATIENCE_S)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


class Rig:
    """A live source on fake devices, with what it said and the devices it opened."""

    def __init__(self, give_up_s: float = 0.0):
        self.coming: queue.Queue = queue.Queue()
        self.devices: list[FakeDevice] = []
        self.failing_openings = 0
        self.said: list[str] = []
        self.source = LiveSource(self._open, "cam", self.said.append, give_up_s)
        self.items = iter(self.source)

    def _open(self) -> FakeDevice:
        if self.failing_openings:
            self.failing_openings -= 1
            raise SourceError("cam: cannot be opened")
        self.devices.append(FakeDevice(self.coming))
        return self.devices[-1]

    def put(self, *items) -> None:
        """What the device is to hand out: whole numbers stand for frames of that brightness."""
        for item in items:
            self.coming.put(np.full((2, 2, 3), item, np.uint8) if isinstance(item, int) else item)

    def next_frame(self) -> int:
        """The brightness of the next frame, gaps passed over."""
        return int(next(item for item in self.items if isinstance(item, Frame)).rgb[0, 0, 0])

    def close(self) -> None:
        self.source._stop.set()
        self.coming.put(SourceError("the test is over"))  # for a thread that is reading
        self.source.close()
        assert not self.source._thread.is_alive()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The same machinery in hundredths of a second."""
    for name, seconds in (("FIRST_PAUSE_S", 0.01), ("LONGEST_PAUSE_S", 0.04), ("LOST_S", 0.1), ("TICK_S", 0.01)):
        monkeypatch.setattr(live, name, seconds)


@pytest.fixture
def rig():
    made = []

    def make(**settings) -> Rig:
        made.append(Rig(**settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait_until(true) -> None:
    pause = threading.Event()
    for _ in range(int(PATIENCE_S / 0.005)):
        if true():
            return
        pause.wait(0.005)
    raise AssertionError("it never came true")


def test_a_source_that_cannot_be_opened_at_first_is_an_error_at_once():
    def refuse():
        raise SourceError("cam: cannot be opened")

    with pytest.raises(SourceError, match="cam: cannot be opened"):
        LiveSource(refuse, "cam", print, 0)


def test_the_newest_frame_wins_and_the_others_are_counted(rig):
    cam = rig()
    cam.put(1)
    assert cam.next_frame() == 1
    cam.put(2, 3, 4)
    wait_until(lambda: cam.source.dropped == 2)
    assert cam.next_frame() == 4
    cam.put(5)
    assert cam.next_frame() == 5
    assert cam.source.dropped == 2 and cam.said == []


def test_no_more_than_the_newest_frame_is_kept(rig):
    cam = rig()
    cam.put(0)
    cam.next_frame()
    frames = [np.zeros((2, 2, 3), np.uint8) for _ in range(100)]
    alive = [weakref.ref(frame) for frame in frames]
    cam.put(*frames)
    frames.clear()
    wait_until(lambda: cam.source.dropped == 99)
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 2  # the one on offer, and the thread's last


def test_a_dead_device_is_closed_and_opened_again_and_both_are_said_once(rig):
    cam = rig()
    cam.put(1)
    assert cam.next_frame() == 1
    cam.failing_openings = 8
    cam.put(SourceError("cam: no frame came"))
    gap = next(cam.items)
    assert isinstance(gap, Gap) and gap.seconds >= live.LOST_S
    assert cam.said == ["no frame from cam, waiting for one. cam: cannot be opened."]
    wait_until(lambda: len(cam.devices) == 2)
    cam.put(2)
    assert cam.next_frame() == 2
    assert len(cam.said) == 2 and re.fullmatch(r"frames from cam again, after \d s", cam.said[1])
    assert [device.closed for device in cam.devices] == [1, 0]


def test_a_short_hiccup_is_not_worth_a_word(rig, monkeypatch):
    monkeypatch.setattr(live, "LOST_S", PATIENCE_S)
    cam = rig()
    cam.put(1)
    assert cam.next_frame() == 1
    cam.put(SourceError("cam: no frame came"), 2)
    wait_until(lambda: len(cam.devices) == 2)
    assert cam.next_frame() == 2
    assert cam.said == []


class Impatient(threading.Event):
    """Notes for how long it was to wait, and does not."""

    def __init__(self):
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return self.is_set()


def test_pauses_double_up_to_a_limit_and_start_small_after_a_frame(rig, monkeypatch):
    monkeypatch.undo()  # the true numbers
    cam = rig()
    cam.source._stop = Impatient()
    cam.failing_openings = 6
    cam.put(1, SourceError("cam: no frame came"), 2, SourceError("cam: no frame came"), 3)
    wait_until(lambda: cam.next_frame() == 3)
    assert cam.source._stop.waits == [0.5, 1, 2, 4, 8, 10, 10, 0.5]


def test_a_device_that_opens_but_gives_nothing_is_no_return(rig):
    cam = rig()
    cam.put(*[SourceError("cam: no frame came")] * 5, 1)
    assert cam.next_frame() == 1
    assert len(cam.said) in (0, 2) and len(cam.devices) == 6


def test_after_the_time_given_it_is_given_up_with_the_reason(rig):
    cam = rig(give_up_s=1)
    cam.failing_openings = 1000
    cam.put(SourceError("cam: no frame came"))
    gaps = []
    with pytest.raises(SourceError) as caught:
        gaps.extend(cam.items)
    assert re.fullmatch(
        r"cam: no frame for \d s, given up\. cam: cannot be opened\. Look at its cable, power or network; "
        r"--give-up says how long to wait\.", str(caught.value),
    )
    assert caught.value.exit_code == 4
    assert len(gaps) >= 3 and all(live.LOST_S <= gap.seconds < 1 for gap in gaps)


def test_with_zero_it_is_never_given_up(rig):
    cam = rig(give_up_s=0)
    gaps = [next(cam.items) for _ in range(20)]
    assert gaps[-1].seconds > gaps[0].seconds >= live.LOST_S
    assert cam.said == ["no frame from cam, waiting for one."]


def test_a_device_that_hangs_holds_up_neither_the_loop_nor_the_end(monkeypatch):
    monkeypatch.setattr(live, "CLOSE_S", 0.05)
    release = threading.Event()

    class Hanging(FakeDevice):
        def read(self):
            release.wait(PATIENCE_S)
            raise SourceError("cam: no frame came")

    device = Hanging(queue.Queue())
    source = LiveSource(lambda: device, "cam", lambda line: None, 0.2)
    with pytest.raises(SourceError, match="given up"):
        list(source)
    source.close()
    assert source._thread.is_alive() and source._thread.daemon and not device.closed
    release.set()
    source._thread.join(PATIENCE_S)
    assert device.closed == 1  # late, but by the thread that used it


def test_a_fault_of_the_program_surfaces_in_the_loop(rig):
    cam = rig()
    cam.put(ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        next(cam.items)


def test_closing_ends_the_thread_and_closes_the_device():
    threads = threading.active_count()
    cam = Rig()
    cam.put(1)
    cam.next_frame()
    cam.close()
    assert threading.active_count() == threads and cam.devices[-1].closed == 1


def test_closing_before_the_first_frame_closes_the_device_too():
    cam = Rig()
    cam.source.close()
    assert cam.devices[0].closed == 1


def test_reopening_a_hundred_times_leaks_no_descriptor(monkeypatch):
    monkeypatch.setattr(live, "FIRST_PAUSE_S", 0.0)
    openings = []

    class Descriptor:
        def __init__(self):
            self.number = os.open(os.devnull, os.O_RDONLY)
            openings.append(self.number)

        def read(self):
            raise SourceError("cam: no frame came")

        def close(self):
            os.close(self.number)

    before = len(os.listdir("/proc/self/fd"))
    source = LiveSource(Descriptor, "cam", lambda line: None, 0)
    next(iter(source))
    wait_until(lambda: len(openings) > 100)
    source.close()
    assert len(os.listdir("/proc/self/fd")) == before


class MjpegCamera:
    """A network camera: serves one frame again and again over HTTP, as motion JPEG, until it is switched off."""

    def __init__(self, jpeg: bytes):
        self._jpeg, self._port = jpeg, 0
        self.switch_on()
        self.url = f"http://user:secret@127.0.0.1:{self._port}/stream.mjpg"

    def switch_on(self) -> None:
        part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(self._jpeg), self._jpeg)
        self._off = off = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):  # the viewer left
                    while not off.wait(0.02):
                        self.wfile.write(part)

            def log_message(self, *arguments): ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def switch_off(self) -> None:
        self._off.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mjpeg_camera(draw_frame):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed, and streams need it")
    _, jpeg = cv2.imencode(".jpg", draw_frame("gu").repeat(4, 0).repeat(4, 1)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    camera = MjpegCamera(jpeg.tobytes())
    yield camera
    camera.switch_off()


def test_a_network_stream_is_captured_lost_and_found_again(mjpeg_camera):
    said: list[str] = []
    name = mjpeg_camera.url.replace("user:secret@", "")
    source = open_source(mjpeg_camera.url, said.append)
    items = iter(source)
    frame = next(items)
    assert frame.source == name and frame.rgb.shape == (192, 256, 3)
    assert abs(frame.rgb[70, 96].astype(int) - (255, 0, 0)).max() < 20  # the patch is red, not blue
    mjpeg_camera.switch_off()
    while isinstance(next(items), Frame):
        pass
    assert len(said) == 1 and said[0].startswith(f"no frame from {name}, waiting for one. {name}: ")
    mjpeg_camera.switch_on()
    while isinstance(next(items), Gap):
        pass
    assert len(said) == 2 and said[1].startswith(f"frames from {name} again, after ")
    source.close()
    assert not source._thread.is_alive()


@pytest.fixture
def watching(mjpeg_camera, tiny_path, clean_environment):
    """The program on the stream, with more arguments."""
    running = []

    def start(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "runtime", "--bundle", str(tiny_path), "--source", mjpeg_camera.url, "--display",
                   "none", "--json", "-", *arguments]
        running.append(subprocess.Popen(
            command, cwd=tiny_path.parents[1], env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ))
        assert json.loads(running[-1].stdout.readline())["label"] == "gu"
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_a_stream_that_is_gone_for_good_ends_with_exit_4(mjpeg_camera, watching):
    process = watching("--give-up", "2.5")
    mjpeg_camera.switch_off()
    _, words = process.communicate(timeout=60)
    assert process.returncode == 4, words
    # Once each; the interpreter may have had a word of its own, OpenCV had none at its attempts to open.
    lost, frames, times, end = [line for line in words.splitlines() if not line.startswith("INFO: ")]
    assert "no frame from http://127.0.0.1" in lost and re.search(r"\d frames? in ", frames) and "mean ms" in times
    assert "no frame for 2 s, given up" in end or "no frame for 3 s, given up" in end
    assert "secret" not in words and "Traceback" not in words


def test_ctrl_c_ends_while_the_stream_is_lost(mjpeg_camera, watching):
    process = watching("--give-up", "0")
    mjpeg_camera.switch_off()
    while "no frame from" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 0 and re.search(r"\d frames? in ", words) and "Traceback" not in words
