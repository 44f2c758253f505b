"""Tells systemd that frames are being answered; without a systemd that asks for it, nothing is sent.

A unit with Type=notify counts as started with the first frame, and one with WatchdogSec is started anew when no frame
has been answered for so long. The protocol: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""
from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

PERIOD_S = 1.0  # between two messages; WatchdogSec counts in tens of seconds


class Watchdog:
    """One program's line to systemd, at the address that systemd put into the environment."""

    def __init__(self, environment: Mapping[str, str] = os.environ):
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @: a name without a file
        self._message = b"READY=1\nWATCHDOG=1"
        self._next = float("-inf")

    def frame(self, now: float) -> None:
        """A frame was answered at `now`, seconds of any clock that only goes forward. Never fails and never waits."""
        if not self._address or now < self._next:
            return
        self._next = now + PERIOD_S
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(self._message, socket.MSG_DONTWAIT, self._address)
            self._message = b"WATCHDOG=1"
