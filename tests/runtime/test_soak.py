"""scripts/soak.py in short: the program does not grow, and a program that does would be caught."""
from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the soak reads /proc, which only Linux has")

# The soak with a pipeline that leaks after the warm-up, a little at every frame or at one frame alone.
LEAKING = """
import sys
from threading import Event, Thread
import soak
kept = []

class Leaking(soak.Pipeline):
    calls = 0

    def __call__(self, frame_rgb):
        self.calls += 1
        LEAK
        return super().__call__(frame_rgb)

soak.Pipeline = Leaking
sys.exit(soak.main())
"""


@pytest.fixture
def soak(root, tiny_path, frames_npy, clean_environment):
    """Run the soak over so many frames, with a leak or without."""

    def run(frames: int, *arguments: str, leak: str = "") -> subprocess.CompletedProcess:
        program = ["-c", LEAKING.replace("LEAK\n", f"{leak}\n")] if leak else ["soak.py"]
        command = [sys.executable, *program, "--bundle", str(tiny_path), "--source", str(frames_npy), "--frames", str(frames)]
        return subprocess.run(
            [*command, *arguments], cwd=root / "scripts", env=clean_environment, capture_output=True, text=True, timeout=120
        )

    return run


@pytest.mark.parametrize(("display", "frames"), [("none", 3000), ("web", 1000)])
def test_nothing_grows(soak, display, frames):
    done = soak(frames, "--display", display)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("nothing grew\n")
    readings = [line.split() for line in done.stdout.splitlines() if re.match(r" *\d+ ", line)]
    assert [int(count) for count, *_ in readings] == list(range(frames // 20, frames + 1, frames // 20))
    threads = {int(threads) for *_, threads, _ in readings}
    assert len(threads) == 1 and (min(threads) > 4) == (display == "web")  # its three, the viewer and whoever answers it


@pytest.mark.parametrize(
    ("leak", "words"),
    [
        ("kept.append(frame_rgb.repeat(5))", "FAULT: VmRSS MB grew from"),
        ("if self.calls == 200: Thread(target=Event().wait, daemon=True).start()", "FAULT: threads grew from 1 to 2"),
        ("if self.calls == 200: kept.append(open('/dev/null'))", "FAULT: descriptors grew from"),
    ],
)
def test_what_grows_is_a_fault(soak, leak, words):
    done = soak(400, leak=leak)
    assert done.returncode == 1, done.stdout + done.stderr
    assert [line.startswith(words) for line in done.stdout.splitlines() if "FAULT" in line] == [True]
    assert "nothing grew" not in done.stdout
