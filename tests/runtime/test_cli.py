"""The command line as a user runs it: a process started in another folder."""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from runtime.cli import main, parse
from runtime.loop import Tally

CONTRACT = {
    "frame": int, "source": str, "time": float, "size_wh": list, "label": str, "score": float, "scores": dict,
    "box_xyxy": list, "peak_xy": list, "cluster": int, "ms": dict,
}
FULL_DISK = Path("/dev/full")
needs_full_disk = pytest.mark.skipif(not FULL_DISK.exists(), reason="this system has no /dev/full to stand for a full disk")


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_source_without_frames_is_exit_4(janken, tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 4, 4, 3), np.uint8))
    done = janken("--source", "none.npy", "--json", "-")
    assert (done.returncode, done.stdout) == (4, "")
    assert "janken: none.npy: not frames: given uint8 (0, 4, 4, 3)" in done.stderr


def test_json_lines_follow_the_contract_and_nothing_else_is_on_stdout(janken, frames_npy):
    done = janken("--source", frames_npy, "--json", "-")
    assert done.returncode == 0, done.stderr
    results = lines(done.stdout)
    assert [result["label"] for result in results] == ["gu", "choki", "pa", "none"]
    for number, result in enumerate(results):
        assert list(result) == list(CONTRACT)
        for key, kind in CONTRACT.items():
            assert isinstance(result[key], kind) or (result["label"] == "none" and key in ("box_xyxy", "peak_xy")), key
        assert (result["frame"], result["source"], result["size_wh"]) == (number, "frames.npy", [64, 48])
        assert list(result["scores"]) == ["gu", "choki", "pa"]
        assert list(result["ms"]) == ["capture", "preprocess", "infer", "heatmap", "draw"]
        assert all(isinstance(ms, float) for ms in result["ms"].values())
        assert result["ms"]["draw"] == 0  # nobody looks
    assert all(type(value) is int for value in results[0]["box_xyxy"] + results[0]["peak_xy"])
    assert results[3]["box_xyxy"] is None and results[3]["peak_xy"] is None
    assert [result["time"] for result in results] == sorted(result["time"] for result in results)


def test_the_summary_goes_to_stderr(janken, frames_npy):
    done = janken("--source", frames_npy)
    assert (done.returncode, done.stdout) == (0, "")
    assert "janken: 4 frames in" in done.stderr and "choki 1, gu 1, none 1, pa 1" in done.stderr
    assert "mean ms a frame: capture" in done.stderr


def test_json_goes_to_a_file(janken, frames_npy, tmp_path):
    assert janken("--source", frames_npy, "--json", "out.jsonl").returncode == 0
    assert len(lines((tmp_path / "out.jsonl").read_text())) == 4


def test_frames_and_loop(janken, frames_npy):
    few = lines(janken("--source", frames_npy, "--json", "-", "--frames", 2).stdout)
    assert [result["label"] for result in few] == ["gu", "choki"]
    many = lines(janken("--source", frames_npy, "--json", "-", "--loop", "--frames", 6, "--threads", 2).stdout)
    assert [result["frame"] for result in many] == [0, 1, 2, 3, 4, 5]
    assert [result["label"] for result in many[4:]] == ["gu", "choki"]


@pytest.mark.parametrize("mode", ["heatmap", "box"])
def test_render_draws_although_nobody_looks(janken, frames_npy, mode):
    done = janken("--source", frames_npy, "--json", "-", "--render", "--mode", mode)
    assert done.returncode == 0, done.stderr
    assert all(result["ms"]["draw"] > 0 for result in lines(done.stdout))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--frames", "0"], "given '0', expected a whole number above 0"),
        (["--threads", "two"], "given 'two', expected a whole number above 0"),
        (["--mode", "photo"], "invalid choice: 'photo'"),
        (["--port", "70000"], "given '70000', expected a whole number from 0 to 65535"),
        (["--give-up", "-1"], "given '-1', expected seconds, 0 or more"),
        (["--give-up", "nan"], "given 'nan', expected seconds, 0 or more"),
        (["--display", "window"], "--display window"),  # OpenCV or the screen is missing, as the environment has it
        (["--json", "no/such/folder/out.jsonl"], "--json: given [Errno 2]"),
        (["--record", "out.avi"], "--record: given out.avi, expected a name ending in .mp4"),
    ],
)
def test_usage_errors_are_exit_2(janken, frames_npy, arguments, words):
    done = janken("--source", frames_npy, *arguments)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_a_refused_bundle_is_exit_3_and_leaves_the_json_file_alone(janken, frames_npy, tmp_path):
    (tmp_path / "out.jsonl").write_text("kept")
    done = janken("--bundle", tmp_path / "nowhere", "--source", frames_npy, "--json", "out.jsonl")
    assert done.returncode == 3
    assert "janken: no bundle there: given" in done.stderr and "make export" in done.stderr
    assert (tmp_path / "out.jsonl").read_text() == "kept"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.npy", "no such source: given 'nowhere.npy'"),
        ("picamera2", "--source picamera2 needs picamera2"),
        ("97", "no such camera: given /dev/video97"),
    ],
)
def test_a_source_that_cannot_be_opened_is_exit_4(janken, source, words):
    done = janken("--source", source)
    assert done.returncode == 4
    assert words in done.stderr


def test_no_interpreter_is_exit_5_with_the_command(janken, frames_npy, broken_packages):
    done = janken("--source", frames_npy, env=broken_packages("tflite_runtime", "ai_edge_litert"))
    assert done.returncode == 5
    assert "no TFLite interpreter can be used here" in done.stderr
    assert "Run: " in done.stderr and ("tflite-runtime==2.14.0" in done.stderr or "ai-edge-litert" in done.stderr)


def test_no_numpy_is_exit_5_with_the_command(janken, frames_npy, broken_packages):
    done = janken("--source", frames_npy, env=broken_packages("numpy"))
    assert done.returncode == 5
    assert "janken: numpy is missing. Run: " in done.stderr and "Traceback" not in done.stderr


@needs_full_disk
def test_a_full_disk_is_exit_1_with_the_summary(janken, frames_npy):
    done = janken("--source", frames_npy, "--json", FULL_DISK)
    assert done.returncode == 1
    assert "janken: 1 frame in" in done.stderr
    assert "/dev/full: the JSON lines cannot be written: given [Errno 28]" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@needs_full_disk
def test_stdout_on_a_full_disk_is_exit_1(janken, frames_npy):
    with FULL_DISK.open("w") as full:
        done = janken("--source", frames_npy, "--json", "-", stdout=full)
    assert done.returncode == 1
    assert "-: the JSON lines cannot be written" in done.stderr and "Exception ignored" not in done.stderr


@pytest.fixture
def endless(tiny_path, frames_npy, clean_environment):
    """A run that ends only when it is told to, with its JSON lines on a pipe."""
    process = subprocess.Popen(
        [sys.executable, str(tiny_path.parents[1] / "runtime" / "janken.py"), "--bundle", str(tiny_path), "--source",
         str(frames_npy), "--display", "none", "--loop", "--json", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment,
        # A shell's background jobs ignore Ctrl-C and hand that down; the test's must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    watchdog = threading.Timer(60, process.kill)  # a run that does not end must fail its test, not hang it
    watchdog.start()
    assert json.loads(process.stdout.readline())["frame"] == 0
    yield process
    watchdog.cancel()
    process.kill()
    process.wait()


def test_ctrl_c_ends_with_the_summary_and_exit_0(endless):
    endless.send_signal(signal.SIGINT)
    # Not communicate(): it would drop what readline has read ahead.
    rest, words = endless.stdout.read(), endless.stderr.read()
    assert endless.wait() == 0, words
    assert re.search(r"janken: \d+ frames? in", words) and "Traceback" not in words
    assert all(json.loads(line) for line in rest.splitlines())  # the last line is whole


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(endless):
    endless.stdout.close()
    words = endless.stderr.read()
    assert endless.wait() == 0
    assert "Traceback" not in words and "Broken" not in words and "Exception ignored" not in words


def test_a_recording_is_finished_on_ctrl_c(tiny_path, frames_npy, clean_environment, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed, and recordings need it")
    process = subprocess.Popen(
        [sys.executable, "-m", "runtime", "--bundle", str(tiny_path), "--source", str(frames_npy), "--display", "none",
         "--loop", "--json", "-", "--record", str(tmp_path / "out.mp4")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment, cwd=tiny_path.parents[1],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(8):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) and process.returncode == 0
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 7
    assert video.read()[1].shape == (288, 384, 3)


def test_a_folder_of_photos_end_to_end(janken, draw_frame, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed, and the test writes photos with it")
    for label in ("gu", "pa"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        image.fromarray(draw_frame(label)).save(tmp_path / "photos" / label / "1.png")
    (tmp_path / "photos" / "gu" / "0.jpg").write_bytes(b"no photo")
    done = janken("--source", "photos", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert [(r["source"], r["label"]) for r in lines(done.stdout)] == [("gu/1.png", "gu"), ("pa/1.png", "pa")]
    assert "janken: skipped photos/gu/0.jpg: unreadable" in done.stderr and "1 unreadable, skipped" in done.stderr


def test_it_runs_from_its_own_folder_and_as_a_module(tiny_path, frames_npy, clean_environment):
    runtime = tiny_path.parents[1] / "runtime"
    arguments = ["--bundle", str(tiny_path), "--source", str(frames_npy), "--display", "none", "--frames", "1"]
    for command, cwd in ((["janken.py"], runtime), (["-m", "runtime"], runtime.parent)):
        done = subprocess.run([sys.executable, *command, *arguments], cwd=cwd, env=clean_environment, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_a_copied_bundle_uses_itself_by_default(root, tiny_path, frames_npy, clean_environment, tmp_path):
    bundle = Path(shutil.copytree(tiny_path, tmp_path / "tiny-0.1.0"))
    shutil.copytree(root / "runtime", bundle / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, str(bundle / "runtime" / "janken.py"), "--source", str(frames_npy), "--display", "none"]
    done = subprocess.run(command, cwd=os.sep, env=clean_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 frames in" in done.stderr


def test_the_help_names_every_source_key_and_exit_code(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    words = capsys.readouterr().out
    assert caught.value.code == 0
    for word in ("picamera2", ".npy", "/dev/video0", "rtsp://", "s switches", "q quits", "exit codes", "doctor",
                 "models/janken", "--no-steady", "--give-up", "--host", "--port", "SIGTERM"):
        assert word in words


@pytest.mark.parametrize(("command", "says"), [
    (["-m", "runtime"], ("python3 -m runtime", "runtime: 1 frame")),
    (["runtime/janken.py"], ("python3 runtime/janken.py", "janken: 1 frame")),
])
def test_either_entry_goes_by_its_own_name(root, tiny_path, frames_npy, clean_environment, command, says):
    def run(*arguments):
        started = [sys.executable, *command, *arguments]
        return subprocess.run(started, cwd=root, env=clean_environment, capture_output=True, text=True)
    words = run("--help").stdout
    assert words.startswith(f"usage: {says[0]} ") and f"\n  {says[0]} --source photos/" in words
    shown = run("--bundle", str(tiny_path), "--source", str(frames_npy), "--display", "none", "--frames", "1")
    assert shown.returncode == 0 and shown.stderr.splitlines()[-2].startswith(says[1])
    if says[0].endswith("-m runtime"):
        assert "janken" not in (words + shown.stderr).lower().replace("models/janken", "")


def test_the_defaults_are_the_first_camera_in_a_window():
    options = parse([])
    assert (options.source, options.display, options.mode, options.threads) == ("0", "window", "heatmap", 1)
    assert (options.host, options.port, options.give_up, options.steady) == ("127.0.0.1", 8000, 60, None)


def test_a_tally_of_nothing_can_be_summed_up():
    assert Tally().summary(skipped=0, dropped=0).startswith("0 frames in 0.0 s: no result\n")


def test_a_tally_tells_what_was_skipped_and_dropped():
    assert "; 2 unreadable, skipped; 30 dropped for newer ones\n" in Tally().summary(skipped=2, dropped=30)


def test_files_are_steadied_only_if_asked_for(janken, tmp_path, draw_frame):
    labels = ["gu", "gu", "pa", "gu"]
    np.save(tmp_path / "flip.npy", np.stack([draw_frame(label) for label in labels]))
    for flags, expected in (([], labels), (["--no-steady"], labels), (["--steady"], ["gu"] * 4)):
        done = janken("--source", "flip.npy", "--json", "-", *flags)
        assert [result["label"] for result in lines(done.stdout)] == expected
