"""scripts/study.py: mean and spread of runs, and that an interrupted study goes on; the runs themselves are stand-ins."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "study.py"
FIGURES = {"accuracy": 0.9, "accuracy_hands": 0.8, "false_alarms": None, "peak_inside": 0.7, "box_iou": 0.6}


@pytest.fixture
def study():
    spec = importlib.util.spec_from_file_location("study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(study, monkeypatch):
    """The commands a study would have run; each check finds an accuracy that depends on the seed: 0.9, 0.8."""
    made = []

    def call(module, *arguments, codes=(0,)):
        made.append((module, *map(str, arguments)))
        if module == "calibration":
            folder = Path(arguments[arguments.index("--report") + 1])
            folder.mkdir(parents=True, exist_ok=True)
            int8 = {**FIGURES, "accuracy": 0.9 - 0.1 * int(folder.name[-1])}
            fidelity = {"embedding_cosine_mean": 0.99, "label_agreement": 1.0, "size_mb": 0.7}
            (folder / "report.json").write_text(json.dumps({"int8": int8, "float": int8, "int8_against_float": fidelity}))

    monkeypatch.setattr(study, "call", call)
    return made


def run(study, monkeypatch, folder: Path, *variants: str) -> int:
    monkeypatch.setattr(sys, "argv", ["study.py", "--judge", "photos", "--seeds", "0", "1", "--out", str(folder),
                                      "--common=--steps 2", *variants])
    return study.main()


def test_a_row_is_the_mean_and_spread_over_the_seeds(study, calls, monkeypatch, tmp_path, capsys):
    assert run(study, monkeypatch, tmp_path, "V2 0.5=", "triplet=--loss triplet") == 0
    trained = [call for call in calls if call[0] == "export"]
    assert [call[call.index("--seed") + 1] for call in trained] == ["0", "1", "0", "1"]
    assert all("--steps" in call for call in trained) and ["triplet" in call for call in trained] == [False, False, True, True]
    assert "| V2 0.5 | 2 | 0.850 ± 0.050 |" in capsys.readouterr().out
    assert (tmp_path / "study.csv").read_text().count("0.850 ± 0.050") == 4  # int8 and float, twice
    assert "nan" in (tmp_path / "study.csv").read_text()  # false alarms, where there was no frame without a hand


def test_what_is_there_is_not_made_again_unless_it_was_asked_differently(study, calls, monkeypatch, tmp_path):
    run(study, monkeypatch, tmp_path, "a=")
    before = len(calls)
    run(study, monkeypatch, tmp_path, "a=")
    assert len(calls) == before
    run(study, monkeypatch, tmp_path, "a=--loss triplet")
    assert len(calls) == 2 * before


def test_a_variant_without_flags_is_refused(study, monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(study, monkeypatch, tmp_path, "triplet")
    assert stop.value.code == 2 and "given: triplet" in capsys.readouterr().err


def test_a_failed_run_ends_the_study_with_its_code(study):
    with pytest.raises(SystemExit) as stop:
        study.call("json.tool", "no-such-file")
    assert stop.value.code == 1 or stop.value.code == 2
