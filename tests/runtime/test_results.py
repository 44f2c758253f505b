from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from runtime.results import Box, Result


@pytest.fixture
def result() -> Result:
    return Result(
        label="gu", score=0.93004, scores={"gu": 0.93004, "choki": 0.02, "pa": 0.05}, size_wh=(320, 240),
        box_xyxy=Box(1, 2, 30, 40), peak_xy=(10, 20), cluster=3, heat=np.ones((6, 6)), embedding=np.ones(4),
        ms={"preprocess": 0.5, "infer": 2.0, "heatmap": 0.25},
    )


def test_a_rejected_frame_has_null_for_box_and_peak(result):
    none = dataclasses.replace(result, label="none", box_xyxy=None, peak_xy=None).to_json_dict()
    assert none["box_xyxy"] is None and none["peak_xy"] is None
    assert '"box_xyxy": null' in json.dumps(none)


def test_a_changed_result_is_what_replace_gives_and_leaves_the_first_alone(result):
    before = dataclasses.replace(result)
    changed = result.changed(label="pa", frame=3)
    assert changed == dataclasses.replace(result, label="pa", frame=3) and changed.heat is result.heat
    assert result == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.label = "gu"


def test_the_line_is_the_contract_s(result):
    line = result.at(7, "gu/IMG_0731.JPG", 1.23456).with_ms(capture=4.0, draw=0.0).to_json_dict()
    assert json.loads(json.dumps(line)) == {
        "frame": 7, "source": "gu/IMG_0731.JPG", "time": 1.235, "size_wh": [320, 240], "label": "gu", "score": 0.93,
        "scores": {"gu": 0.93, "choki": 0.02, "pa": 0.05}, "box_xyxy": [1, 2, 30, 40], "peak_xy": [10, 20], "cluster": 3,
        "ms": {"capture": 4.0, "preprocess": 0.5, "infer": 2.0, "heatmap": 0.25, "draw": 0.0},
    }
    assert list(line) == ["frame", "source", "time", "size_wh", "label", "score", "scores", "box_xyxy", "peak_xy",
                          "cluster", "ms"]
    assert list(line["ms"]) == ["capture", "preprocess", "infer", "heatmap", "draw"]


def test_results_are_frozen(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.label = "pa"
    assert result.at(1, "", 0.0).frame == 1 and result.frame == 0
