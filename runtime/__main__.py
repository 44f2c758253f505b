"""`python3 -m runtime [capture | doctor]`: a bundle on live frames, photos for one of your own, or a look at the machine."""
from __future__ import annotations

import os
import sys

# Read when numpy is loaded. The products here are so small that handing them to threads takes longer than they do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(arguments: list[str]) -> int:
    """Run one of the three; returns the exit code. Only the standard library is imported before doctor runs."""
    if arguments[:1] == ["doctor"]:
        from .doctor import main as doctor

        return doctor(arguments[1:])
    try:
        if arguments[:1] == ["capture"]:
            from .capture.cli import main as capture

            return capture(arguments[1:])
        from .cli import main as demo
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        from . import advice
        from .errors import InterpreterError

        problem = InterpreterError("numpy is missing", remedy=advice.install_line(*advice.interpreter_requirements()))
        print(f"{advice.program()}: {problem}", file=sys.stderr)
        return problem.exit_code
    return demo(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
