"""The Raspberry Pi's own camera, through picamera2 0.3.31 or later.

Written after the package's source and manual (https://datasheets.raspberrypi.com/camera/picamera2-manual.pdf) and tested
with a stand-in that hands out the arrays described there; no real camera has been in the loop.
"""
from __future__ import annotations

from concurrent.futures import TimeoutError as TookTooLong  # the builtin one only from Python 3.11 on
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from .. import advice
from ..errors import SourceError
from .opencv import opencv

if TYPE_CHECKING:
    from picamera2 import Picamera2

NAME = "picamera2"
STREAM = "lores"  # the one the processor is meant to look at; `main` is there because there has to be one
FRAME_WH = (640, 480)
# picamera2 takes the sensor's mode that is nearest to this. By FRAME_WH it would be the middle of Camera Module 2's picture
# (https://github.com/raspberrypi/picamera2/issues/558); near this size, every module has a mode with the whole of it.
SENSOR_WH = (1640, 1232)
READ_S = 5.0  # the longest a running camera may be silent


class PiCamera:
    """The first camera picamera2 finds, opened and running; see live.Device.

    Up to the Pi 4 the low resolution stream can only be YUV420, which OpenCV turns into RGB; on the Pi 5 it is RGB at once.

    Raises:
        SourceError: picamera2, or the OpenCV it needs here, is missing or broken, or there is no camera.
    """

    def __init__(self):
        try:
            from picamera2 import Picamera2, Platform, get_platform
        # ValueError is what apt's simplejpeg says when pip has put numpy 2 beside it.
        except (ImportError, ValueError) as error:
            raise SourceError("--source picamera2 needs picamera2", given=error, remedy=advice.PICAMERA2) from error
        self._cv2 = None if get_platform() == Platform.PISP else opencv("the Pi camera, up to the Pi 4,")
        try:
            self._camera: Picamera2 = Picamera2()
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceError(
                f"{NAME}: no camera", given=error, remedy="Look at its cable; `rpicam-hello --list-cameras` lists cameras."
            ) from error
        try:
            self._start()
        except (RuntimeError, OSError) as error:
            self.close()
            raise SourceError(f"{NAME}: the camera does not start", given=error) from error

    def _start(self) -> None:
        """Configure and run. The colours of a video configuration below 1280x720 are BT.601's, which OpenCV's I420 means.

        "BGR888" names the bytes of a little-endian number: the array has R first.
        """
        stream = {"size": FRAME_WH, "format": "YUV420" if self._cv2 else "BGR888"}
        self._camera.configure(
            self._camera.create_video_configuration(
                main={"size": FRAME_WH}, lores=stream, raw=None, sensor={"output_size": SENSOR_WH}, display=None, encode=None
            )
        )
        self._camera.start()

    def read(self) -> np.ndarray:
        try:
            array, width = self._next_array()
        except TookTooLong as error:
            raise SourceError(f"{NAME}: no frame for {READ_S:.0f} s") from error
        except RuntimeError as error:  # picamera2's own
            raise SourceError(f"{NAME}: no frame came", given=error) from error
        if self._cv2 is None:
            return array
        # Rows of Y, U and V come with their padding, which converts along and is cut off after that.
        return np.ascontiguousarray(self._cv2.cvtColor(array, self._cv2.COLOR_YUV2RGB_I420)[:, :width])

    def _next_array(self) -> tuple[np.ndarray, int]:
        """The next frame as picamera2 hands it out, and its width in pixels without padding."""
        request = self._camera.wait(self._camera.capture_request(wait=False), timeout=READ_S)
        try:
            return request.make_array(STREAM), request.config[STREAM]["size"][0]  # a copy of the request's memory
        finally:
            request.release()

    def close(self) -> None:
        self._camera.cancel_all_and_flush()  # a capture that took too long still waits for its frame
        with suppress(RuntimeError):  # the camera may be past stopping; opening it again will tell
            self._camera.close()
