"""Sources, with real files; decoders and OpenCV's cameras by stand-ins where the packages are not needed to judge."""
from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from runtime.camera import images, open_source
from runtime.camera.opencv import READ_S, READ_TRIES, VideoSource, network_stream, public_name, v4l2_camera
from runtime.camera.replay import ArraySource, FolderSource, PhotoSource
from runtime.errors import SourceError


def no_warning(line: str) -> None:
    raise AssertionError(f"unexpected warning: {line}")


def refusal(name: object) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(str(name), no_warning)
    return str(caught.value)


def decode_stub(path) -> np.ndarray:
    """Stands in for a decoder: a photo is readable when its file is not empty."""
    if not path.read_bytes():
        raise SourceError(f"{path}: unreadable", given="nothing", expected="a readable photo")
    return np.full((2, 3, 3), 7, np.uint8)


@pytest.fixture
def photo_folder(tmp_path):
    folder = tmp_path / "photos"
    for name in ("z.bmp", "pa/2.JPG", "gu/b/1.png", "gu/c.jpeg", "choki/bad.jpg", "gu/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"" if "bad" in name else b"photo")
    (folder / "empty_class").mkdir()
    return folder


class TestFolder:
    def test_an_empty_folder_is_refused(self, tmp_path):
        with pytest.raises(SourceError) as caught:
            FolderSource(tmp_path, decode_stub, no_warning)
        assert f"no photo in the folder: given {tmp_path}, expected files ending in .bmp, .jpeg, .jpg" in str(caught.value)

    def test_photos_come_in_sorted_order_by_their_path_in_the_folder(self, photo_folder):
        names = [frame.source for frame in FolderSource(photo_folder, decode_stub, lambda line: None)]
        assert names == ["gu/b/1.png", "gu/c.jpeg", "pa/2.JPG", "z.bmp"]

    def test_an_unreadable_photo_is_named_once_skipped_and_counted(self, photo_folder):
        warnings = []
        source = FolderSource(photo_folder, decode_stub, warnings.append)
        for _ in range(2):
            assert len(list(source)) == 4
        assert source.skipped == 1
        assert warnings == [f"skipped {photo_folder}/choki/bad.jpg: unreadable: given nothing, expected a readable photo."]

    def test_a_folder_of_unreadable_photos_only_is_an_error(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        source = FolderSource(tmp_path, decode_stub, lambda line: None)
        for _ in range(2):  # --loop must not spin on it
            with pytest.raises(SourceError, match="no photo in the folder can be read"):
                list(source)


class TestPhoto:
    def test_an_unreadable_photo_is_an_error(self, tmp_path):
        (tmp_path / "a.jpg").touch()
        with pytest.raises(SourceError, match="unreadable"):
            PhotoSource(tmp_path / "a.jpg", decode_stub)

    def test_a_photo_is_one_frame_by_its_name(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"photo")
        source = PhotoSource(tmp_path / "a.jpg", decode_stub)
        assert [frame.source for frame in source] == [frame.source for frame in source] == ["a.jpg"]


class TestArray:
    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((0, 4, 4, 3), np.uint8), "given uint8 (0, 4, 4, 3), expected a .npy of uint8 frames (N, H, W, 3)"),
            (np.zeros((4, 4, 3), np.uint8), "given uint8 (4, 4, 3)"),
            (np.zeros((1, 4, 4, 4), np.uint8), "given uint8 (1, 4, 4, 4)"),
            (np.zeros((1, 4, 4, 3), np.float32), "given float32 (1, 4, 4, 3)"),
        ],
    )
    def test_what_is_no_stack_of_frames_is_refused(self, tmp_path, array, words):
        np.save(tmp_path / "frames.npy", array)
        assert words in refusal(tmp_path / "frames.npy")

    @pytest.mark.parametrize("content", [b"", b"no npy", b"PK\x03\x04 no npz"])
    def test_a_damaged_file_is_refused(self, tmp_path, content):
        (tmp_path / "frames.npy").write_bytes(content)
        assert "frames.npy: cannot be opened: given" in refusal(tmp_path / "frames.npy")

    def test_frames_come_in_order_and_again(self, tmp_path):
        frames = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
        np.save(tmp_path / "frames.npy", frames)
        source = open_source(str(tmp_path / "frames.npy"), no_warning)
        assert isinstance(source, ArraySource)
        for _ in range(2):
            assert [frame.rgb.tolist() for frame in source] == frames.tolist()
        assert next(iter(source)).source == "frames.npy"

    def test_frames_are_mapped_not_read(self, tmp_path):
        np.save(tmp_path / "frames.npy", np.zeros((2, 2, 2, 3), np.uint8))
        frame = next(iter(ArraySource(tmp_path / "frames.npy")))
        assert isinstance(frame.rgb.base, np.memmap) or isinstance(frame.rgb.base.base, np.memmap)


class TestNames:
    def test_nothing_there(self, tmp_path):
        words = refusal(tmp_path / "clip.mp4")
        assert "no such source: given" in words and "expected picamera2, a V4L2 index or device, a stream's address" in words

    def test_a_camera_that_is_not_plugged_in(self):
        assert "no such camera: given /dev/video97, expected a V4L2 device" in refusal("97")
        assert f"`{sys.executable} -m runtime doctor` lists" in refusal("97"), "of this Python, not of the system's"
        assert "no such camera: given /dev/video97" in refusal("/dev/video97")

    def test_photos_without_a_decoder_name_the_command(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "cv2", None)
        monkeypatch.setitem(sys.modules, "PIL", None)
        (tmp_path / "a.png").write_bytes(b"photo")
        words = refusal(tmp_path / "a.png")
        assert "given neither OpenCV nor Pillow" in words and "pip install pillow" in words

    def test_cameras_and_streams_without_opencv_name_the_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cv2", None)
        words = refusal("rtsp://user:secret@camera/stream")
        assert "--source rtsp://camera/stream needs OpenCV" in words and "pip install 'opencv-python<4.12'" in words

    def test_a_folder_may_be_called_like_a_scheme(self, tmp_path, monkeypatch):
        (tmp_path / "http").mkdir()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(images, "photo_decoder", lambda: decode_stub)
        assert "no photo in the folder" in refusal("http")

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("rtsp://user:secret@camera:554/stream1?token=9", "rtsp://camera:554/stream1"),
            ("http://10.0.0.7/video.mjpg", "http://10.0.0.7/video.mjpg"),
            ("udp://@:5000", "udp://:5000"),
        ],
    )
    def test_a_stream_is_named_without_its_secrets(self, url, name):
        assert public_name(url) == name

    def test_videos_without_opencv_name_the_command(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "cv2", None)
        (tmp_path / "clip.mp4").write_bytes(b"video")
        words = refusal(tmp_path / "clip.mp4")
        assert "a video needs OpenCV" in words and "pip install 'opencv-python<4.12'" in words


class FakeCapture:
    """OpenCV's VideoCapture with a script: True is a frame, False a failed read; after the script nothing comes."""

    def __init__(self, script, opened=True):
        self.script, self.opened, self.released, self.reads = list(script), opened, False, 0

    def isOpened(self):
        return self.opened

    def read(self):
        self.reads += 1
        came = bool(self.script and self.script.pop(0))
        return came, np.full((2, 2, 3), (1, 2, 3), np.uint8) if came else None

    def release(self):
        self.released = True


@pytest.fixture
def fake_opencv(monkeypatch):
    """script -> installs a stand-in for cv2 whose every capture plays the script; returns the captures made."""

    def install(script, opened=True) -> list[FakeCapture]:
        captures = []

        def capture(*asked):
            captures.append(FakeCapture(script, opened))
            captures[-1].asked = asked
            return captures[-1]

        fake = SimpleNamespace(
            VideoCapture=capture, CAP_V4L2=200, CAP_FFMPEG=1900, CAP_ANY=0, CAP_PROP_OPEN_TIMEOUT_MSEC=53,
            CAP_PROP_READ_TIMEOUT_MSEC=54, COLOR_BGR2RGB=4, cvtColor=lambda frame, code: frame[..., ::-1],
        )
        monkeypatch.setitem(sys.modules, "cv2", fake)
        return captures

    return install


@pytest.fixture
def device(tmp_path):
    """A file that stands for /dev/video0."""
    path = tmp_path / "video0"
    path.touch()
    return str(path)


class TestOpenCvDevice:
    def test_a_camera_that_does_not_open_is_released_again(self, fake_opencv, device):
        captures = fake_opencv([], opened=False)
        with pytest.raises(SourceError, match="video0: cannot be opened: expected a camera no other program uses"):
            v4l2_camera(device)
        assert captures[0].released

    def test_a_camera_is_opened_through_v4l2_and_is_rgb(self, fake_opencv, device):
        captures = fake_opencv([True])
        camera = v4l2_camera(device)
        assert camera.read()[0, 0].tolist() == [3, 2, 1]
        assert captures[0].asked == (device, 200, [])
        camera.close()
        assert captures[0].released

    def test_a_camera_survives_lost_frames_and_then_counts_as_dead(self, fake_opencv, device):
        captures = fake_opencv([*[False] * (READ_TRIES - 1), True])
        camera = v4l2_camera(device)
        camera.read()
        with pytest.raises(SourceError, match="video0: no frame came"):
            camera.read()
        assert captures[0].reads == 2 * READ_TRIES

    def test_reads_that_hang_are_not_tried_for_long(self, fake_opencv, device, monkeypatch):
        captures = fake_opencv([])
        clock = iter(range(0, 100, 1 + int(READ_S)))
        monkeypatch.setattr("runtime.camera.opencv.monotonic", lambda: next(clock))
        with pytest.raises(SourceError, match="no frame came"):
            v4l2_camera(device).read()
        assert captures[0].reads == 1

    def test_a_device_closed_to_the_user_names_the_group(self, monkeypatch, device):
        monkeypatch.setattr("os.access", lambda path, mode: False)
        with pytest.raises(SourceError, match="sudo usermod -aG video"):
            v4l2_camera(device)

    def test_a_stream_is_opened_through_ffmpeg_and_may_not_hang(self, fake_opencv):
        captures = fake_opencv([True])
        network_stream("rtsp://user:secret@camera/stream")
        assert captures[0].asked == ("rtsp://user:secret@camera/stream", 1900, [53, 5000, 54, 5000])


class TestVideo:
    def test_a_video_ends_starts_again_and_is_rgb(self, fake_opencv, tmp_path):
        captures = fake_opencv([True, True])
        source = VideoSource(tmp_path / "clip.mp4")
        for _ in range(2):
            assert [frame.rgb[0, 0].tolist() for frame in source] == [[3, 2, 1]] * 2
        source.close()
        assert len(captures) == 3 and all(capture.released for capture in captures)

    def test_a_video_without_a_frame_is_an_error(self, fake_opencv, tmp_path):
        fake_opencv([])
        with pytest.raises(SourceError, match="clip.mp4: no frame in it"):
            list(VideoSource(tmp_path / "clip.mp4"))

    def test_a_file_that_is_no_video_is_an_error(self, fake_opencv, tmp_path):
        fake_opencv([], opened=False)
        (tmp_path / "clip.mp4").touch()
        assert "clip.mp4: cannot be opened: given what OpenCV cannot decode" in refusal(tmp_path / "clip.mp4")


@pytest.fixture(params=["cv2", "PIL"])
def decode(request):
    """Each decoder in turn, where its package is installed."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed, and this decoder needs it")
    return {"cv2": images._opencv_decoder, "PIL": images._pillow_decoder}[request.param]()


def png(array: np.ndarray) -> bytes:
    """A PNG of uint8 (H, W, 1), (H, W, 3) or (H, W, 4), written by hand so that no image package is needed."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = array.shape
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class TestDecoders:
    @pytest.mark.parametrize("content", [b"", b"no photo", b"\xff\xd8\xff\xe0 no jpeg", b"\x89PNG\r\n\x1a\n"])
    def test_an_unreadable_file_is_a_source_error(self, decode, tmp_path, content):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(SourceError, match="a.png: unreadable"):
            decode(tmp_path / "a.png")

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_grey_rgb_and_rgba_become_rgb(self, decode, tmp_path, channels):
        array = np.random.default_rng(0).integers(0, 256, (3, 4, channels), np.uint8)
        (tmp_path / "a.png").write_bytes(png(array))
        decoded = decode(tmp_path / "a.png")
        expected = array.repeat(3, axis=2) if channels == 1 else array[..., :3]
        assert decoded.dtype == np.uint8 and decoded.tolist() == expected.tolist()

    def test_a_photo_taken_with_the_camera_on_its_side_is_turned_upright(self, decode, tmp_path):
        image = pytest.importorskip("PIL.Image", reason="writing an EXIF tag needs Pillow")
        photo = image.new("RGB", (32, 16), (0, 0, 0))
        photo.paste((255, 255, 255), (0, 0, 16, 16))  # white on the left
        exif = image.Exif()
        exif[0x0112] = 6  # turn clockwise by a quarter
        photo.save(tmp_path / "a.jpg", exif=exif, quality=95)
        decoded = decode(tmp_path / "a.jpg")
        assert decoded.shape == (32, 16, 3)
        assert decoded[4].mean() > 250 and decoded[-4].mean() < 5  # left turned up

    def test_the_decoder_in_use_is_the_first_that_is_installed(self, decode, tmp_path):
        (tmp_path / "a.png").write_bytes(png(np.full((2, 2, 3), 9, np.uint8)))
        frame = next(iter(open_source(str(tmp_path / "a.png"), no_warning)))
        assert (frame.rgb == 9).all()
