"""scripts/janken.service under a real systemd: an instance of its own, in namespaces that end with it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SYSTEMD = Path("/lib/systemd/systemd")
ENTER = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--cgroup", "bash", "-c"]
# systemd looks at /run/systemd/system to see whether it may run at all.
START = """
mount -t tmpfs none /run && mkdir -p /run/systemd/system
export XDG_RUNTIME_DIR={folder} XDG_CONFIG_HOME={folder}
/lib/systemd/systemd --user > {folder}/systemd.log 2>&1 &
for tenth in {{1..100}}; do systemctl --user daemon-reload 2> /dev/null && break; sleep 0.1; done
systemctl --user daemon-reload || exit 77
state() {{ systemctl --user show janken --property "$1" --value; }}
until_state() {{
    for tenth in {{1..200}}; do [ "$(state "$1")" = "$2" ] && return; sleep 0.1; done
    echo "$1 is $(state "$1")"
}}
"""
SECONDS = 120


@pytest.fixture
def systemd(tmp_path: Path) -> Callable[..., str]:
    """Run shell lines beside a systemd that has the unit with these demo options; returns what they print."""

    def run(script: str, *options: object) -> str:
        program = shlex.join([sys.executable, str(ROOT / "runtime/janken.py"), *map(str, options)])
        lines = (ROOT / "scripts/janken.service").read_text().splitlines()
        lines = [line for line in lines if not line.startswith(("User=", "SupplementaryGroups="))]  # not for a user's instance
        unit = "\n".join(lines).replace("@PROGRAM@", " " + program).replace("@OPTIONS@", "")
        unit = unit.replace("WatchdogSec=90", "WatchdogSec=4")
        (tmp_path / "systemd/user").mkdir(parents=True)
        (tmp_path / "systemd/user/janken.service").write_text(unit)
        done = subprocess.run([*ENTER, START.format(folder=tmp_path) + script], capture_output=True, text=True, timeout=SECONDS)
        if done.returncode == 77:
            pytest.skip(f"systemd does not start here: {(tmp_path / 'systemd.log').read_text()[-200:]}")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    if not SYSTEMD.exists() or not shutil.which("unshare"):
        pytest.skip("no systemd or no unshare: apt-get install systemd util-linux")
    if subprocess.run([*ENTER, "mount -t tmpfs none /run"], capture_output=True).returncode:
        pytest.skip("namespaces of its own need root")
    return run


def test_started_means_a_frame_and_one_that_hangs_is_started_anew(systemd, tmp_path):
    frames = tmp_path / "frames.npy"
    np.save(frames, np.zeros((2, 48, 64, 3), np.uint8))
    shown = systemd("""
        systemctl --user start janken && state ActiveState
        sleep 6; state NRestarts        # longer than the watchdog waits: frames keep it content
        kill -STOP $(state MainPID)
        until_state NRestarts 1; until_state ActiveState active
        systemctl --user stop janken; state Result
    """, "--bundle", ROOT / "models/tiny", "--source", frames, "--loop", "--display", "none")
    assert shown.split() == ["active", "0", "success"]


def test_a_source_that_is_not_there_is_tried_again(systemd):
    shown = systemd("systemctl --user start janken || echo refused; until_state SubState auto-restart; until_state NRestarts 2",
                    "--bundle", ROOT / "models/tiny", "--source", "/none.npy", "--display", "none")
    assert shown.split() == ["refused"]


def test_a_refused_bundle_is_not_tried_again(systemd):
    shown = systemd("systemctl --user start janken || echo refused; sleep 7; state ActiveState; state NRestarts",
                    "--bundle", "/none", "--display", "none")
    assert shown.split() == ["refused", "failed", "0"]
