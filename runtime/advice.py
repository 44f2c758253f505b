"""The exact command that installs what is missing, for the Python that is running. Standard library only."""
from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
import sysconfig
from pathlib import Path

TFLITE_RUNTIME = ("tflite-runtime==2.14.0", "numpy<2")  # 2.14.0 was built for numpy 1 and does not say so
LAST_TFLITE_PYTHON = (3, 11)  # tflite-runtime has no wheel above
LITERT = ("ai-edge-litert",)
TFLITE_ARM_GLIBC = (2, 34)  # what tflite-runtime's ARM wheels were built for: Bookworm has 2.36, Bullseye 2.31
NUMPY_FROM_APT = "Run: sudo apt install python3-numpy libopenblas0"  # no 32-bit wheels; its BLAS is a package of its own
OPENCV = "opencv-python<4.12"  # from 4.12 on it pulls numpy 2 in, which breaks tflite-runtime
PILLOW = "pillow"
OPENCV_LIBRARIES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0"}  # what a system without desktop lacks
INSTALLER = Path(__file__).resolve().parent.parent / "pi_install.sh"  # beside the runtime in a bundle, not in a checkout
# picamera2 comes from apt alone, built for the system's numpy; an environment sees it only if made so.
PICAMERA2 = "Run: sudo apt install python3-picamera2 ; in an environment made with --system-site-packages, and with numpy " + (
    "below 2" if sys.version_info[:2] <= LAST_TFLITE_PYTHON else "2"
)


def program() -> str:
    """The name this program goes by in what it says: that of janken.py where it was started by it."""
    return "janken" if Path(sys.argv[0]).name == "janken.py" else "runtime"


def doctor() -> str:
    """The command that says what is missing, for the Python that is running: another one may lack other things."""
    return f"{shlex.quote(sys.executable)} -m runtime doctor"


def version_of(package: str) -> str | None:
    """Installed version of a distribution, without importing it; None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def too_new_for_tflite(numpy_version: str) -> bool:
    """Whether tflite-runtime's wheel cannot work with this numpy: it can be imported, but builds no Interpreter."""
    return int(numpy_version.split(".")[0]) >= 2


def is_arm32(machine: str = platform.machine(), largest: int = sys.maxsize) -> bool:
    """Whether this Python is a 32-bit ARM program; a 64-bit kernel runs those too, and `machine` is the kernel's."""
    return machine.startswith("armv") or (machine == "aarch64" and largest < 2**32)


def interpreter_requirements(python: tuple[int, int] = sys.version_info[:2]) -> tuple[str, ...]:
    """The interpreter that has a wheel for this version of Python."""
    return TFLITE_RUNTIME if python <= LAST_TFLITE_PYTHON else LITERT


def install_line(*requirements: str) -> str:
    """`Run: …`, with a virtual environment first where the system's Python refuses pip (PEP 668).

    The environment sees the system's packages, because picamera2 comes from apt.
    """
    wanted = " ".join(shlex.quote(requirement) for requirement in requirements)
    in_venv = sys.prefix != sys.base_prefix
    managed = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists()
    if managed and not in_venv:
        if INSTALLER.exists():
            return f"Run: {shlex.quote(str(INSTALLER))} , and from then on start with ~/janken/bin/python"
        return (
            f"Run: {sys.executable} -m venv --system-site-packages ~/janken && "
            f"~/janken/bin/pip install {wanted} , and from then on start with ~/janken/bin/python"
        )
    return f"Run: {sys.executable} -m pip install {wanted}"
