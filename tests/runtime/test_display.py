from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runtime.display import open_display, window
from runtime.display.recorder import Recorder
from runtime.errors import OutputError, UsageError

needs_opencv = "OpenCV is not installed, and the recorder needs it"


def test_no_display_looks_at_nothing_and_presses_no_key():
    display = open_display("none")
    assert not display.looks
    assert display.show(np.zeros((2, 2, 3), np.uint8), 1) == ""
    display.close()


def test_a_window_without_opencv_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="--display window needs OpenCV.*opencv-python.*--display none"):
        open_display("window")


def test_a_window_without_a_screen_says_so_instead_of_aborting(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    monkeypatch.setattr(window, "PROBE", "import os, sys; print('could not connect to display', file=sys.stderr); os.abort()")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UsageError) as caught:
        open_display("window")
    words = str(caught.value)
    assert "cannot open a window: given DISPLAY='', could not connect to display" in words
    assert "expected a screen that can be reached" in words and "--display web" in words


class FakeHighGui:
    """As much of OpenCV's window functions as the window uses."""

    COLOR_RGB2BGR = WND_PROP_VISIBLE = 4

    def __init__(self, key: int, visible: float = 1):
        self.key, self.visible, self.calls = key, visible, []

    def cvtColor(self, image, code):
        return image[..., ::-1]

    def namedWindow(self, title):
        self.title = title

    def imshow(self, title, image_bgr):
        self.shown = image_bgr

    def waitKey(self, ms):
        self.calls.append(ms)
        return self.key

    def getWindowProperty(self, title, which):
        return self.visible

    def destroyAllWindows(self):
        self.calls.append("destroyed")


@pytest.mark.parametrize(("key", "visible", "pressed"), [(-1, 1, ""), (ord("s"), 1, "s"), (-1, 0, "q")])
def test_the_window_shows_bgr_and_tells_keys_and_being_closed(monkeypatch, key, visible, pressed):
    gui = FakeHighGui(key, visible)
    monkeypatch.setitem(sys.modules, "cv2", gui)
    monkeypatch.setattr(window, "PROBE", "")
    display = open_display("window", name="mugs")
    assert gui.title == "mugs (s: heatmap or box, q: quit)"
    assert display.show(np.full((2, 2, 3), (1, 2, 3), np.uint8), 500) == pressed
    assert gui.shown[0, 0].tolist() == [3, 2, 1]
    display.close()
    assert gui.calls == [500, "destroyed"]


def test_a_recording_needs_an_mp4_in_a_folder_that_is_there(tmp_path):
    with pytest.raises(UsageError, match=r"--record: given .*out.avi, expected a name ending in .mp4"):
        Recorder(tmp_path / "out.avi")
    with pytest.raises(UsageError, match="expected a file in a folder that exists"):
        Recorder(tmp_path / "nowhere" / "out.mp4")


def test_a_recording_without_opencv_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match="--record needs OpenCV.*opencv-python"):
        Recorder(tmp_path / "out.mp4")


def test_a_recording_of_nothing_leaves_no_file(tmp_path):
    pytest.importorskip("cv2", reason=needs_opencv)
    Recorder(tmp_path / "out.mp4").close()
    assert list(tmp_path.iterdir()) == []


def test_a_recording_reads_back_with_other_sizes_fitted_into_the_first(tmp_path):
    cv2 = pytest.importorskip("cv2", reason=needs_opencv)
    recorder = Recorder(tmp_path / "out.mp4")
    recorder.write(np.full((48, 65, 3), (200, 0, 0), np.uint8))  # an odd width loses a column
    recorder.write(np.full((48, 32, 3), (200, 0, 0), np.uint8))
    recorder.close()
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    frames = [video.read()[1] for _ in range(2)]
    assert not video.read()[0]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2
    assert frames[0][24, 2, 2] > 150  # red, in OpenCV's B, G, R
    assert frames[1][24, 32, 2] > 150 and frames[1][24, 2, 2] < 50  # centred, black beside it


def test_a_full_disk_ends_a_recording(monkeypatch, tmp_path):
    pytest.importorskip("cv2", reason=needs_opencv)
    recorder = Recorder(tmp_path / "out.mp4")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OutputError, match="out.mp4: the disk is full"):
        recorder.write(np.zeros((48, 64, 3), np.uint8))


WRITE_PAST_A_LIMIT = """
import resource, sys
import numpy as np
from pathlib import Path
from runtime.display.recorder import Recorder
from runtime.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
recorder = Recorder(Path(sys.argv[1]))
for _ in range(20):
    recorder.write(np.random.randint(0, 256, (240, 320, 3), np.uint8))
try:
    recorder.close()
except OutputError as error:
    print(error)
"""


def test_a_recording_that_could_not_be_written_is_noticed_at_its_end(root, tmp_path):
    pytest.importorskip("cv2", reason=needs_opencv)
    command = [sys.executable, "-c", WRITE_PAST_A_LIMIT, str(tmp_path / "out.mp4")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert "out.mp4: the recording is damaged: given 0 frames in the file, expected 20" in done.stdout, done
    assert Path(tmp_path / "out.mp4").stat().st_size <= 4000
