"""Rendered hands and rooms: training data for a machine without photos, and a supplement to few photos.

A hand is a few hundred spheres (`hand_model.py`) splatted into a depth map, joined by a smooth maximum so that
skin flows over joints and webs, then painted (`skin.py`) and lit (`light.py`).

`python -m export.rendering.render --out sheet.png` writes a contact sheet to look at.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from export.rendering.hand_model import ARM, CLOTH, DIGIT, HAND_MM, METAL, STRAP, Bones, Hand, draw_hand
from export.rendering.hand_poses import POSES, unit
from export.rendering.light import expose, shade, soften
from export.rendering.rooms import render_background, room_color
from export.rendering.skin import linear, paint_skin

SUPERSAMPLING = 1.25
BLEND_MM = 0.9  # width over which two touching surfaces flow into each other
HAND_SHARE = (0.45, 0.75)  # longer side of the hand's box over the side of the canvas
CAMERA_MM = (380.0, 1100.0)


@dataclass(frozen=True)
class RenderedHand:
    """frame_rgb uint8 (S, S, 3), black where alpha is 0; alpha uint8 (S, S) of the hand with its forearm or sleeve;
    hand_alpha uint8 (S, S) of the hand from wrist to fingertips, nowhere above alpha; pose, one of POSES."""

    frame_rgb: np.ndarray
    alpha: np.ndarray
    hand_alpha: np.ndarray
    pose: str


@dataclass(frozen=True)
class _View:
    """What turns hand millimetres into canvas pixels: x right, y down, z to the camera."""

    rotation: np.ndarray
    center_mm: np.ndarray
    camera_mm: float
    scale: float
    shift_px: np.ndarray

    def project(self, points_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (N, 3) pixels with z, and the scale at each point (N,)."""
        seen = (points_mm - self.center_mm) @ self.rotation.T
        scale = self.scale * self.camera_mm / np.maximum(self.camera_mm - seen[:, 2], 60.0)
        return np.column_stack([seen[:, :2] * scale[:, None] + self.shift_px, seen[:, 2] * self.scale]), scale

    def unproject(self, xyz_px: np.ndarray) -> np.ndarray:
        """Return hand millimetres (N, 3) of pixels with z (N, 3)."""
        z_mm = xyz_px[:, 2] / self.scale
        scale = self.scale * self.camera_mm / np.maximum(self.camera_mm - z_mm, 60.0)
        seen = np.column_stack([(xyz_px[:, :2] - self.shift_px) / scale[:, None], z_mm])
        return seen @ self.rotation + self.center_mm


@dataclass(frozen=True)
class _Surface:
    """What the canvas shows: depth_px float32 and solid bool, (S, S), and for the M solid pixels, in the order of
    np.nonzero(solid): owner (M,) rows of the bones, at_mm and hand_normal (M, 3) in the hand's frame, normal (M, 3)."""

    depth_px: np.ndarray
    solid: np.ndarray
    owner: np.ndarray
    normal: np.ndarray
    at_mm: np.ndarray
    hand_normal: np.ndarray


def _turn(axis: int, angle_deg: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    matrix = np.eye(3)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[i, i], matrix[j, j], matrix[i, j], matrix[j, i] = c, c, -s, s
    return matrix


def _draw_rotation(pose: str, rng: np.random.Generator) -> np.ndarray:
    """Return the hand's turn to the camera: palm, back or a side, tilted, rolled, y down."""
    # Facing 0 shows the palm, 180 the back, -90 the thumb's side, 90 the little finger's side.
    odds = {"gu": (0.54, 0.25, 0.17, 0.04), "pa": (0.58, 0.32, 0.06, 0.04)}.get(pose, (0.56, 0.32, 0.09, 0.03))
    facing = rng.choice([0.0, 180.0, -90.0, 90.0], p=odds) + np.clip(rng.normal(0, 20), -40, 40)
    pitch = np.clip(rng.normal(6, 20), -35, 60) if pose == "gu" else np.clip(rng.normal(3, 14), -33, 33)
    roll = rng.uniform(-180, 180) if rng.random() < 0.15 else rng.normal(0, 24)
    return np.diag([1.0, -1.0, 1.0]) @ _turn(2, roll) @ _turn(0, pitch) @ _turn(1, facing)


def _frame_hand(hand: Hand, pose: str, size: int, rng: np.random.Generator) -> _View:
    """Return a view in which the hand is well inside the canvas."""
    rotation = _draw_rotation(pose, rng)
    of_hand = hand.bones.kind[hand.bone] != ARM
    centers, radii = hand.center_mm[of_hand], hand.radius_mm[of_hand]
    view = _View(rotation, centers.mean(axis=0), rng.uniform(*CAMERA_MM), 1.0, np.zeros(2))
    points, scale = view.project(centers)
    reach = (radii * scale)[:, None]
    low, high = (points[:, :2] - reach).min(axis=0), (points[:, :2] + reach).max(axis=0)
    zoom = rng.uniform(*HAND_SHARE) * size / (high - low).max()
    slack = np.maximum(size * 0.94 - (high - low) * zoom, 0) / 2
    middle = size / 2 + slack * np.clip(rng.normal(0, 0.4, 2), -0.9, 0.9)
    return _View(rotation, view.center_mm, view.camera_mm, zoom, middle - (low + high) / 2 * zoom)


def _patches(centers: np.ndarray, radii: np.ndarray, sharpness: float, zero: float):
    """Yield for each sphere (N, 3), (N,): its number, corner x and y, depth (p, p), and (3, p, p) of weight, weighted
    normal x and weighted normal y. Spheres of about one size are worked out together."""
    half = np.ceil(radii / 3).astype(int) * 3 + 1
    for reach in np.unique(half):
        members = np.flatnonzero(half == reach)
        corner = np.rint(centers[members, :2]).astype(int) - reach
        offset = np.arange(2 * reach + 1, dtype=np.float32)
        radius = radii[members, None, None]
        start = (corner - centers[members, :2]).astype(np.float32)
        dx = (start[:, :1] + offset)[:, None, :] / radius
        dy = (start[:, 1:] + offset)[:, :, None] / radius
        height = 1 - dx * dx - dy * dy
        inside = height > 0
        depth = np.sqrt(np.maximum(height, 0)) * radius + np.where(inside, centers[members, 2, None, None], -np.inf)
        layers = np.empty((len(members), 3, len(offset), len(offset)), np.float32)
        layers[:, 0] = np.exp(np.maximum((depth - zero) * sharpness, -80)) * inside
        layers[:, 1], layers[:, 2] = layers[:, 0] * dx, layers[:, 0] * dy
        for i, member in enumerate(members):
            yield member, corner[i], depth[i], layers[i]


def _splat(hand: Hand, view: _View, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth_px (S, S), normal_xy (2, S, S) and the bone in front int16 (S, S), -1 for none, of all spheres.

    Depths are joined by their log-sum-exp, which is the greatest depth but for a soft fold between two surfaces.
    """
    centers, scale = view.project(hand.center_mm)
    radii = hand.radius_mm * scale
    near = np.all((centers[:, :2] > -radii[:, None]) & (centers[:, :2] < size + radii[:, None]), axis=1)
    near &= radii < size / 3  # what is right before the lens
    centers, radii, owners = centers[near].astype(np.float32), radii[near].astype(np.float32), hand.bone[near]
    pad = 2 * int(np.ceil(radii.max())) + 8  # so that no patch is cut
    sums = np.zeros((3, size + 2 * pad, size + 2 * pad), np.float32)
    depth = np.full(sums.shape[1:], -np.inf, np.float32)
    bone = np.full(sums.shape[1:], -1, np.int16)
    # float32 holds e^-87 to e^88: depths are counted from where both ends serve, and what is further back is flat.
    sharpness = np.float32(1.0 / (BLEND_MM * view.scale))
    zero = np.float32((centers[:, 2] + radii).max()) - 78 / sharpness
    for sphere, corner, patch_depth, layers in _patches(centers, radii, sharpness, zero):
        (x, y), side = corner + pad, len(patch_depth)
        here = (slice(y, y + side), slice(x, x + side))
        sums[(slice(None), *here)] += layers
        front = patch_depth > depth[here]
        np.copyto(depth[here], patch_depth, where=front)
        np.copyto(bone[here], owners[sphere], where=front)
    canvas = (slice(pad, pad + size), slice(pad, pad + size))
    total = np.maximum(sums[(0, *canvas)], 1e-37)
    return np.log(total) / sharpness + zero, sums[(slice(1, 3), *canvas)] / total, bone[canvas]


def _see(hand: Hand, view: _View, size: int, rng: np.random.Generator) -> _Surface:
    """Return what the camera sees of the hand."""
    depth, normal_xy, bone = _splat(hand, view, size)
    solid = bone >= 0
    owner = bone[solid]
    rough = np.dstack([normal_xy[0], normal_xy[1], np.where(solid, depth, 0)])
    # Palm and arm are made of few spheres, and in truth smooth; fingers keep their folds.
    smooth = soften(rough, solid, 3.2 * view.scale)[solid]
    fine = np.where(hand.bones.kind[owner] == DIGIT, 0.75, 0.1).astype(np.float32)[:, None]
    flat = smooth + fine * (rough[solid] - smooth)
    depth = np.full((size, size), flat[:, 2].min(), np.float32)
    depth[solid] = flat[:, 2]
    wrinkles = [_noise(rng, cells, size)[solid] for cells in (size // 3, size // 3, size // 10, size // 10)]
    flat[:, 0] += rng.uniform(0, 0.06) * (wrinkles[0] + wrinkles[2])
    flat[:, 1] += rng.uniform(0, 0.06) * (wrinkles[1] + wrinkles[3])
    flat[:, 2] = np.sqrt(np.maximum(1 - flat[:, 0] ** 2 - flat[:, 1] ** 2, 0.02))
    normal = unit(flat)
    ys, xs = np.nonzero(solid)
    at_mm = view.unproject(np.column_stack([xs, ys, depth[solid]])).astype(np.float32)
    return _Surface(depth, solid, owner, normal, at_mm, normal @ view.rotation.astype(np.float32))


def _noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Return smooth noise float32 (size, size), mean 0, deviation about 1."""
    return cv2.resize(rng.standard_normal((cells, cells), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def _paint(bones: Bones, surface: _Surface, scale: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return linear albedo (M, 3) and gloss (M, 1) of the solid pixels."""
    size, solid, owner = len(surface.solid), surface.solid, surface.owner
    backness = np.zeros((size, size, 1), np.float32)
    backness[solid, 0] = (surface.hand_normal * bones.back[owner]).sum(-1)
    backness = soften(backness, solid, 1.6 * scale)[solid, 0]
    mottling = (0.8 * _noise(rng, 9, size) + 0.6 * _noise(rng, 24, size))[solid]
    colors = paint_skin(surface.at_mm, surface.hand_normal[:, 2], backness, owner, bones, mottling, rng)
    colors *= np.exp(rng.uniform(0.01, 0.05) * _noise(rng, size // 2, size)[solid])[:, None]
    material = bones.material[owner]
    cloth, second = linear(room_color(rng)), linear(room_color(rng))
    stripe = np.sin(surface.at_mm[:, 1] * 2 * np.pi / rng.uniform(8, 40)) > rng.choice([0.0, 1.0], p=[0.35, 0.65])
    colors[material == CLOTH] = np.where(stripe[:, None], second, cloth)[material == CLOTH]
    colors[material == METAL] = linear((214, 190, 140))
    colors[material == STRAP] = second * 0.3
    return colors, np.choose(material, (0.06, 0.0, 0.6, 0.05)).astype(np.float32)[:, None]


def render_hand(pose: str, rng: np.random.Generator, size: int = 128) -> RenderedHand:
    """Render one hand showing `pose`; `size` is the side of the canvas in pixels.

    The hand is inside the canvas and fills 45 to 75 % of it; the forearm runs out of it.
    Person, joints, view, light and skin come from `rng`. Raises ValueError for an unknown pose.
    """
    hand = draw_hand(pose, rng)
    large = int(round(size * SUPERSAMPLING))
    view = _frame_hand(hand, pose, large, rng)
    surface = _see(hand, view, large, rng)
    albedo, gloss = _paint(hand.bones, surface, view.scale, rng)
    light = shade(albedo, gloss, surface.normal, surface.depth_px, surface.solid, HAND_MM * view.scale, rng)
    frame, of_hand = np.zeros((large, large, 3), np.float32), np.zeros((large, large), np.float32)
    frame[surface.solid] = expose(light, rng)
    of_hand[surface.solid] = hand.bones.kind[surface.owner] != ARM
    mirror = slice(None, None, -1 if rng.random() < 0.5 else 1)

    def shrink(layer: np.ndarray) -> np.ndarray:
        flat = np.ascontiguousarray(layer[:, mirror], np.float32)
        return cv2.resize(flat, (size, size), interpolation=cv2.INTER_AREA)

    cover, hand_cover = shrink(surface.solid), shrink(of_hand)
    frame = np.clip(shrink(frame) / np.maximum(cover, 1e-3)[..., None], 0, 255)
    frame_rgb, alpha, hand_alpha = (np.rint(x).astype(np.uint8) for x in (frame, cover * 255, hand_cover * 255))
    return RenderedHand(frame_rgb, alpha, hand_alpha, pose)


def contact_sheet(rng: np.random.Generator, size: int = 96, columns: int = 16, rows: int = 3) -> np.ndarray:
    """Return uint8 RGB: `rows` rows of each pose over backgrounds, then backgrounds alone."""
    tiles = []
    for pose in POSES:
        for _ in range(rows * columns):
            hand = render_hand(pose, rng, size)
            cover = hand.alpha[..., None] / 255.0
            tiles.append(hand.frame_rgb * cover + render_background(rng, (size, size)) * (1 - cover))
    tiles += [render_background(rng, (size, size)) for _ in range(rows * columns)]
    grid = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(grid).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.rendering.render", description="Write a sheet of rendered hands.")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, for example sheet.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=96, help="side of one picture in pixels")
    arguments = parser.parse_args()
    if not (cv2.haveImageWriter(str(arguments.out)) and arguments.out.parent.is_dir()):
        parser.error(f"cannot write {arguments.out}: expected a folder that is there and an ending such as .png")
    sheet = contact_sheet(np.random.default_rng(arguments.seed), arguments.size)
    cv2.imwrite(str(arguments.out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
