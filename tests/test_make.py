"""The Makefile's own logic, with stand-ins for Python and pip: nothing is downloaded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERBS = ["export", "check", "cams", "demo", "test", "lint", "soak", "pi-test", "bench", "bench-pi", "data", "dist", "deploy",
         "rollback", "clean"]

# Stands in for PYTHON: `-m venv FOLDER` lays down another stand-in, whose pip says it installs.
FAKE_PYTHON = r"""#!/bin/sh
case "$1 $2" in
    "-m venv")
        for folder; do :; done
        mkdir -p "$folder/bin"
        printf '#!/bin/sh\necho "$@" >> pip.log\nexit ${PIP_STATUS:-0}\n' > "$folder/bin/python"
        chmod +x "$folder/bin/python";;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and the requirements alone."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    write_program(tmp_path / "python-fake", FAKE_PYTHON)
    return tmp_path


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a fresh shell: this test itself may be running under one."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON"))}
    return subprocess.run(["make", *arguments], cwd=folder, env=outer | environment, capture_output=True, text=True)


def test_no_verb_lists_every_verb_on_one_line(checkout):
    done = make(checkout)
    assert done.returncode == 0
    assert re.findall(r"^  ([a-z-]+) +\S", done.stdout, re.MULTILINE) == VERBS


def test_export_passes_only_what_is_set(checkout):
    printed = make(checkout, "-n", "export", "DATA=one two", "SEED=7").stdout
    command = " ".join(printed.replace("\\\n", " ").split())
    assert command.endswith(".venv/bin/python -m export --data one two --seed 7 --out dist")
    assert "--name 'my mugs'" in make(checkout, "-n", "export", "NAME=my mugs").stdout, "refused by name, not as a command"


def test_a_name_in_the_environment_is_not_taken(checkout):
    command = make(checkout, "-n", "export", NAME="laptop", OUT="/tmp/elsewhere").stdout
    assert "laptop" not in command and "--out dist" in command


def test_an_installed_environment_is_kept_until_its_requirements_change(checkout):
    stamp = checkout / ".venv-lint/.installed"
    for expected_installs in (1, 1):
        assert make(checkout, ".venv-lint/.installed", "PYTHON=./python-fake").returncode == 0
        assert (checkout / "pip.log").read_text().count("requirements/lint.txt") == expected_installs
    os.utime(checkout / "requirements/lint.txt", (stamp.stat().st_mtime + 10,) * 2)
    make(checkout, ".venv-lint/.installed", "PYTHON=./python-fake")
    assert (checkout / "pip.log").read_text().count("requirements/lint.txt") == 2


def test_a_failed_installation_leaves_no_stamp(checkout):
    done = make(checkout, ".venv-lint/.installed", "PYTHON=./python-fake", PIP_STATUS="1")
    assert done.returncode != 0
    assert "installing lint.txt into .venv-lint" in done.stdout
    assert not (checkout / ".venv-lint/.installed").exists()


@pytest.mark.parametrize(
    ("fake", "words"),
    [
        ('case "$1" in -V) echo Python 3.8;; -c) exit 1;; esac', "needs Python 3.10 to 3.13 but ./bad is Python 3.8"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "sudo apt install python3-venv"),
    ],
)
def test_an_unfit_python_is_refused_in_words(checkout, fake, words):
    write_program(checkout / "bad", f"#!/bin/sh\n{fake}\n")
    done = make(checkout, ".venv/.installed", "PYTHON=./bad")
    assert done.returncode != 0 and words in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_missing_python_names_the_install_line(checkout):
    assert "sudo apt install python3 python3-venv" in make(checkout, ".venv/.installed", "PYTHON=python3.99").stderr


@pytest.mark.parametrize("failing", [".venv", ".venv-runtime", ".venv-runtime-313"])
def test_every_part_of_the_tests_runs_and_any_one_fails_the_verb(checkout, failing):
    for environment in (".venv", ".venv-runtime", ".venv-runtime-313"):
        status = int(environment == failing)
        write_program(checkout / environment / "bin/python", f'#!/bin/sh\necho "ran $0 $@"\nexit {status}\n')
        (checkout / environment / ".installed").touch()
    done = make(checkout, "test", "PYTHON_313=python3.13")
    assert "ran .venv/bin/python -m pytest tests\n" in done.stdout
    assert "ran .venv-runtime/bin/python -m pytest tests/runtime\n" in done.stdout
    assert "ran .venv-runtime-313/bin/python -m pytest tests/runtime\n" in done.stdout
    assert done.returncode != 0


def test_without_python_3_13_its_tests_are_skipped_in_words(checkout):
    done = make(checkout, "test-runtime-313", "PYTHON_313=")
    assert done.returncode == 0 and "tests/runtime on Python 3.13: skipped" in done.stdout


def test_the_environment_for_python_3_13_is_made_with_that_python(checkout):
    write_program(checkout / "home/.pyenv/versions/3.13.7/bin/python", FAKE_PYTHON)
    done = make(checkout, ".venv-runtime-313/.installed", "PYTHON=python3.99", HOME=str(checkout / "home"))
    assert done.returncode == 0, done.stderr
    assert "requirements/runtime-test.txt" in (checkout / "pip.log").read_text()
