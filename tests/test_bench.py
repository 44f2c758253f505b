"""The meter: rows, comparison, table and targets by hand-made figures; the peers' loops; and a real count where this machine
has an emulated Pi."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import bench_guest  # noqa: E402
import bench_peers  # noqa: E402
import bench_pi  # noqa: E402
import bench_plot  # noqa: E402
import bench_table as table  # noqa: E402
import pi_root  # noqa: E402
from bench_table import (  # noqa: E402
    FOMO,
    LITERT,
    MEDIAPIPE,
    OURS,
    REFERENCES,
    TFLITE,
    UNLIMITED_OURS,
    UNLIMITED_REFERENCES,
    Figures,
    Row,
)


def loop(what: str, interpreter: str, commit: str = "abc", **stages: float) -> list[Row]:
    """Rows of one loop, given in millions."""
    return [Row(commit, what, interpreter, stage, round(value * 1e6)) for stage, value in stages.items()]


def run(commit: str = "abc") -> list[Row]:
    """A run that meets every target, the closest ones barely."""
    return [
        *loop(OURS, TFLITE, commit, preprocess=0.3, invoke=6, infer=0.1, heatmap=0.2, overlay=0.9, json=0.1),
        *loop(OURS, LITERT, commit, preprocess=0.3, invoke=3, infer=0.1, heatmap=0.2, overlay=0.9, json=0.1),
        *loop(REFERENCES[0], TFLITE, commit, preprocess=5, invoke=9, infer=1, heatmap=2, overlay=10),
        *loop(REFERENCES[1], TFLITE, commit, preprocess=5, invoke=17, infer=1, heatmap=2, overlay=10),
        *loop(UNLIMITED_OURS, TFLITE, commit, preprocess=0.3, invoke=6, infer=0.1, heatmap=0.2, overlay=1.1),
        *loop(UNLIMITED_REFERENCES[0], TFLITE, commit, preprocess=5, invoke=9, infer=1, heatmap=2, overlay=10),
        *loop(UNLIMITED_REFERENCES[1], TFLITE, commit, preprocess=5, invoke=17, infer=1, heatmap=2, overlay=10),
        *loop(FOMO, LITERT, commit, preprocess=0.6, invoke=4, infer=0.1, heatmap=0.1),
        *loop(MEDIAPIPE, TFLITE, commit, invoke=200),
        Row(commit, OURS, TFLITE, table.MEMORY, 79_000_000, "bytes"),
        *(Row(commit, "frame", TFLITE, size, cost) for size, cost in (("320x240", 100), ("640x480", 390), ("1280x720", 1000))),
        *(Row(commit, "map", TFLITE, size, cost) for size, cost in (("3x3", 100), ("6x6", 110))),
        *(Row(commit, "clusters", TFLITE, size, cost) for size, cost in (("10", 100), ("1000", 150))),
    ]


def test_every_target_is_met_by_figures_that_meet_it():
    found = table.targets(Figures(run()))
    assert [target.words for target in found if not target.passed] == []
    assert len(found) == 11


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        (loop(OURS, TFLITE, overlay=1.0), "times its bare"),
        (loop(OURS, TFLITE, invoke=11.5), "M instructions"),
        (loop(OURS, LITERT, invoke=6), "M instructions"),
        (loop(OURS, TFLITE, heatmap=0.25), "headless"),
        (loop(UNLIMITED_REFERENCES[0], TFLITE, overlay=9), "reference loop"),
        (loop(MEDIAPIPE, TFLITE, invoke=100), "MediaPipe"),
        (loop(FOMO, LITERT, invoke=2.5), "FOMO"),
        ([Row("abc", OURS, TFLITE, table.MEMORY, 80_000_001, "bytes")], "RSS"),
        ([Row("abc", "frame", TFLITE, "640x480", 420)], "frame"),
    ],
)
def test_a_figure_beyond_its_target_fails_it(worse, words):
    replaced = {row[1:4]: row for row in [*run(), *worse]}
    failed = [target.words for target in table.targets(Figures(replaced.values())) if not target.passed]
    assert any(words in target for target in failed), failed


def test_what_was_not_measured_has_not_passed():
    found = table.targets(Figures([]))
    assert not any(target.passed for target in found)
    assert "FAIL" in table.verdicts(found) and "not measured" in table.verdicts(found)


def test_the_steepest_piece_of_a_curve_counts():
    assert table.steepest([(1, 10), (2, 20), (4, 40)]) == pytest.approx(1)
    assert table.steepest([(1, 10), (2, 11), (4, 44)]) == pytest.approx(2)  # flat at first hides nothing


def test_runs_are_kept_by_commit_and_the_last_one_is_compared(tmp_path):
    path = tmp_path / "pi.csv"
    assert table.last_run(table.read(path)) == []
    table.keep(path, run("one"))
    table.keep(path, run("two"))
    table.keep(path, run("two"))  # counted again: in the place of the first
    rows = table.read(path)
    assert len(rows) == 2 * len(run()) and table.last_run(rows) == run("two")


def test_changes_of_more_than_two_percent_are_said():
    before = loop(OURS, TFLITE, "one", invoke=10, overlay=1, json=0.1, heatmap=0.3) + loop(UNLIMITED_OURS, TFLITE, invoke=1)
    now = loop(OURS, TFLITE, "two", invoke=10.1, overlay=0.5, json=0.11) + loop(UNLIMITED_OURS, TFLITE, invoke=2)
    said = table.changes(now, before)
    assert [line.partition(":")[0] for line in said] == ["cheaper", "dearer", "gone"]
    assert "1.000 -> 0.500 M (-50.0%)" in said[0]


def test_the_table_adds_up_and_says_what_did_not_run():
    rows = [*run(), Row("abc", "a peer", TFLITE, table.NOT_RUN, 0, "ImportError: no wheel")]
    lines = table.table(Figures(rows)).splitlines()
    assert lines[2] == f"| {OURS} | {TFLITE} | 0.30 | 6.00 | 0.10 | 0.20 | 0.90 | 0.10 | 6.60 | 7.50 | 1.25 |"
    assert "not run: ImportError: no wheel" in lines[-1]
    assert {line.count("|") for line in lines} == {12}


def test_a_picture_has_a_bar_for_each_loop_and_a_point_for_each_size(tmp_path):
    figures = Figures(run())
    bench_plot.write_bars(tmp_path / "bars.svg", figures, "cortex-a72")
    bench_plot.write_curves(tmp_path / "curves.svg", figures)
    bars, curves = ((tmp_path / name).read_text() for name in ("bars.svg", "curves.svg"))
    assert all(what in bars for what in (OURS, FOMO, MEDIAPIPE, *REFERENCES)) and bars.count("(cut off)") == 1
    assert curves.count("<circle") == 7


def test_lines_from_the_pi_become_rows(monkeypatch, tmp_path):
    lines = [{"what": OURS, "stage": "invoke", "value": 7}, {"what": "map 3x3", "stage": "beyond", "value": 5},
             {"what": FOMO, "stage": table.NOT_RUN, "why": "ImportError: cv2"}]
    seen = []

    def run(*command, plugin):
        seen.append(command)
        return SimpleNamespace(stdout="".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(bench_pi, "GUEST", tmp_path)
    monkeypatch.setattr(bench_pi, "PI", SimpleNamespace(run=run))
    rows = bench_pi.count("bench/janken", LITERT, [bench_pi.Job(OURS, "ours", {"bundle": "bench/janken"})], "abc")
    assert rows == [Row("abc", OURS, LITERT, "invoke", 7), Row("abc", "map", LITERT, "3x3", 5),
                    Row("abc", FOMO, LITERT, table.NOT_RUN, 0, "ImportError: cv2")]
    assert seen[0][0] == "bench/ai-edge-litert/bin/python"
    plan = json.loads((tmp_path / "jobs.json").read_text())
    assert plan["jobs"] == [{"what": OURS, "how": "ours", "with": {"bundle": "bench/janken"}}]


def test_the_exit_code_tells_a_missed_target_from_a_missing_emulator(monkeypatch, capsys):
    def refuse(options):
        raise pi_root.RootError("no emulator")

    for bench, code in ((lambda options: True, 0), (lambda options: False, 1), (refuse, 2)):
        monkeypatch.setattr(bench_pi, "bench", bench)
        assert bench_pi.main([]) == code
    assert "bench_pi: no emulator" in capsys.readouterr().err


def test_warming_up_is_not_counted():
    spent = [0]

    def each(i: int) -> None:
        spent[0] += 1000 if i < 4 else 10

    assert bench_guest.steady(lambda: spent[0], 4, each) == 10


def test_stages_are_told_apart():
    readings = iter([0, 5, 5, 8, 8, 10, 11, 12, 12, 20, 20])
    stages = bench_guest.Stages(lambda: next(readings))
    stages.begin()
    stages.lap("preprocess")
    stages.lap("infer")
    stages.begin()
    stages.lap("preprocess")
    assert stages.sums == {"preprocess": 5 + 1, "infer": 3}


class FakeInterpreter:
    """Gives the same outputs for every input."""

    def __init__(self, size: int, outputs: list[np.ndarray], scale: float = 1.0, zero_point: int = 0):
        self.outputs, self.size, self.quantization, self.inputs = outputs, size, (scale, zero_point), []

    def allocate_tensors(self):
        pass

    invoke = allocate_tensors

    def get_input_details(self):
        return [{"index": 100, "shape": np.array([1, self.size, self.size, 3])}]

    def get_output_details(self):
        return [{"index": i, "shape": o.shape, "quantization": self.quantization} for i, o in enumerate(self.outputs)]

    def set_tensor(self, index, values):
        self.inputs.append(values)

    def get_tensor(self, index):
        return self.outputs[index]


def test_fomo_merges_cells_that_touch_into_centroids():
    scores = np.full((1, 12, 12, 4), -128, np.int8)
    scores[0, 2:4, 6:8, 1] = 127  # one hand of four cells
    scores[0, 10, 0, 3] = 1  # another, just above a half
    interpreter = FakeInterpreter(96, [scores], scale=1 / 256, zero_point=-128)
    found = bench_peers.FomoLoop(interpreter)(np.full((480, 640, 3), 130, np.uint8))
    assert found == [(1, 7 * 640 / 12, 3 * 480 / 12), (3, 0.5 * 640 / 12, 10.5 * 480 / 12)]
    assert interpreter.inputs[0].dtype == np.int8 and (interpreter.inputs[0] == 2).all()  # pixel - 128


def test_the_reference_loop_paints_its_hottest_place_red():
    maps = np.zeros((1, 3, 3, bench_peers.FEATURE_CHANNELS), np.float32)
    maps[0, 0, 2] = 1  # top right
    interpreter = FakeInterpreter(96, [maps, np.ones((1, 1280), np.float32)])
    laps: list[str] = []
    label, picture = bench_peers.ReferenceLoop(interpreter, None)(np.zeros((480, 640, 3), np.uint8), laps.append)
    assert laps == ["preprocess", "infer", "heatmap", "overlay"] and label == "pa"
    hot, cold = picture[20, 270].astype(int), picture[270, 20].astype(int)
    assert hot[2] > hot[0] + 30 and cold[0] > cold[2] + 30  # OpenCV's order: blue first
    assert interpreter.inputs[0].dtype == np.float32


def test_memory_counts_the_programs_own_mappings_alone(monkeypatch):
    files = {
        "/proc/self/maps": ["1000-3000 r-xp 0 0 0 python\n", "8000-9000 rw-p 0 0 0\n"],
        "/proc/self/smaps": ["1000-2000 r-xp 0 0 0 python\n", "Rss:       4 kB\n", "Pss:       4 kB\n",
                             "2000-3000 r--p 0 0 0 python\n", "Rss:       2 kB\n",
                             "8000-9000 rw-p 0 0 0\n", "Rss:       1 kB\n",
                             "9000-a000 rw-p 0 0 0 qemu\n", "Rss:     512 kB\n"],
    }
    monkeypatch.setattr(bench_guest, "open", lambda name: iter(files[name]), raising=False)
    assert bench_guest.resident() == 7 * 1024


@pytest.mark.skipif(pi_root.obstacle() is not None or not (pi_root.PIS["arm64"].root / pi_root.RECIPE).is_file(),
                    reason="no emulated Pi: make pi-test or make bench-pi makes one")
def test_the_clock_counts_instructions_and_repeats(tmp_path):
    pi = pi_root.PIS["arm64"]
    home = pi.home / "bench-test"
    home.mkdir(exist_ok=True)
    plugin = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(home / "pi_count.so"), str(ROOT / "scripts" / "pi_count.c")]
    subprocess.run(plugin, check=True)
    program = ("import os; file = os.memfd_create('instructions')\n"
               f"def clock(): return int.from_bytes(os.pread(file, 8, {bench_guest.HERE}), 'little')\n"
               "for n in (10_000, 20_000):\n"
               "    began = clock()\n"
               "    for _ in range(n): pass\n"
               "    print(clock() - began)\n")

    def count() -> list[int]:
        done = pi.run("python3", "-c", program, plugin="/home/pi/bench-test/pi_count.so")
        return [int(line) for line in done.stdout.split()]

    once, twice = count()
    shutil.rmtree(home)
    assert twice == pytest.approx(2 * once, rel=0.05) and once > 10_000
