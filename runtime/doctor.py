"""`python3 -m runtime doctor`: what this machine has, what is wrong, and the exact command that mends it.

Only the standard library is imported before numpy and the interpreter have been looked up by their metadata: doctor
must be able to speak on a machine where importing them fails or crashes.
"""
from __future__ import annotations

import argparse
import glob
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from . import advice
from .errors import BundleError, EdgeError, InterpreterError

OLDEST_PYTHON = (3, 9)
NO_PI = "no Raspberry Pi"
VCGENCMD_SECONDS = 5
PROBE_SECONDS = 30
TIMED_OUT = 124
PICAMERA_PROBE = (
    "from picamera2 import Picamera2; print(', '.join(camera['Model'] for camera in Picamera2.global_camera_info()))"
)
TIMED_FRAMES = 20
# https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLE_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
OPENCV_PROBE = "import cv2"
AGAIN = ("--force-reinstall", "--no-deps")  # with its dependencies, numpy 2 would come
SYSTEM_PICAMERA2 = Path("/usr/lib/python3/dist-packages/picamera2")
SINCE_BOOT = 16  # the same four, 16 bits further up, tell what happened since boot


class Finding(NamedTuple):
    """One line of the report. exit_code is 0 for what is well or only worth knowing; a fault says how to mend it."""

    topic: str
    found: str
    mend: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        mark = "FAULT" if self.exit_code else "note" if self.mend else "ok"
        line = f"{mark:<6}{self.topic:<12} {self.found}"
        return f"{line}\n{'':<19}{self.mend}" if self.mend else line


def main(arguments: list[str]) -> int:
    """Print the report; returns the exit code of the first fault, 0 when there is none."""
    parser = argparse.ArgumentParser(prog="python3 -m runtime doctor", description=__doc__.split("\n\n")[0])
    parser.add_argument("--bundle", metavar="PATH", type=Path, help="the bundle to look at (default: as the demo's)")
    options = parser.parse_args(arguments)
    exit_code = 0
    for finding in findings(options.bundle):
        print(finding, flush=True)
        exit_code = exit_code or finding.exit_code
    return exit_code


def findings(bundle: Path | None) -> Iterator[Finding]:
    """Every check in turn, the cheap and safe ones first."""
    yield Finding("system", _system_name())
    yield Finding("machine", _machine_name())
    yield python_finding(sys.version_info[:2], advice.is_arm32())
    if advice.version_of("ai-edge-litert") is None:  # its older releases run on older systems
        yield from libc_findings(sys.version_info[:2], platform.machine(), platform.libc_ver())
    packages = list(package_findings(advice.version_of, sys.version_info[:2]))
    yield from packages
    yield from bytecode_findings(Path(__file__).with_name("pipeline.py"))
    yield camera_finding(sorted(glob.glob("/dev/video*")))
    yield from picamera_findings()
    yield from picture_findings()
    if shutil.which("vcgencmd"):
        yield Finding("temperature", vcgencmd("measure_temp"))
        yield power_finding(vcgencmd("get_throttled"))
    if any(finding.exit_code for finding in packages):
        yield Finding("bundle", "not looked at", "It needs numpy and an interpreter: mend those first.")
    else:
        yield from bundle_findings(bundle)


def _system_name() -> str:
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.platform()
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("PRETTY_NAME", platform.platform()).strip('"')


def _machine_name() -> str:
    bits = "64-bit" if sys.maxsize > 2**32 else "32-bit"
    try:
        model = Path("/proc/device-tree/model").read_text(encoding="utf-8").rstrip("\0")
    except OSError:
        model = NO_PI
    return f"{platform.machine()}, {bits} Python, {os.cpu_count()} cores, {model}"


def python_finding(version: tuple[int, int], arm32: bool) -> Finding:
    """Whether an interpreter exists for this Python on this machine."""
    found = f"{version[0]}.{version[1]} ({sys.executable})"
    if version < OLDEST_PYTHON:
        mend = "Needs 3.9 or later: Raspberry Pi OS Bookworm has 3.11, Trixie 3.13."
        return Finding("python", found, mend, InterpreterError.exit_code)
    if arm32 and version > advice.LAST_TFLITE_PYTHON:
        mend = "No interpreter has a wheel for 32-bit ARM above Python 3.11: use the 64-bit Raspberry Pi OS."
        return Finding("python", found, mend, InterpreterError.exit_code)
    return Finding("python", found)


def libc_findings(python: tuple[int, int], machine: str, libc: tuple[str, str]) -> Iterator[Finding]:
    """A C library that is too old for the interpreter's wheel; `libc` is what platform.libc_ver() gives."""
    name, version = libc
    if name != "glibc" or not machine.startswith(("armv", "aarch64")) or python > advice.LAST_TFLITE_PYTHON:
        return
    if tuple(map(int, version.split(".")[:2])) < advice.TFLITE_ARM_GLIBC:
        mend = "tflite-runtime's wheels need 2.34: use Raspberry Pi OS Bookworm or later (Bullseye is too old)."
        yield Finding("C library", f"glibc {version}", mend, InterpreterError.exit_code)


def bytecode_findings(source: Path) -> Iterator[Finding]:
    """A runtime that is not compiled and does not get so by itself: every start then compiles it anew."""
    kept = not sys.dont_write_bytecode and os.access(source.parent, os.W_OK)
    if not kept and not os.path.exists(importlib.util.cache_from_source(str(source))):
        mend = f"For faster starts run: {sys.executable} -m compileall -q {shlex.quote(str(source.parent))}"
        yield Finding("bytecode", "not there, and not kept", mend)


def package_findings(version_of, python: tuple[int, int], arm32: bool = advice.is_arm32()) -> Iterator[Finding]:
    """numpy and the interpreter, by their metadata.

    Args:
        version_of: package name -> installed version or None.
    """
    numpy, tflite, litert = (version_of(name) for name in ("numpy", "tflite-runtime", "ai-edge-litert"))
    install = advice.install_line(*advice.interpreter_requirements(python))
    if numpy is None:
        yield Finding("numpy", "missing", advice.NUMPY_FROM_APT if arm32 else install, InterpreterError.exit_code)
    else:
        yield Finding("numpy", numpy)
    clash = tflite and numpy and advice.too_new_for_tflite(numpy)
    if litert:  # taken first where both are there, see interpreter.py
        yield Finding("interpreter", f"ai-edge-litert {litert}")
    elif clash:
        mend = advice.install_line("numpy<2")
        found = f"tflite-runtime {tflite} cannot work with numpy {numpy}"
        yield Finding("interpreter", found, mend, InterpreterError.exit_code)
    elif tflite:
        yield Finding("interpreter", f"tflite-runtime {tflite}")
    else:
        yield Finding("interpreter", "missing", install, InterpreterError.exit_code)


def camera_finding(devices: list[str]) -> Finding:
    """V4L2 devices and whether this user may use them. No camera is no fault: photos and videos work without."""
    if not devices:
        mend = "Plug a USB camera in, then look again: ls /dev/video* ; or give photos or a video with --source."
        return Finding("camera", "no /dev/video*", mend)
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        return Finding("camera", f"{', '.join(closed)} closed to this user",
                       "Run: sudo usermod -aG video $USER , then log in again")
    return Finding("camera", ", ".join(devices))


def picamera_findings() -> Iterator[Finding]:
    """picamera2 and the cameras it sees, asked in a process of its own: its import can fail, its drivers can abort."""
    if importlib.util.find_spec("picamera2") is None:
        if SYSTEM_PICAMERA2.exists() and sys.prefix != sys.base_prefix:
            mend = f"Run: python3 -m venv --system-site-packages {shlex.quote(sys.prefix)}"
            yield Finding("picamera2", "installed, but this environment does not see the system's packages", mend)
        elif not _machine_name().endswith(NO_PI):
            yield Finding("picamera2", "missing", advice.PICAMERA2)
        return
    code, words = _probe(PICAMERA_PROBE)
    version = advice.version_of("picamera2") or "installed"
    if code == TIMED_OUT:
        yield Finding("picamera2", words, "Look at the camera's cable, then restart.")
    elif code:
        yield Finding("picamera2", f"{version}, but cannot be imported: {words}", advice.PICAMERA2)
    elif not words:
        yield Finding("picamera2", f"{version}, but no camera", "Look at its cable, then: rpicam-hello --list-cameras")
    else:
        yield Finding("picamera2", f"{version}: {words}")


def _probe(code: str) -> tuple[int, str]:
    """Run it in a process of its own: the exit code, and what it printed or, if it failed, its last words."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return TIMED_OUT, f"no answer within {PROBE_SECONDS} s"
    if done.returncode:
        return done.returncode, (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
    return 0, done.stdout.strip()


def picture_findings() -> Iterator[Finding]:
    """What reads photos, videos and cameras and opens windows; .npy frames and JSON need none of it."""
    opencv, pillow = (importlib.util.find_spec(module) is not None for module in ("cv2", "PIL"))
    if opencv:
        code, words = _probe(OPENCV_PROBE)
        if code:
            yield opencv_finding(words)
        else:
            yield Finding("pictures", "OpenCV: cameras, streams, videos, photos, recordings, windows")
    else:
        mend = f"OpenCV adds cameras, videos and windows. {advice.install_line(advice.OPENCV)}"
        found = "Pillow: photos only" if pillow else "neither OpenCV nor Pillow: .npy frames only"
        yield Finding("pictures", found, mend)


def opencv_finding(words: str) -> Finding:
    """OpenCV is installed and its import ended with these words."""
    lacking = [package for library, package in advice.OPENCV_LIBRARIES.items() if library in words]
    mend = f"Run: sudo apt install {lacking[0]}" if lacking else advice.install_line(*AGAIN, advice.OPENCV)
    return Finding("pictures", f"OpenCV cannot be imported: {words}", mend)


def vcgencmd(question: str) -> str:
    """The Pi firmware's answer, "temp=48.3'C" or "throttled=0x50000"."""
    try:
        answer = subprocess.run(["vcgencmd", question], capture_output=True, text=True, timeout=VCGENCMD_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"vcgencmd: {error}"
    return (answer.stdout or answer.stderr).strip()


def power_finding(answer: str) -> Finding:
    """Under-voltage and throttling from `vcgencmd get_throttled`: bits 0 to 3 now, 16 to 19 since boot."""
    try:
        bits = int(answer.partition("=")[2], 16)
    except ValueError:
        mend = "Run: sudo usermod -aG video $USER , then log in again" if "VCHI" in answer else ""
        return Finding("power", answer, mend)
    now = [name for bit, name in THROTTLE_BITS.items() if bits >> bit & 1]
    before = [name for bit, name in THROTTLE_BITS.items() if bits >> (bit + SINCE_BOOT) & 1]
    if not now and not before:
        return Finding("power", "never throttled since boot")
    found = f"now: {', '.join(now) or 'well'}; since boot: {', '.join(before) or 'well'}"
    mend = "Use the power supply made for this Pi, and a heat sink or fan; then look again: vcgencmd get_throttled"
    return Finding("power", found, mend)


def bundle_findings(path: Path | None) -> Iterator[Finding]:
    """Load the bundle and run it on black frames, now that numpy and an interpreter are known to be there."""
    try:
        import numpy as np
    except ImportError as error:  # installed, but it cannot be loaded: its BLAS is a package of its own on 32-bit ARM
        words = str(error).strip().splitlines()[-1]
        yield Finding("numpy", words, advice.NUMPY_FROM_APT, InterpreterError.exit_code)
        return

    from .bundle import default_bundle_path, load_bundle
    from .interpreter import load_networks
    from .pipeline import Pipeline

    path = path or default_bundle_path()
    try:
        bundle = load_bundle(path)
        yield Finding("bundle", f"{bundle.name} {bundle.version}: {', '.join(bundle.labels)} ({path})")
        pipeline = Pipeline(bundle, load_networks(bundle))
    except EdgeError as error:
        topic = "bundle" if isinstance(error, BundleError) else "interpreter"
        yield Finding(topic, str(path), str(error), error.exit_code)
        return
    black = np.zeros((240, 320, 3), np.uint8)
    pipeline(black)  # the first frame also builds tables
    started = perf_counter()
    for _ in range(TIMED_FRAMES):
        pipeline(black)
    ms = 1000 * (perf_counter() - started) / TIMED_FRAMES
    found = f"{ms:.2f} ms a frame of 320x240, without camera and drawing, {pipeline.networks.interpreter}"
    yield Finding("speed", found)
