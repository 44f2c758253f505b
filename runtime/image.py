"""From a camera frame to the network's image size, in whole numbers only.

The same rule shrinks training photos and calibration photos on the workstation, so that the network sees on the device
what it saw when it was trained; OpenCV's and Pillow's resizes differ between versions and are not used.
"""
from __future__ import annotations

from functools import lru_cache, partial
from math import gcd

import numpy as np

from .errors import FrameError

PIXEL = np.dtype(np.uint32)  # a pixel in one piece, R, G and B, and with it the byte that follows
# For one, two or three pixels, as many bytes and more: a number that numpy copies as one, and one for what is too much.
PIECES = {1: (PIXEL, np.dtype(np.uint8)), 2: (np.dtype(np.uint64), np.dtype(np.uint16)),
          3: (np.dtype(np.complex128), np.dtype(np.uint64))}
QUARTER = np.array([2], np.uint16)  # bits; numpy converts a plain 2 every time
HALF_RANGE = 128
SIZES = 4  # of frames, whose tables are kept
TURNS = 8  # at least, in which Nearest copies; more cost calls, fewer more of the repair at the end
FRAME = "a uint8 numpy array (H, W, 3), RGB, of at least one pixel"


def check_frame(frame_rgb: object) -> tuple[int, int]:
    """Refuse anything that is no frame, before anyone slices it; return its size_wh.

    Raises:
        FrameError: not a uint8 array of shape (H, W, 3), or without a single pixel.
    """
    if frame_rgb is None:
        raise FrameError("no frame came", given="None", expected=FRAME, remedy="Is the camera still connected?")
    if not isinstance(frame_rgb, np.ndarray):
        raise FrameError("not a frame", given=type(frame_rgb).__name__, expected=FRAME)
    shape = frame_rgb.shape
    if frame_rgb.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise FrameError(
            "not a frame",
            given=f"{frame_rgb.dtype} {shape}",
            expected=FRAME,
            remedy="Convert greyscale or RGBA to RGB, with values 0 to 255.",
        )
    return shape[1], shape[0]


def sample_positions(source: int, target: int) -> np.ndarray:
    """Where the samples along one axis lie: floor((k + 0.5) * source / (2 * target)) for k = 0 .. 2 * target - 1.

    Written in integers, so that no rounding of floats can move a sample. Returns (2 * target,) intp.
    """
    k = np.arange(2 * target, dtype=np.int64)
    return ((2 * k + 1) * source // (4 * target)).astype(np.intp)


def nearest_positions(source: int, target: int, wide: int = 1) -> np.ndarray:
    """Where in `source` each of `target` pieces, `wide` places wide and evenly spread, begins, to the nearest place.

    floor((k + 0.5) * source / target - (wide - 1) / 2), (target,) intp; for single places the nearest one.
    """
    k = np.arange(target, dtype=np.int64)
    return (((2 * k + 1) * source - (wide - 1) * target) // (2 * target)).astype(np.intp)


class Stretch2x2:
    """The resize rule "stretch-2x2" for one pair of sizes: stretch the whole frame; a pixel is the mean of 2x2 samples.

    The samples' places are worked out once, here; a call gathers and averages. When enlarging the four samples fall
    together and the rule is nearest neighbour.

    numpy copies a number of 4 bytes as quickly as a single byte. So a pixel is fetched as one, with the byte after it, which
    is carried along as a fourth channel until only a quarter of the pixels are left.

    Args:
        add: to every mean, modulo 256, which costs nothing here.
    """

    def __init__(self, source_size_wh: tuple[int, int], target_size_wh: tuple[int, int], add: int = 0):
        self.source_size_wh = source_size_wh
        self.target_size_wh = target_size_wh
        (source_w, source_h), (target_w, target_h) = source_size_wh, target_size_wh
        rows, columns = sample_positions(source_h, target_h).tolist(), sample_positions(source_w, target_w).tolist()
        self._sampled_rows = SampledRows(source_size_wh, rows, columns[-1] + 1)
        period, step = repetition(target_w, source_w)
        turns = period if period > 1 or target_w % 2 else 2
        step *= turns // period
        samples = np.empty((2, 2, turns, target_h, target_w // turns), PIXEL)  # upper and lower; left and right
        self._gathering = [
            (samples[:, side, first], (..., slice(columns[2 * first + side], None, step)))
            for side in (0, 1) for first in range(turns)
        ]
        self._bytes = samples.reshape(2, -1).view(np.uint8)
        self._wide = np.empty(self._bytes.shape, np.uint16)
        self._pairs = np.empty(self._wide.shape[1], np.uint16)
        self._sums = np.empty((turns, target_h * target_w // turns), np.uint64)
        # Four numbers at once are added as one, of 64 bits: none of them grows beyond its own 16.
        self._left, self._right = self._pairs.view(np.uint64).reshape(2, *self._sums.shape)
        self._in_order = ThreeOfFour(self._sums)
        self._to_round = np.array([2 + 4 * add], np.uint16)  # (sum + 2) >> 2 is the mean with halves rounded up
        self._image = np.empty((target_h, target_w, 3), np.uint8)
        self._flat_image = self._image.reshape(-1)

    def __call__(self, frame_rgb: np.ndarray) -> np.ndarray:
        """frame_rgb: uint8 (h, w, 3) of source_size_wh. Returns uint8 (H, W, 3); the next call overwrites it."""
        pixels = self._sampled_rows(frame_rgb)
        for samples, columns in self._gathering:
            samples[...] = pixels[columns]
        self._wide[...] = self._bytes
        np.add(self._wide[0], self._wide[1], out=self._pairs)
        np.add(self._left, self._right, out=self._sums)
        means = self._in_order()
        means += self._to_round
        means >>= QUARTER
        self._flat_image[...] = means
        return self._image


class SampledRows:
    """The rows of a frame in which samples lie, as pixels of 4 bytes.

    Evenly spaced rows are left where they are. Others are copied; so are all where a sample lies in the last column, because
    behind the frame's last pixel there is no byte.

    Args:
        rows: 2 * H positions, the upper and the lower sample of each image row.
        width: of that part of the frame in which samples lie.
    """

    def __init__(self, source_size_wh: tuple[int, int], rows: list[int], width: int):
        source_w, source_h = source_size_wh
        pitch, target_h = 3 * source_w, len(rows) // 2
        period, step = repetition(target_h, source_h)
        self._in_place = period == 1 and width < source_w
        if self._in_place:
            upper, lower = rows[:2]
            self._view = (2, target_h, width), PIXEL, upper * pitch, ((lower - upper) * pitch, step * pitch, 3)
        else:
            self._index = np.array(rows[0::2] + rows[1::2])
            copied = np.empty((len(rows) + 1) * pitch, np.uint8)  # a row too many, for what reaches beyond the last pixel
            self._copied = copied[:-pitch].reshape(len(rows), pitch)
            self._pixels = np.ndarray((2, target_h, width), PIXEL, copied, 0, (target_h * pitch, pitch, 3))

    def __call__(self, frame_rgb: np.ndarray) -> np.ndarray:
        """frame_rgb: uint8 (h, w, 3). Returns PIXEL (2, H, width): the upper and the lower samples' rows."""
        if self._in_place:
            shape, dtype, offset, strides = self._view
            return np.ndarray(shape, dtype, np.ascontiguousarray(frame_rgb), offset, strides)
        # mode="clip" lets numpy write straight into `out`; the index is in range by construction.
        np.take(frame_rgb.reshape(len(frame_rgb), -1), self._index, axis=0, out=self._copied, mode="clip")
        return self._pixels


class ThreeOfFour:
    """The first three of every four 16-bit numbers, of pixels that come in turns: every T-th, beginning with the t-th.

    A pixel is written as one number of 8 bytes where its 6 belong. Its fourth number lies in the next pixel, whose turn is the
    next and puts that right; those of the last turn lie in pixels of the first, which are put right at the end.

    Args:
        pixels: (T, N) uint64, four numbers each; read at every call.
    """

    def __init__(self, pixels: np.ndarray):
        turns, each = pixels.shape
        self._pixels = pixels
        self._three = np.empty(3 * pixels.size + 1, np.uint16)
        self._places = [np.ndarray(each, np.uint64, self._three, 6 * turn, 6 * turns) for turn in range(turns)]
        self._first_of_first = self._three[: -1 : 3 * turns], pixels[0].view(np.uint16)[::4]
        self._numbers = pixels.view(np.uint16).reshape(-1, 4)[:, :3]

    def __call__(self) -> np.ndarray:
        """(T * N * 3,) uint16; the next call overwrites it."""
        if len(self._places) == 1:  # a piece would reach into another of its own turn
            self._three[:-1].reshape(-1, 3)[...] = self._numbers
        else:
            for places, pixels in zip(self._places, self._pixels):
                places[...] = pixels
            places, numbers = self._first_of_first
            places[...] = numbers
        return self._three[:-1]


class Nearest:
    """A picture of another size to look at, quick rather than fine: its pixels are those of the frame nearest to them.

    Where widths allow, two or three neighbours of the frame are copied as one, which is half or a third of the work and puts
    none of them a pixel's width off. As by Stretch2x2 they are copied in one number, of 4 bytes for a pixel of 3, of 8 for two,
    of 16 for three. Such a piece reaches into the next one; so they are copied in turns, those of one turn far apart.
    """

    def __init__(self, source_size_wh: tuple[int, int], target_size_wh: tuple[int, int]):
        (source_w, source_h), (self._target_w, target_h) = source_size_wh, target_size_wh
        together = next(n for n in (3, 2, 1) if n == 1 or (self._target_w % n == 0 and self._target_w <= source_w))
        piece, self._excess = PIECES[together]
        places = self._target_w // together
        columns = nearest_positions(source_w, places, together).tolist()
        period, step = repetition(places, source_w)
        self._turns = period * -(-TURNS // period)
        self._pieces, self._size = places * target_h, 3 * together  # bytes each
        self._row_index = nearest_positions(source_h, target_h)
        far = 3 * step * self._turns // period
        # As many bytes too many as lie between pieces: numpy counts them in when it looks whether memory overlaps.
        rows = np.empty(target_h * source_w * 3 + far + piece.itemsize, np.uint8)
        self._rows = rows[: target_h * source_w * 3].reshape(target_h, -1)
        self._gathering = []
        for turn in range(min(self._turns, self._pieces)):
            held = np.empty(len(range(turn, self._pieces, self._turns)), piece)
            first = columns[turn % period] + turn // period * step  # in the flat frame: a row goes on with the next
            self._gathering.append((held, np.ndarray(len(held), piece, rows, 3 * first, far)))

    def __call__(self, frame_rgb: np.ndarray) -> np.ndarray:
        """frame_rgb: uint8 (h, w, 3) of source_size_wh. Returns uint8 (H, W, 3), a new array."""
        np.take(frame_rgb.reshape(len(frame_rgb), -1), self._row_index, axis=0, out=self._rows, mode="clip")
        first, size, far = self._gathering[0][0], self._size, self._size * self._turns
        picture = np.empty(size * self._pieces + first.itemsize, np.uint8)
        for turn, (held, pixels) in enumerate(self._gathering):
            held[...] = pixels
            np.ndarray(len(held), held.dtype, picture, size * turn, far)[...] = held
        # What a turn put beyond its pieces the next turn overwrote; the last one reached into pieces of the first.
        beginnings = first.view(self._excess)[:: first.itemsize // self._excess.itemsize]
        np.ndarray(len(first), self._excess, picture, 0, far)[...] = beginnings.copy()  # in two steps: quicker
        return picture[: size * self._pieces].reshape(len(self._rows), self._target_w, 3)


def repetition(places: int, width: int) -> tuple[int, int]:
    """Period p and step s with columns[k + p] == columns[k] + s, for so many places spread evenly over `width`."""
    shared = gcd(width, places)
    return places // shared, width // shared


class NetworkInput:
    """Frames of whatever size, as the first network takes them: stretched, and each pixel value put to int8.

    Args:
        size_wh: of the network's input.
        table: (256,) int8, what each pixel value becomes. The usual one subtracts 128, which the stretch does on the way.
    """

    def __init__(self, size_wh: tuple[int, int], table: np.ndarray):
        only_subtracts = np.array_equal(table, np.arange(-HALF_RANGE, HALF_RANGE))
        self._table = None if only_subtracts else table
        add = HALF_RANGE if only_subtracts else 0  # modulo 256 the same as subtracting it
        self._stretch = lru_cache(maxsize=SIZES)(partial(Stretch2x2, target_size_wh=size_wh, add=add))

    def __call__(self, frame_rgb: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """(int8 (H, W, 3), size_wh of the frame); the next call overwrites it. Raises FrameError for anything but a frame."""
        source_size_wh = check_frame(frame_rgb)
        image = self._stretch(source_size_wh)(frame_rgb)
        return image.view(np.int8) if self._table is None else self._table[image], source_size_wh


def stretch_2x2(frame_rgb: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The same for a single image: uint8 (h, w, 3) to uint8 (H, W, 3). Raises FrameError."""
    return Stretch2x2(check_frame(frame_rgb), size_wh)(frame_rgb)
