"""`python3 -m runtime annotate FOLDER --format voc|coco|yolo`: photos to boxes in files, and a page to look them through."""
from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..bundle import Bundle, default_bundle_path, load_bundle
from ..cli import count, port
from ..display import HOST, PORT
from ..errors import EdgeError, SourceError, UsageError
from ..results import NONE_LABEL
from ..signals import ending_like_ctrl_c
from .formats import FORMATS
from .journal import Journal
from .look import TIGHTEN
from .progress import Progress
from .records import Record
from .store import Store
from .work import Job, Unreadable, annotate, list_photos

# The lowest tenth at which 98 % of the boxes in validation photos are right, parts of them without a hand included.
CONFIDENCE = 0.7
INTERRUPTED = 130  # as shells say it

EPILOG = """\
examples:
  python3 -m runtime annotate photos --format voc             photos_voc/Annotations/...xml
  python3 -m runtime annotate photos --format yolo --review   photos_yolo/labels/...txt, then the page
  python3 -m runtime annotate photos --format coco --workers 4

A run that was ended or killed goes on where it was when the same command is given again. Photos that were reviewed on the page
stay as they are, with --again too, and so does every file that something else wrote or changed.

exit codes: 0 done   1 the output cannot be written   2 usage   3 bundle refused   4 no photo can be read
            5 interpreter missing   130 ended before it was done"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m runtime annotate", description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="photos, in folders of any depth")
    add("--format", choices=FORMATS, required=True, help="what is written")
    add("--out", metavar="FOLDER", type=Path, help="where to (default: beside the photos, FOLDER_voc or so)")
    add("--bundle", metavar="PATH", type=Path, default=default_bundle_path(), help="bundle folder or .tar.gz")
    add("--confidence", metavar="SHARE", type=_share, default=CONFIDENCE,
        help=f"boxes with a lower score are not written, but shown on the page (default: {CONFIDENCE})")
    add("--label", metavar="NAME", help="call everything so (default: the bundle's labels)")
    add("--tighten", choices=TIGHTEN, default=TIGHTEN[0],
        help=f"a box is the warm island's bounds, or has the largest IoU with it (default: {TIGHTEN[0]})")
    add("--again", action="store_true", help="annotate all but the reviewed photos anew")
    add("--workers", metavar="N", type=count, default=1, help="processes on this machine; more than 1 needs Dask")
    add("--dask", metavar="ADDRESS", help="work on the machines of this Dask scheduler, such as tcp://10.0.0.1:8786")
    add("--review", action="store_true", help="then serve a page: keep, fix or reject, the least sure photos first")
    add("--host", default=HOST, help=f"the address the page listens on (default: {HOST}, this machine alone)")
    add("--port", metavar="N", type=port, default=PORT, help=f"its port (default: {PORT})")
    return parser.parse_args(arguments)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected a number from 0 to 1")
    return share


def main(arguments: list[str]) -> int:
    """Run the program; returns its exit code."""
    options = parse(arguments)
    try:
        with ending_like_ctrl_c():
            return run(options)
    except KeyboardInterrupt:
        say("ended before it was done; the same command goes on from here")
        return INTERRUPTED
    except EdgeError as error:
        say(str(error))
        return error.exit_code


def say(line: str) -> None:
    print(f"annotate: {line}", file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """Annotate what is left to annotate, then serve the page if asked to. Raises EdgeError, KeyboardInterrupt."""
    out = options.out or options.folder.resolve().with_name(f"{options.folder.resolve().name}_{options.format}")
    names = list_photos(options.folder, out)
    bundle = load_bundle(options.bundle)
    labels = [options.label] if options.label else [label for label in bundle.labels if label != NONE_LABEL]
    journal = Journal(out, settings(options, bundle), labels, again=options.again)
    try:
        store = Store(out, journal, options.format, options.confidence, options.folder)
        _refuse_twins(names, store)
        fill(store, Job(bundle, options.folder.resolve(), options.tighten, options.label), names, options)
        say(summary(store, out))
        if options.review:
            from .review import serve

            serve(store, options.folder, names, options.host, options.port, say)
    finally:
        journal.close()
    return 0


def settings(options: argparse.Namespace, bundle: Bundle) -> dict[str, object]:
    """What decides the contents of the files."""
    made = hashlib.sha256(json.dumps(bundle.manifest, sort_keys=True).encode()).hexdigest()[:12]
    return {"format": options.format, "confidence": options.confidence, "label": options.label, "tighten": options.tighten,
            "bundle": f"{bundle.name} {bundle.version} {made}"}


def _refuse_twins(names: list[str], store: Store) -> None:
    """Photos that differ in their ending alone would share a file. Raises UsageError."""
    files = Counter(store.file_of(name) for name in names if store.file_of(name))
    twins = [name for name in names if files[store.file_of(name)] > 1]
    if twins:
        raise UsageError("two photos would have one file of annotations", given=", ".join(twins[:4]),
                         expected="names that differ in more than their ending", remedy="Rename one, or use --format coco.")


def fill(store: Store, job: Job, names: list[str], options: argparse.Namespace) -> None:
    """Annotate those photos that the journal does not know, and bring every file up to date."""
    todo = [name for name in names if name not in store.journal.records]
    if len(todo) < len(names):
        say(f"{len(names) - len(todo)} of {len(names)} photos are done already")
    progress = Progress(len(todo))
    for result in results(job, todo, options):
        if isinstance(result, Unreadable):
            progress.say(f"skipped {result.reason}")
        else:
            store.put(result)
        progress.step()
    if not store.journal.records:
        raise SourceError("no photo in the folder can be read", given=job.photos, expected="at least one")
    store.finish()


def results(job: Job, names: list[str], options: argparse.Namespace) -> Iterator[Record | Unreadable]:
    """From this process or from Dask's."""
    if names and (options.dask or options.workers > 1):
        from .cluster import annotate_in_parts

        return annotate_in_parts(job, names, options.workers, options.dask)
    return annotate(job, names)


def summary(store: Store, out: Path) -> str:
    records = store.journal.records.values()
    boxes = Counter(i.label for record in records for i in record.boxes(store.confidence))
    unsure = sum(not record.verdict and record.sureness(store.confidence) < store.confidence for record in records)
    counts = ", ".join(f"{label} {number}" for label, number in sorted(boxes.items()))
    lines = [f"{len(records)} photos in {out}: {counts or 'no box'}",
             f"{sum(bool(record.verdict) for record in records)} reviewed; {unsure} others are worth a look (--review)"]
    if store.strange:
        lines.append(f"left as they are, because something else wrote or changed them: {', '.join(sorted(store.strange))}")
    return "\n".join(lines)
