"""The command line: options, the loop over frames, and what is said at the end."""
from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from .bundle import default_bundle_path
from .camera import open_source
from .display import KINDS, open_display
from .display.recorder import Recorder
from .draw import MODES
from .errors import EdgeError
from .jsonlines import JsonLines
from .loop import Outputs, Tally, play
from .pipeline import Pipeline

DEFAULT_SOURCE = "0"

DESCRIPTION = "Janken hands (gu, choki, pa) in camera frames or photos: a label, a heatmap and a box for each."
EPILOG = """\
examples:
  python3 runtime/janken.py                                         first camera, in a window
  python3 runtime/janken.py --source photos/ --loop --mode box      a folder of photos, half a second each
  python3 runtime/janken.py --source hand.jpg --display none --json -
  python3 runtime/janken.py --source frames.npy --display none --json results.jsonl --frames 100
  python3 runtime/janken.py --source clip.mp4 --display none --record overlay.mp4

sources:
  0, 1, /dev/video0   a V4L2 camera by index or device            needs OpenCV
  clip.mp4            a video file                                needs OpenCV
  hand.jpg, photos/   a photo, or a folder read recursively       needs OpenCV or Pillow
                      in sorted order; an unreadable photo is
                      named, skipped and counted
  frames.npy          uint8 (N, H, W, 3) RGB                      needs nothing
  picamera2           the Pi camera                               not in this version

keys in the window:  s switches heatmap and box,  q quits
Ctrl-C ends with the summary and exit code 0; a recording is finished first.

a line of --json (box, peak and size in pixels of the frame; x1 and y1 exclusive; time in seconds since the start):
  {"frame": 0, "source": "gu/1.jpg", "time": 0.0, "size_wh": [320, 240], "label": "gu", "score": 0.93,
   "scores": {"gu": 0.93, "choki": 0.02, "pa": 0.05}, "box_xyxy": [88, 40, 207, 181], "peak_xy": [140, 95],
   "cluster": 3, "ms": {"capture": 4.1, "preprocess": 0.4, "infer": 9.8, "heatmap": 0.1, "draw": 0.0}}
  label none: no janken hand in view, box_xyxy and peak_xy are null

exit codes:
  0 done   1 unexpected, or the output could not be written   2 usage   3 bundle refused
  4 source cannot be opened or died   5 interpreter missing or unusable

`python3 -m runtime doctor` says what is missing on this machine, and the command that mends it."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="janken.py", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--bundle", metavar="PATH", type=Path, default=default_bundle_path(),
        help="bundle folder or .tar.gz (default: the one this runtime lies in, else models/janken)")
    add("--source", metavar="S", default=DEFAULT_SOURCE,
        help="where frames come from, see below (default: 0, the first camera)")
    add("--mode", choices=MODES, default="heatmap", help="what is drawn on the photo (default: heatmap)")
    add("--display", choices=KINDS, default="window", help="where it is shown (default: window)")
    add("--render", action="store_true", help="draw although --display none shows nothing (benchmarks)")
    add("--json", metavar="FILE", help="write one JSON object a line for each frame; - is standard output")
    add("--record", metavar="FILE", type=Path, help="write what is drawn to an .mp4; needs OpenCV")
    add("--frames", metavar="N", type=_count, help="stop after N frames")
    add("--loop", action="store_true", help="start the source over at its end")
    add("--threads", metavar="N", type=_count, default=1, help="threads of the interpreter (default: 1)")
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected a whole number above 0")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = parse(arguments)
    try:
        run(options)
    except (KeyboardInterrupt, BrokenPipeError):
        pass  # Ctrl-C before the first frame; `| head` that has seen enough
    except EdgeError as error:
        say(str(error))
        return error.exit_code
    return 0


def say(line: str) -> None:
    """One line for the person at the keyboard; standard output is kept for --json."""
    print(f"janken: {line}", file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> None:
    """Open everything, loop, close everything. Raises EdgeError, BrokenPipeError, KeyboardInterrupt."""
    pipeline = Pipeline.open(options.bundle, options.threads)
    with ExitStack() as stack:
        source = stack.enter_context(closing(open_source(options.source, say)))
        outputs = Outputs(
            display=stack.enter_context(closing(open_display(options.display))),
            recorder=stack.enter_context(closing(Recorder(options.record))) if options.record else None,
            lines=stack.enter_context(closing(JsonLines(options.json))) if options.json else None,
            render=options.render,
        )
        tally = Tally()
        try:
            play(source, pipeline, outputs, tally, mode=options.mode, over_again=options.loop, limit=options.frames)
        except KeyboardInterrupt:
            pass
        except EdgeError:
            say(tally.summary(source.skipped))
            raise
        say(tally.summary(source.skipped))
