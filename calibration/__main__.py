"""`python -m calibration check`: may this int8 bundle ship? Float Keras against int8, on photos neither was trained on.
`python -m calibration annotation`: how good are the boxes that it gives photos?
`python -m calibration conditions`: how does it do in other light, out of focus, turned?

Exit codes: 0 the gate is passed, 1 it is not (or the report cannot be written), 2 usage or photos that cannot be used,
3 the bundle is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up chatter hides our own lines

from calibration import annotation, anomaly, anomaly_photos, compare, conditions, heldout, photos, report  # noqa: E402
from calibration.heldout import HeldOut  # noqa: E402
from calibration.metrics import measurable  # noqa: E402
from calibration.photos import DataError, Photo  # noqa: E402
from runtime.bundle import Bundle, load_bundle  # noqa: E402
from runtime.errors import BundleError, EdgeError  # noqa: E402
from runtime.interpreter import load_networks  # noqa: E402
from runtime.pipeline import Pipeline  # noqa: E402


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("python -m calibration")
    commands = top.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="float against int8; non-zero below the gate")
    check.add_argument("--bundle", type=Path, default=None, help="default: the newest in dist/, else models/janken")
    check.add_argument("--float", type=Path, default=None, metavar="FILE.keras", help="default: <bundle>-float.keras")
    check.add_argument("--data", nargs="*", type=Path, default=None,
                       help="data sets, or a .npz of frames (python -m export heldout); default: data/*, from `make data`")
    check.add_argument("--split", choices=["test", "validation"], default="test",
                       help="validation: the photos that thresholds were chosen on (default %(default)s)")
    check.add_argument("--report", type=Path, default=Path("build/report"), help="folder for report.json and index.html")
    check.add_argument("--gate", type=Path, default=compare.GATE, help="thresholds (default %(default)s)")
    check.add_argument("--closer", type=float, default=None, metavar="COSINE",
                       help="look closer where the nearest label leads by less, and at small hands; 0 for never (default: the "
                            "bundle's)")
    boxes = commands.add_parser("annotation", help="the boxes of `python3 -m runtime annotate` against the true ones")
    unkind = commands.add_parser("conditions", help="the bundle in other light, out of focus, with a worse camera, turned")
    for command in (boxes, unkind):
        command.add_argument("--bundle", type=Path, default=None, help="default: the newest in dist/, else models/janken")
        command.add_argument("--data", nargs="*", type=Path, default=None, help="data sets with boxes; default: data/*")
        command.add_argument("--split", choices=["test", "validation", "train", "all"], default="test",
                             help="(default %(default)s)")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return check(options) if options.command == "check" else table_of(options)
    except DataError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2
    except EdgeError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # a full or read-only disk, most of all
        print(f"check: {error.strerror or error}: {error.filename or options.report}", file=sys.stderr)
        return 1


def check(options: argparse.Namespace) -> int:
    """Measure, write the report, print the verdict."""
    folder = options.bundle or newest_bundle()
    bundle = load_bundle(folder)
    if bundle.task == "anomaly":
        return check_anomaly(bundle, options)
    if options.closer is not None:
        bundle = replace(bundle, closer=options.closer)
    frames = held_out(bundle, options.data or photos.public_folders(), options.split)
    model = load_float(options.float or float_path(folder), bundle)
    of_float = compare.judge(compare.float_pipeline(bundle, model), frames, "float")
    of_int8 = compare.judge(Pipeline(bundle, load_networks(bundle, reference_kernels=True)), frames, "int8")
    measured = compare.fidelity(frames, of_float, of_int8, bundle)
    verdicts = compare.gate(measured, options.gate)
    passed = all(v.passed for v in verdicts)
    summary = {
        "bundle": str(folder), "passed": passed, "frames": heldout.describe(frames),
        "float": asdict(compare.quality(frames, of_float)), "int8": asdict(compare.quality(frames, of_int8)),
        "int8_against_float": asdict(measured), "gate": [asdict(v) for v in verdicts],
    }
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "report.json").write_text(json.dumps(measurable(summary), indent=1, allow_nan=False) + "\n")
    report.write(options.report / "index.html", summary, bundle, frames, of_float, of_int8)
    print(report.text(summary))
    print(f"{options.report / 'index.html'}")
    print(f"PASSED: {folder} may ship" if passed else f"FAILED: {folder} must not ship")
    return 0 if passed else 1


def table_of(options: argparse.Namespace) -> int:
    """Print the table of annotation.py or conditions.py."""
    folders = options.data or photos.public_folders()
    if not folders:
        raise DataError("no photos to judge on: run `make data`, or give --data")
    measure = annotation.measure if options.command == "annotation" else conditions.measure
    print(measure(Pipeline.open(options.bundle or newest_bundle()), folders, options.split))
    return 0


def check_anomaly(bundle: Bundle, options: argparse.Namespace) -> int:
    """Every scorer of the int8 bundle on the test photos of one folder; there is no gate, defects differ too much."""
    if not options.data or len(options.data) != 1:
        raise DataError("an anomaly bundle is judged on one folder with test photos: give DATA=; its layouts are in "
                        "calibration/anomaly_photos.py")
    samples = anomaly_photos.read(options.data[0], least=0).test
    if not samples:
        raise DataError(f"{options.data[0]} holds no test photos; expected test/good and test/<defect>, perhaps ground_truth")
    measured = {"int8": anomaly.judge(bundle, load_networks(bundle, reference_kernels=True), samples, "int8")}
    print(f"the bundle's scorer: {bundle.anomaly.scorer}\n{anomaly.table(measured)}")
    options.report.mkdir(parents=True, exist_ok=True)
    (options.report / "anomaly.json").write_text(json.dumps(measurable(measured), indent=1, allow_nan=False) + "\n")
    return 0


def newest_bundle() -> Path:
    """The bundle made last, else the one that is shipped."""
    made = sorted(Path("dist").glob("*/manifest.json"), key=lambda path: path.stat().st_mtime)
    return made[-1].parent if made else Path("models/janken")


def float_path(bundle: Path) -> Path:
    """Where `make export` leaves the float network of a bundle folder or .tar.gz."""
    bundle = bundle.resolve()
    return bundle.with_name(f"{bundle.name.removesuffix('.tar.gz')}-float.keras")


def load_float(path: Path, bundle: Bundle):
    """The float Keras network a bundle was converted from. Raises BundleError when it is not there or not that network."""
    import keras

    if not path.is_file():
        raise BundleError("the float network is missing", given=path,
                          expected="the .keras file that `make export` writes beside the bundle",
                          remedy="Give it with --float, or build the bundle anew with `make export`.")
    try:
        model = keras.models.load_model(path)
    except Exception as error:  # Keras raises ValueError, TypeError, OSError, zipfile's errors ...
        raise BundleError(f"{path} cannot be loaded", given=error, expected="a .keras file that `make export` wrote") from error
    if len(model.outputs) != 2:
        raise BundleError(f"{path} is not a float network of ours", given=f"{len(model.outputs)} outputs",
                          expected="feature map and embedding", remedy="Give the right one with --float.")
    shapes = tuple(model.outputs[0].shape[1:]), model.outputs[1].shape[-1]
    if shapes != (bundle.feature_shape_hwc, bundle.embedding_dim):
        raise BundleError(f"{path} is not this bundle's float network", given=shapes,
                          expected=(bundle.feature_shape_hwc, bundle.embedding_dim), remedy="Give the right one with --float.")
    return model


def held_out(bundle: Bundle, data: Sequence[Path], split: str = "test") -> list[HeldOut]:
    """The frames under `data` that the bundle was not trained on: its test photos, and whole data sets it never saw; or the
    photos of the split "validation", which thresholds were chosen on."""
    if not data:
        raise DataError("no photos to judge on: run `make data`, or give DATA=, or make rendered frames with "
                        "`python -m export heldout` and give that file")
    rendered = [path for path in data if path.suffix == ".npz"]
    folders = [path for path in data if path.suffix != ".npz"]
    frames = [frame for path in rendered for frame in heldout.read(path)]
    if folders and split == "validation":
        frames += heldout.from_photos([p for p in photos.split(photos.scan(folders)) if p.split == split])
    elif folders:
        frames += heldout.from_photos(unseen(bundle, folders))
    strange = sorted({f.label for f in frames} - set(bundle.labels))
    if strange:
        raise DataError(f"class folders {', '.join(strange)} are not labels of the bundle ({', '.join(bundle.labels)})")
    if not frames:
        raise DataError(f"none of the photos under {', '.join(map(str, data))} was held out from training; "
                        "give the data set the bundle was made from, or one it never saw")
    return frames


def unseen(bundle: Bundle, folders: Sequence[Path]) -> list[Photo]:
    """The photos under `folders` that the manifest does not count among those the bundle was trained on."""
    known = bundle.manifest.get("data")
    if not isinstance(known, dict) or not {"folders", "test_files"} <= set(known):
        raise BundleError("manifest.json does not say which photos the bundle was trained on", given=known,
                          expected="data.folders and data.test_files", remedy="Build the bundle anew with `make export`.")
    test = set(known["test_files"])
    return [p for p in photos.scan(folders) if p.name in test or p.name.split("/")[0] not in known["folders"]]


if __name__ == "__main__":
    sys.exit(main())
