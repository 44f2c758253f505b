"""`python3 -m runtime [doctor|annotate|capture]`: a bundle on live frames, a look at the machine, or photos and their boxes."""
from __future__ import annotations

import os
import sys

# Read when numpy is loaded. The products here are so small that handing them to threads takes longer than they do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(arguments: list[str]) -> int:
    """Run a command or the demo; returns the exit code. Only the standard library is imported before doctor runs."""
    if arguments[:1] == ["doctor"]:
        from .doctor import main as doctor

        return doctor(arguments[1:])
    try:
        if arguments[:1] == ["annotate"]:
            from .annotate.cli import main as program

            arguments = arguments[1:]
        elif arguments[:1] == ["capture"]:
            from .capture.cli import main as program

            arguments = arguments[1:]
        else:
            from .cli import main as program
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        from . import advice
        from .errors import InterpreterError

        problem = InterpreterError("numpy is missing", remedy=advice.install_line(*advice.interpreter_requirements()))
        print(f"{advice.program()}: {problem}", file=sys.stderr)
        return problem.exit_code
    return program(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
