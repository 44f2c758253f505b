from __future__ import annotations

import subprocess
import sys

import pytest

from runtime import advice, doctor
from runtime.doctor import camera_finding, package_findings, power_finding, python_finding


def examine(root, environment, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "runtime", "doctor", *map(str, arguments)]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=60)


def test_a_machine_without_anything_is_told_what_to_install(root, clean_environment, tmp_path):
    # -I -S: this Python without its packages.
    code = f"import sys; sys.path.insert(0, {str(root)!r}); from runtime.__main__ import main; sys.exit(main(['doctor']))"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, env=clean_environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5, done.stderr
    assert "FAULT numpy        missing" in done.stdout and "FAULT interpreter  missing" in done.stdout
    assert "Run: " in done.stdout and "note  bundle       not looked at" in done.stdout


def test_a_healthy_machine_is_exit_0(root, clean_environment, tiny_path):
    done = examine(root, clean_environment, "--bundle", tiny_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAULT" not in done.stdout
    assert "ok    bundle       tiny 0.1.0: gu, choki, pa, none" in done.stdout
    assert "ms a frame of 320x240" in done.stdout


def test_a_damaged_bundle_is_exit_3_with_its_words(root, clean_environment, bundle_copy):
    (bundle_copy.path / "prototypes.npy").unlink()
    done = examine(root, clean_environment, "--bundle", bundle_copy.path)
    assert done.returncode == 3
    assert "FAULT bundle" in done.stdout and "prototypes.npy is missing" in done.stdout


def test_a_numpy_that_is_installed_but_cannot_be_loaded(root, broken_packages, tiny_path):
    done = examine(root, broken_packages("numpy"), "--bundle", tiny_path)
    assert done.returncode == 5
    assert "FAULT numpy" in done.stdout and "sudo apt install python3-numpy libopenblas0" in done.stdout


@pytest.mark.parametrize(
    ("installed", "found", "mend", "exit_code"),
    [
        ({}, "missing", "Run: ", 5),
        ({"numpy": "1.26.4"}, "missing", "Run: ", 5),
        ({"numpy": "1.26.4", "tflite-runtime": "2.14.0"}, "tflite-runtime 2.14.0", "", 0),
        ({"numpy": "2.2.6", "ai-edge-litert": "2.3.0"}, "ai-edge-litert 2.3.0", "", 0),
        ({"numpy": "2.2.6", "tflite-runtime": "2.14.0"}, "cannot work with numpy 2.2.6", "install 'numpy<2'", 5),
        ({"numpy": "2.2.6", "tflite-runtime": "2.14.0", "ai-edge-litert": "2.3.0"}, "ai-edge-litert 2.3.0", "", 0),
        ({"numpy": "1.26.4", "tflite-runtime": "2.14.0", "ai-edge-litert": "2.3.0"}, "ai-edge-litert 2.3.0", "", 0),
    ],
)
def test_the_interpreter_that_will_be_used_is_named(installed, found, mend, exit_code):
    interpreter = list(package_findings(installed.get, (3, 11)))[-1]
    assert interpreter.topic == "interpreter"
    assert found in interpreter.found and mend in interpreter.mend and interpreter.exit_code == exit_code


@pytest.mark.parametrize(("python", "package"), [((3, 9), "tflite-runtime==2.14.0 'numpy<2'"), ((3, 13), "ai-edge-litert")])
def test_the_command_installs_what_this_python_has_a_wheel_for(python, package):
    for finding in package_findings({}.get, python):
        assert finding.mend.startswith("Run: ") and package in finding.mend


@pytest.mark.parametrize(
    ("version", "arm32", "exit_code"),
    [((3, 8), False, 5), ((3, 9), False, 0), ((3, 13), False, 0), ((3, 11), True, 0), ((3, 13), True, 5)],
)
def test_a_python_without_any_interpreter_is_a_fault(version, arm32, exit_code):
    finding = python_finding(version, arm32)
    assert finding.exit_code == exit_code and bool(finding.mend) == bool(exit_code)


@pytest.mark.parametrize(
    ("machine", "largest", "arm32"),
    [("armv7l", 2**31 - 1, True), ("aarch64", 2**31 - 1, True), ("aarch64", 2**63 - 1, False), ("x86_64", 2**63 - 1, False)],
)
def test_a_64_bit_kernel_may_run_a_32_bit_python(machine, largest, arm32):
    assert advice.is_arm32(machine, largest) == arm32


def test_numpy_for_32_bits_comes_from_apt():
    numpy, interpreter = package_findings({}.get, (3, 11), arm32=True)
    assert numpy.mend.startswith("Run: sudo apt install python3-numpy")
    assert "tflite-runtime" in interpreter.mend


@pytest.mark.parametrize(
    ("python", "machine", "libc", "fault"),
    [
        ((3, 9), "aarch64", ("glibc", "2.31"), True),
        ((3, 9), "armv7l", ("glibc", "2.31"), True),
        ((3, 11), "aarch64", ("glibc", "2.36"), False),
        ((3, 13), "aarch64", ("glibc", "2.31"), False),  # ai-edge-litert needs 2.27 only
        ((3, 9), "x86_64", ("glibc", "2.31"), False),
        ((3, 11), "aarch64", ("", ""), False),
    ],
)
def test_bullseye_is_too_old(python, machine, libc, fault):
    found = list(doctor.libc_findings(python, machine, libc))
    assert [finding.exit_code for finding in found] == [5] * fault
    assert all("Bookworm" in finding.mend for finding in found)


def test_bytecode_that_is_neither_there_nor_kept(tmp_path, monkeypatch):
    source = tmp_path / "module.py"
    source.write_text("")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert list(doctor.bytecode_findings(source)) == []  # the first start will leave it
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    noted, = doctor.bytecode_findings(source)
    assert noted.exit_code == 0 and f"-m compileall -q {tmp_path}" in noted.mend
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(tmp_path)], check=True)
    assert list(doctor.bytecode_findings(source)) == []


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        ("ImportError: libGL.so.1: cannot open shared object file", "Run: sudo apt install libgl1"),
        ("ImportError: libgthread-2.0.so.0: cannot open shared object file", "Run: sudo apt install libglib2.0-0"),
        ("ImportError: numpy.core.multiarray failed to import", "install --force-reinstall --no-deps 'opencv-python<4.12'"),
    ],
)
def test_an_opencv_that_cannot_be_imported(words, mend):
    finding = doctor.opencv_finding(words)
    assert words in finding.found and mend in finding.mend and finding.exit_code == 0


def test_a_broken_opencv_is_found_by_importing_it(root, broken_packages, tiny_path):
    done = examine(root, broken_packages("cv2"), "--bundle", tiny_path)
    assert done.returncode == 0, done.stderr
    assert "note  pictures     OpenCV cannot be imported: ModuleNotFoundError" in done.stdout


def test_an_environment_that_does_not_see_picamera2(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "SYSTEM_PICAMERA2", tmp_path)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", "/home/pi/janken")
    finding, = doctor.picamera_findings()
    assert finding.mend == "Run: python3 -m venv --system-site-packages /home/pi/janken"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("throttled=0x0", "never throttled since boot"),
        ("throttled=0x50005", "now: under-voltage, throttled; since boot: under-voltage, throttled"),
        ("throttled=0x80000", "now: well; since boot: soft temperature limit"),
        ("VCHI initialization failed", "VCHI initialization failed"),
    ],
)
def test_throttling_now_and_since_boot(answer, found):
    assert power_finding(answer).found == found
    assert bool(power_finding(answer).mend) == ("never" not in found)


def test_the_pi_s_firmware_is_asked_where_it_can_be(root, clean_environment, tiny_path, tmp_path):
    program = tmp_path / "vcgencmd"
    program.write_text("""#!/bin/sh
case $1 in measure_temp) echo "temp=48.3'C";; get_throttled) echo throttled=0x50000;; esac
""")
    program.chmod(0o755)
    path = f"{tmp_path}:{clean_environment['PATH']}"
    done = examine(root, {**clean_environment, "PATH": path}, "--bundle", tiny_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "temperature  temp=48.3'C" in done.stdout
    assert "power        now: well; since boot: under-voltage, throttled" in done.stdout


def test_cameras_missing_closed_and_open(tmp_path, monkeypatch):
    assert camera_finding([]).exit_code == 0 and "--source" in camera_finding([]).mend
    device = tmp_path / "video0"
    device.touch()
    assert camera_finding([str(device)]) == doctor.Finding("camera", str(device))
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert "sudo usermod -aG video" in camera_finding([str(device)]).mend


def test_a_system_python_that_refuses_pip_gets_an_environment_first(monkeypatch, tmp_path):
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(advice.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    line = advice.install_line("pillow")
    assert "-m venv --system-site-packages ~/janken && ~/janken/bin/pip install pillow" in line
    installer = tmp_path / "pi_install.sh"
    monkeypatch.setattr(advice, "INSTALLER", installer)
    installer.touch()  # in a bundle
    assert advice.install_line("pillow").startswith(f"Run: {installer} , and from then on")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert advice.install_line("pillow") == f"Run: {sys.executable} -m pip install pillow"
