"""Results of a live camera, steadied over time: a label that a single frame cannot flip, a box that does not tremble.

Both follow an exponential moving average, a = a + GAIN * (x - a), counted in frames. Nothing grows with time.
"""
from __future__ import annotations

import numpy as np

from .results import NONE_LABEL, Box, Result

LABEL_GAIN = 0.4
AGREEING_FRAMES = 3  # a label that this many frames running have given is shown if the average prefers it too
LONGEST_ABSENCE = 6  # frames running without the shown label after which it gives way whatever the average says
BOX_GAIN = 0.4
JUMP_IOU = 0.3  # a box that overlaps the shown one by less is another place: go there at once


class SteadyLabel:
    """Which label to show, and the averaged scores.

    Fewer than AGREEING_FRAMES wrong frames in a row never show. A change that lasts is shown with its 3rd frame when the
    scores are clear, and with its 6th however doubtful they are: at least one of the last 6 frames gave what is shown.

    A frame without a hand counts as `none` alone, whatever its hands' scores: it may have been rejected by its distance.
    """

    def __init__(self):
        self.label = ""  # what is shown; "" before the first frame
        self._averages: dict[str, float] = {}
        self._given, self._running = "", 0  # the last frame's label, and how many frames running gave it
        self._absence = 0  # frames since one gave the shown label

    def __call__(self, label: str, scores: dict[str, float]) -> tuple[str, float, dict[str, float]]:
        """One frame's label and hand scores to the label to show, its score, and the averaged hand scores."""
        self._average(dict.fromkeys(scores, 0.0) if label == NONE_LABEL else scores)
        self._running = self._running + 1 if label == self._given else 1
        self._given = label
        self._absence = 0 if label == self.label else self._absence + 1
        agreed = self._running >= AGREEING_FRAMES and label == self._best()
        if not self.label or agreed or self._absence >= LONGEST_ABSENCE:
            self.label, self._absence = label, 0
        hands = dict(self._averages)
        score = 1.0 - max(hands.values()) if self.label == NONE_LABEL else hands[self.label]
        return self.label, score, hands

    def _average(self, scores: dict[str, float]) -> None:
        if not self._averages:
            self._averages = dict(scores)
        for name, score in scores.items():
            self._averages[name] += LABEL_GAIN * (score - self._averages[name])

    def _best(self) -> str:
        """The label with the highest average; `none` has what the hands leave of 1."""
        best = max(self._averages, key=self._averages.__getitem__)
        return best if self._averages[best] >= 1.0 - sum(self._averages.values()) else NONE_LABEL


class SteadyBox:
    """A box and the peak in it, averaged together, so that the peak stays inside."""

    def __init__(self):
        self._corners: np.ndarray | None = None  # x0, y0, x1, y1 and the peak's x, y: float, pixels

    def __call__(self, box: Box, peak_xy: tuple[int, int]) -> tuple[Box, tuple[int, int]]:
        """One frame's box and peak to those to show, pixels."""
        given = np.array([*box, *peak_xy], np.float64)
        if self._corners is None or overlap(self._corners, given) < JUMP_IOU:
            self._corners = given
        self._corners += BOX_GAIN * (given - self._corners)
        # Halves always up: Python's round() takes them to the even number, which could put the peak on the box's x1.
        x0, y0, x1, y1, peak_x, peak_y = (int(value) for value in np.floor(self._corners + 0.5))
        return Box(x0, y0, x1, y1), (peak_x, peak_y)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes, the first four entries of each: 1 the same, 0 apart."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(width * height / (areas - width * height))


class Steady:
    """Results of one source, one after the other, to the results to show.

    A frame in which the hand went missing shows the last box, peak and heat for as long as the label is held; a label
    `none` shows none of them.
    """

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Forget what was: the next frame has nothing to do with the last one."""
        self._label, self._box = SteadyLabel(), SteadyBox()
        self._hand: Result | None = None  # the last result with a box, as it was shown
        self._size_wh = (0, 0)

    def __call__(self, result: Result) -> Result:
        if result.size_wh != self._size_wh:
            self.reset()
            self._size_wh = result.size_wh
        label, score, scores = self._label(result.label, result.scores)
        shown = result.changed(label=label, score=score, scores=scores)
        if label == NONE_LABEL:
            self._box, self._hand = SteadyBox(), None
            return shown.changed(box_xyxy=None, peak_xy=None, heat=np.zeros_like(result.heat))
        if result.box_xyxy is not None and result.peak_xy is not None:
            box_xyxy, peak_xy = self._box(result.box_xyxy, result.peak_xy)
            self._hand = shown = shown.changed(box_xyxy=box_xyxy, peak_xy=peak_xy)
        elif result.label == NONE_LABEL and self._hand is not None:
            hand = self._hand
            shown = shown.changed(box_xyxy=hand.box_xyxy, peak_xy=hand.peak_xy, cluster=hand.cluster, heat=hand.heat)
        return shown
