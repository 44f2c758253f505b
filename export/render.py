"""Rendered hands and rooms: training data for a machine without photos, and a supplement to few photos.

A hand is a few hundred spheres (`export/hand_model.py`) splatted into a depth map, joined by a smooth maximum so that
skin flows over joints and webs, then shaded: key light with shadows, sky and ground light, dark creases, skin colours.

`python -m export.render --out sheet.png` writes a contact sheet to look at.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from export.hand_model import ARM, CLOTH, DIGIT, HAND_MM, METAL, POSES, STRAP, Bones, Hand, draw_hand, unit
from export.rooms import render_background, room_color
from export.skin import linear, paint_skin

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
    pitch = np.clip(rng.normal(6, 20), -35, 60) if pose == "gu" else np.clip(rng.normal(4, 15), -35, 40)
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


def _splat(hand: Hand, view: _View, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth_px (S, S), normal_xy (2, S, S) and the bone in front int16 (S, S), -1 for none, of all spheres.

    Depths are joined by their log-sum-exp, which is the greatest depth but for a soft fold between two surfaces.
    """
    centers, scale = view.project(hand.center_mm)
    radii = hand.radius_mm * scale
    near = np.all((centers[:, :2] > -radii[:, None]) & (centers[:, :2] < size + radii[:, None]), axis=1)
    near &= radii < size / 3  # what is right before the lens
    centers, radii, owners = centers[near].astype(np.float32), radii[near].astype(np.float32), hand.bone[near]
    half = np.ceil(radii / 3).astype(int) * 3 + 1
    pad = 2 * int(half.max()) + 1
    padded = size + 2 * pad
    sums = np.zeros((3, padded, padded), np.float32)
    depth = np.full((padded, padded), -np.inf, np.float32)
    bone = np.full((padded, padded), -1, np.int16)
    # float32 holds e^-87 to e^88: depths are counted from where both ends serve, and what is further back is flat.
    sharpness = np.float32(1.0 / (BLEND_MM * view.scale))
    zero = np.float32((centers[:, 2] + radii).max()) - 78 / sharpness
    for reach in np.unique(half):
        members = np.flatnonzero(half == reach)
        corner = np.rint(centers[members, :2]).astype(int) - reach
        offset = np.arange(2 * reach + 1, dtype=np.float32)
        radius = radii[members, None, None]
        dx = ((corner[:, :1] + offset - centers[members, :1]).astype(np.float32))[:, None, :] / radius
        dy = ((corner[:, 1:] + offset - centers[members, 1:2]).astype(np.float32))[:, :, None] / radius
        height = 1 - dx * dx - dy * dy
        inside = height > 0
        z = np.sqrt(np.maximum(height, 0)) * radius + np.where(inside, centers[members, 2, None, None], -np.inf)
        layers = np.empty((len(members), 3, len(offset), len(offset)), np.float32)
        layers[:, 0] = np.exp(np.maximum((z - zero) * sharpness, -80)) * inside
        layers[:, 1], layers[:, 2] = layers[:, 0] * dx, layers[:, 0] * dy
        for i, (x, y) in enumerate(corner + pad):
            here = (slice(y, y + len(offset)), slice(x, x + len(offset)))
            sums[(slice(None), *here)] += layers[i]
            front = z[i] > depth[here]
            np.copyto(depth[here], z[i], where=front)
            np.copyto(bone[here], owners[members[i]], where=front)
    canvas = (slice(pad, pad + size), slice(pad, pad + size))
    total = np.maximum(sums[(0, *canvas)], 1e-37)
    return np.log(total) / sharpness + zero, sums[(slice(1, 3), *canvas)] / total, bone[canvas]


def _soften(layers: np.ndarray, solid: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return layers (S, S, C) blurred, the empty part of the canvas left out."""
    weight = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), sigma_px) + 1e-3
    return cv2.GaussianBlur(layers * solid[..., None], (0, 0), sigma_px).reshape(layers.shape) / weight[..., None]


def _see(hand: Hand, view: _View, size: int, rng: np.random.Generator) -> _Surface:
    """Return what the camera sees of the hand."""
    depth, normal_xy, bone = _splat(hand, view, size)
    solid = bone >= 0
    owner = bone[solid]
    rough = np.dstack([normal_xy[0], normal_xy[1], np.where(solid, depth, 0)])
    # Palm and arm are made of few spheres, and in truth smooth; fingers keep their folds.
    smooth = _soften(rough, solid, 3.2 * view.scale)[solid]
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
    backness = _soften(backness, solid, 1.6 * scale)[solid, 0]
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


@dataclass(frozen=True)
class _Light:
    """direction (unit, to the light, y down), key, sky and ground: linear RGB of each light; all float32 (3,)."""

    direction: np.ndarray
    key: np.ndarray
    sky: np.ndarray
    ground: np.ndarray


# Depth of the light's direction, strength of the key light, strength of the sky: lowest and highest.
MOODS = {
    "soft": ((0.4, 1.4), (0.5, 0.9), (0.35, 0.6)),
    "side": ((0.05, 0.5), (0.8, 1.3), (0.12, 0.4)),
    "back": ((-1.2, -0.3), (0.6, 1.6), (0.10, 0.4)),
}
MOOD_ODDS = (0.55, 0.30, 0.15)


def _draw_light(rng: np.random.Generator) -> _Light:
    warmth = rng.normal(0, 0.16)
    tint = np.array([1 + warmth, 1.0, 1 - warmth]) * (1 + rng.normal(0, 0.055, 3))
    sky_tint = np.array([1 - warmth * 0.5, 1.0, 1 + warmth * 0.5])
    z, key, sky = (rng.uniform(*bounds) for bounds in MOODS[rng.choice(list(MOODS), p=MOOD_ODDS)])
    direction = unit(np.array([rng.normal(0, 0.8), rng.normal(-0.55, 0.6), z]))
    lights = direction, key * tint, sky * sky_tint, sky * rng.uniform(0.35, 0.8) * tint
    return _Light(*(light.astype(np.float32) for light in lights))


def _shadow(depth: np.ndarray, direction: np.ndarray, reach_px: float) -> np.ndarray:
    """Return 0 to 1 (S, S): how much of the key light a nearer part of the hand takes away."""
    size, steps, taken = len(depth), 6, np.zeros_like(depth)
    length = max(float(np.hypot(*direction[:2])), 1e-3)
    flat, slope = direction[:2] / length, max(float(direction[2]), 0.05) / length
    for step in range(1, steps + 1):
        distance = reach_px * (step / steps) ** 1.3
        move = np.float32([[1, 0, -flat[0] * distance], [0, 1, -flat[1] * distance]])
        ahead = cv2.warpAffine(depth, move, (size, size), borderMode=cv2.BORDER_REPLICATE)
        over = (ahead - depth - slope * distance) / (0.04 * reach_px + 0.15 * distance) - 0.2
        np.maximum(taken, over, out=taken)
    return cv2.GaussianBlur(np.minimum(taken, 1), (0, 0), 1.2)


def _hollows(surface: _Surface, hand_px: float) -> np.ndarray:
    """Return 0 or more (M,): how far each pixel lies below what is around it, at two sizes."""
    hidden = np.zeros(len(surface.owner), np.float32)
    for share in (0.018, 0.05):
        around = _soften(surface.depth_px[..., None], surface.solid, share * hand_px)[surface.solid, 0]
        hidden += np.clip((around - surface.depth_px[surface.solid]) / (share * hand_px), 0, 1.5)
    return hidden


def _shade(albedo: np.ndarray, gloss: np.ndarray, surface: _Surface, hand_px: float, rng: np.random.Generator) -> np.ndarray:
    """Return linear light (M, 3) from the solid pixels to the camera."""
    light, normal = _draw_light(rng), surface.normal
    air = np.exp(-rng.uniform(0.5, 1.0) * _hollows(surface, hand_px)).astype(np.float32)[:, None]
    lit = 1 - 0.85 * _shadow(surface.depth_px, light.direction, 0.22 * hand_px)[surface.solid][:, None]
    wrap = np.array([0.48, 0.42, 0.40], np.float32)  # light travels on in skin, red light furthest
    diffuse = np.maximum(((normal @ light.direction)[:, None] + wrap) / (1 + wrap), 0) ** 2
    ambient = light.ground + (light.sky - light.ground) * (0.5 - 0.5 * normal[:, 1:2])
    half_way = unit(light.direction + np.array([0, 0, 1], np.float32))
    shine = np.maximum(normal @ half_way, 0)[:, None] ** 24
    out = albedo * (light.key * diffuse * lit * (0.5 + 0.5 * air) + ambient * air)
    return out + gloss * np.float32(rng.uniform(0.2, 1.6)) * light.key * shine * lit


def _expose(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sRGB float32 (M, 3), 0 to 255, as a camera that half corrects for a bright or dark hand."""
    gain = (0.28 / max(float(light.mean()), 1e-4)) ** rng.uniform(0.2, 0.7) * np.exp(rng.normal(0, 0.35))
    return np.clip(light * np.float32(gain), 0, 1) ** np.float32(rng.uniform(0.85, 1.15) / 2.2) * 255


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
    light = _shade(albedo, gloss, surface, HAND_MM * view.scale, rng)
    frame, of_hand = np.zeros((large, large, 3), np.float32), np.zeros((large, large), np.float32)
    frame[surface.solid] = _expose(light, rng)
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
    parser = argparse.ArgumentParser(prog="python -m export.render", description="Write a sheet of rendered hands.")
    parser.add_argument("--out", type=Path, required=True, help="picture to write, for example sheet.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=96, help="side of one picture in pixels")
    arguments = parser.parse_args()
    sheet = contact_sheet(np.random.default_rng(arguments.seed), arguments.size)
    if not cv2.imwrite(str(arguments.out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise SystemExit(f"cannot write {arguments.out}: expected a writable place and an ending such as .png")


if __name__ == "__main__":
    main()
