"""What the check found, for people: a table for the terminal, and one page with pictures.

The page is a single file: pictures inside, no script, nothing fetched. Heat and boxes are drawn by `runtime.draw`, so
that the page shows what the device shows.
"""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration import metrics
from calibration.compare import quality
from calibration.heldout import HeldOut
from calibration.photos import session_of
from runtime.bundle import Bundle
from runtime.draw import Overlay, draw_box
from runtime.image import stretch_2x2
from runtime.results import NONE_LABEL, Box, Result

SAMPLE, WORST = 12, 20  # rows of pictures
SAMPLE_SEED = 0
STYLE = Path(__file__).with_name("report.css")
HEAT_PAGE = "cams.html"  # beside the page: ways to make heat, by `python -m export cams --page`
PICTURE_WH = 240, 180  # pixels that a picture fits in
JPEG_QUALITY = 80
MAP_WIDTH, MAP_MARGIN, DOT_RADIUS = 720, 14, 7  # SVG units
# Okabe and Ito's colours, told apart by colour-blind people too; grey is for `none`.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9")
NONE_COLOUR = "#767676"
RIGHT_RGB, WRONG_RGB = "0 114 178", "213 94 0"  # the first two of them
WORDS = {  # figures whose name alone does not read well
    "accuracy_by_label_mean": "accuracy, mean over labels", "accuracy_hands": "accuracy, `none` left out",
    "accuracy_int8": "accuracy of int8", "accuracy_drop": "accuracy lost by int8", "box_iou": "box IoU",
    "size_mb": "size, MB",
    "embedding_cosine_mean": "embedding cosine, mean", "embedding_cosine_worst": "embedding cosine, worst",
    "embedding_cosine_worst_1_percent": "embedding cosine, worst 1 %",
}


@dataclass(frozen=True)
class Judged:
    """One frame with both networks' word on it."""

    frame: HeldOut
    of_float: Result
    of_int8: Result

    @property
    def right(self) -> bool:
        """Whether int8 says the true label."""
        return self.of_int8.label == self.frame.label

    def iou(self, result: Result) -> float:
        """IoU of a result's box with the true one; nan where the true one is not known or there is no hand."""
        known = self.frame.box_xyxy is not None and self.frame.label != NONE_LABEL
        return metrics.box_iou(result.box_xyxy, self.frame.box_xyxy) if known else math.nan


def text(summary: dict[str, Any]) -> str:
    """The figures as a plain table.

    `summary`: "float" and "int8" (asdict of compare.Quality), "int8_against_float" (of Fidelity), "gate"
    (of each Verdict), and "frames", what was judged on, in words.
    """
    measured, columns = summary["float"], ("float", "int8")
    lines = [f"\nmeasured on {measured['frames']} {summary['frames']}, {measured['hands']} of them not `none`",
             " " * 32 + "".join(f"{name:>8}" for name in columns)]
    lines += [f"{figure:<32}" + "".join(f"{number(summary[name][figure]):>8}" for name in columns)
              for figure, _, _ in _quality_rows(summary)]
    lines.append("int8, by TFLite's reference kernels as on a Pi, against float")
    lines += [f"{v['figure']:<32}{number(v['value']):>8}  {v['bound']:<16}{'ok' if v['passed'] else 'FAILED'}"
              for v in summary["gate"]]
    lines += [f"{figure:<32}{number(value):>8}" for figure, value in _ungated(summary)]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three decimals, or a dash for what could not be measured (nan, or None as JSON has it)."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def write(path: Path, summary: dict[str, Any], bundle: Bundle, frames: Sequence[HeldOut], of_float: Sequence[Result],
          of_int8: Sequence[Result]) -> None:
    """Write the page. `summary`: as for `text`, and "passed"; one result of either network for each frame."""
    rows = [Judged(*row) for row in zip(frames, of_float, of_int8, strict=True)]
    sections = [
        _header(summary, bundle), _gate(summary), _quality(summary), _confusion(bundle, rows), _sources(rows),
        _pictures("A sample", f"{SAMPLE} frames drawn by a fixed seed, the labels taking turns.", sample(rows)),
        _pictures("The worst", f"Up to {WORST} frames: wrong int8 labels first, then the int8 boxes furthest from the "
                  "true ones.", worst(rows)),
        _embedding_map(bundle, rows), _footer(summary, bundle, path.with_name(HEAT_PAGE).is_file()),
    ]
    path.write_text(document(f"{bundle.name} {bundle.version}: int8 against float", sections), encoding="utf-8")


def document(title: str, sections: Sequence[str], kind: str = "") -> str:
    """A whole page of HTML `sections` in the report's style; `kind`: a class of the body, for the style."""
    head = ('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(title)}</title><style>\n{STYLE.read_text(encoding='utf-8')}</style>")
    body = "\n".join(sections)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body class="{kind}">\n{body}\n</body></html>\n'


def sample(rows: Sequence[Judged], count: int = SAMPLE, seed: int = SAMPLE_SEED) -> list[Judged]:
    """`count` frames drawn by `seed`, the true labels taking turns so that each is seen."""
    waiting = defaultdict(list)
    for i in np.random.default_rng(seed).permutation(len(rows)):
        waiting[rows[i].frame.label].append(rows[i])
    chosen: list[Judged] = []
    while len(chosen) < min(count, len(rows)):
        chosen += [waiting[label].pop() for label in sorted(waiting) if waiting[label]]
    return chosen[:count]


def worst(rows: Sequence[Judged], count: int = WORST) -> list[Judged]:
    """Wrong int8 labels first, then the lowest IoU of the int8 box; right ones without a known box are no candidates."""
    known = [(row.right, np.nan_to_num(row.iou(row.of_int8), nan=1.0), i) for i, row in enumerate(rows)
             if not row.right or not math.isnan(row.iou(row.of_int8))]
    return [rows[i] for *_, i in sorted(known)[:count]]


def _header(summary: dict[str, Any], bundle: Bundle) -> str:
    reasons = "".join(f"<li>{_words(v['figure'])} is {number(v['value'])}, wanted: {escape(v['bound'])}</li>"
                      for v in summary["gate"] if not v["passed"])
    word, reason = (("PASSED", "<p>Every figure of the gate is met: this bundle may ship.</p>") if summary["passed"]
                    else ("FAILED", f"<p>This bundle must not ship:</p><ul>{reasons}</ul>"))
    return (f'<header class="{word.lower()}"><h1><b>{word}</b> {escape(bundle.name)} {escape(bundle.version)}</h1>{reason}'
            '<p class="soft">The float network and the int8 bundle made from it, through the same pipeline on '
            f'{summary["float"]["frames"]} {escape(summary["frames"])}. Frames whose names begin with '
            "<code>rendered/</code> are drawn, not photographed.</p></header>")


def _gate(summary: dict[str, Any]) -> str:
    outcome = {True: '<td class="words ok">ok</td>', False: '<td class="words bad">FAILED</td>'}
    rows = [(_words(v["figure"]), number(v["value"]), f'<td class="words">{escape(v["bound"])}</td>', outcome[v["passed"]])
            for v in summary["gate"]]
    rows += [(_words(figure), number(value), "<td></td>", "<td></td>") for figure, value in _ungated(summary)]
    return section("The gate", "How much of the float network int8 has kept. Heat, peaks and boxes are compared where "
                   "both found a hand; peak distance is a share of the frame's diagonal.",
                   table(("", "value", "", ""), rows))


def _quality(summary: dict[str, Any]) -> str:
    rows = [(_words(figure), number(a), number(b)) for figure, a, b in _quality_rows(summary)]
    return section("How right each is", "Shares of frames, and for boxes the mean IoU with the true box (a missing box "
                   "counts as 0). False alarms: frames of `none` that got another label.",
                   table(("", "float", "int8"), rows))


def _confusion(bundle: Bundle, rows: Sequence[Judged]) -> str:
    labels = [label for label in bundle.labels if label != NONE_LABEL] + [NONE_LABEL]
    counts = metrics.confusion([r.of_int8.label for r in rows], [r.frame.label for r in rows], labels)
    body = []
    for i, label in enumerate(labels):
        strength = 0.6 * np.sqrt(counts[i] / max(1, counts[i].sum()))  # the root, so that one wrong of a hundred is seen
        body.append((escape(label), *(
            f'<td style="background: rgb({RIGHT_RGB if i == j else WRONG_RGB} / {strength[j]:.2f})">{count}</td>'
            for j, count in enumerate(counts[i]))))
    return section("What int8 takes for what", "A row for each true label, a column for each label that int8 said; frames.",
                   table(("", *map(escape, labels)), body, "confusion"))


def _sources(rows: Sequence[Judged]) -> str:
    by_source: dict[str, dict[str, list[Judged]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        by_source[row.frame.source][session_of(row.frame.name)].append(row)
    body = []
    for source, sessions in sorted(by_source.items()):
        body.append(_source_row(f"<b>{escape(source)}</b>", [row for group in sessions.values() for row in group]))
        if len(sessions) > 1:
            body += [_source_row(escape(session.split("/", 1)[1] or "(number only)"), group)
                     for session, group in sorted(sessions.items())]
    return section("Accuracy by source", "The data sets, and below each its sessions: file names without their running "
                   "number. Float and int8: accuracy. Peak and box: of int8, where the hand's place is known.",
                   table(("", "frames", "float", "int8", "peak inside", "box IoU"), body))


def _source_row(name: str, group: Sequence[Judged]) -> tuple[str, ...]:
    frames = [row.frame for row in group]
    of_float, of_int8 = quality(frames, [r.of_float for r in group]), quality(frames, [r.of_int8 for r in group])
    figures = of_float.accuracy, of_int8.accuracy, of_int8.peak_inside, of_int8.box_iou
    return name, str(len(group)), *map(number, figures)


def _pictures(title: str, note: str, rows: Sequence[Judged]) -> str:
    legend = ("From left to right: photo, float, int8. Yellow: the box found; thin white line: the true box. Heat and box "
              "are drawn as on the device.")
    return section(title, f"{note} {legend}", "\n".join(map(_trio, rows)) or "<p>None.</p>")


def _trio(row: Judged) -> str:
    """The photo, and what either network sees in it."""
    frame = row.frame
    cells = [(picture(frame), f'<b>{escape(frame.label)}</b><br><span class="soft">{escape(frame.name)}</span>')]
    for name, result in (("float", row.of_float), ("int8", row.of_int8)):
        said = f"{name}: <b>{escape(result.label)}</b> {result.score:.2f}"
        if result.label != frame.label:
            said = f'<span class="bad">{said}, wrong</span>'
        iou = row.iou(result)
        cells.append((picture(frame, result.heat, result.box_xyxy), said + ("" if math.isnan(iou) else f"<br>IoU {iou:.2f}")))
    return figures(cells, "trio")


def figures(cells: Sequence[tuple[str, str]], kind: str) -> str:
    """Pictures beside each other, each an URL and its caption in HTML; `kind`: trio or strip, for the style."""
    row = "".join(f'<figure><img alt="" src="{url}"><figcaption>{caption}</figcaption></figure>' for url, caption in cells)
    return f'<div class="{kind}">{row}</div>'


def picture(frame: HeldOut, heat: np.ndarray | None = None, box_xyxy: Box | None = None) -> str:
    """data: URL of a JPEG: the photo as it is, or with heat (h, w), 1 being full, the box found, and the true box."""
    height, width = frame.frame_rgb.shape[:2]
    scale = min(PICTURE_WH[0] / width, PICTURE_WH[1] / height)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = stretch_2x2(np.ascontiguousarray(frame.frame_rgb), size_wh)
    if heat is not None:
        if heat.any():
            canvas = Overlay((width, height), heat.shape, size_wh).blend(canvas, heat)
        if box_xyxy:
            draw_box(canvas, _scaled(box_xyxy, scale, size_wh))
        if frame.box_xyxy and frame.label != NONE_LABEL:
            x0, y0, x1, y1 = _scaled(frame.box_xyxy, scale, size_wh)
            cv2.rectangle(canvas, (x0 - 1, y0 - 1), (x1, y1), (0, 0, 0), 1)  # a dark edge, to be seen on bright walls
            cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), 1)
    _, jpeg = cv2.imencode(".jpg", canvas[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _scaled(box_xyxy: Sequence[float], scale: float, size_wh: tuple[int, int]) -> Box:
    """A box in pixels of the picture, cut at its edges."""
    return Box(*(min(max(0, round(v * scale)), size_wh[i % 2]) for i, v in enumerate(box_xyxy)))


def _embedding_map(bundle: Bundle, rows: Sequence[Judged]) -> str:
    """The int8 embeddings on their two widest axes: colour = true label, number = cluster, ring = wrong."""
    points, share = principal_plane(np.stack([row.of_int8.embedding for row in rows]))
    points -= points.min(0)
    span = points.max(0)
    scale = (MAP_WIDTH - 2 * MAP_MARGIN) / max(*span, 1e-9)
    height = round(span[1] * scale) + 2 * MAP_MARGIN
    hands = [label for label in bundle.labels if label != NONE_LABEL]
    colours = {**{label: COLOURS[i % len(COLOURS)] for i, label in enumerate(hands)}, NONE_LABEL: NONE_COLOUR}
    dots = "".join(_dot(row, x, y, colours[row.frame.label]) for (x, y), row in zip(points * scale + MAP_MARGIN, rows))
    legend = "".join(f'<span class="key" style="background: {colour}"></span>{escape(label)}'
                     for label, colour in colours.items())
    return section("Map of the int8 embeddings", "Their two widest axes (principal components), which hold "
                   f"{share:.0%} of the variance. Colour: true label. Number: cluster, which chooses the heat's "
                   "channels. Black ring: int8 says another label.",
                   f'<p class="soft">{legend}</p><svg viewBox="0 0 {MAP_WIDTH} {height}">{dots}</svg>')


def _dot(row: Judged, x: float, y: float, colour: str) -> str:
    ring = "" if row.right else ' stroke="#000" stroke-width="2"'
    return (f"<g><title>{escape(row.frame.name)}: {escape(row.of_int8.label)}</title>"
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{DOT_RADIUS}" fill="{colour}" fill-opacity=".85"{ring}/>'
            f'<text x="{x:.0f}" y="{y:.0f}">{row.of_int8.cluster}</text></g>')


def principal_plane(embeddings: np.ndarray) -> tuple[np.ndarray, float]:
    """(N, D) -> coordinates on the two principal axes, (N, 2), and the share of the variance they hold, 0 to 1."""
    left, lengths, _ = np.linalg.svd(embeddings - embeddings.mean(0), full_matrices=False)
    plane = (left * lengths)[:, :2]
    plane = np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))  # a single frame has one axis
    variance = float((lengths**2).sum())
    return plane, float((lengths[:2] ** 2).sum()) / variance if variance > 0 else 1.0


def _footer(summary: dict[str, Any], bundle: Bundle, heat_page: bool) -> str:
    manifest = bundle.manifest
    facts = {"bundle": summary["bundle"], "seed": manifest.get("seed"), "backbone": manifest.get("backbone"),
             "photos' fingerprint": str(manifest.get("data", {}).get("fingerprint", ""))[:16],
             "made with": ", ".join(f"{name} {version}" for name, version in manifest.get("tools", {}).items())}
    known = [f"{name}: {escape(str(value))}" for name, value in facts.items() if value not in (None, "")]
    link = f'<p><a href="{HEAT_PAGE}">How the heat compares with Grad-CAM and its kin</a></p>' if heat_page else ""
    return f"<footer>{' · '.join(known)}{link}</footer>"


def _quality_rows(summary: dict[str, Any]) -> list[tuple[str, float, float]]:
    counts = ("frames", "hands")
    return [(figure, value, summary["int8"][figure]) for figure, value in summary["float"].items() if figure not in counts]


def _ungated(summary: dict[str, Any]) -> list[tuple[str, float]]:
    gated = {v["figure"] for v in summary["gate"]}
    return [(figure, value) for figure, value in summary["int8_against_float"].items() if figure not in gated]


def _words(figure: str) -> str:
    return escape(WORDS.get(figure, figure.replace("_", " ")))


def section(title: str, note: str, content: str) -> str:
    """A heading, a line in small print, and what stands below; all three are HTML."""
    return f'<section><h2>{title}</h2><p class="soft">{note}</p>{content}</section>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "figures") -> str:
    """Cells are HTML; the first of a row is its heading, and one that is a <td> already is taken as it is."""
    headings = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr><th>{name}</th>{''.join(c if c.startswith('<td') else f'<td>{c}</td>' for c in cells)}</tr>"
                   for name, *cells in rows)
    return (f'<div class="scroll"><table class="{kind}"><thead><tr>{headings}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>")
