"""Rendered persons without a hand in view: what stands behind and beside the hands in front of a webcam, and `none`.

A person is some fifty ellipsoids and tapered limbs (`person_body.py`) in a depth map, painted (`person_paint.py`) and
lit as the hands are (`light.py`).

`python -m export.rendering.person --out sheet.png` writes a contact sheet to look at.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from export.rendering import pool
from export.rendering.hand_model import HAND_MM
from export.rendering.hand_poses import unit
from export.rendering.light import expose, shade, soften
from export.rendering.person_body import (
    CLOTH,
    HEAD_MM,
    LOWER,
    SKIN,
    Body,
    Looks,
    add_arms,
    add_head,
    add_limb,
    add_torso,
    draw_looks,
    turned,
)
from export.rendering.person_paint import draw_palette, paint
from export.rendering.person_view import CANVAS_PX, SIZE_WH, View, splat
from export.rendering.rooms import render_background

RENDERER = ("hand_model", "hand_poses", "light", "person", "person_body", "person_paint", "person_view", "rooms", "skin")
# How a webcam sees a person: odds, and the lowest and highest length of the head over the picture's width.
SHOTS = {"far": (0.10, (0.13, 0.24)), "bust": (0.36, (0.24, 0.55)), "face": (0.16, (0.55, 1.1)), "chin": (0.10, (0.7, 1.7)),
         "neck": (0.09, (0.6, 1.6)), "shoulder": (0.09, (0.4, 1.1)), "chest": (0.10, (0.35, 1.0))}
SMOOTH_MM = 5.0  # over which shapes are smoothed once more,
FINE = (0.25, 0.35, 0.25, 0.3, 0.5, 1.0)  # but for this share, for each material
LIMB_SHARE = 0.18  # of all pictures show a limb alone


@dataclass(frozen=True)
class RenderedPerson:
    """frame_rgb uint8 (H, W, 3), black where alpha is 0; alpha uint8 (H, W) of the person; no hand is in the picture."""

    frame_rgb: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True)
class _Surface:
    """What the canvas shows: depth_px float32 and solid bool, (S, S), and for the M solid pixels, in the order of
    np.nonzero(solid): normal (M, 3), kind of part and material (M,), at_mm (M, 3) in the part's frame."""

    depth_px: np.ndarray
    solid: np.ndarray
    normal: np.ndarray
    kind: np.ndarray
    material: np.ndarray
    at_mm: np.ndarray


def _noise(rng: np.random.Generator, cells_wh: tuple[int, int], size: int) -> np.ndarray:
    """Return smooth noise float32 (size, size), mean 0, deviation about 1."""
    cells = rng.standard_normal((max(cells_wh[1], 2), max(cells_wh[0], 2)), np.float32)
    return cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC)


def _folds(view: View, rng: np.random.Generator) -> np.ndarray:
    """Return the slopes (S, S, 2) of folded cloth."""
    size, span_mm = view.size_px, view.size_px / view.scale
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 180), 1.5)
    height = np.zeros((size, size), np.float32)
    for fold_mm, strength in ((150, 0.5), (60, 0.4), (25, 0.12)):
        cells = int(span_mm / fold_mm) + 3
        ridges = np.sqrt(_noise(rng, (cells, cells // 2), size) ** 2 + 0.05)
        height += strength * rng.uniform(0.4, 1.6) * fold_mm / 3 * view.scale * ridges
    height = cv2.warpAffine(height, turn, (size, size), borderMode=cv2.BORDER_REFLECT)
    return np.dstack([cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)])


def _draw_view(shot: str, body: Body, head: int, torso: int, rng: np.random.Generator) -> View:
    size, high = CANVAS_PX, CANVAS_PX * SIZE_WH[1] / SIZE_WH[0]
    length = np.exp(rng.uniform(*np.log(SHOTS[shot][1])))
    part, point, spot = {
        "far": (head, (0, 0, 60), (0.5, 0.26)), "bust": (head, (0, 0, 60), (0.5, 0.36)), "face": (head, (0, 0, 60), (0.5, 0.5)),
        "chin": (head, (0, 85, 60), (0.5, 0.5)), "neck": (torso, (0, -20, 20), (0.5, 0.45)),
        "shoulder": (torso, (rng.choice([-1, 1]) * 190, 130, 0), (0.5, 0.5)), "chest": (torso, (0, 170, 50), (0.5, 0.5)),
    }[shot]
    place = np.asarray(spot) + np.clip(rng.normal(0, 0.19, 2), -0.42, 0.42) * (1.0, 0.75)
    scale, near = length * size / HEAD_MM, rng.uniform(1.0, 2.2)
    camera = max(350.0, near * 0.9 * size / scale)
    return View(scale, camera, body.parts[part].at(point), place * (size, high), size)


def _draw_person(rng: np.random.Generator) -> tuple[Body, View, Looks]:
    looks, body = draw_looks(rng), Body()
    shot = str(rng.choice(list(SHOTS), p=[odds for odds, _ in SHOTS.values()]))
    yaw = rng.uniform(-180, 180) if rng.random() < 0.06 else np.clip(rng.normal(0, 20), -60, 60)
    torso = add_torso(body, looks, yaw, np.clip(rng.normal(0, 5), -12, 12), rng)
    turn = turned(yaw + np.clip(rng.normal(0, 20), -55, 55), rng.normal(3, 11), np.clip(rng.normal(0, 8), -22, 22))
    head = add_head(body, torso, looks, turn, rng)
    view = _draw_view(shot, body, head, torso, rng)
    add_arms(body, torso, looks, view.leaves, rng)
    return body, view, looks


def _draw_limb(rng: np.random.Generator) -> tuple[Body, View, Looks]:
    """Draw a bent elbow, a straight arm, a knee, or an ankle with its foot; every other end leaves the picture."""
    looks, body, size = draw_looks(rng), Body(), CANVAS_PX
    kind = rng.choice(["elbow", "straight", "knee", "foot"], p=[0.55, 0.15, 0.18, 0.12])
    thick = {"elbow": (52, 43, 30), "straight": (48, 42, 31), "knee": (82, 60, 46), "foot": (52, 40, 34)}[kind]
    thick = np.array(thick) * rng.uniform(0.8, 1.2)
    # In the picture the bend is 0.18 to 0.7 of its width wide.
    scale = rng.uniform(0.18, 0.7) * size / (2 * thick[1])
    first, bend = rng.uniform(0, 2 * np.pi), rng.choice([-1, 1]) * np.deg2rad(rng.uniform(35, 130))
    bend = np.pi + rng.normal(0, 0.2) if kind == "straight" else bend
    away = 1.6 * size / scale
    ends = [away * np.array([np.cos(a), np.sin(a), rng.normal(0, 0.25)]) for a in (first, first + bend)]
    focus = np.zeros(3)
    if kind == "foot":
        reach = rng.uniform(110, 170)
        joints = [ends[0], focus, focus + unit(ends[1]) * reach]
        add_limb(body, joints, thick, looks.sleeve / 2, looks.loose_mm, LOWER)
        sole = len(body.parts) - 1
        body.ball(sole, (0, reach * 0.55, 6), (44, reach * 0.55, 30), 24)
    else:
        add_limb(body, [ends[0], focus, ends[1]], thick, rng.choice([0.0, rng.uniform(0.0, 0.35)]), looks.loose_mm)
        tip = -unit(unit(ends[0]) + unit(ends[1])) * thick[1] * 0.35
        body.ball(len(body.parts) - 1, body.parts[-1].rotation.T @ tip, np.full(3, thick[1] * rng.uniform(0.5, 0.7)), 24)
    place = np.array([0.5, 0.5]) + np.clip(rng.normal(0, 0.17, 2), -0.35, 0.35)
    return body, View(scale, 2.5 * size / scale, focus, place * (size, size * SIZE_WH[1] / SIZE_WH[0]), size), looks


def _see(body: Body, view: View) -> _Surface:
    """Return what the camera sees of the body."""
    depth, normal, part, material = splat(body, view)
    solid = part >= 0
    rough = np.dstack([normal, np.where(solid, depth, 0)])
    smooth = soften(rough, solid, SMOOTH_MM * view.scale)[solid]
    fine = np.choose(material[solid], FINE).astype(np.float32)[:, None]
    flat = smooth + fine * (rough[solid] - smooth)
    depth = np.full(solid.shape, flat[:, 3].min(), np.float32)
    depth[solid] = flat[:, 3]
    owner, (ys, xs) = part[solid], np.nonzero(solid)
    world = view.unproject(np.column_stack([xs, ys, depth[solid]]))
    at_mm = np.empty_like(world, np.float32)
    for row in np.unique(owner):
        frame, mine = body.parts[row], owner == row
        at_mm[mine] = (world[mine] - frame.origin_mm) @ frame.rotation / frame.stretch
    kind = np.array([frame.kind for frame in body.parts])[owner]
    return _Surface(depth, solid, flat[:, :3], kind, material[solid], at_mm)


def render_person(rng: np.random.Generator) -> RenderedPerson:
    """Render one person, or a limb of one, 192 x 160 pixels, without a hand in view.

    Body, pose, clothes, view, light and skin come from `rng`. The person may be cut by any edge of the picture.
    """
    body, view, looks = (_draw_limb if rng.random() < LIMB_SHARE else _draw_person)(rng)
    size, surface = view.size_px, _see(body, view)
    solid, normal = surface.solid, surface.normal
    mottling = (0.8 * _noise(rng, (9, 9), size) + 0.6 * _noise(rng, (24, 24), size))[solid]
    strands = _noise(rng, (size // 2, size // 10), size)[solid]
    albedo, gloss, material = paint(
        looks, draw_palette(rng), surface.kind, surface.material, surface.at_mm, 1 / view.scale, mottling, strands, rng
    )
    albedo *= np.exp(rng.uniform(0.01, 0.05) * _noise(rng, (size // 2, size // 2), size)[solid])[:, None]
    normal[:, :2] -= np.isin(material, (CLOTH, LOWER))[:, None] * _folds(view, rng)[solid]
    normal[:, :2] += rng.uniform(0, 0.02) * (material == SKIN)[:, None] * mottling[:, None]
    normal[:, 2] = np.maximum(normal[:, 2], 0.05)
    light = shade(albedo, gloss, unit(normal), surface.depth_px, solid, HAND_MM * view.scale, rng)
    frame = np.zeros((size, size, 3), np.float32)
    frame[solid] = expose(light, rng)
    return _shrink(frame, solid, mirror=rng.random() < 0.5)


def _shrink(frame: np.ndarray, solid: np.ndarray, mirror: bool) -> RenderedPerson:
    rows = int(round(len(frame) * SIZE_WH[1] / SIZE_WH[0]))
    way = slice(None, None, -1 if mirror else 1)
    frame, cover = (
        cv2.resize(np.ascontiguousarray(layer[:rows, way], np.float32), SIZE_WH, interpolation=cv2.INTER_AREA)
        for layer in (frame, solid)
    )
    frame = np.clip(frame / np.maximum(cover, 1e-3)[..., None], 0, 255)
    return RenderedPerson(np.rint(frame).astype(np.uint8), np.rint(cover * 255).astype(np.uint8))


def rendered_people(count: int, seed: int) -> list[RenderedPerson]:
    """`count` persons, the same ones for the same seed and renderer; drawn by all cores, kept as rendered hands are."""
    code = b"".join(Path(__file__).with_name(f"{module}.py").read_bytes() for module in RENDERER)
    path = pool.CACHE / f"people-{count}-{seed}-{hashlib.sha256(code).hexdigest()[:12]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            return [RenderedPerson(frame, alpha) for frame, alpha in zip(arrays["frames"], arrays["alpha"])]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        jobs = [(seed, i) for i in range(count)]
        people = list(tqdm(workers.map(_one, jobs, chunksize=16), total=count, desc="rendering people", unit="person",
                           mininterval=2))
    pool.CACHE.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, frames=np.stack([p.frame_rgb for p in people]), alpha=np.stack([p.alpha for p in people]))
    partial.rename(path)
    return people


def _one(job: tuple[int, int]) -> RenderedPerson:
    return render_person(np.random.default_rng(list(job)))


def contact_sheet(rng: np.random.Generator, size_wh: tuple[int, int] = SIZE_WH, columns: int = 10, rows: int = 8) -> np.ndarray:
    """Return uint8 RGB: persons over backgrounds."""
    tiles = []
    for _ in range(rows * columns):
        person, room = render_person(rng), render_background(rng, SIZE_WH)
        cover = person.alpha[..., None] / 255.0
        tile = np.rint(person.frame_rgb * cover + room * (1 - cover)).astype(np.uint8)
        tiles.append(cv2.resize(tile, size_wh, interpolation=cv2.INTER_AREA))
    return np.vstack([np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.rendering.person", description="Write a sheet of rendered persons.")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, for example sheet.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=SIZE_WH[0], help="width of one picture in pixels")
    arguments = parser.parse_args()
    if not (cv2.haveImageWriter(str(arguments.out)) and arguments.out.parent.is_dir()):
        parser.error(f"cannot write {arguments.out}: expected a folder that is there and an ending such as .png")
    size_wh = (arguments.width, round(arguments.width * SIZE_WH[1] / SIZE_WH[0]))
    sheet = contact_sheet(np.random.default_rng(arguments.seed), size_wh)
    cv2.imwrite(str(arguments.out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
