"""Between the loop and the viewers of the web page: the newest frame wins, and is encoded only when somebody waits for it.

The loop puts a view and goes on. One thread here encodes the newest view for all viewers who wait, at most
PICTURES_PER_SECOND times a second, so that neither many viewers nor slow ones take more from the loop than that.
"""
from __future__ import annotations

import json
import struct
from collections import deque
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from time import perf_counter, sleep
from typing import Any, Callable

import numpy as np

from ..results import Result
from .pictures import Picture

PICTURES_PER_SECOND = 25  # as many as look smooth; a faster loop keeps its pace, viewers skip frames
STALE_SECONDS = 0.2  # a picture older than this is not given to a viewer while a newer one can be encoded
PACE_SECONDS = 3.0  # the frames of so many seconds are averaged to frames per second
HEADER_LENGTH = struct.Struct(">I")


@dataclass(frozen=True)
class View:
    """What there is to see: `header` for the page, made only when somebody looks, and a frame, uint8 (H, W, 3), or None."""

    header: Callable[[], dict[str, Any]]
    frame_rgb: np.ndarray | None = None


def live(frame_rgb: np.ndarray, result: Result, mode: str, fps: float) -> View:
    """A frame and its result. The heat goes as whole numbers, 255 for full heat, at feature map size."""

    def header() -> dict[str, Any]:
        heat = np.rint(255 * result.heat).astype(int).tolist()
        return {"state": "live", "mode": mode, "fps": round(fps, 1), **result.to_json_dict(), "heat": heat}

    return View(header, frame_rgb)


def lost(seconds: float) -> View:
    """The camera has been gone for so long."""
    return View(lambda: {"state": "lost", "seconds": round(seconds)})


ENDED = View(lambda: {"state": "ended"})


def pack(header: dict[str, Any], picture: Picture | None) -> bytes:
    """One message: the length of the header in four bytes, big end first; the header as JSON; the picture's bytes."""
    if picture is not None:
        header = {**header, "picture": picture.format, "picture_wh": picture.size_wh}
    text = json.dumps(header).encode()
    return HEADER_LENGTH.pack(len(text)) + text + (picture.data if picture is not None else b"")


class Feed:
    """The newest view, as messages.

    Args:
        make_picture: frame_rgb -> Picture; called by one thread only.
        extras: fields that every header gets besides the view's own.
    """

    def __init__(self, make_picture: Callable[[np.ndarray], Picture], extras: Callable[[], dict[str, Any]]):
        self._make_picture = make_picture
        self._extras = extras
        self._lock = Lock()
        self._work, self._news = Condition(self._lock), Condition(self._lock)  # wake the encoder, wake the viewers
        self._waiting = 0
        self._view: View | None = None
        self._encoded: View | None = None
        self._encoded_at = 0.0
        self._message = b""
        self._number = 0
        self._thread = Thread(target=self._encode_views, name="web pictures", daemon=True)
        self._thread.start()

    def put(self, view: View) -> None:
        """Make this the newest view; returns at once."""
        with self._lock:  # not `self._work`: signals.py says why
            if self._view is not ENDED:
                self._view = view
            if self._waiting:
                self._work.notify()

    def wait(self, after: int, seconds: float) -> bytes | None:
        """The newest message whose number is not `after`, waiting for it if need be; None when there was none in time."""
        with self._news:
            self._waiting += 1
            self._work.notify()
            try:
                return self._message if self._news.wait_for(lambda: self._has_news(after), seconds) else None
            finally:
                self._waiting -= 1

    @property
    def ended(self) -> bool:
        """Whether there will be no other message."""
        return self._encoded is ENDED

    def is_last(self, message: bytes | None) -> bool:
        """Whether this message tells that the program has ended."""
        return self.ended and message is self._message

    def _has_news(self, after: int) -> bool:
        if self._encoded is None or self.ended:
            return self.ended
        fresh = self._encoded is self._view or perf_counter() - self._encoded_at < STALE_SECONDS
        return fresh and self._number != after

    def _encode_views(self) -> None:
        while not self.ended:
            with self._work:
                self._work.wait_for(lambda: self._view is ENDED or (self._waiting and self._view is not self._encoded))
                view = self._view
            began = perf_counter()
            picture = None if view.frame_rgb is None else self._make_picture(view.frame_rgb)
            message = pack({"number": self._number + 1, **view.header(), **self._extras()}, picture)
            with self._news:
                self._number += 1
                self._message, self._encoded, self._encoded_at = message, view, perf_counter()
                self._news.notify_all()
            sleep(max(0.0, 1 / PICTURES_PER_SECOND - (perf_counter() - began)))

    def close(self) -> None:
        """Tell those who wait that the program ends; the last message stays for those who come too late."""
        self.put(ENDED)
        with self._work:
            self._work.notify()
        self._thread.join()


class Pace:
    """Frames per second over the last PACE_SECONDS."""

    def __init__(self):
        self._times: deque[float] = deque()

    def tick(self, now: float) -> float:
        """Count a frame that came at `now`, seconds; returns the pace, 0 at the first frame."""
        self._times.append(now)
        while now - self._times[0] > PACE_SECONDS and len(self._times) > 2:
            self._times.popleft()
        return (len(self._times) - 1) / max(now - self._times[0], 1e-6)
