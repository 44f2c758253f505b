"""scripts/pi_install.sh on machines that are made up: each command that tells facts or changes things is a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
REAL = ("bash", "cat", "cp", "dirname", "grep", "head", "ls", "mkdir", "mktemp", "rm", "sort")  # they tell no facts
PINS = [Requirement(line) for line in (ROOT / "requirements/runtime.txt").read_text().splitlines() if line[0] != "#"]

# Every stand-in writes its call to calls.log and looks its answer up in the files of facts/.
STAND_INS = {
    "uname": 'echo "$(cat $FACTS/kernel)"',
    "dpkg": "cat $FACTS/userland",
    "getconf": 'echo "glibc $(cat $FACTS/glibc)"',
    "id": 'case $1 in -u) cat $FACTS/uid;; *) echo pi;; esac',
    "ldconfig": "cat $FACTS/libraries",
    "dpkg-query": 'for package; do :; done; grep -qx "$package" $FACTS/installed && printf installed',
    "apt-cache": 'grep -qx "$2" $FACTS/offered && echo "  Candidate: 0.3.31" || echo "  Candidate: (none)"',
    "apt-get": 'echo "apt-get $*" >> $FACTS/calls.log; exit $(cat $FACTS/apt_code)',
    "sudo": 'test "$1" != -n || exit $(cat $FACTS/sudo_code); exec "$@"',
    "install": 'cp "$3" $FACTS/unit',
    "systemctl": 'echo "systemctl $*" >> $FACTS/calls.log; test "$1" != restart || exit $(cat $FACTS/restart_code)',
    "python3": r"""
for last; do :; done
case "$*" in
    *version_info*) cat "$(dirname "$0")/version" 2> /dev/null || cat $FACTS/python; exit;;
    *import_module*) ! grep -qx "$last" $FACTS/unimportable; exit;;
esac
echo "python $*" >> $FACTS/calls.log
case "$*" in
    "-m venv"*)
        mkdir -p "$last/bin"
        cp "$0" "$last/bin/python"
        cp $FACTS/python "$last/bin/version"
        echo include-system-site-packages = true > "$last/pyvenv.cfg";;
    "-m pip"*) exit $(cat $FACTS/pip_code);;
    *doctor*) exit $(cat $FACTS/doctor_code);;
    *--json*) cat $FACTS/result > "$last";;
esac
""",
}
FACTS = {
    "kernel": "aarch64", "userland": "arm64", "python": "3.11", "glibc": "2.36", "uid": "1000", "libraries": "",
    "installed": "", "offered": "", "unimportable": "cv2", "calls.log": "", "result": '{"frame": 0}', "apt_code": "0",
    "sudo_code": "0", "pip_code": "0", "doctor_code": "0", "restart_code": "0",
}


class Machine:
    """A folder with commands, facts, a home and a bundle."""

    def __init__(self, folder: Path):
        self.folder, self.home, self.bundle = folder, folder / "home", folder / "bundle"
        for place in ("bin", "facts", "home", "bundle/runtime"):
            (folder / place).mkdir(parents=True)
        for name in REAL:
            (folder / "bin" / name).symlink_to(shutil.which(name))
        for name, text in STAND_INS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / "bin" / name).chmod(0o755)
        self.have(**FACTS)
        for name in ("pi_install.sh", "janken.service"):
            shutil.copy(ROOT / "scripts" / name, self.bundle)

    def have(self, **facts: str) -> None:
        for name, value in facts.items():
            (self.folder / "facts" / name).write_text(value + "\n" if value else "")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.folder / "bin"), "HOME": str(self.home), "FACTS": str(self.folder / "facts")}
        return subprocess.run([self.bundle / "pi_install.sh", *arguments], env=environment, stdin=subprocess.DEVNULL,
                              cwd=self.folder, capture_output=True, text=True, timeout=60)

    def calls(self) -> list[str]:
        """What was run that changes something, since the last time this was asked."""
        lines = (self.folder / "facts/calls.log").read_text().replace(str(self.folder), "").splitlines()
        self.have(**{"calls.log": ""})
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def printed(done: subprocess.CompletedProcess[str], program: str) -> str:
    """The one printed command of a dry run that holds `program`; "" where there is none."""
    found = [line for line in done.stdout.splitlines() if line.startswith("+ ") and program in line]
    assert len(found) <= 1
    return found[0] if found else ""


# --- which packages, on which machine ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "userland", "python", "interpreter", "system_packages"), [
    ("aarch64", "arm64", "3.11", "tflite-runtime", ""),
    ("aarch64", "arm64", "3.13", "ai-edge-litert", ""),
    ("armv7l", "armhf", "3.11", "tflite-runtime", "python3-numpy python3-opencv"),
    ("aarch64", "armhf", "3.11", "tflite-runtime", "python3-numpy python3-opencv"),  # 64-bit kernel, 32-bit programs
    ("x86_64", "amd64", "3.12", "ai-edge-litert", ""),
])
def test_the_table(machine, kernel, userland, python, interpreter, system_packages):
    machine.have(kernel=kernel, userland=userland, python=python)
    done = machine.run("--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"interpreter: {interpreter}\n" in done.stdout
    apt = printed(done, "apt-get install")
    assert bool(apt) == bool(system_packages) and apt.endswith(system_packages)
    wheels = printed(done, "pip install")
    assert "requirements.txt" in wheels and "--only-binary=:all:" in wheels
    assert ("opencv" in wheels) == (userland != "armhf")
    assert machine.calls() == [] and not list(machine.home.iterdir())  # a dry run changes nothing


@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_table_says_what_requirements_txt_installs(machine, python):
    machine.have(python=python)
    pinned = {pin.name for pin in PINS if pin.marker.evaluate({"python_version": python})}
    named = machine.run("--dry-run").stdout.partition("interpreter: ")[2].split()[0]
    assert pinned == {named, "numpy"}


@pytest.mark.parametrize(("facts", "words"), [
    ({"kernel": "armv7l", "userland": "armhf", "python": "3.13"}, "Use the 64-bit Raspberry Pi OS"),
    ({"kernel": "aarch64", "userland": "armhf", "python": "3.13"}, "The kernel here is 64-bit already"),
    ({"kernel": "armv6l", "userland": "armhf"}, "ARMv6 (Pi 1, Zero, Zero W)"),
    ({"python": "3.9", "glibc": "2.31"}, "glibc 2.31: tflite-runtime's ARM wheels need 2.34"),
    ({"python": "3.14"}, "name another one with --python"),
    ({"python": "3.8"}, "name another one with --python"),
    ({"userland": "riscv64"}, "programs for riscv64: neither"),
])
def test_what_cannot_be_done_is_said_with_the_reason(machine, facts, words):
    machine.have(**facts)
    done = machine.run()
    assert done.returncode == 5 and words in done.stderr
    assert machine.calls() == [] and not list(machine.home.iterdir())


@pytest.mark.parametrize(("missing", "words"), [("dpkg", "README.md has the way by hand"), ("python3", "apt install python3")])
def test_a_system_without_dpkg_or_python(machine, missing, words):
    (machine.folder / "bin" / missing).unlink()
    done = machine.run()
    assert done.returncode == 5 and words in done.stderr


@pytest.mark.parametrize(("facts", "options", "wheel"), [
    ({"libraries": "\tlibGL.so.1 (libc6,AArch64) => /lib/aarch64-linux-gnu/libGL.so.1"}, [], r"opencv-python\<4.12"),
    ({}, [], r"opencv-python-headless\<4.12"),  # Lite: the ordinary wheel could not be imported
    ({}, ["--no-opencv"], ""),
])
def test_the_opencv_that_can_be_imported(machine, facts, options, wheel):
    machine.have(**facts)
    assert printed(machine.run("--dry-run", *options), "pip install").endswith(f"requirements.txt {wheel}".strip())


def test_system_packages_are_installed_only_where_they_are_missing(machine):
    machine.have(userland="armhf", unimportable="cv2\nvenv", offered="python3-picamera2", installed="python3-numpy")
    assert machine.run().returncode == 0
    packages = "python3-venv python3-opencv python3-picamera2"
    assert machine.calls()[:2] == ["apt-get update", f"apt-get install -y --no-install-recommends {packages}"]
    machine.have(unimportable="", installed="python3-numpy\npython3-opencv\npython3-picamera2")
    assert machine.run().returncode == 0
    assert not [call for call in machine.calls() if call.startswith("apt-get")]


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_from_nothing_to_the_first_result_and_again(machine):
    machine.have(libraries="libGL.so.1 ")
    for python_is_new in (True, False):
        done = machine.run()
        assert done.returncode == 0, done.stderr
        assert 'first result: {"frame": 0}' in done.stdout
        assert f"ready: {machine.home}/janken/bin/python {machine.bundle}/runtime/janken.py" in done.stdout
        calls = machine.calls()
        if python_is_new:
            assert calls.pop(0) == "python -m venv --clear --system-site-packages /home/janken"
            assert calls[0].endswith("opencv-python<4.12")
            machine.have(unimportable="")
        else:
            assert calls[0].endswith("requirements.txt") and f"environment: {machine.home}/janken, as it is" in done.stdout
        assert [call.split()[1:3] for call in calls[:2]] == [["-m", "pip"], ["-m", "compileall"]]
        assert calls[2] == "python /bundle/runtime/janken.py doctor --bundle /bundle"
        assert "--frames 1" in calls[4] and len(calls) == 5


@pytest.mark.parametrize("change", [{"python": "3.13"}, {"unimportable": "pip"}])
def test_an_environment_of_another_python_or_half_made_is_made_anew(machine, change):
    machine.run()
    machine.calls()
    machine.have(**change)
    assert machine.run().returncode == 0
    assert machine.calls()[0].startswith("python -m venv --clear")


def test_check_installs_nothing(machine):
    done = machine.run("check")
    assert done.returncode == 5 and "no Python environment" in done.stderr and "pi_install.sh --venv" in done.stderr
    machine.run()
    machine.calls()
    assert machine.run("--source", "photos", "check").returncode == 0
    calls = machine.calls()
    assert not [call for call in calls if "pip" in call or "venv" in call]
    assert "--source photos" in calls[-1]


@pytest.mark.parametrize(("facts", "code", "words"), [
    ({"doctor_code": "3"}, 3, ""),
    ({"doctor_code": "5"}, 5, ""),
    ({"result": ""}, 4, "no frame came from"),
    ({"pip_code": "2"}, 1, "pip could not install"),
    ({"userland": "armhf", "apt_code": "100"}, 1, "is there a network?"),
    ({"userland": "armhf", "sudo_code": "1"}, 6, "install -y --no-install-recommends python3-numpy python3-opencv ; and then"),
])
def test_exit_codes(machine, facts, code, words):
    machine.have(**facts)
    done = machine.run()
    assert done.returncode == code and words in done.stderr, done.stderr
    assert "ready: " not in done.stdout


@pytest.mark.parametrize("arguments", [["--venv"], ["--nonsense"], ["nonsense"]])
def test_usage(machine, arguments):
    assert machine.run(*arguments).returncode == 2
    assert "exit codes:" in machine.run("--help").stdout


def test_a_folder_that_is_no_environment_is_left_alone(machine):
    (machine.home / "janken").mkdir()
    (machine.home / "janken/hand.jpg").touch()
    done = machine.run()
    assert done.returncode == 2 and "--venv" in done.stderr
    assert [path.name for path in (machine.home / "janken").iterdir()] == ["hand.jpg"]


# --- the service ------------------------------------------------------------------------------------------------------


def test_the_service_is_written_for_this_user_and_started(machine):
    machine.run()
    machine.calls()
    options = ["--source", "rtsp://cam/a%20b?$x", 'say "\\"']
    done = machine.run("service", *options)
    assert done.returncode == 0, done.stderr
    assert machine.calls() == ["systemctl daemon-reload", "systemctl enable janken.service", "systemctl restart janken.service"]
    unit = (machine.folder / "facts/unit").read_text()
    assert "@" not in unit.partition("[Unit]")[2] and "\nUser=pi\n" in unit and "\nSupplementaryGroups=video\n" in unit
    program = f'"{machine.home}/janken/bin/python" "{machine.bundle}/runtime/janken.py"'
    assert rf'ExecStart= {program} "--source" "rtsp://cam/a%%20b?$$x" "say \"\\\""' in unit.splitlines()
    if shutil.which("systemd-analyze"):
        file = machine.folder / "janken.service"
        file.write_text(unit.replace("User=pi", f"User={os.environ.get('USER', 'root')}"))
        looked = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True)
        assert looked.returncode == 0, looked.stderr


def test_a_service_that_does_not_start_and_one_for_root(machine):
    machine.run()
    machine.have(restart_code="1")
    done = machine.run("service", "--source", "0")
    assert done.returncode == 1 and "journalctl -u janken.service" in done.stderr
    machine.have(sudo_code="1")
    done = machine.run("service", "--source", "0")
    assert done.returncode == 6 and "Run it in a terminal" in done.stderr
    machine.have(uid="0")
    assert machine.run("service").returncode == 2


def test_the_watchdog_waits_longer_than_the_runtime_gives_up():
    from runtime.camera import GIVE_UP_S

    unit = dict(line.split("=", 1) for line in (ROOT / "scripts/janken.service").read_text().splitlines() if line[:1].isupper())
    assert int(unit["WatchdogSec"]) > GIVE_UP_S and int(unit["TimeoutStartSec"]) > GIVE_UP_S
    assert unit["Type"] == "notify" and unit["Restart"] == "on-failure" and "USER" in unit["User"]


def test_the_bundle_holds_it_ready_to_run(tmp_path):
    from export.bundle import pack

    folder = pack(ROOT / "models/tiny", tmp_path)
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    assert {"pi_install.sh", "janken.service"} <= set(listed)
    unpacked = subprocess.run(["tar", "tvzf", f"{folder}.tar.gz"], capture_output=True, text=True, check=True).stdout
    assert [line[:10] for line in unpacked.splitlines() if line.endswith("/pi_install.sh")] == ["-rwxr-xr-x"]
