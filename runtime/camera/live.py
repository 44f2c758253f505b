"""Cameras and streams: captured in a thread of their own, the newest frame wins, and what stops delivering is reopened."""
from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic
from typing import Callable, Protocol

import numpy as np

from ..errors import SourceError
from . import Frame, Gap, Warn

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0  # between attempts to open: doubled each time, until a frame comes
LOST_S = 2.0  # without a frame for longer, the source counts as lost
TICK_S = 0.1  # how often a loop that gets no frames can look at its keys
CLOSE_S = 2.0  # how long `close` waits for a thread that is held up in the camera's driver


class Device(Protocol):
    """What a camera's or stream's back end offers: one opening of it. Only one thread uses it at a time."""

    def read(self) -> np.ndarray:
        """Wait for the next frame: uint8 (H, W, 3) RGB, an array that nobody will write to.

        Raises:
            SourceError: none came within a few seconds; the device has to be closed and opened again.
        """

    def close(self) -> None: ...


class LiveSource:
    """A camera or stream as a Source that goes on until `close`, whatever happens to the device.

    Iterating hands over the newest frame each time; older ones nobody asked for in time are dropped and counted. While the
    source is lost it hands over a Gap every TICK_S instead, so that the loop stays alive. Loss and return are said once each.

    Args:
        open_device: opens the device, or raises SourceError.
        give_up_s: seconds without a frame after which iterating raises SourceError; 0 means never.

    Raises:
        SourceError: it cannot be opened the first time. Later on that is no reason to end.
    """

    hold_ms = 1
    live = True
    skipped = 0

    def __init__(self, open_device: Callable[[], Device], name: str, warn: Warn, give_up_s: float):
        self.dropped = 0
        self._open_device, self._name, self._warn, self._give_up_s = open_device, name, warn, give_up_s
        self._device: Device | None = open_device()
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards the next three
        self._newest: np.ndarray | None = None
        self._trouble = ""  # why the last attempt to get a frame failed
        self._fault: Exception | None = None  # what ended the thread, if anything did
        self._nothing_new = threading.Lock()  # held until one of the two comes; not a Condition: signals.py says why
        self._nothing_new.acquire()
        # A daemon, so that a thread held up in a driver cannot keep the program from ending.
        self._thread = threading.Thread(target=self._capture, name="capture", daemon=True)

    def __iter__(self) -> Iterator[Frame | Gap]:
        if self._thread.ident is None:
            self._thread.start()
        lost = False
        last = monotonic()
        while True:
            frame_rgb = self._wait()
            seconds = monotonic() - last
            if frame_rgb is not None:
                if lost:
                    self._warn(f"frames from {self._name} again, after {seconds:.0f} s")
                lost, last = False, last + seconds
                yield Frame(frame_rgb, self._name)
            elif 0 < self._give_up_s <= seconds:
                raise self._given_up(seconds)
            elif seconds >= LOST_S:
                if not lost:
                    self._warn(f"no frame from {self._name}, waiting for one. {self._trouble}".rstrip())
                lost = True
                yield Gap(seconds)

    def _wait(self) -> np.ndarray | None:
        """The newest frame as soon as there is one, None after TICK_S without."""
        self._nothing_new.acquire(timeout=TICK_S)
        with self._lock:
            if self._fault is not None:
                raise self._fault
            frame_rgb, self._newest = self._newest, None
            return frame_rgb

    def _given_up(self, seconds: float) -> SourceError:
        remedy = f"{self._trouble} Look at its cable, power or network; --give-up says how long to wait.".lstrip()
        return SourceError(f"{self._name}: no frame for {seconds:.0f} s, given up", remedy=remedy)

    def _capture(self) -> None:
        """The thread: reads until told to stop, and is the only one to touch the device meanwhile."""
        try:
            self._keep_reading()
        except Exception as fault:  # a fault of the program: raised again in the loop, where it is seen
            with self._lock:
                self._fault = fault
                self._wake()
        finally:
            self._let_go()

    def _keep_reading(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                if self._device is None:
                    self._device = self._open_device()
                frame_rgb = self._device.read()
            except SourceError as error:
                with self._lock:
                    self._trouble = str(error)
                self._let_go()
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                pause_s = FIRST_PAUSE_S
                self._hand_over(frame_rgb)

    def _hand_over(self, frame_rgb: np.ndarray) -> None:
        with self._lock:
            self.dropped += self._newest is not None
            self._newest, self._trouble = frame_rgb, ""
            self._wake()

    def _wake(self) -> None:
        if self._nothing_new.locked():
            self._nothing_new.release()

    def _let_go(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None

    def close(self) -> None:
        """End the thread and close the device. A thread that its driver holds up is left behind."""
        self._stop.set()
        if self._thread.ident is None:
            self._let_go()
        else:
            self._thread.join(CLOSE_S)
