from __future__ import annotations

import os
import socket
from threading import Thread

import pytest

from runtime.watchdog import Watchdog

BOTH = b"READY=1\nWATCHDOG=1"


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """A socket as systemd has it, at the name "notify" in this folder; returns all that came since the last call."""
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 characters only
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("notify")
        ear.setblocking(False)

        def take() -> list[bytes]:
            came = []
            while True:
                try:
                    came.append(ear.recv(100))
                except BlockingIOError:
                    return came

        yield take


def test_ready_with_the_first_frame_and_then_at_most_once_a_second(heard):
    watchdog = Watchdog({"NOTIFY_SOCKET": "notify"})
    assert heard() == []
    watchdog.frame(0.0)
    assert heard() == [BOTH]
    for tenth in range(1, 31):
        watchdog.frame(tenth / 10)
    assert heard() == [b"WATCHDOG=1"] * 3


def test_a_name_without_a_file():
    name = f"janken-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{name}")
        Watchdog({"NOTIFY_SOCKET": f"@{name}"}).frame(0.0)
        ear.settimeout(5)
        assert ear.recv(100) == BOTH


def test_without_systemd_nothing_happens(heard):
    Watchdog({}).frame(0.0)
    assert heard() == []


def test_a_systemd_that_has_gone_or_does_not_listen_stops_nothing(heard):
    def tell() -> None:
        for second in range(1000):  # far more than a socket holds
            gone.frame(second)
            deaf.frame(second)

    gone, deaf = Watchdog({"NOTIFY_SOCKET": "nobody"}), Watchdog({"NOTIFY_SOCKET": "notify"})
    telling = Thread(target=tell, daemon=True)
    telling.start()
    telling.join(20)
    assert not telling.is_alive() and heard()[0] == BOTH


def test_ready_is_said_again_until_it_was_heard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    watchdog = Watchdog({"NOTIFY_SOCKET": "late"})
    watchdog.frame(0.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind("late")
        watchdog.frame(1.0)
        assert ear.recv(100) == BOTH


def test_it_leaves_no_descriptors(heard):
    watchdog = Watchdog({"NOTIFY_SOCKET": "notify"})
    before = len(os.listdir("/proc/self/fd"))
    for second in range(50):
        watchdog.frame(second)
        heard()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_demo_tells_systemd_of_its_frames(heard, janken, frames_npy, clean_environment):
    done = janken("--source", frames_npy, env={**clean_environment, "NOTIFY_SOCKET": os.path.abspath("notify")})
    assert done.returncode == 0, done.stderr
    assert heard()[0] == BOTH
