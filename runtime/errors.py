"""Every error the runtime raises on purpose, and the exit code each one ends the program with.

    EdgeError                1  never raised itself
    ├── UsageError           2  an option that cannot be followed
    ├── BundleError          3  a bundle refused: missing, damaged or against the contract
    ├── SourceError          4  a source that cannot be opened, or that died for good
    │   └── FrameError       4  a source handed over something that is no frame
    ├── InterpreterError     5  no TFLite interpreter here, or one that cannot work
    └── OutputError          1  the JSON lines or the recording cannot be written any more

An exception outside this tree is a fault of the program: Python's own traceback and exit code 1 stand.
"""
from __future__ import annotations


class EdgeError(Exception):
    """Base of the tree. The message reads `what: given …, expected …. remedy`, each part only when it is there."""

    exit_code = 1

    def __init__(self, what: str, *, given: object = None, expected: object = None, remedy: str = ""):
        facts = []
        if given is not None:
            facts.append(f"given {given}")
        if expected is not None:
            facts.append(f"expected {expected}")
        message = f"{what}: {', '.join(facts)}." if facts else f"{what}."
        super().__init__(f"{message} {remedy}".rstrip())


class UsageError(EdgeError):
    exit_code = 2


class BundleError(EdgeError):
    exit_code = 3


class SourceError(EdgeError):
    exit_code = 4


class FrameError(SourceError):
    pass


class InterpreterError(EdgeError):
    exit_code = 5


class OutputError(EdgeError):
    exit_code = 1
