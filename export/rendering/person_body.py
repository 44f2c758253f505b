"""The body of a person without hands: head, hair, clothes and limbs as ellipsoids and tapered limbs, in millimetres.

x points right, y down, z to the camera. The torso's origin is the pit of the neck, the head's lies between the eyes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from export.rendering.hand_poses import unit

SKIN, HAIR, CLOTH, LOWER, HAT, GEAR = range(6)
HEAD, TORSO, LIMB = range(3)
HEAD_MM = 230.0  # chin to crown, about

HAIR_STYLES = {"bald": 0.08, "shaved": 0.10, "short": 0.32, "quiff": 0.10, "curly": 0.11, "afro": 0.04, "bob": 0.08,
               "long": 0.13, "bun": 0.04}
TOPS = {"tshirt": 0.34, "shirt": 0.20, "vneck": 0.10, "jumper": 0.12, "hoodie": 0.12, "tank": 0.08, "bare": 0.04}
HATS = {"none": 0.80, "cap": 0.06, "beanie": 0.03, "hijab": 0.04, "headphones": 0.07}


@dataclass(frozen=True)
class Looks:
    """What is drawn once a person: words from the tables above, lengths in millimetres, shares 0 to 1."""

    hair: str
    fringe: bool
    hat: str
    top: str
    beard: float  # 0 shaven, to 0.5 stubble, above a beard
    sleeve: float  # 0 none, 1 to the elbow, 2 to the wrist
    build: float  # of the torso's width, 1 on average
    loose_mm: float
    v_mm: float  # depth of a V-neck or an open collar below the pit of the neck


@dataclass(frozen=True)
class Part:
    """A frame of its own: a point p of it lies at origin_mm + rotation @ (p * stretch); arrays (3,), (3, 3), (3,)."""

    kind: int
    origin_mm: np.ndarray
    rotation: np.ndarray
    stretch: np.ndarray

    def at(self, point) -> np.ndarray:
        return self.origin_mm + self.rotation @ (np.asarray(point, float) * self.stretch)


@dataclass(frozen=True)
class Shape:
    """An ellipsoid about `start_mm` with `axes` (3, 3) from its unit ball; or, where axes is None, a tapered limb
    from start_mm to end_mm. It flows into what it touches over blend_mm; part is its row in Body.parts."""

    start_mm: np.ndarray
    end_mm: np.ndarray
    axes: np.ndarray | None
    radius_start: float
    radius_end: float
    blend_mm: float
    part: int
    material: int


class Body:
    """Collects parts and the shapes on them."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.shapes: list[Shape] = []

    def part(self, kind: int, origin_mm, rotation, stretch=(1, 1, 1)) -> int:
        self.parts.append(Part(kind, np.asarray(origin_mm, float), rotation, np.asarray(stretch, float)))
        return len(self.parts) - 1

    def ball(self, part: int, center, radii, blend_mm: float = 12, material: int = SKIN) -> None:
        frame = self.parts[part]
        axes = frame.rotation * (np.asarray(radii, float) * frame.stretch)
        self.shapes.append(Shape(frame.at(center), frame.at(center), axes, 0.0, 0.0, blend_mm, part, material))

    def rod(self, part: int, start, end, radius_start, radius_end, blend_mm: float = 12, material: int = SKIN) -> None:
        frame = self.parts[part]
        self.shapes.append(Shape(frame.at(start), frame.at(end), None, radius_start, radius_end, blend_mm, part, material))


def turned(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Return the rotation that rolls, then pitches (up is positive), then yaws."""
    matrix = np.eye(3)
    for (i, j), angle in zip(((2, 0), (1, 2), (0, 1)), np.deg2rad((yaw_deg, pitch_deg, roll_deg))):
        step = np.eye(3)
        step[i, i], step[j, j], step[i, j], step[j, i] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
        matrix = matrix @ step
    return matrix


def draw_looks(rng: np.random.Generator) -> Looks:
    hair, top, hat = (str(rng.choice(list(odds), p=list(odds.values()))) for odds in (HAIR_STYLES, TOPS, HATS))
    long_hair = hair in ("bob", "long", "bun")
    beard = 0.0 if long_hair or hat == "hijab" or rng.random() < 0.45 else rng.uniform(0.15, 1.0)
    long_sleeved = {"shirt": 0.5, "jumper": 1.0, "hoodie": 1.0, "tshirt": 0.08, "vneck": 0.25}.get(top, 0.0)
    sleeve = rng.uniform(1.2, 2.0) if rng.random() < long_sleeved else rng.uniform(0.3, 0.9)
    sleeve = 0.0 if top in ("tank", "bare") else 2.0 if hat == "hijab" else sleeve
    return Looks(hair, rng.random() < 0.3, hat, "jumper" if hat == "hijab" else top, beard, sleeve,
                 rng.uniform(0.84, 1.2), rng.uniform(3, 18), rng.uniform(50, 150))


def add_torso(body: Body, looks: Looks, yaw_deg: float, lean_deg: float, rng: np.random.Generator) -> int:
    """Add trunk, neck, collar and thighs at the origin; return the torso's part."""
    size = rng.uniform(0.88, 1.08)
    torso = body.part(TORSO, (0, 0, 0), turned(yaw_deg, rng.normal(0, 5), lean_deg),
                      (size * looks.build, size, size * looks.build ** 0.7))
    cloth, loose = (SKIN, 0.0) if looks.top == "bare" else (CLOTH, looks.loose_mm)
    neck, slope = rng.uniform(48, 64), rng.uniform(0, 25)
    body.rod(torso, (0, 20, -34), (0, -95, -16), neck * 1.06, neck)
    for side in (-1, 1):
        body.rod(torso, (side * 16, -48 + slope / 2, -58), (side * 160, 18 + slope, -36), 22, 36 + loose / 2, 50, cloth)
        body.ball(torso, (side * 178, 54 + slope, -34), (50 + loose / 2, 60 + loose / 2, 52), 45, cloth)
    waist, belly = rng.uniform(128, 165), rng.uniform(0, 45)
    body.ball(torso, (0, 90, -34), (172 + loose / 2, 92, 86), 50, cloth)
    body.ball(torso, (0, 190, -34), (166 + loose, 190, 106 + loose / 2), 60, cloth)
    body.ball(torso, (0, 380, -30 + belly / 3), (waist + loose + belly / 2, 230, 106 + loose + belly / 2), 60, cloth)
    body.ball(torso, (0, 560, -34), (172, 95, 118), 30, LOWER if rng.random() < 0.7 else cloth)
    if looks.beard == 0 and rng.random() < 0.5:
        bust = rng.uniform(48, 68)
        for side in (-1, 1):
            body.ball(torso, (side * 72, 174, 18), (66, 70, bust + 8), 60, cloth)
    for side in (-1, 1):
        body.rod(torso, (side * 88, 600, -30), (side * 98, 1050, -10), 100, 68, 20, LOWER)
        body.rod(torso, (side * 98, 1050, -10), (side * 98, 1600, -40), 66, 46, 12, LOWER)
    _add_collar(body, torso, looks, neck)
    return torso


def _add_collar(body: Body, torso: int, looks: Looks, neck_mm: float) -> None:
    frame = body.parts[torso]
    torso = body.part(LIMB, frame.origin_mm, frame.rotation, frame.stretch)  # the neckline does not cut the collar
    if looks.top == "shirt":
        for side in (-1, 1):
            body.ball(torso, (side * 44, 8, 28), (25, 40, 10), 6, CLOTH)
    if looks.top in ("hoodie", "jumper", "shirt"):
        thick = {"hoodie": 30, "jumper": 11, "shirt": 12}[looks.top]
        angles = np.linspace(0, 2 * np.pi, 10) if looks.top != "shirt" else np.linspace(0.8, 2 * np.pi - 0.8, 8)
        reach = neck_mm + thick * 0.55
        ring = [(reach * 1.12 * np.sin(a), 6 - 34 * (1 - np.cos(a)) / 2, reach * np.cos(a) - 28) for a in angles]
        for start, end in zip(ring[:-1], ring[1:]):
            body.rod(torso, start, end, thick, thick, 6, CLOTH)


def add_head(body: Body, torso: int, looks: Looks, rotation: np.ndarray, rng: np.random.Generator) -> int:
    """Add head, hair and hat on the neck; return the head's part."""
    stretch = np.array([rng.uniform(0.92, 1.1), rng.uniform(0.94, 1.08), 1.0]) * rng.uniform(0.94, 1.06)
    joint = body.parts[torso].at((0, -72, -18))
    head = body.part(HEAD, joint - rotation @ (np.array([0, 78, -14]) * stretch), rotation, stretch)
    jaw, plump, nose = rng.uniform(0.84, 1.12), rng.uniform(0.85, 1.25), rng.uniform(0.8, 1.2)
    body.ball(head, (0, -35, -12), (75, 80, 95))
    body.ball(head, (0, 18, 16), (65, 84, 72), 24)
    body.ball(head, (0, 62, 26), (53 * jaw, 50, 54), 40)
    body.ball(head, (0, 96, 54), (28 * jaw, 20, 24), 34)
    body.ball(head, (0, -20, 68), (50, 12, 18), 22)
    for side in (-1, 1):
        body.ball(head, (side * 33, 32, 46), (26, 26, 28 * plump), 30)
        body.ball(head, (side * 32, 0, 64), (14, 10, 13), 8)
        body.ball(head, (side * 74, 14, -10), (9, 31, 18), 5)
        body.ball(head, (side * 10 * nose, 42, 85), (8 * nose, 8, 11), 8)
    body.rod(head, (0, -14, 80), (0, 36, 91 + 6 * nose), 6, 9 * nose, 12)
    body.ball(head, (0, 41, 93 + 4 * nose), (11 * nose, 10, 11), 8)
    for lip_y, thick in ((58, 6), (70, 8)):
        body.ball(head, (0, lip_y, 76), (25, thick, 12), 9)
    if looks.beard > 0.6:
        size = 4 + 22 * (looks.beard - 0.6) / 0.4
        body.ball(head, (0, 82 + size / 2, 34), (52 + size / 2, 28 + size, 50 + size / 2), 8, HAIR)
    if looks.hat != "hijab":
        _add_hair(body, head, looks, rng)
    _add_hat(body, head, looks)
    return head


def _add_hair(body: Body, head: int, looks: Looks, rng: np.random.Generator) -> None:
    if looks.hair in ("bald", "shaved"):
        return
    thick, rise, capped = rng.uniform(3, 12), rng.uniform(-4, 10), looks.hat in ("cap", "beanie")
    thick = min(thick, 5) if capped else thick
    body.ball(head, (0, -44 - rise, -22), (76 + thick, 78 + thick, 92 + thick), 5, HAIR)
    if looks.fringe and not capped:
        body.ball(head, (rng.uniform(-18, 18), -66, 52), (64, rng.uniform(22, 36), 34), 8, HAIR)
    if looks.hair == "quiff" and not capped:
        body.ball(head, (rng.uniform(-25, 25), -112, 30), (56, 24, 46), 14, HAIR)
    if looks.hair == "afro" and not capped:
        body.ball(head, (0, -58, -30), (rng.uniform(95, 125), rng.uniform(85, 105), 105), 5, HAIR)
    if looks.hair == "curly" and not capped:
        for way in unit(rng.standard_normal((22, 3))):
            place = np.array([0, -48, -20]) + way * (76, 78, 86)
            if place[1] < 25 and (place[1] < -70 or place[2] < 30):
                body.ball(head, place, np.full(3, rng.uniform(17, 28)), 5, HAIR)
    if looks.hair in ("long", "bob"):
        reach = rng.uniform(70, 110) if looks.hair == "bob" else rng.uniform(140, 280)
        wide = rng.uniform(70, 95)
        for side in (-1, 1):
            body.rod(head, (side * 62, -50, -4), (side * wide, reach * 0.45, -12), 24, 24, 14, HAIR)
            body.rod(head, (side * wide, reach * 0.45, -12), (side * wide, reach, -4), 26, 9, 14, HAIR)
        body.ball(head, (0, reach * 0.35, -62), (82, reach * 0.65, 38), 14, HAIR)
    if looks.hair == "bun":
        body.ball(head, (0, -120, -40), (34, 32, 34), 5, HAIR)


def _add_hat(body: Body, head: int, looks: Looks) -> None:
    if looks.hat in ("cap", "beanie"):
        body.ball(head, (0, -58, -12), (86, 72, 101), 3, HAT)
    if looks.hat == "cap":
        body.ball(head, (0, -46, 100), (64, 7, 52), 3, HAT)
    if looks.hat == "hijab":
        body.ball(head, (0, -18, -32), (92, 106, 104), 4, HAT)
        body.ball(head, (0, -62, -6), (84, 58, 92), 6, HAT)
        for side in (-1, 1):
            body.rod(head, (side * 72, 0, 6), (side * 44, 108, 32), 24, 30, 20, HAT)
        body.ball(head, (0, 140, 0), (104, 64, 82), 26, HAT)
    if looks.hat == "headphones":
        angles = np.linspace(-np.pi / 2, np.pi / 2, 7)
        arc = [(88 * np.sin(a), 2 - 132 * np.cos(a), -8) for a in angles]
        for start, end in zip(arc[:-1], arc[1:]):
            body.rod(head, start, end, 8, 8, 4, GEAR)
        for side in (-1, 1):
            body.ball(head, (side * 86, 10, -6), (17, 37, 32), 4, GEAR)


def add_limb(body: Body, joints_mm, radii_mm, covered: float, loose_mm: float, cloth: int = CLOTH) -> None:
    """Add a limb along joints_mm (J, 3), radii_mm (J,); the first `covered` bones of it, a share of one at the end, are
    in cloth."""
    joints = np.asarray(joints_mm, float)
    for bone, (start, end) in enumerate(zip(joints[:-1], joints[1:])):
        along = unit(end - start)
        side = unit(np.cross(along, (0.2, 0.1, 1.0)))
        part = body.part(LIMB, start, np.column_stack([side, along, np.cross(side, along)]))
        length, (thick, thin) = float(np.linalg.norm(end - start)), radii_mm[bone : bone + 2]
        share = np.clip(covered - bone, 0, 1)
        if share < 1:
            bare_from = max(share - 0.1, 0) * length
            body.rod(part, (0, bare_from, 0), (0, length, 0), thick + max(share - 0.1, 0) * (thin - thick), thin, 14)
        if share == 0:
            body.ball(part, (0, 0.3 * length, -4), (thick * 1.05, 0.36 * length, thick * 1.05), 20)  # the muscle
        else:
            cut = thick + share * (thin - thick)
            body.rod(part, (0, 0, 0), (0, share * length, 0), thick + loose_mm, cut + loose_mm, 20, cloth)


def add_arms(body: Body, torso: int, looks: Looks, out_of_frame: Callable[[np.ndarray], bool], rng) -> None:
    """Add both arms so that no wrist shows: it is out of the frame, or inside the trunk or behind the head."""
    frame, slender = body.parts[torso], rng.uniform(0.8, 1.15)
    crossed = rng.random() < 0.15 and frame.rotation[2, 2] > 0.85  # from the side an end would show
    for side in (-1, 1):
        joints = _crossed_arm(frame, side) if crossed else _free_arm(frame, side, out_of_frame, rng)
        radii = np.array([50, 42, 29, 27]) * slender
        sleeve = looks.sleeve + max(looks.sleeve - 1, 0) * crossed  # the forearm of a crossed arm is two bones
        add_limb(body, joints, radii[: len(joints)], sleeve, looks.loose_mm * 0.7)


def _crossed_arm(frame: Part, side: int) -> list[np.ndarray]:
    lift = 14 * side
    shoulder, elbow, before, hidden = (180, 60, -34), (205, 300, 40), (0, 262 + lift, 118), (-112, 240, -40)
    return [frame.at((side * x, y, z)) for x, y, z in (shoulder, elbow, before, hidden)]


def _free_arm(frame: Part, side: int, out_of_frame: Callable[[np.ndarray], bool], rng) -> list[np.ndarray]:
    """Return shoulder, elbow and wrist: a free arm that leaves the frame, or one with its wrist tucked away."""
    shoulder = frame.at((side * 180, 60, -34))
    for _ in range(5):
        kind = rng.choice(["down", "forward", "raised", "out"], p=[0.35, 0.3, 0.2, 0.15])
        middle = {"down": (0.2, 1, 0.1), "forward": (0.3, 0.9, 0.5), "raised": (0.8, -0.5, 0.2), "out": (1.0, 0.2, 0.2)}[kind]
        way = unit(np.asarray(middle) + rng.normal(0, 0.22, 3)) * (side, 1, 1)
        bend = {"down": (0.0, 1, 0.3), "forward": (-0.2, 0.5, 0.8), "raised": (-0.1, -1, 0.1), "out": (0.3, 0.3, 0.6)}[kind]
        elbow = shoulder + frame.rotation @ way * 285
        wrist = elbow + frame.rotation @ (unit(np.asarray(bend) + rng.normal(0, 0.35, 3)) * (side, 1, 1)) * 255
        if out_of_frame(wrist):
            return [shoulder, elbow, wrist]
    elbow, wrist = [
        ((side * 235, 310, -60), (side * 70, 430, -40)),  # behind the back, or in a pocket
        ((side * 345, 270, -50), (side * 90, 420, -40)),  # on the hip
        ((side * 390, -60, -40), (side * 15, -165, -60)),  # behind the head
    ][rng.choice(3, p=[0.55, 0.3, 0.15])]
    return [shoulder, frame.at(np.asarray(elbow) + rng.normal(0, 18, 3)), frame.at(wrist)]
