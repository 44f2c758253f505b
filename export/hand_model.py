"""A jointed hand made of spheres: bones, joint angles of the janken poses, and the flesh around them.

The right hand, in millimetres, wrist at the origin: x to the thumb's side, y to the fingertips, z out of the palm.
A left hand is the mirror image of a right one, and is made by mirroring the finished picture.
Lengths and joint limits are those of common anthropometric tables, rounded; every person gets their own proportions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POSES = ("gu", "choki", "pa", "other")

# Rows: index, middle, ring, little.
KNUCKLE_MM = np.array([[26, 89, 1], [5, 92, -3], [-15, 87, -1], [-33, 77, 4]], float)
CARPAL_MM = np.array([[16, 14, 0], [5, 14, -2], [-8, 13, -1], [-19, 12, 2]], float)
PHALANX_MM = np.array([[42, 25, 22], [46, 28, 23.5], [43, 27, 23], [34, 20, 21]], float)
FINGER_RADIUS_MM = np.array([[11.0, 9.6, 8.6, 7.0], [11.2, 9.8, 8.7, 7.1], [10.6, 9.2, 8.2, 6.7], [9.6, 8.0, 7.1, 5.9]])
THUMB_BASE_MM = np.array([21.0, 20.0, 9.0])
THUMB_MM = np.array([44.0, 33.0, 27.0])
THUMB_RADIUS_MM = np.array([14.0, 11.5, 10.2, 8.2])
FOREARM_MM = 420.0
HAND_MM = 190.0  # wrist to fingertip, about

# How far each finger leans to the thumb's side at no spread, and by how much a spread of one degree adds (degrees).
LEAN_DEG = np.array([-1.5, 0.0, 2.0, 5.0])
FAN = (1.0, 0.2, -0.6, -1.5)
SCISSORS = (1.0, -0.6, -0.5, -0.8)
# A bent finger points at the root of the thumb, the outer ones most: sideways share of the bending direction.
CONVERGENCE = np.array([-0.08, 0.02, 0.12, 0.22])

# Flexion of knuckle, middle and end joint in degrees: what the loosest and the tightest such finger does.
FLEXION_DEG = {
    "straight": ((-6, 14), (2, 16), (0, 10)),
    "cupped": ((8, 30), (8, 32), (4, 18)),
    "half": ((22, 50), (38, 68), (18, 40)),
    "curled": ((76, 92), (98, 112), (58, 80)),
    "pinching": ((38, 52), (44, 58), (20, 34)),
}


@dataclass(frozen=True)
class Shape:
    """One way to hold a hand: a flexion name a finger (index to little), the spread in degrees, thumbs that go with it."""

    fingers: tuple[str, str, str, str]
    spread_deg: tuple[float, float]
    thumbs: tuple[str, ...]
    weight: float = 1.0
    spread_share: tuple[float, float, float, float] = FAN


_UP, _IN = "straight", "curled"
SHAPES = {
    "gu": (Shape((_IN,) * 4, (-1, 1), ("over", "over", "over", "over_index", "over_index", "beside", "beside", "tucked")),),
    "choki": (
        Shape((_UP, _UP, _IN, _IN), (6, 21), ("hold_ring", "hold_ring", "hold_middle", "folded"), 6, SCISSORS),
        Shape((_UP, _UP, _IN, _IN), (0, 6), ("hold_ring", "hold_middle", "folded"), 1, SCISSORS),
    ),
    "pa": (
        Shape((_UP,) * 4, (6, 17), ("out", "out", "ahead"), 4),
        Shape((_UP,) * 4, (0, 5), ("out", "ahead", "along"), 2),
        Shape(("cupped",) * 4, (2, 14), ("out", "ahead")),
    ),
    # Thumb with index finger is left out: some people show it for choki.
    "other": (
        Shape((_UP, _IN, _IN, _IN), (-2, 4), ("over", "folded", "hold_ring"), 2),
        Shape((_UP, _UP, _UP, _IN), (1, 14), ("folded", "hold_little"), 2),
        Shape((_UP, _UP, _UP, _UP), (1, 14), ("folded",), 2),
        Shape((_UP, _UP, _IN, _IN), (4, 16), ("out",)),
        Shape(("pinching", _UP, _UP, _UP), (1, 12), ("pinch",), 2),
        Shape(("pinching", "half", "half", "half"), (0, 4), ("pinch",)),
        Shape((_IN,) * 4, (-1, 1), ("out",), 2),
        Shape(("half",) * 4, (0, 8), ("ahead", "out"), 2),
        Shape((_IN, _IN, _IN, _UP), (-1, 8), ("over", "out")),
        Shape((_UP, _IN, _IN, _UP), (0, 8), ("over",)),
    ),
}

# Directions of the thumb's three bones where it reaches for nothing.
THUMB_FREE = {
    "out": ((0.72, 0.60, 0.30), (0.70, 0.70, 0.12), (0.66, 0.75, 0.0)),
    "ahead": ((0.58, 0.75, 0.36), (0.42, 0.90, 0.18), (0.34, 0.94, 0.08)),
    "along": ((0.46, 0.80, 0.36), (0.12, 0.98, 0.02), (0.02, 1.0, -0.05)),
}
# Where the thumb's end rests otherwise: finger (None: the palm), place along it in bones, and the side it rests on;
# for the palm, a point.
THUMB_TOUCH = {
    "over": (1, 1.65, (0.0, 0.0, 1.0)),
    "over_index": (0, 1.6, (-0.1, 0.0, 1.0)),
    "hold_middle": (2, 1.1, (0.6, 0.0, 1.0)),
    "hold_ring": (2, 1.4, (0.15, 0.0, 1.0)),
    "hold_little": (3, 1.4, (0.3, 0.0, 1.0)),
    "beside": (0, 1.05, (1.0, 0.0, 0.35)),
    "pinch": (0, 2.85, (0.2, 0.1, 1.0)),
    "tucked": (None, 0.0, (-8.0, 62.0, 20.0)),
    "folded": (None, 0.0, (-10.0, 66.0, 24.0)),
}
THUMB_REACHING = ((0.36, 0.68, 0.64), (-0.10, 0.70, 0.70), (-0.70, 0.45, 0.50))

SKIN, CLOTH, METAL, STRAP = range(4)
ARM, PALM, DIGIT = range(3)


@dataclass(frozen=True)
class Bones:
    """B bones: start_mm, axis (unit), back (unit, the dorsal side), each (B, 3); length_mm, kind, segment, material (B,).

    segment is the place of a finger bone: 0 next to the knuckle, 2 with the nail; -1 for what is no finger.
    """

    start_mm: np.ndarray
    axis: np.ndarray
    back: np.ndarray
    length_mm: np.ndarray
    kind: np.ndarray
    segment: np.ndarray
    material: np.ndarray


@dataclass(frozen=True)
class Hand:
    """N spheres: center_mm (N, 3), radius_mm (N,), bone (N,) the row of `bones` each belongs to."""

    center_mm: np.ndarray
    radius_mm: np.ndarray
    bone: np.ndarray
    bones: Bones


def unit(vector: np.ndarray) -> np.ndarray:
    """Return vector (..., 3) at length one."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


class _Builder:
    """Collects rows of spheres, each row on a bone of its own."""

    def __init__(self) -> None:
        self.centers, self.radii, self.owners, self.bones = [], [], [], []

    def row(self, start, end, radius_start, radius_end, back=(0, 0, -1), kind=PALM, segment=-1, material=SKIN) -> None:
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.linalg.norm(end - start))
        count = 2 + int(length / ((0.36 if kind == DIGIT else 0.7) * min(radius_start, radius_end)))
        along = np.linspace(0, 1, count)
        self.centers.append(start + along[:, None] * (end - start))
        self.radii.append(radius_start + along * (radius_end - radius_start))
        self.owners.append(np.full(count, len(self.bones)))
        self.bones.append((start, (end - start) / max(length, 1e-9), back, length, kind, segment, material))

    def hand(self) -> Hand:
        columns = [np.array(column) for column in zip(*self.bones)]
        return Hand(np.concatenate(self.centers), np.concatenate(self.radii), np.concatenate(self.owners), Bones(*columns))


@dataclass(frozen=True)
class _Person:
    length: float
    thickness: float
    width: float


def _draw_person(rng: np.random.Generator) -> _Person:
    child = rng.random() < 0.2
    thickness = rng.uniform(1.0, 1.2) if child else rng.uniform(0.88, 1.18)
    return _Person(rng.uniform(0.9, 0.98) if child else rng.uniform(0.93, 1.07), thickness, rng.uniform(0.94, 1.06))


def _pose_fingers(shape: Shape, person: _Person, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return joints_mm (4, 4, 3), knuckle to fingertip, and back (4, 3, 3), the dorsal direction of each bone."""
    tightness, spread = rng.uniform(), rng.uniform(*shape.spread_deg)
    joints, backs = np.empty((4, 4, 3)), np.empty((4, 3, 3))
    for finger, name in enumerate(shape.fingers):
        low, high = np.array(FLEXION_DEG[name], float).T
        flexion = low + (high - low) * np.clip(tightness + rng.normal(0, 0.18, 3), -0.1, 1.1)
        lean = np.deg2rad(LEAN_DEG[finger] + spread * shape.spread_share[finger] + rng.normal(0, 1.2))
        ahead = np.array([np.sin(lean), np.cos(lean), 0.0])
        inward = unit(np.array([CONVERGENCE[finger], 0.0, 1.0]))
        joints[finger, 0] = KNUCKLE_MM[finger] * (person.width, 1, 1)
        for bone, angle in enumerate(np.deg2rad(np.cumsum(flexion))):
            direction = np.cos(angle) * ahead + np.sin(angle) * inward
            length = PHALANX_MM[finger, bone] * person.length * (1 + rng.normal(0, 0.015))
            joints[finger, bone + 1] = joints[finger, bone] + direction * length
            backs[finger, bone] = np.sin(angle) * ahead - np.cos(angle) * inward
    return joints, backs


def _reach(joints: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Bend a thumb (4, 3) until its end is at target, bone lengths kept; its first bone moves unwillingly.

    FABRIK, Aristidou and Lasenby, Graphical Models 73 (2011), with a stiff first joint.
    """
    lengths = np.linalg.norm(np.diff(joints, axis=0), axis=1)
    root, joints, first = joints[0].copy(), joints.copy(), unit(joints[1] - joints[0])
    for _ in range(8):
        joints[-1] = target
        for i in (2, 1):
            joints[i] = joints[i + 1] + unit(joints[i] - joints[i + 1]) * lengths[i]
        joints[1] = root + unit(unit(joints[1] - root) + 1.5 * first) * lengths[0]
        for i in (1, 2):
            joints[i + 1] = joints[i] + unit(joints[i + 1] - joints[i]) * lengths[i]
    return joints


def _pose_thumb(
    name: str, fingers: np.ndarray, person: _Person, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return joints_mm (4, 3), root to tip, and back (3, 3)."""
    directions = np.array(THUMB_FREE.get(name, THUMB_REACHING)) + rng.normal(0, 0.08, 3)
    steps = unit(directions + rng.normal(0, 0.03, (3, 3))) * (THUMB_MM * person.length)[:, None]
    joints = np.cumsum(np.vstack([THUMB_BASE_MM * (person.width, 1, 1), steps]), axis=0)
    if name in THUMB_TOUCH:
        finger, place, side = THUMB_TOUCH[name]
        if finger is None:
            target = np.array(side)
        else:
            bone = min(int(place), 2)
            at = fingers[finger, bone] + (place - bone) * (fingers[finger, bone + 1] - fingers[finger, bone])
            touching = (FINGER_RADIUS_MM[finger, bone] + THUMB_RADIUS_MM[3]) * person.thickness
            target = at + unit(np.array(side)) * touching * 0.92
        joints = _reach(joints, target + rng.normal(0, 2.0, 3))
    axes = unit(np.diff(joints, axis=0))
    # The nail is on the outer side of the bend; a straight thumb shows it to its own side.
    bend = axes[2] - axes[1]
    outward = np.array([0.5, -0.2, -0.35]) - 2.0 * bend
    return joints, unit(outward - (axes @ outward)[:, None] * axes)


def _add_digits(build: _Builder, joints: np.ndarray, backs: np.ndarray, thumb: np.ndarray, thumb_back: np.ndarray, thickness: float) -> None:
    for finger in range(4):
        radii = FINGER_RADIUS_MM[finger] * thickness
        for bone in range(3):
            start, end = joints[finger, bone], joints[finger, bone + 1]
            if bone == 2:
                end = end - unit(end - start) * radii[3]
            build.row(start, end, radii[bone], radii[bone + 1], backs[finger, bone], DIGIT, bone)
    radii = THUMB_RADIUS_MM * thickness
    build.row(thumb[0], thumb[1], radii[0], radii[1], thumb_back[0])
    build.row(thumb[1], thumb[2], radii[1], radii[2], thumb_back[1], DIGIT, 1)
    build.row(thumb[2], thumb[3] - unit(thumb[3] - thumb[2]) * radii[3] * 0.6, radii[2], radii[3], thumb_back[2], DIGIT, 2)


def _add_palm(build: _Builder, joints: np.ndarray, thumb: np.ndarray, person: _Person) -> None:
    knuckles, carpals, thick = joints[:, 0], CARPAL_MM * (person.width, 1, 1), person.thickness
    for finger in range(4):
        build.row(carpals[finger], knuckles[finger], 14.5 * thick, FINGER_RADIUS_MM[finger, 0] * 1.02 * thick)
    for finger in range(3):  # between neighbours: the back of the hand, the pads of the palm, the webs of skin
        between = (knuckles[finger] + knuckles[finger + 1]) / 2
        root = (carpals[finger] + carpals[finger + 1]) / 2
        build.row(root, between + (0, -6, 0), 14.5 * thick, 10.0 * thick)
        build.row(root + (0, 5, 4), between + (0, -10, 4), 12 * thick, 10 * thick)
        web = 0.5 * (joints[finger, :2] + joints[finger + 1, :2])
        build.row(between + (0, -10, 2), web[0] + 0.36 * (web[1] - web[0]), 9 * thick, 5 * thick)
    heel = np.array([-18.0 * person.width, 14.0, 6.0])
    build.row(heel, knuckles[3] + (2, -16, 4), 15 * thick, 11 * thick)
    build.row((4, 12, 4), (2, 50, 4), 14 * thick, 12 * thick)


def _add_thumb_flesh(build: _Builder, joints: np.ndarray, thumb: np.ndarray, person: _Person) -> None:
    """Add the ball of the thumb, and the skin between thumb and index finger."""
    thick, carpal, knuckle = person.thickness, CARPAL_MM[0] * (person.width, 1, 1), joints[0, 0]
    build.row(THUMB_BASE_MM + (-6, -2, 1), thumb[0] + 0.8 * (thumb[1] - thumb[0]) + (-3, 0, 2), 15.5 * thick, 13.5 * thick)
    for share in np.linspace(0.2, 1.05, 6):
        on_thumb = thumb[0] + share * (thumb[1] - thumb[0])
        on_palm = carpal + min(share, 0.85) * (knuckle - carpal)
        build.row(on_thumb, on_palm, (11.5 - 4.0 * share) * thick, (12 - 4.0 * share) * thick)


def _add_fist_flesh(
    build: _Builder, joints: np.ndarray, backs: np.ndarray, thumb: np.ndarray, thickness: float
) -> None:
    """Fill what tightly bent fingers enclose, also with the thumb on them: soft flesh leaves no hole there."""
    for finger in range(4):
        knuckle, middle, end, tip = joints[finger]
        if end[1] < middle[1] - 10:
            radius = 0.75 * FINGER_RADIUS_MM[finger, 2] * thickness
            for share in (0.3, 0.6, 0.9):
                outer, inner = knuckle + share * (middle - knuckle), tip + share * (end - tip)
                build.row(outer, inner, radius, radius, backs[finger, 1])
            # The palm swells up to the fingertips that press on it.
            root = CARPAL_MM[finger] + (0, 8, 5)
            build.row(root, tip + (0, -11, -3), 13.5 * thickness, 11 * thickness)
    index_end, index_tip = joints[0, 2:]
    if np.linalg.norm(thumb[2] - index_end) < 42 and index_end[1] < joints[0, 1, 1] - 10:
        for share in (0.3, 0.65, 1.0):
            on_thumb = thumb[1] + share * (thumb[2] - thumb[1])
            build.row(on_thumb, index_tip + share * (index_end - index_tip), 8 * thickness, 7 * thickness)


def _add_forearm(build: _Builder, person: _Person, wrist_axis: np.ndarray, rng: np.random.Generator) -> None:
    """Add the forearm along wrist_axis, with a sleeve on half of all arms and a watch on a few."""
    side = unit(np.cross(wrist_axis, (0, 0, 1.0)))
    plump = rng.uniform(1.2, 1.5)
    places_mm, thick_mm = np.array([-14, 8, 60, 180, FOREARM_MM]), np.array([14.5, 16.5, 19, 19 * plump, 19 * plump])
    half_width_mm = np.array([13, 13, 12, 11 * plump, 11 * plump]) * person.width
    sleeve_at = rng.choice([rng.uniform(8, 60), rng.uniform(60, 200)]) if rng.random() < 0.5 else FOREARM_MM

    def stretch(start_mm: float, end_mm: float, extra_mm: float, material: int) -> None:
        span = np.array([start_mm, end_mm])
        thick = np.interp(span, places_mm, thick_mm) * person.thickness + extra_mm
        half_width = np.interp(span, places_mm, half_width_mm)
        for sign in (-1, 0, 1):
            ends = wrist_axis * span[:, None] + sign * side * half_width[:, None]
            build.row(*ends, *thick, kind=ARM, material=material)

    for start, end in zip(places_mm[:-1], places_mm[1:]):
        if start < sleeve_at:
            stretch(start, min(end, sleeve_at + 10), 0.0, SKIN)
    if sleeve_at < FOREARM_MM:
        loose = rng.uniform(3, 12)
        stretch(sleeve_at, min(sleeve_at + 90, FOREARM_MM), loose, CLOTH)
        stretch(min(sleeve_at + 90, FOREARM_MM - 1), FOREARM_MM, loose * 1.3, CLOTH)
    elif rng.random() < 0.12:
        at = rng.uniform(22, 40)
        stretch(at, at + rng.uniform(10, 18), 1.8, STRAP)


def draw_hand(pose: str, rng: np.random.Generator) -> Hand:
    """Draw a person, a way to show `pose` and small differences in every joint; return the right hand's spheres.

    Raises ValueError for a pose that is not in POSES.
    """
    if pose not in SHAPES:
        raise ValueError(f"unknown pose {pose!r}: expected one of {', '.join(POSES)}")
    shapes = SHAPES[pose]
    weights = np.array([shape.weight for shape in shapes])
    shape = shapes[rng.choice(len(shapes), p=weights / weights.sum())]
    person = _draw_person(rng)
    joints, backs = _pose_fingers(shape, person, rng)
    thumb, thumb_back = _pose_thumb(shape.thumbs[rng.integers(len(shape.thumbs))], joints, person, rng)
    build = _Builder()
    _add_digits(build, joints, backs, thumb, thumb_back, person.thickness)
    _add_palm(build, joints, thumb, person)
    _add_thumb_flesh(build, joints, thumb, person)
    _add_fist_flesh(build, joints, backs, thumb, person.thickness)
    sideways, flexed = np.deg2rad(rng.normal(0, 12)), np.deg2rad(rng.normal(-5, 15))
    _add_forearm(build, person, unit(np.array([np.sin(sideways), -1.0, np.sin(flexed)])), rng)
    if rng.random() < 0.06:
        finger = rng.integers(1, 3)
        span = joints[finger, :2]
        at = span[0] + 0.55 * (span[1] - span[0])
        radius = FINGER_RADIUS_MM[finger, 1] * person.thickness + 1.0
        build.row(at, at + 0.06 * (span[1] - span[0]), radius, radius, backs[finger, 0], DIGIT, 0, METAL)
    return build.hand()
