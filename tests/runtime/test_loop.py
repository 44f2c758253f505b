from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from runtime.camera import Frame, Gap
from runtime.camera.replay import ArraySource
from runtime.draw import CANVAS_HEIGHT
from runtime.jsonlines import JsonLines
from runtime.loop import Loop, Outputs, Tally
from runtime.steady import Steady


class FakeDisplay:
    """Looks at everything and presses the keys of a script."""

    looks = True

    def __init__(self, keys: str, composes: bool = False):
        self.keys = list(keys)
        self.composes = composes
        self.shown = []

    def _press(self, *seen) -> str:
        self.shown.append(seen)
        key = self.keys.pop(0) if self.keys else " "
        return "" if key == " " else key

    def show(self, overlay_rgb, hold_ms):
        assert not self.composes
        return self._press(overlay_rgb, hold_ms)

    def present(self, frame_rgb, result, mode, hold_ms):
        assert self.composes
        return self._press(frame_rgb, result, mode, hold_ms)

    def lost(self, seconds):
        assert self.composes
        return self._press(seconds)

    def close(self): ...


class FakeSource:
    """A live source that hands out frames and gaps by a script."""

    hold_ms = 1
    live = True
    skipped = dropped = 0

    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        for item in self.items:
            yield item if isinstance(item, Gap) else Frame(item, "cam")

    def close(self): ...


@pytest.fixture
def run(pipeline):
    """Plays a source for a display; returns the tally."""

    def play(source, display, steady=None, lines=None, over_again=False, limit=None) -> Tally:
        tally = Tally()
        loop = Loop(pipeline, Outputs(display, lines=lines), tally, mode="heatmap", steady=steady)
        loop.play(source, over_again=over_again, limit=limit)
        return tally

    return play


@pytest.fixture
def watch(run, tmp_path, draw_frame):
    """keys -> what a display saw of the same gu frame again and again, until q."""

    def play(keys: str) -> list[np.ndarray]:
        np.save(tmp_path / "gu.npy", draw_frame("gu")[None])
        display = FakeDisplay(keys)
        tally = run(ArraySource(tmp_path / "gu.npy"), display, over_again=True)
        assert tally.frames == len(display.shown) == len(keys)
        return [overlay_rgb for overlay_rgb, _ in display.shown]

    return play


def test_q_ends_an_endless_source(watch):
    assert len(watch("  q")) == 3


def test_s_switches_between_heatmap_and_box_and_back(watch):
    first, second, third, fourth = watch(" ssq")
    assert (first == second).all()  # a key counts from the next frame on
    assert (first != third).any()
    assert (first == fourth).all()


def test_frames_are_counted_and_gaps_are_not(run, draw_frame):
    gu = draw_frame("gu")
    assert run(FakeSource(gu, Gap(2.0), Gap(2.1), gu, gu), FakeDisplay(""), limit=2).frames == 2


def test_a_display_that_composes_gets_frame_and_result_and_nothing_is_drawn(run, draw_frame):
    gu = draw_frame("gu")
    display = FakeDisplay(" s ", composes=True)
    tally = run(FakeSource(gu, gu, gu), display)
    assert [(frame is gu, result.label, result.frame) for frame, result, *_ in display.shown] == [
        (True, "gu", 0), (True, "gu", 1), (True, "gu", 2)
    ]
    assert [mode for *_, mode, hold_ms in display.shown] == ["heatmap", "heatmap", "box"]
    assert tally.ms["draw"] == 0


def test_the_keys_work_while_the_source_is_lost(run, draw_frame):
    for composes in (False, True):
        display = FakeDisplay("  q", composes)
        assert run(FakeSource(draw_frame("gu"), *(Gap(2 + i / 10) for i in range(9))), display).frames == 1
        assert len(display.shown) == 3


def test_a_display_that_composes_hears_of_the_loss(run, draw_frame):
    display = FakeDisplay("", composes=True)
    run(FakeSource(Gap(2.0), draw_frame("gu"), Gap(3.5)), display)
    assert display.shown[0] == (2.0,) and display.shown[2] == (3.5,)


def test_a_window_shows_the_loss_on_the_last_picture(run, draw_frame):
    display = FakeDisplay("")
    run(FakeSource(Gap(2.0), draw_frame("gu"), Gap(3.0)), display)
    before, shown, after = (overlay_rgb for overlay_rgb, _ in display.shown)
    assert before.shape == (CANVAS_HEIGHT, 384, 3) and before.any()  # words on black
    assert after is shown  # written over what was there
    assert [hold_ms for _, hold_ms in display.shown] == [1, 1, 1]


def labels(target) -> list[str]:
    return [json.loads(line)["label"] for line in target.read_text().splitlines()]


@pytest.fixture
def told(run, tmp_path, draw_frame):
    """Labels ("" for a gap) of the frames to the labels that are shown and written."""

    def play(names: list[str], steady: Steady | None) -> list[str]:
        display, lines = FakeDisplay("", composes=True), JsonLines(str(tmp_path / "out.jsonl"))
        tally = run(FakeSource(*(draw_frame(name) if name else Gap(2.0) for name in names)), display, steady, lines)
        lines.close()
        shown = [seen[1].label for seen in display.shown if len(seen) > 1]
        assert shown == labels(tmp_path / "out.jsonl") and Counter(shown) == tally.labels
        return shown

    return play


def test_the_json_lines_say_what_is_shown(told):
    names = ["gu", "gu", "pa", "gu", "pa", "pa", "pa"]
    assert told(names, None) == names
    assert told(names, Steady()) == ["gu"] * 6 + ["pa"]


def test_after_a_gap_nothing_of_before_is_shown(told):
    assert told(["gu", "gu", "gu", "", "pa"], Steady()) == ["gu", "gu", "gu", "pa"]
