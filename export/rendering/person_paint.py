"""The colours of a person without hands: face, hair and beard, clothes plain, striped, checked or printed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.rendering.person_body import CLOTH, HAIR, HAT, HEAD, LIMB, LOWER, SKIN, TORSO, Looks
from export.rendering.rooms import room_color
from export.rendering.skin import BACK_SRGB, BLUSH_RGB, linear

HAIR_SRGB = np.array([[22, 18, 16], [44, 31, 23], [74, 50, 34], [128, 92, 54], [188, 152, 100], [120, 52, 26],
                      [120, 116, 112], [205, 202, 198]], np.float32)
HAIR_ODDS = (0.34, 0.25, 0.14, 0.08, 0.06, 0.03, 0.06, 0.04)
IRIS_SRGB = np.array([[42, 26, 18], [54, 34, 22], [88, 62, 36], [84, 104, 120], [80, 92, 60]], np.float32)
PATTERNS = {"plain": 0.52, "stripes": 0.13, "checks": 0.15, "plaid": 0.12, "marl": 0.08}


@dataclass(frozen=True)
class Palette:
    """Linear RGB (3,) of one person's skin, lips, hair, and of the clothes' first and second colour."""

    skin: np.ndarray
    lips: np.ndarray
    hair: np.ndarray
    cloth: np.ndarray
    second: np.ndarray
    lower: np.ndarray
    hat: np.ndarray


def draw_palette(rng: np.random.Generator) -> Palette:
    tone, steps = rng.uniform(0, len(BACK_SRGB) - 1), np.arange(len(BACK_SRGB))
    tint = (1 + rng.normal(0, 0.035, 3)).astype(np.float32)
    skin = linear([np.interp(tone, steps, BACK_SRGB[:, c]) for c in range(3)]) * tint
    lips = skin * np.array([0.9, rng.uniform(0.5, 0.75), rng.uniform(0.5, 0.8)], np.float32)
    odds = np.array(HAIR_ODDS) * np.where(tone > 2.3, (1, 0.4, 0.1, 0.02, 0.01, 0.01, 0.6, 0.4), 1)
    hair = linear(HAIR_SRGB[rng.choice(len(HAIR_SRGB), p=odds / odds.sum())]) * np.float32(rng.uniform(0.7, 1.3))
    cloth, second, lower, hat = (linear(room_color(rng)) * np.float32(0.9) for _ in range(4))
    lower = lower * np.float32(0.5)
    return Palette(skin, lips, hair, cloth, second, lower, hat)


def _bell(x: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((x / width) ** 2))


def _step(x: np.ndarray, width: float) -> np.ndarray:
    """Return 0 where x is well below 0, 1 well above, a ramp of `width` between."""
    return np.clip(0.5 + x / width, 0, 1)


def _mix(colors: np.ndarray, other: np.ndarray, share: np.ndarray) -> None:
    colors += share[:, None] * (other - colors)


def paint(
    looks: Looks, palette: Palette, kind: np.ndarray, material: np.ndarray, at_mm: np.ndarray, pixel_mm: float,
    mottling: np.ndarray, strands: np.ndarray, rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return linear albedo (N, 3), gloss (N, 1), and the material (N,) with bare skin in the neckline told from cloth.

    kind and material (N,) of each point, at_mm (N, 3) in its part's frame, pixel_mm the size of a pixel, mottling and
    strands (N,) smooth and streaky noise of deviation about one.
    """
    material = np.where(_neckline(looks, at_mm, kind, material), SKIN, material)
    colors = np.empty((len(kind), 3), np.float32)
    skin = material == SKIN
    blush = np.maximum(0.14 * mottling[skin], -0.3) * rng.uniform(0.3, 1.3)
    colors[skin] = palette.skin * np.exp(-blush[:, None] * BLUSH_RGB)
    _paint_clothes(colors, looks, palette, kind, material, at_mm, rng)
    colors[material > HAT] = linear(room_color(rng)) * 0.3
    colors[material == HAIR] = palette.hair
    face = (kind == HEAD) & skin
    colors[face] = _paint_face(colors[face], looks, palette, at_mm[face], pixel_mm, strands[face], rng)
    hairy = material == HAIR
    colors[hairy] *= np.exp(0.35 * np.clip(strands[hairy], -2, 2))[:, None]
    if rng.random() < 0.33:
        on_head = kind == HEAD
        colors[on_head] = _put_on_glasses(colors[on_head], at_mm[on_head], pixel_mm, rng)
    gloss = np.choose(material, (0.06, 0.05, 0.0, 0.0, 0.0, 0.3)).astype(np.float32)[:, None]
    return colors, gloss, material


def _neckline(looks: Looks, at_mm: np.ndarray, kind: np.ndarray, material: np.ndarray) -> np.ndarray:
    """Return bool (N,): the points of the trunk that the top leaves bare."""
    x, y, z = at_mm.T
    across = np.abs(x)
    front = z > -20
    low, wide = {"tank": (62, 92), "hoodie": (14, 62), "jumper": (22, 66), "shirt": (10, 58)}.get(looks.top, (38, 76))
    bare = ((x / wide) ** 2 + ((y + 14) / (low + 14)) ** 2 < 1) & (front | (y < -12))  # higher on the neck's back
    if looks.top in ("vneck", "shirt"):
        bare |= front & (y > -30) & (across < 0.62 * (looks.v_mm - y))
    if looks.top == "tank":
        bare |= (across > 122 - 0.1 * y) & (y < 120)
    return bare & (kind == TORSO) & (material == CLOTH)


def _paint_clothes(colors, looks, palette, kind, material, at_mm, rng) -> None:
    first, second, third = palette.cloth, palette.second, linear(room_color(rng))
    pattern = rng.choice(list(PATTERNS), p=list(PATTERNS.values()))
    cloth = material == CLOTH
    x, y, z = at_mm[cloth].T
    u, v = x + np.where(kind[cloth] == LIMB, 0.6 * z, 0), y
    painted = np.repeat(first[None], len(x), axis=0).astype(np.float32)
    period = rng.uniform(14, 70)
    if pattern == "stripes":
        along = u if rng.random() < 0.3 else v
        _mix(painted, second, (np.mod(along / period, 1) < rng.uniform(0.15, 0.6)).astype(np.float32))
    elif pattern == "checks":
        both = (np.mod(u / period, 1) < 0.5) * 0.5 + (np.mod(v / period, 1) < 0.5) * 0.5
        _mix(painted, second, both.astype(np.float32))
    elif pattern == "plaid":
        for along in (u, v):
            _mix(painted, second, 0.5 * (np.mod(along / period, 1) < 0.4).astype(np.float32))
            _mix(painted, third, 0.7 * (np.mod(along / period + 0.2, 1) < 0.07).astype(np.float32))
            _mix(painted, third * 0.2, 0.6 * (np.mod(along / period + 0.55, 1) < 0.12).astype(np.float32))
    elif pattern == "marl":
        painted *= rng.uniform(0.75, 1.25, (len(x), 1)).astype(np.float32)
    front = (kind[cloth] == TORSO) & (z > 0)
    if looks.top in ("tshirt", "jumper", "hoodie") and rng.random() < 0.4:
        _mix(painted, third, front * _print(u, v, rng))
    if looks.top == "shirt":
        button = np.hypot(x, np.mod(v, 75) - 37) < 6
        _mix(painted, palette.cloth * 0.35, front * np.maximum(0.9 * button, 0.35 * _bell(np.abs(x) - 16, 2.5)))
    colors[cloth] = painted
    lower, hat = material == LOWER, material == HAT
    colors[lower], colors[hat] = palette.lower, palette.hat


def _print(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 0 to 1 (N,): a disc, a block of letters or a ragged picture on the chest."""
    x, y, kind = u - rng.normal(0, 12), v - rng.uniform(120, 210), rng.integers(3)
    wide, high = rng.uniform(35, 110), rng.uniform(14, 70)
    if kind == 0:
        radius = np.hypot(x / wide, y / wide)
        return ((radius < 1) & (radius > rng.choice([0.0, 0.7]))).astype(np.float32)
    cells = rng.random((12, 24)) < (0.6 if kind == 1 else 0.45)
    row = np.clip((y / high + 1) * 6, 0, 11).astype(int) if kind == 2 else np.clip((y / high + 1) * 1.5, 0, 2).astype(int)
    column = np.clip((x / wide + 1) * 12, 0, 23).astype(int)
    return ((np.abs(x) < wide) & (np.abs(y) < high) & cells[row, column]).astype(np.float32)


def _paint_face(colors, looks, palette, at_mm, pixel_mm, strands, rng) -> np.ndarray:
    """Return the colours (N, 3) of the head's skin with eyes, brows, mouth, shaven hair and beard."""
    x, y, z = at_mm.T
    across = np.abs(x)
    front = _step(z - 25, 20)
    soft = max(pixel_mm, 1.5)
    flush = 0.5 * _bell(np.hypot(across - 38, (y - 34) * 1.2), 24) + 0.4 * _bell(np.hypot(x, y - 40), 14) * (z > 85)
    flush += 0.4 * (across > 72)
    colors = colors * np.exp(-rng.uniform(0.1, 1.0) * flush[:, None] * BLUSH_RGB)
    shadow = 0.45 * _bell(across - 30, 19) * _bell(y + 5, 11) + 0.16 * _bell(across - 30, 14) * _bell(y - 14, 5)
    shadow += rng.uniform(0, 0.3) * _bell(across - (17 + 0.6 * (y - 42)), 3) * (y > 42) * (y < 68)
    shadow += 0.9 * _bell(np.hypot(across - 8, y - 49), 4.5) + 0.25 * _bell(np.hypot(x, (y - 83) * 1.5), 12)
    shadow += 0.3 * _bell(np.hypot(across - 75, y - 14), 8)
    colors *= np.exp(-(front * rng.uniform(0.5, 1.2) * shadow))[:, None].astype(np.float32)
    if looks.hat != "hijab":
        _paint_hair_on_skin(colors, looks, palette, x, y, z, strands, rng)
    _paint_mouth(colors, palette, x, y, front, soft, rng)
    _paint_eyes(colors, palette, x, y, front, soft, rng)
    return colors


def _paint_hair_on_skin(colors, looks, palette, x, y, z, strands, rng) -> None:
    """Lay cropped hair over the skull and stubble or beard over the jaw."""
    across, around = np.abs(x), np.abs(np.arctan2(x, z))
    ear = (across > 67) & (((y - 14) / 32) ** 2 + ((z + 10) / 25) ** 2 < 1)
    if looks.hair != "bald" or rng.random() < 0.4:
        front = -150 if looks.hair == "bald" else rng.uniform(-84, -58)
        line = np.interp(around, (0, 0.6, 0.95, 1.25, 1.6, 1.9, 3.2), (front, front, front * 0.7, 5, 10, 50, 75))
        share = rng.uniform(0.4, 0.85) if looks.hair in ("bald", "shaved") else 0.95
        _mix(colors, palette.hair, share * _step(line - y + 2 * strands, 10) * ~ear)
    if looks.beard > 0:
        edge = np.interp(across, (0, 22, 45, 60, 70), (74, 70, 56, 34, 0) if looks.beard < 0.85 else (72, 62, 44, 20, -10))
        zone = _step(y - edge, 12) * (z > -25) + _step(9 - np.abs(y - 53), 5) * _step(30 - across, 8) * (z > 40)
        share = np.clip(0.15 + 0.85 * looks.beard, 0, 0.92) * np.clip(1 + 0.15 * strands, 0.6, 1.1)
        _mix(colors, palette.hair, np.clip(zone, 0, 1) * share * ~ear)


def _paint_mouth(colors, palette, x, y, front, soft, rng) -> None:
    smile, wide = rng.choice([0.0, rng.uniform(0.3, 1.2)]), rng.uniform(22, 28)
    wide += 7 * smile
    bend = np.clip(1 - (x / wide) ** 2, 0, 1)
    off = y - 65 - 5 * smile * (bend - 0.4)
    inside = _step(wide - np.abs(x), 2 * soft) * front
    thick = rng.uniform(5, 8.5)
    _mix(colors, palette.lips, inside * _step(thick * bend ** 0.6 - np.abs(off), 2 * soft))
    gap = rng.uniform(2, 5) * (rng.random() < (0.5 if smile > 0.5 else 0.12))
    teeth = rng.choice([0.02, 0.45], p=[0.35, 0.65])
    _mix(colors, palette.lips * 0.25, 0.85 * inside * _bell(off, max(1.6, 0.6 * soft)))
    if gap:
        _mix(colors, np.float32([teeth, teeth * 0.80, teeth * 0.62]), inside * _step(gap * bend - np.abs(off), soft))


def _paint_eyes(colors, palette, x, y, front, soft, rng) -> None:
    open_mm = rng.uniform(2.4, 5.2) if rng.random() < 0.93 else 0.6
    gaze = rng.normal(0, 2, 2) * (1, 0.4)
    tones = IRIS_SRGB[: len(IRIS_SRGB) if palette.skin[1] > 0.3 else 2]
    iris = linear(rng.choice(tones)) * 0.7
    brow, thick, raised = rng.uniform(0.55, 0.95), rng.uniform(2.2, 4.6), rng.uniform(-3, 3)
    across = np.abs(x) - 31
    lid = open_mm * np.sqrt(np.clip(1 - (across / 15) ** 2, 0, 1))
    seen = front * _step(lid - np.abs(y), soft) * (np.abs(across) < 15)
    _mix(colors, np.float32([0.34, 0.29, 0.26]), 0.75 * seen)
    apart = np.where(x > 0, x - 31, x + 31) - gaze[0]
    _mix(colors, iris, seen * _step(6 - np.hypot(apart, y - gaze[1]), soft))
    lash = _bell(y + lid, max(1.7, 0.7 * soft)) * _step(17 - np.abs(across), 3)
    _mix(colors, palette.skin * 0.12, 0.8 * front * lash)
    line = y + 20 + raised + 5 * (1 - ((across - 4) / 22) ** 2)
    _mix(colors, palette.hair * 0.8, brow * front * _bell(line, max(thick, 0.7 * soft)) * _step(21 - np.abs(across), 5))


def _put_on_glasses(colors, at_mm, pixel_mm, rng) -> np.ndarray:
    x, y, z = at_mm.T
    frame = linear(rng.choice(np.array([[18, 18, 20], [18, 18, 20], [60, 38, 26], [150, 145, 140]])))
    thick = max(rng.uniform(1.0, 3.6), 0.6 * pixel_mm)
    half = np.array([rng.uniform(22, 28), rng.uniform(14, 24)])
    corner = rng.uniform(0.3, 1.0) * half.min()
    out = np.abs(np.column_stack([np.abs(x) - 33, y - 4])) - (half - corner)
    edge = np.hypot(*np.maximum(out, 0).T) + np.minimum(out.max(axis=1), 0) - corner
    front = z > 30
    if rng.random() < 0.1:
        _mix(colors, np.float32([0.02, 0.02, 0.02]), 0.92 * front * _step(-edge, pixel_mm))
    else:
        glare = rng.uniform(0, 0.12) * (y < rng.uniform(-10, 10) + rng.normal(0, 0.4) * x)
        colors += (front * _step(-edge, pixel_mm) * glare)[:, None].astype(np.float32)
    rim = front * _step(thick - np.abs(edge), pixel_mm)
    bridge = front * (np.abs(x) < 11) * _step(thick - np.abs(y + 4), pixel_mm)
    temple = (np.abs(x) > 56) * (z > 0) * (z < 62) * _step(thick - np.abs(y + 3), pixel_mm)
    _mix(colors, frame, 0.95 * np.maximum(np.maximum(rim, bridge), temple))
    return colors
