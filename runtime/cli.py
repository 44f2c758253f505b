"""The command line: options, the loop over frames, and what is said at the end."""
from __future__ import annotations

import argparse
import math
import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from . import advice
from .anomaly_pipeline import open_pipeline
from .bundle import default_bundle_path
from .camera import GIVE_UP_S, open_source
from .display import HOST, KINDS, PORT, open_display
from .display.recorder import Recorder
from .draw import MODES
from .errors import EdgeError
from .jsonlines import JsonLines
from .loop import Loop, Outputs, Tally
from .signals import ending_like_ctrl_c
from .steady import Steady

DEFAULT_SOURCE = "0"

PROGRAMS = {"janken": "python3 runtime/janken.py", "runtime": "python3 -m runtime"}  # how either is started
DESCRIPTION = "What a bundle sees in camera frames or photos: a label, a heatmap and a box for each."
EPILOG = """\
examples:
  %(prog)s                        first camera, in a window
  %(prog)s --source photos/ --loop --mode box     a folder of photos, half a second each
  %(prog)s --source hand.jpg --display none --json -
  %(prog)s --source frames.npy --display none --json results.jsonl --frames 100
  %(prog)s --source clip.mp4 --display none --record overlay.mp4
  %(prog)s --source picamera2 --display web --host 0.0.0.0

live sources, captured in a thread; the newest frame wins:
  0, 1, /dev/video0   a V4L2 camera by index or device            needs OpenCV
  rtsp://cam/stream   a network stream: rtsp, http, https, udp    needs OpenCV
  picamera2           the Pi camera                               needs picamera2 and, up to the Pi 4, OpenCV
One that stops delivering is opened again, after 0.5 s and then ever more rarely, at most 10 s apart. When there has been
no frame for --give-up seconds, the program ends with exit code 4.

other sources, every frame in turn:
  clip.mp4            a video file                                needs OpenCV
  hand.jpg, photos/   a photo, or a folder read recursively       needs OpenCV or Pillow
                      in sorted order; an unreadable photo is
                      named, skipped and counted
  frames.npy          uint8 (N, H, W, 3) RGB                      needs nothing

keys, in the window and on the page:  s switches heatmap and box,  q quits
Ctrl-C, SIGTERM (`systemctl stop`) and SIGHUP (a terminal that closes; not under nohup) end with the summary and exit code 0,
once the recording is finished and the camera released.

--steady averages scores and box over some frames: one or two wrong frames do not flip the label, a lasting change shows
with its 3rd frame, a doubtful one with its 6th. Every output says what is shown, the JSON lines too; --no-steady gives
each frame's own result.

a line of --json (box, peak and size in pixels of the frame; x1 and y1 exclusive; time in seconds since the start):
  {"frame": 0, "source": "gu/1.jpg", "time": 0.0, "size_wh": [320, 240], "label": "gu", "score": 0.93,
   "scores": {"gu": 0.93, "choki": 0.02, "pa": 0.05}, "box_xyxy": [88, 40, 207, 181], "peak_xy": [140, 95],
   "cluster": 3, "ms": {"capture": 4.1, "preprocess": 0.4, "infer": 9.8, "heatmap": 0.1, "draw": 0.0}}
  label none: nothing of its classes in view, box_xyxy and peak_xy are null
  a bundle of the task "anomaly" has the label defect, or none: all is as on the normal photos it was made from

exit codes:
  0 done, or told to end   1 unexpected, or the output could not be written   2 usage   3 bundle refused
  4 source cannot be opened, or given up   5 interpreter missing or unusable

`python3 -m runtime doctor` says what is missing on this machine, and the command that mends it.
`python3 -m runtime capture --help` tells how to collect photos of classes of your own."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAMS[advice.program()], description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--bundle", metavar="PATH", type=Path, default=default_bundle_path(),
        help="bundle folder or .tar.gz (default: the one this runtime lies in, else models/janken)")
    add("--source", metavar="S", default=DEFAULT_SOURCE,
        help="where frames come from, see below (default: 0, the first camera)")
    add("--mode", choices=MODES, default="heatmap", help="what is drawn on the photo (default: heatmap)")
    add("--display", choices=KINDS, default="window", help="where it is shown (default: window)")
    add("--host", default=HOST, help=f"the address --display web listens on (default: {HOST}, this machine alone)")
    add("--port", metavar="N", type=port, default=PORT, help=f"the port of --display web (default: {PORT})")
    add("--render", action="store_true", help="draw although --display none shows nothing (benchmarks)")
    add("--json", metavar="FILE", help="write one JSON object a line for each frame; - is standard output")
    add("--record", metavar="FILE", type=Path, help="write what is drawn to an .mp4; needs OpenCV")
    add("--frames", metavar="N", type=count, help="stop after N frames")
    add("--loop", action="store_true", help="start the source over at its end")
    add("--steady", action=argparse.BooleanOptionalAction,
        help="average label and box over some frames (default: with live sources only)")
    add("--give-up", metavar="SECONDS", type=seconds, default=GIVE_UP_S,
        help=f"end when a live source has had no frame for so long; 0 means never (default: {GIVE_UP_S:.0f})")
    add("--threads", metavar="N", type=count, default=1, help="threads of the interpreter (default: 1)")
    return parser.parse_args(arguments)


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected a whole number above 0")
    return int(text)


def port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected a whole number from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    try:
        given = float(text)
    except ValueError:
        given = math.nan
    if not 0 <= given < math.inf:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected seconds, 0 or more")
    return given


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = parse(arguments)
    try:
        with ending_like_ctrl_c():
            run(options)
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # told to end before the first frame; `| head` that has seen enough
    except EdgeError as error:
        say(str(error))
        return error.exit_code
    return 0


def say(line: str) -> None:
    """One line for the person at the keyboard; standard output is kept for --json."""
    try:
        print(f"{advice.program()}: {line}", file=sys.stderr, flush=True)
    except OSError:  # the terminal has closed, or `| tee` has ended: from now on nobody is told, which is no reason to end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def run(options: argparse.Namespace) -> None:
    """Open everything, loop, close everything. Raises EdgeError, BrokenPipeError, KeyboardInterrupt."""
    pipeline = open_pipeline(options.bundle, options.threads)
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(options.source, say, options.give_up)))
        display = open_display(options.display, host=options.host, port=options.port, say=say, name=pipeline.bundle.name)
        outputs = Outputs(
            display=stack.enter_context(closing(display)),
            recorder=stack.enter_context(closing(Recorder(options.record))) if options.record else None,
            lines=stack.enter_context(closing(JsonLines(options.json))) if options.json else None,
            render=options.render,
        )
        steady = Steady() if (source.live if options.steady is None else options.steady) else None
        tally = Tally()
        loop = Loop(pipeline, outputs, tally, mode=options.mode, steady=steady)
        try:
            loop.play(source, over_again=options.loop, limit=options.frames)
        except KeyboardInterrupt:
            pass
        except EdgeError:
            say(tally.summary(source.skipped, source.dropped))
            raise
        say(tally.summary(source.skipped, source.dropped))
