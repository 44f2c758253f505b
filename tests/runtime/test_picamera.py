"""The Pi camera's back end against a stand-in for picamera2: no real camera is in the loop here.

The stand-in follows the package's source (0.3.31 to 0.3.38) and manual in what the back end depends on: names and order of
arguments, arrays with padding at the end of each row, formats named after little-endian numbers (the array of "RGB888" has B
first), low resolution streams that must be YUV up to the Pi 4, and few buffers that come back only by `release`.
"""
from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from enum import Enum
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from runtime import doctor
from runtime.camera import open_source, picamera
from runtime.camera.picamera import PiCamera
from runtime.errors import SourceError

ALIGN = 64  # bytes of which a row is a whole number of
BUFFERS = 6


def pattern(size_wh: tuple[int, int]) -> np.ndarray:
    """The test pattern in front of the lens, uint8 (H, W, 3) RGB: red, green, blue and orange quarters, none alike."""
    width, height = size_wh
    frame_rgb = np.empty((height, width, 3), np.uint8)
    frame_rgb[: height // 2, : width // 2] = (220, 30, 20)
    frame_rgb[: height // 2, width // 2 :] = (20, 200, 40)
    frame_rgb[height // 2 :, : width // 2] = (30, 40, 210)
    frame_rgb[height // 2 :, width // 2 :] = (240, 160, 20)
    return frame_rgb


def with_padding(rows: np.ndarray, stride: int) -> np.ndarray:
    """(h, bytes) to (h * stride,), each row followed by what happened to be in memory."""
    memory = np.random.default_rng(0).integers(0, 256, (len(rows), stride), np.uint8)
    memory[:, : rows.shape[1]] = rows
    return memory.ravel()


def yuv420_memory(frame_rgb: np.ndarray, stride: int) -> np.ndarray:
    """Planes Y, U, V of ITU-R BT.601 in the range of video (Y 16 to 235), as the ISP writes them."""
    red, green, blue = np.moveaxis(frame_rgb / 255, 2, 0)
    y = 16 + 65.481 * red + 128.553 * green + 24.966 * blue
    u = 128 - 37.797 * red - 74.203 * green + 112.0 * blue
    v = 128 + 112.0 * red - 93.786 * green - 18.214 * blue
    planes = [np.rint(plane).astype(np.uint8) for plane in (y, u[::2, ::2], v[::2, ::2])]
    return np.concatenate([with_padding(planes[0], stride), *(with_padding(plane, stride // 2) for plane in planes[1:])])


class Platform(Enum):
    VC4 = 0
    PISP = 1


class Request:
    """picamera2.CompletedRequest: one of the camera's buffers, on loan until it is released."""

    def __init__(self, camera: Picamera2):
        self.camera, self.config = camera, camera.camera_config
        camera.on_loan += 1

    def make_array(self, name: str) -> np.ndarray:
        if self.camera.damaged:
            raise RuntimeError("failed to find buffer")
        (width, height), stride, form = (self.config[name][key] for key in ("size", "stride", "format"))
        frame_rgb = pattern((width, height))
        if form == "YUV420":
            return yuv420_memory(frame_rgb, stride).reshape(height * 3 // 2, stride)  # padding is left in
        in_memory = {"BGR888": frame_rgb, "RGB888": frame_rgb[..., ::-1]}[form]
        rows = with_padding(in_memory.reshape(height, -1), stride).reshape(height, stride)
        return np.array(rows[:, : 3 * width]).reshape(height, width, 3)

    def release(self) -> None:
        self.camera.on_loan -= 1
        self.config = None


class Picamera2:
    """picamera2.Picamera2, as far as the back end uses it. Class attributes set up the next one."""

    platform = Platform.VC4
    opening_error: Exception | None = None
    starting_error: Exception | None = None
    opened: list[Picamera2] = []

    def __init__(self, camera_num=0, verbose_console=None, tuning=None, allocator=None):
        if self.opening_error:
            raise self.opening_error
        self.camera_config: dict = {}
        self.jobs: list[Future] = []
        self.on_loan, self.running, self.closed, self.silent, self.damaged = 0, False, False, False, False
        Picamera2.opened.append(self)

    def create_video_configuration(
        self, main={}, lores=None, raw={}, transform=None, colour_space=None, buffer_count=BUFFERS, controls={},  # noqa: B006
        display="main", encode="main", queue=True, sensor={}, use_case="video",  # noqa: B006
    ) -> dict:
        main = {"format": "XBGR8888", "size": (1280, 720), "preserve_ar": True, **main}
        lores = lores and {"format": "YUV420", "size": main["size"], "preserve_ar": False, **lores}
        small = main["size"][0] < 1280 or main["size"][1] < 720
        return {
            "main": main, "lores": lores, "raw": raw, "sensor": sensor, "buffer_count": buffer_count, "display": display,
            "encode": encode, "colour_space": colour_space or ("Smpte170m" if small else "Rec709"),
        }

    def configure(self, camera_config: dict) -> None:
        main, lores = camera_config["main"], camera_config["lores"]
        assert set(camera_config["sensor"]) <= {"bit_depth", "output_size"}
        if lores["size"][0] > main["size"][0] or lores["size"][1] > main["size"][1]:
            raise RuntimeError("lores stream dimensions may not exceed main stream")
        if self.platform == Platform.VC4 and lores["format"] != "YUV420":
            raise RuntimeError("lores stream must be YUV")
        bytes_a_row = lores["size"][0] * (1 if lores["format"] == "YUV420" else 3)
        self.camera_config = {**camera_config, "lores": {**lores, "stride": (bytes_a_row // ALIGN + 1) * ALIGN}}

    def start(self, config=None, show_preview=False) -> None:
        if self.starting_error:
            raise self.starting_error
        self.running = True

    def capture_request(self, wait=None, signal_function=None, flush=None) -> Future:
        assert wait is False, "the stand-in knows this way only"
        self.jobs.append(Future())
        return self.jobs[-1]

    def wait(self, job: Future, timeout=None) -> Request:
        if self.running and not self.silent and self.on_loan < self.camera_config["buffer_count"]:
            self.jobs.remove(job)
            job.set_result(Request(self))
        return job.result(timeout)

    def cancel_all_and_flush(self) -> None:
        self.jobs.clear()

    def close(self) -> None:
        assert not self.jobs, "libcamera would wait for these"
        self.running, self.closed = False, True


@pytest.fixture
def pi(monkeypatch):
    """model -> installs picamera2 for it and, up to the Pi 4, wants OpenCV; returns the class for tests to set up."""

    def install(model: int) -> type[Picamera2]:
        camera_class = type("Picamera2", (Picamera2,), {"platform": Platform.PISP if model == 5 else Platform.VC4})
        monkeypatch.setattr(Picamera2, "opened", [])
        package = SimpleNamespace(Picamera2=camera_class, Platform=Platform, get_platform=lambda: camera_class.platform)
        monkeypatch.setitem(sys.modules, "picamera2", package)
        if model < 5:
            pytest.importorskip("cv2", reason="OpenCV is not installed, and YUV420 needs it")
        return camera_class

    return install


def quarters(frame_rgb: np.ndarray) -> list[np.ndarray]:
    """The four quarters without their seams, where chroma is shared."""
    height, width = frame_rgb.shape[:2]
    rows = slice(0, height // 2 - 2), slice(height // 2 + 2, height)
    columns = slice(0, width // 2 - 2), slice(width // 2 + 2, width)
    return [frame_rgb[r, c].astype(int) for r in rows for c in columns]


@pytest.mark.parametrize("size_wh", [(640, 480), (456, 342), (320, 240)])
def test_up_to_the_pi_4_the_pattern_comes_in_its_colours_without_padding(pi, monkeypatch, size_wh):
    pi(4)
    monkeypatch.setattr(picamera, "FRAME_WH", size_wh)
    frame_rgb = PiCamera().read()
    assert frame_rgb.shape == (size_wh[1], size_wh[0], 3) and frame_rgb.dtype == np.uint8
    assert frame_rgb.flags.c_contiguous
    for seen, true in zip(quarters(frame_rgb), quarters(pattern(size_wh))):
        assert abs(seen - true).max() <= 3


@pytest.mark.parametrize("size_wh", [(640, 480), (456, 342)])
def test_on_the_pi_5_the_pattern_comes_as_it_is(pi, monkeypatch, size_wh):
    pi(5)
    monkeypatch.setitem(sys.modules, "cv2", None)  # not needed there
    monkeypatch.setattr(picamera, "FRAME_WH", size_wh)
    assert (PiCamera().read() == pattern(size_wh)).all()


def test_the_stand_in_tells_the_channel_orders_apart(pi):
    """Otherwise the two tests above would prove nothing."""
    camera = pi(5)()
    for form, channels in (("BGR888", (0, 1, 2)), ("RGB888", (2, 1, 0))):
        lores = {"size": (640, 480), "format": form}
        camera.configure(camera.create_video_configuration(main={"size": (640, 480)}, lores=lores))
        assert (Request(camera).make_array("lores") == pattern((640, 480))[..., channels]).all()


def test_the_camera_is_asked_for_what_the_conversion_means(pi):
    pi(5)
    PiCamera()
    configuration = Picamera2.opened[0].camera_config
    assert configuration["colour_space"] == "Smpte170m"  # BT.601 in the range of video
    assert configuration["sensor"] == {"output_size": (1640, 1232)}
    assert (configuration["display"], configuration["encode"], configuration["raw"]) == (None, None, None)


def test_every_request_is_released(pi):
    pi(5)
    camera = PiCamera()
    for _ in range(3 * BUFFERS):
        camera.read()
    assert Picamera2.opened[0].on_loan == 0


def test_a_request_is_released_even_if_its_array_cannot_be_made(pi):
    pi(5)
    camera = PiCamera()
    Picamera2.opened[0].damaged = True
    with pytest.raises(SourceError, match="picamera2: no frame came: given failed to find buffer"):
        camera.read()
    assert Picamera2.opened[0].on_loan == 0


def test_a_silent_camera_is_an_error_and_can_be_closed(pi, monkeypatch):
    monkeypatch.setattr(picamera, "READ_S", 0.01)
    pi(5)
    camera = PiCamera()
    Picamera2.opened[0].silent = True
    with pytest.raises(SourceError, match="picamera2: no frame for 0 s"):
        camera.read()
    camera.close()
    assert Picamera2.opened[0].closed


def test_a_camera_past_closing_does_not_keep_us_from_opening_it_again(pi, monkeypatch):
    camera_class = pi(5)

    def refuse(self):
        raise RuntimeError("failed to release camera: Device or resource busy")

    monkeypatch.setattr(camera_class, "close", refuse)
    PiCamera().close()


@pytest.mark.parametrize("error", [RuntimeError("Camera __init__ sequence did not complete."), IndexError("list index")])
def test_no_camera_names_the_command_that_lists_them(pi, error):
    pi(5).opening_error = error
    with pytest.raises(SourceError, match="picamera2: no camera: given .*rpicam-hello --list-cameras"):
        PiCamera()


def test_a_camera_that_does_not_start_is_closed_again(pi):
    pi(5).starting_error = RuntimeError("Failed to start camera: Input/output error")
    with pytest.raises(SourceError, match="picamera2: the camera does not start: given Failed to start"):
        PiCamera()
    assert Picamera2.opened[0].closed


def test_without_picamera2_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match="needs picamera2: given .*apt install python3-picamera2 .*--system-site-packages"):
        open_source("picamera2", print)


def test_a_numpy_that_apt_s_simplejpeg_cannot_work_with_is_explained(monkeypatch):
    class Broken(ModuleType):
        def __getattr__(self, name):
            raise ValueError("numpy.dtype size changed, may indicate binary incompatibility")

    monkeypatch.setitem(sys.modules, "picamera2", Broken("picamera2"))
    numpy = "below 2" if sys.version_info < (3, 12) else "2"  # as in Bookworm, as in Trixie
    with pytest.raises(SourceError, match=f"given numpy.dtype size changed.*with numpy {numpy}$"):
        open_source("picamera2", print)


def test_up_to_the_pi_4_opencv_is_asked_for_before_the_camera_is_opened(pi, monkeypatch):
    pi(5).platform = Platform.VC4
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SourceError, match="the Pi camera, up to the Pi 4, needs OpenCV: .*opencv-python"):
        PiCamera()
    assert Picamera2.opened == []


def test_as_a_source_it_delivers_and_closes(pi):
    pi(5)
    source = open_source("picamera2", print)
    frame = next(iter(source))
    assert frame.source == "picamera2" and (frame.rgb == pattern(picamera.FRAME_WH)).all()
    source.close()
    assert Picamera2.opened[0].closed and Picamera2.opened[0].on_loan == 0


@pytest.mark.parametrize(
    ("package", "found"),
    [
        ("class Picamera2:\n    global_camera_info = staticmethod(lambda: [{'Model': 'imx219'}])", "installed: imx219"),
        ("class Picamera2:\n    global_camera_info = staticmethod(list)", "installed, but no camera"),
        ("raise ValueError('dtype size changed')", "installed, but cannot be imported: ValueError: dtype size changed"),
        ("import os; os.abort()", "installed, but cannot be imported: it ended with -6"),
    ],
)
def test_doctor_lists_picamera2_where_it_is(root, clean_environment, tiny_path, tmp_path, package, found):
    (tmp_path / "picamera2.py").write_text(package)
    environment = {**clean_environment, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "runtime", "doctor", "--bundle", str(tiny_path)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"picamera2    {found}" in done.stdout
    assert ("sudo apt install python3-picamera2" in done.stdout) == ("cannot be imported" in found)


def test_doctor_is_silent_about_picamera2_off_the_pi_and_names_the_command_on_it(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_machine_name", lambda: "x86_64, 64-bit Python, 2 cores, no Raspberry Pi")
    assert list(doctor.picamera_findings()) == []
    monkeypatch.setattr(doctor, "_machine_name", lambda: "aarch64, 64-bit Python, 4 cores, Raspberry Pi 4 Model B Rev 1.4")
    assert [finding.found for finding in doctor.picamera_findings()] == ["missing"]
