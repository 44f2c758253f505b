from __future__ import annotations

import numpy as np
import pytest

from runtime.camera.replay import ArraySource
from runtime.loop import Outputs, Tally, play


class FakeDisplay:
    """Looks at every overlay and presses the keys of a script."""

    looks = True

    def __init__(self, keys: str):
        self.keys = list(keys)
        self.shown = []

    def show(self, overlay_rgb, hold_ms):
        self.shown.append(overlay_rgb)
        key = self.keys.pop(0)
        return "" if key == " " else key

    def close(self): ...


@pytest.fixture
def watch(pipeline, tmp_path, draw_frame):
    """keys -> what a display saw of the same gu frame again and again, until q."""

    def run(keys: str) -> list[np.ndarray]:
        np.save(tmp_path / "gu.npy", draw_frame("gu")[None])
        display, tally = FakeDisplay(keys), Tally()
        source = ArraySource(tmp_path / "gu.npy")
        play(source, pipeline, Outputs(display), tally, mode="heatmap", over_again=True, limit=None)
        assert tally.frames == len(display.shown) == len(keys)
        return display.shown

    return run


def test_q_ends_an_endless_source(watch):
    assert len(watch("  q")) == 3


def test_s_switches_between_heatmap_and_box_and_back(watch):
    first, second, third, fourth = watch(" ssq")
    assert (first == second).all()  # a key counts from the next frame on
    assert (first != third).any()
    assert (first == fourth).all()
