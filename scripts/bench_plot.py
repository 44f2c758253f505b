"""The counts as pictures, plain SVG: a stacked bar for each loop, and cost against size."""

from __future__ import annotations

import html
import math
from pathlib import Path

from bench_table import DRAWN, SERIES, Figures, points

COLOURS = {"preprocess": "#7a9cc6", "invoke": "#4a4a4a", "infer": "#9a9a9a", "heatmap": "#d1603d", "overlay": "#e8b04b"}
NAMES = {"invoke": "bare invoke", "infer": "rest of inference", "heatmap": "heat, box"}
WIDTH, LEFT, BAR, STEP = 1200, 520, 16, 22  # pixels
SERIES_COLOURS = ("#4a4a4a", "#d1603d", "#7a9cc6")
PLOT = 300  # pixels, the side of a curve's square


def svg(width: int, height: int, parts: list[str]) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
            f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


def text(x: float, y: float, words: str, anchor: str = "start", **more: str) -> str:
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{html.escape(words)}</text>'


def write_bars(path: Path, figures: Figures, cpu: str) -> None:
    """One bar for each loop and interpreter, its stages stacked. What goes beyond the scale is cut off, and its value said."""
    loops = [key for key in dict.fromkeys((row.what, row.interpreter) for row in figures.rows) if figures.get(*key, "invoke")]
    totals = {key: figures.total(*key, DRAWN) for key in loops}
    full = max(total for (what, _), total in totals.items() if not what.startswith("MediaPipe"))
    right = WIDTH - 110
    scale = (right - LEFT) / full
    parts = [text(10, 22, f"Instructions of a frame, 640x480, {cpu}, one thread (millions)", font_weight="bold")]
    for i, stage in enumerate(DRAWN):
        parts.append(f'<rect x="{LEFT + 115 * i}" y="34" width="12" height="12" fill="{COLOURS[stage]}"/>')
        parts.append(text(LEFT + 115 * i + 17, 44, NAMES.get(stage, stage)))
    for row, key in enumerate(loops):
        y, x = 60 + STEP * row, float(LEFT)
        parts.append(text(LEFT - 8, y + 12, ", ".join(key), "end"))
        for stage in DRAWN:
            wide = min(scale * max(figures.get(*key, stage) or 0, 0), right - x)
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{BAR}" fill="{COLOURS[stage]}"/>')
            x += wide
        cut = " (cut off)" if totals[key] > full else ""
        parts.append(text(x + 5, y + 12, f"{totals[key] / 1e6:.1f}{cut}"))
    path.write_text(svg(WIDTH, 70 + STEP * len(loops), parts))


def write_curves(path: Path, figures: Figures) -> None:
    """Cost over size, both logarithmic, beside a grey line of slope 1 through the last point: steeper is worse than linear."""
    parts = [text(10, 22, "Cost against size (log-log; grey: linear)", font_weight="bold")]
    for i, ((series, words), colour) in enumerate(zip(SERIES.items(), SERIES_COLOURS)):
        curve = points(figures, series)
        if len(curve) > 1:
            parts += draw_curve(curve, [size for size, _ in figures.series(series)], words, 60 + i * (PLOT + 60), colour)
    path.write_text(svg(60 + 3 * (PLOT + 60), PLOT + 110, parts))


def draw_curve(curve: list[tuple[float, float]], sizes: list[str], words: str, left: int, colour: str) -> list[str]:
    low, high = math.log(curve[0][0]), math.log(curve[-1][0])
    top = max(math.log(cost) for _, cost in curve)

    def place(size: float, log_cost: float) -> tuple[float, float]:
        pixels = PLOT / (high - low)
        return left + (math.log(size) - low) * pixels, 60 + (top - log_cost) * pixels

    bottom = 60 + PLOT
    line = [place(size, math.log(cost)) for size, cost in curve]
    end = line[-1]
    parts = [text(left, 48, words),
             f'<path d="M{left} 60V{bottom}H{left + PLOT}" fill="none" stroke="#bbb"/>',
             f'<path d="M{end[0]:.1f} {end[1]:.1f}L{left} {min(end[1] + PLOT, bottom):.1f}" stroke="#ccc"/>',
             f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in line)}" fill="none" stroke="{colour}"/>']
    for (x, y), (_, cost), size in zip(line, curve, sizes):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        parts.append(text(x, y + 16, f"{cost / 1e6:.2f} M", "middle", font_size="10"))
        parts.append(text(x, bottom + 16, size, "middle", font_size="10"))
    return parts
