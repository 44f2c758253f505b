"""Being told to end from outside: by a supervisor, or because the terminal has gone.

The exception is raised wherever the main thread is, and nothing may stay locked by it, or those who clean up wait for ever.
`with` on a Lock is safe: Python looks for no signal between taking it and entering the block. On a Condition it is not, nor
are Event and queue.Queue, which are made of them: they take their lock in Python code. So what the loop calls for every frame
uses Lock and queue.SimpleQueue, and leaves Condition and the like to other threads.
"""
from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = (signal.SIGTERM, signal.SIGHUP)  # `systemctl stop`, `docker stop`, `kill`; a terminal or ssh session that closes


@contextmanager
def ending_like_ctrl_c() -> Iterator[None]:
    """Within it the first of ENDINGS raises KeyboardInterrupt in the main thread, as Ctrl-C does.

    Those that follow are ignored: a terminal that closes sends more than one, and what is being finished by then must not be
    cut short. A signal that was ignored before stays ignored, which is what `nohup` is for.
    """
    heeded = [number for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN]

    def end(number: int, frame: object) -> None:
        for other in heeded:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
