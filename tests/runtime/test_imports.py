"""What importing the runtime loads, tried in fresh interpreters."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest

ALLOWED = {"numpy", "runtime"}

LIST_LOADED = """
import json, pkgutil, sys, sysconfig
before = set(sys.modules)
MODULES
stdlib = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
def is_foreign(module):
    file = getattr(module, "__file__", None)
    inside = file is None or any(file.startswith(folder) for folder in stdlib)
    return not inside or (file is not None and ("site-packages" in file or "dist-packages" in file))
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before if is_foreign(sys.modules[name])})))
"""
EVERY_MODULE = """
import runtime
names = [found.name for found in pkgutil.walk_packages(runtime.__path__, "runtime.")]
assert "runtime.camera.opencv" in names and "runtime.interpreter" in names, names
for name in names:
    __import__(name)
"""


def loaded_by(code: str, root) -> set[str]:
    """Top-level modules outside the standard library that running the code loads."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_LOADED.replace("MODULES", code)], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_importing_every_module_loads_the_standard_library_and_numpy_only(root):
    assert loaded_by(EVERY_MODULE, root) == ALLOWED


@pytest.mark.parametrize("module", ["runtime", "runtime.__main__", "runtime.doctor", "runtime.advice", "runtime.errors"])
def test_what_must_run_on_a_bare_machine_needs_no_numpy(root, module):
    assert loaded_by(f"import {module}", root) == {"runtime"}


def test_the_test_sees_foreign_modules(root):
    assert "pytest" in loaded_by("import pytest", root)


def test_one_file_names_the_interpreters(root):
    naming = {
        path.relative_to(root / "runtime").as_posix()
        for path in (root / "runtime").rglob("*.py")
        if any(name in path.read_text(encoding="utf-8") for name in ("tflite_runtime", "ai_edge_litert"))
    }
    assert naming == {"interpreter.py"}


def test_no_file_hides_a_module_of_the_standard_library_or_a_camera(root):
    names = {path.stem for path in (root / "runtime").iterdir() if path.suffix == ".py" or path.is_dir()}
    known = getattr(sys, "stdlib_module_names", sys.builtin_module_names)  # complete from Python 3.10 on
    assert names.isdisjoint({*known, "picamera2", "cv2", "PIL", "numpy"})
