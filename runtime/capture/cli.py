"""The command line of `capture`: options, the loop over frames, and what to do with the photos."""
from __future__ import annotations

import argparse
import getpass
import re
import shlex
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from ..camera import GIVE_UP_S, Frame, Gap, Source, open_source
from ..cli import DEFAULT_SOURCE, port, say, seconds
from ..display import HOST, PORT
from ..errors import EdgeError, UsageError
from ..signals import ending_like_ctrl_c
from .album import ENOUGH, QUIT, Album, class_folders
from .screens import KINDS, Screen, open_screen

LEAST_HOLD_MS = 40  # a file in a camera's place goes no faster than a camera
NAME = re.compile(r"[^\w.-]+", re.ASCII)  # what a bundle's name should do without

DESCRIPTION = """\
Take photos for classes of your own: a key or a button for each class keeps the current frame as FOLDER/<class>/<time>.jpg
(.png where neither OpenCV nor Pillow is installed). Nothing is ever overwritten; start it again to add more."""
EPILOG = """\
examples:
  python3 -m runtime capture mugs --classes mug cup none                 first camera, in a window
  python3 -m runtime capture mugs --source picamera2 --display web --host 0.0.0.0     more of the same, by phone

keys: 1 to 9, then letters, take a photo of the first, second, ... class;  q ends, as do Ctrl-C and closing the window
The class `none` is for frames that hold nothing of the others: the empty place, and things that might be mistaken.
Take 20 photos a class or more, a few in each of several runs at other places and in other light: photos of one run are
held out together when the bundle is tested.

exit codes: 0 done   1 a photo could not be written   2 usage   4 source cannot be opened, or given up"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m runtime capture", description=DESCRIPTION, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="where the class folders are, or will be")
    add("--classes", nargs="+", metavar="NAME", help="their names (default: the class folders in FOLDER)")
    add("--source", metavar="S", default=DEFAULT_SOURCE, help="as for `python3 -m runtime` (default: 0, the first camera)")
    add("--display", choices=KINDS, default="window", help="where the picture is shown (default: window)")
    add("--host", default=HOST, help=f"the address --display web listens on (default: {HOST}, this machine alone)")
    add("--port", metavar="N", type=port, default=PORT, help=f"the port of --display web (default: {PORT})")
    add("--give-up", metavar="SECONDS", type=seconds, default=GIVE_UP_S,
        help=f"end when a live source has had no frame for so long; 0 means never (default: {GIVE_UP_S:.0f})")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Collect photos; returns the exit code."""
    options = parse(arguments)
    try:
        with ending_like_ctrl_c():
            run(options)
    except KeyboardInterrupt:
        pass  # told to end before the first frame
    except EdgeError as error:
        say(str(error))
        return error.exit_code
    return 0


def run(options: argparse.Namespace) -> None:
    """Open everything, collect, close everything, tell what was collected. Raises EdgeError, KeyboardInterrupt."""
    classes = options.classes or class_folders(options.folder)
    if not classes:
        raise UsageError("no classes", given=f"no --classes and no class folders in {options.folder}",
                         expected="their names, for example: --classes mug cup none")
    album = Album(options.folder, classes)
    try:
        with ExitStack() as stack:
            source = stack.enter_context(closing(open_source(options.source, say, options.give_up)))
            screen = stack.enter_context(closing(open_screen(options.display, album, options.host, options.port, say)))
            collect(source, screen, album)
    except KeyboardInterrupt:
        pass
    except EdgeError:
        if any(album.added.values()):
            print(summary(album), flush=True)
        raise
    print(summary(album), flush=True)


def collect(source: Source, screen: Screen, album: Album) -> None:
    """Show frames and keep those that a class's key is pressed for, until QUIT is pressed. Raises SourceError, OutputError."""
    hold_ms = source.hold_ms if source.live else max(LEAST_HOLD_MS, source.hold_ms)
    last = ""
    for item in frames(source):
        if isinstance(item, Gap):
            key = screen.lost(item.seconds)
        else:
            key = screen.show(item.rgb, last, hold_ms)
            if key in album.keys:
                last = album.keys[key]
                album.add(last, item.rgb)
        if key == QUIT:
            return


def frames(source: Source) -> Iterator[Frame | Gap]:
    """The source's frames; what has an end starts over."""
    while True:
        yield from source
        if source.live:
            return


def summary(album: Album) -> str:
    """What was collected, and what to do with it."""
    here = album.folder
    counts = ", ".join(f"{name} {album.counts[name]} (+{album.added[name]})" for name in album.classes)
    lines = [f"collected {sum(album.added.values())} photos in {here}: {counts}"]
    few = [name for name in album.classes if album.counts[name] < ENOUGH]
    if few:
        lines.append(f"below {ENOUGH} photos: {', '.join(few)}; start it again to add more")
    name = NAME.sub("-", here.name).strip("-.") or "mine"
    lines += ["on the workstation, in a checkout of this project (the first line, if the photos are not there already):",
              f"  scp -r {shlex.quote(f'{getpass.getuser()}@{socket.gethostname()}:{here}')} .",
              f"  make export DATA={_for_make(here.name)} NAME={name}"]
    return "\n".join(lines)


def _for_make(name: str) -> str:
    """A name as it must be typed to reach the program through make, which hands it to a shell of its own."""
    return shlex.quote(re.sub(r"([^\w@%+=:,./-])", r"\\\1", name))
