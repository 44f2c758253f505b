"""How many photos do classes of one's own need? Bundles from 5 to 80 photos a class, each judged on rooms it has not seen.

    python scripts/learning_curve.py "from ImageNet=--init ../shared/reference_model/weights.h5" "from the checkpoint="

The classes are the three poses of hands_dataset under other names (rock, scissors, paper), so that nothing made for janken
helps: no rendered hands, no masks, no boxes unless --boxes; `none` are parts of the same rooms without a hand. The photos
are drawn from five sessions with all three poses, evenly; judged are the test sessions of hands_dataset. The checkpoint
that is shipped has seen these five sessions, so what starts from it shows what it remembers, not what new classes need.

A row is NAME=FLAGS, the flags those of `python -m export`; each of its bundles is a whole export. What is in OUT already is
not made again. The table is printed and kept in OUT/curve.csv, the plot in OUT/curve.svg.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from calibration import compare, heldout, metrics, photos  # noqa: E402
from calibration.heldout import HeldOut  # noqa: E402
from calibration.photos import NONE, Photo  # noqa: E402
from export.bundle import VERSION  # noqa: E402
from runtime.bundle import load_bundle  # noqa: E402
from runtime.interpreter import load_networks  # noqa: E402
from runtime.pipeline import Pipeline  # noqa: E402

CLASSES = {"gu": "rock", "choki": "scissors", "pa": "paper"}
SESSIONS = 5
FIGURES = ("hands", "false alarms", "peak inside", "box IoU", "core minutes")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito's, told apart by colour-blind people too
WIDTH, HEIGHT, MARGIN = 640, 400, 60  # SVG units


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", metavar="NAME=FLAGS")
    parser.add_argument("--data", type=Path, default=Path("../shared/hands_dataset"))
    parser.add_argument("--photos", nargs="+", type=int, default=[5, 10, 20, 40, 80], help="of a class (default %(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of draw and training (default %(default)s)")
    parser.add_argument("--boxes", action="store_true", help="hand the photos' boxes over too")
    parser.add_argument("--out", type=Path, default=Path("build/curve"))
    options = parser.parse_args()
    everything = photos.split(photos.scan([options.data]))
    test = test_frames(everything)
    hands = sum(frame.label != NONE for frame in test)
    print(f"judged on {hands} photos of hands and {len(test) - hands} parts without")
    runs = []
    for seed in options.seeds:  # seed by seed, so that a table that was cut short has every row
        for row in options.rows:
            for count in options.photos:
                name, _, flags = row.partition("=")
                runs.append({"row": name, "photos": count, "seed": seed,
                             **one(options, name, shlex.split(flags), count, seed, everything, test)})
                print(table(runs), flush=True)
                write(options.out, runs)
    return 0


def write(out: Path, runs: Sequence[dict]) -> None:
    """curve.csv, a line a bundle, and curve.svg."""
    with (out / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, runs[0])
        writer.writeheader()
        writer.writerows(runs)
    (out / "curve.svg").write_text(plot(runs))


def five_sessions(everything: Sequence[Photo]) -> list[str]:
    """The sessions outside of test that hold most photos of their rarest class, all classes being there."""
    counts = defaultdict(lambda: dict.fromkeys(CLASSES, 0))
    for photo in everything:
        if photo.split != "test" and photo.label in CLASSES:
            counts[photo.session][photo.label] += 1
    return sorted(counts, key=lambda session: (-min(counts[session].values()), session))[:SESSIONS]


def draw(pool: Sequence[Photo], count: int, rng: np.random.Generator) -> list[Photo]:
    """`count` photos, the sessions taking turns as long as each has some left."""
    by_session = defaultdict(list)
    for i in rng.permutation(len(pool)):
        by_session[pool[i].session].append(pool[i])
    turns = [(turn, session, photo) for session, group in by_session.items() for turn, photo in enumerate(group)]
    return [photo for *_, photo in sorted(turns, key=lambda turn: turn[:2])[:count]]


def lay_out(folder: Path, everything: Sequence[Photo], count: int, seed: int, boxes: bool) -> Path:
    """A folder of class folders as `make export` takes it, of the photos drawn by `seed`."""
    rng = np.random.default_rng(seed)
    pool = [p for p in everything if p.session in five_sessions(everything) and p.label in CLASSES]
    rows = []
    for label, name in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for photo in draw([p for p in pool if p.label == label], count, rng):
            shutil.copyfile(photo.path, folder / name / photo.path.name)
            rows.append([f"{name}/{photo.path.name}", *photo.box_xyxy, *photo.box_size_wh])
    (folder / NONE).mkdir()
    loaded = (photos.load([photo]) for photo in draw(pool, len(pool), rng))
    parts = ((photo, heldout.parts_without(frame_rgb, photo.box_xyxy)) for (photo,), (frame_rgb,) in loaded)
    for photo, (part, *_) in islice(filter(lambda pair: pair[1], parts), count):
        cv2.imwrite(str(folder / NONE / photo.path.name), part[..., ::-1])
    if boxes:
        with (folder / "boxes.tsv").open("w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows([["path", "x0", "y0", "x1", "y1", "width", "height"], *rows])
    return folder


def test_frames(everything: Sequence[Photo]) -> list[HeldOut]:
    """The test sessions under the other names, with the parts that show no hand."""
    chosen = [p for p in everything if p.split == "test" and p.label in CLASSES]
    return heldout.from_photos([replace(p, label=CLASSES[p.label]) for p in chosen])


def one(options: argparse.Namespace, name: str, flags: list[str], count: int, seed: int, everything: Sequence[Photo],
        test: Sequence[HeldOut]) -> dict[str, float]:
    """The figures of one bundle, exported and judged unless that was done before."""
    folder = options.out / f"{re.sub(r'[^A-Za-z0-9.]+', '_', name)}-{count}-{seed}"
    asked = {"flags": flags, "boxes": options.boxes, "data": str(options.data)}
    done = folder / "figures.json"
    if done.is_file() and (kept := json.loads(done.read_text()))["asked"] == asked:
        return kept["figures"]
    shutil.rmtree(folder, ignore_errors=True)
    data = lay_out(folder / "photos", everything, count, seed, options.boxes)
    before = processor_minutes()
    command = [sys.executable, "-m", "export", "--data", str(data), "--name", "hands", "--out", str(folder),
               "--seed", str(seed), *flags]
    print(shlex.join(command), flush=True)
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    minutes = processor_minutes() - before
    bundle = load_bundle(folder / f"hands-{VERSION}")
    results = compare.judge(Pipeline(bundle, load_networks(bundle, reference_kernels=True)), test, name)
    quality = compare.quality(test, results)
    by_class = [metrics.accuracy([r.label for r, f in zip(results, test) if f.label == label],
                                 [label for f in test if f.label == label]) for label in CLASSES.values()]
    found = float(np.mean(by_class)), quality.false_alarms, quality.peak_inside, quality.box_iou, minutes
    figures = dict(zip(FIGURES, found))
    done.write_text(json.dumps({"asked": asked, "figures": figures}, indent=1) + "\n")
    return figures


def processor_minutes() -> float:
    """What the processes that were started here, and have ended, computed for: the same on a machine that is shared."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) / 60


def table(runs: Sequence[dict]) -> str:
    """Mean and spread over the seeds, as a table of markdown. hands: accuracy on photos of hands, mean over the classes."""
    groups = defaultdict(list)
    for run in runs:
        groups[run["row"], run["photos"]].append(run)
    lines = [f"| row | photos a class | seeds | {' | '.join(FIGURES)} |", "|---" * (3 + len(FIGURES)) + "|"]
    for (row, count), group in sorted(groups.items()):
        values = [np.array([run[figure] for run in group]) for figure in FIGURES]
        cells = [f"{v.mean():.3f}" + (f" ± {v.std():.3f}" if len(v) > 1 else "") for v in values]
        lines.append(f"| {row} | {count} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(runs: Sequence[dict]) -> str:
    """Accuracy on hands against photos of a class as SVG: a line through the means of each row, a dot for each run."""
    counts = sorted({run["photos"] for run in runs})
    step = (WIDTH - 2 * MARGIN) / max(1, np.log2(counts[-1] / counts[0]))

    def place(count: int, share: float) -> tuple[float, float]:
        x, y = MARGIN + step * np.log2(count / counts[0]), HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)
        return round(float(x), 1), round(float(y), 1)

    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        _, y = place(counts[0], share)
        parts += [f'<path d="M{MARGIN} {y}H{WIDTH - MARGIN}" stroke="#ccc"/>',
                  f'<text x="{MARGIN - 8}" y="{y + 4}" text-anchor="end">{share:.0%}</text>']
    below = HEIGHT - MARGIN + 20
    parts += [f'<text x="{place(count, 0)[0]}" y="{below}" text-anchor="middle">{count}</text>' for count in counts]
    for i, row in enumerate(dict.fromkeys(run["row"] for run in runs)):
        colour, own = COLOURS[i % len(COLOURS)], [run for run in runs if run["row"] == row]
        at = sorted({run["photos"] for run in own})
        means = [np.mean([run["hands"] for run in own if run["photos"] == count]) for count in at]
        line = " ".join("{},{}".format(*place(*point)) for point in zip(at, means))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for run in own:
            x, y = place(run["photos"], run["hands"])
            parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>')
        parts.append(f'<text x="{MARGIN + 12}" y="{MARGIN - 28 + 16 * i}" fill="{colour}">{escape(row)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">photos of a class</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">'
            '<title>Accuracy on hands in rooms that were not trained on</title><rect width="100%" height="100%" fill="#fff"/>'
            + "".join(parts) + "</svg>\n")


if __name__ == "__main__":
    sys.exit(main())
