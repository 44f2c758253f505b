"""Train variants over several seeds and compare them: mean and spread, so that luck is not taken for progress.

    python scripts/study.py "V2 0.5=" "V2 0.35=--backbone mobilenet_v2_0.35" "triplet=--loss triplet" \\
        --common "--data ../shared/janken_dataset --init random --steps 1200" \\
        --judge ../shared/janken_dataset ../shared/hands_dataset --seeds 0 1 2

A variant is NAME=FLAGS, the flags those of `python -m export`. Each run is exported to OUT/NAME-SEED and judged by
`python -m calibration check` on the photos of --judge that it was not trained on. What is there already is not made again,
so an interrupted study goes on where it stopped. The table is printed and kept in OUT/study.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from export.bundle import VERSION  # noqa: E402

COLUMNS = {  # in the table: (part of report.json, figure)
    "accuracy": ("int8", "accuracy"), "hands": ("int8", "accuracy_hands"), "false alarms": ("int8", "false_alarms"),
    "peak inside": ("int8", "peak_inside"), "box IoU": ("int8", "box_iou"), "float": ("float", "accuracy"),
    "cosine": ("int8_against_float", "embedding_cosine_mean"), "same label": ("int8_against_float", "label_agreement"),
    "MB": ("int8_against_float", "size_mb"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="+", metavar="NAME=FLAGS")
    parser.add_argument("--common", default="", help="flags of python -m export for every run")
    parser.add_argument("--judge", nargs="+", required=True, type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("build/study"))
    options = parser.parse_args()
    strange = [variant for variant in options.variants if "=" not in variant]
    if strange:
        parser.error(f"a variant is NAME=FLAGS, FLAGS may be empty; given: {', '.join(strange)}")
    rows = []
    for variant in options.variants:
        name, _, flags = variant.partition("=")
        runs = [one(options, name, shlex.split(options.common) + shlex.split(flags), seed) for seed in options.seeds]
        figures = {column: np.array([run[column] for run in runs]) for column in runs[0]}
        rows.append({"variant": name, "seeds": len(runs), **{k: f"{v.mean():.3f} ± {v.std():.3f}" for k, v in figures.items()}})
        print(table(rows), flush=True)
    with (options.out / "study.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return 0


def one(options: argparse.Namespace, name: str, flags: list[str], seed: int) -> dict[str, float]:
    """The figures of one run, trained and judged unless they are there from an earlier study."""
    folder = options.out / f"{re.sub(r'[^A-Za-z0-9.]+', '_', name)}-{seed}"
    wanted = {"flags": flags, "judge": [str(path) for path in options.judge]}
    done = folder / "study.json"
    if done.is_file() and (kept := json.loads(done.read_text()))["asked"] == wanted:
        return kept["figures"]
    start = time.monotonic()
    call("export", *flags, "--seed", seed, "--out", folder)
    # below the gate is no failure here: the figures say so
    call("calibration", "check", "--bundle", folder / f"janken-{VERSION}", "--data", *options.judge, "--report", folder,
         codes=(0, 1))
    summary = json.loads((folder / "report.json").read_text())
    figures = {column: float("nan") if summary[part][figure] is None else summary[part][figure]
               for column, (part, figure) in COLUMNS.items()}
    figures["minutes"] = (time.monotonic() - start) / 60
    done.write_text(json.dumps({"asked": wanted, "figures": figures}, indent=1) + "\n")
    return figures


def call(module: str, *arguments, codes: tuple[int, ...] = (0,)) -> None:
    """Run `python -m module`; ends the study with its exit code when that is none of `codes`."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    print(shlex.join(command), flush=True)
    code = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode
    if code not in codes:
        sys.exit(code)


def table(rows: list[dict]) -> str:
    """The rows as a table of markdown."""
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    return "\n".join(f"| {line} |" for line in lines + [" | ".join(map(str, row.values())) for row in rows])


if __name__ == "__main__":
    sys.exit(main())
