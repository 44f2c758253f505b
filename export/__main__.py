"""`python -m export`: photos -> a bundle that runs on the device. Also `pack`, `ship`, `heldout`, `cams` and `remedies`.

Exit codes: 0 done, 1 failed (full disk, conversion refused), 2 usage or photos that cannot be used, 130 interrupted.
A run that does not reach its end leaves the last good bundle as it was.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter hides our own lines
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # quicker convolutions, which not every processor gets by itself

from calibration.photos import DataError, public_folders  # noqa: E402
from export.bundle import VERSION, pack, ship  # noqa: E402
from runtime.errors import EdgeError  # noqa: E402

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The command line; every option's default is what `make export` uses."""
    top = argparse.ArgumentParser("python -m export", description="Train, split, quantise and bundle a classifier with heat.")
    top.add_argument("--data", nargs="*", type=Path, default=None, metavar="FOLDER",
                     help="data sets, each a folder of class folders (default: data/*, which `make data` fills; without, "
                          "rendered hands only)")
    top.add_argument("--task", choices=["classify", "anomaly"], default="classify",
                     help="anomaly: learn one folder of normal photos, show what is unlike them (without --data: drawn rings)")
    top.add_argument("--name", type=_name, default=None,
                     help="name of the bundle (default janken; for anomalies the folder's, or rings)")
    top.add_argument("--size", type=_size, default=None, metavar="SIDE|WIDTHxHEIGHT",
                     help="the network's input in pixels (default: export/model.py): less costs less and sees less; for "
                          "anomalies a side, default 224, and 160 is twice as fast")
    top.add_argument("--bundle-version", default=VERSION, help="default %(default)s")
    top.add_argument("--init", default="checkpoint",
                     help="starting weights: checkpoint, imagenet, random, or a .h5 file (default %(default)s)")
    top.add_argument("--backbone", default=None, help="one of export/model.py (default: its BACKBONE)")
    top.add_argument("--loss", choices=["arcface", "triplet"], default="arcface", help="of the embedding (default %(default)s)")
    top.add_argument("--teacher", type=Path, default=None, metavar="FILE.keras",
                     help="a float network of the same --size and classes, whose feature map is learned as well, and its "
                          "embedding or, from random weights, its cosines to the classes (models/janken-float.keras)")
    top.add_argument("--out", type=Path, default=Path("dist"), help="folder for the bundle (default %(default)s)")
    top.add_argument("--seed", type=int, default=0)
    top.add_argument("--steps", type=int, default=None,
                     help="training batches of 64 (default: from the checkpoint 250, without photos or with those that it "
                          "learned from none, for other classes than gu, choki and pa 300; else 2000); with --task anomaly of "
                          "24 pairs (default none)")
    top.add_argument("--rendered", type=int, default=1500, help="rendered hands to draw (default %(default)s)")
    top.add_argument("--backgrounds", type=Path, default=None, metavar="FOLDER",
                     help="pictures of anything but hands, to lay hands over (scripts/fetch_backgrounds.py gets some)")
    top.add_argument("--clusters", type=int, default=10, help="k-means clusters of embeddings (default %(default)s)")
    top.add_argument("--top-channels", type=int, default=50, help="channels kept per cluster (default %(default)s)")
    top.add_argument("--save-checkpoint", type=Path, default=None, metavar="FILE.weights.h5",
                     help="also keep the trained float weights, to start from another time")
    commands = top.add_subparsers(dest="command", metavar="[pack | ship | heldout | cams | remedies]")
    packing = commands.add_parser("pack", help="add the runtime to a bundle: folder and .tar.gz under --out")
    packing.add_argument("--bundle", type=Path, default=Path("models/janken"))
    packing.add_argument("--out", type=Path, default=Path("dist"))
    shipping = commands.add_parser("ship", help="put a made bundle, without its runtime, and its float network into models/")
    shipping.add_argument("--bundle", type=Path, default=Path("dist") / f"janken-{VERSION}")
    shipping.add_argument("--out", type=Path, default=Path("models"))
    heats = commands.add_parser("cams", help="Grad-CAM and its kin beside ours, on the held-out photos of a bundle")
    heats.add_argument("--bundle", type=Path, default=Path("models/janken"))
    heats.add_argument("--data", nargs="+", type=Path, default=None, help="default: data/*")
    heats.add_argument("--csv", type=Path, default=None, metavar="FILE.csv", help="also write the table there")
    heats.add_argument("--page", type=Path, default=None, metavar="FILE.html",
                       help="also write a page with pictures; `make check` links to build/report/cams.html")
    cures = commands.add_parser("remedies", help="what each remedy against int8 loss brings, on the held-out photos")
    cures.add_argument("--bundle", type=Path, default=Path("models/janken"), help="lends prototypes, clusters and thresholds")
    cures.add_argument("--init", default="checkpoint", help="the float weights that the bundle was made from")
    cures.add_argument("--data", nargs="+", type=Path, default=None, help="default: data/*")
    cures.add_argument("--backgrounds", type=Path, default=None, metavar="FOLDER")
    cures.add_argument("--rendered", type=int, default=1500)
    cures.add_argument("--int8-steps", type=int, default=200,
                       help="batches of 48 for each of the three rows that are trained (default %(default)s)")
    cures.add_argument("--seed", type=int, default=0)
    cures.add_argument("--csv", type=Path, default=None, metavar="FILE.csv", help="also write the table there")
    frames = commands.add_parser("heldout", help="write rendered frames that `python -m calibration check` can judge on")
    frames.add_argument("--file", type=Path, default=Path("build/heldout-rendered.npz"))
    frames.add_argument("--count", type=int, default=200)
    return top


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise argparse.ArgumentTypeError(f"given {text!r}, expected letters, digits and . _ - (it becomes a folder's name)")
    return text


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,4})(?:x([0-9]{1,4}))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"given {text!r}, expected pixels: a side such as 96, or a width and height, 96x80")
    return int(found[1]), int(found[2] or found[1])


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "pack":
            print(pack(options.bundle, options.out))
        elif options.command == "ship":
            print(ship(options.bundle, options.out))
        elif options.command == "heldout":
            from export.build import write_rendered_heldout
            print(write_rendered_heldout(options.file, options.count))
        elif options.command == "cams":
            from export.studies import cams
            found = cams.run(options.bundle, options.data or _public())
            print(cams.text(found.rows))
            if options.csv:
                cams.write_csv(options.csv, found.rows)
            if options.page:
                cams.write_page(options.page, found)
        elif options.command == "remedies":
            from export.studies import remedies
            found = remedies.run(options)
            print(remedies.text(found))
            if options.csv:
                remedies.write_csv(options.csv, found.rows)
        elif options.task == "anomaly":
            _require_writable(options.out)
            from export.anomaly.build import build
            options.name = options.name or (options.data[0].resolve().name if options.data else "rings")
            build(options)
        else:
            _require_writable(options.out)
            from export.build import build
            options.name = options.name or "janken"
            build(options)
    except DataError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    except EdgeError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full or read-only disk, most of all
        where = error.filename2 or error.filename or options.out
        print(f"export: {error.strerror or error}: {where}; the last good bundle was not touched", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nexport: interrupted; the last good bundle was not touched", file=sys.stderr)
        return INTERRUPTED
    return 0


def _require_writable(out: Path) -> None:
    """Raises OSError where no bundle can be written: better before the training than after it."""
    there = next(folder for folder in (out, *out.parents) if folder.exists())
    tempfile.TemporaryFile(dir=there).close()


def _public() -> list[Path]:
    """The public photo sets. Raises DataError where there are none: heat on rendered hands would say little of real ones."""
    found = public_folders()
    if not found:
        raise DataError("no photos to compare on: run `make data`, or give DATA=")
    return found


if __name__ == "__main__":
    code = main()
    if code == INTERRUPTED:  # everything is put away; threads inside TensorFlow and OpenCV may abort an orderly shutdown
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
