"""Joints of a hand showing a janken pose: bone lengths, joint angles, and where the thumb rests.

The right hand, in millimetres, wrist at the origin: x to the thumb's side, y to the fingertips, z out of the palm.
A left hand is the mirror image of a right one, and is made by mirroring the finished picture.
The numbers are rounded adult proportions and ordinary ranges of motion; every person drawn differs a little from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

POSES = ("gu", "choki", "pa")

# Rows: index, middle, ring, little.
KNUCKLE_MM = np.array([[26, 89, 1], [5, 92, -3], [-15, 87, -1], [-33, 77, 4]], float)
PHALANX_MM = np.array([[42, 25, 22], [46, 28, 23.5], [43, 27, 23], [34, 20, 21]], float)
# At the knuckle, the middle joint, the end joint and the tip.
FINGER_RADIUS_MM = np.array(
    [[11.0, 9.6, 8.6, 7.0], [11.2, 9.8, 8.7, 7.1], [10.6, 9.2, 8.2, 6.7], [9.6, 8.0, 7.1, 5.9]]
)
THUMB_BASE_MM = np.array([21.0, 20.0, 9.0])
THUMB_MM = np.array([44.0, 33.0, 27.0])
THUMB_RADIUS_MM = np.array([14.0, 11.5, 10.2, 8.2])

# How far each finger leans to the thumb's side at no spread, in degrees, and how much a spread of one degree adds.
LEAN_DEG = np.array([-1.5, 0.0, 2.0, 5.0])
FAN = (1.0, 0.2, -0.6, -1.5)
SCISSORS = (1.0, -0.6, -0.5, -0.8)
# A bent finger points at the root of the thumb, the outer ones most: sideways share of the bending direction.
CONVERGENCE = np.array([-0.08, 0.02, 0.12, 0.22])

# Flexion of knuckle, middle and end joint in degrees: what the loosest and the tightest such finger does.
FLEXION_DEG = {
    "straight": ((-6, 14), (2, 16), (0, 10)),
    "cupped": ((6, 34), (8, 38), (4, 22)),
    "curled": ((76, 92), (98, 112), (58, 80)),
}


@dataclass(frozen=True)
class Shape:
    """One way to hold a hand: a name of FLEXION_DEG for each finger, index to little; the spread; and the thumbs that
    go with it, names of THUMB_FREE and THUMB_TOUCH. The shapes of a pose are drawn by weight."""

    fingers: tuple[str, str, str, str]
    spread_deg: tuple[float, float]
    thumbs: tuple[str, ...]
    weight: float = 1.0
    spread_share: tuple[float, float, float, float] = FAN


_UP, _IN = "straight", "curled"
SHAPES = {
    "gu": (
        Shape((_IN,) * 4, (-1, 1), ("over", "over_index", "beside"), 6),
        Shape((_IN,) * 4, (-1, 1), ("over", "tucked"), 2),
    ),
    "choki": (
        Shape((_UP, _UP, _IN, _IN), (6, 21), ("hold_ring", "hold_ring", "hold_middle", "folded"), 6, SCISSORS),
        Shape((_UP, _UP, _IN, _IN), (0, 6), ("hold_ring", "hold_middle", "folded"), 1, SCISSORS),
    ),
    "pa": (
        Shape((_UP,) * 4, (6, 24), ("out", "out", "ahead"), 4),
        Shape((_UP,) * 4, (0, 5), ("out", "ahead", "along"), 2),
        Shape(("cupped",) * 4, (1, 14), ("out", "ahead"), 2),
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
    "over": (1, 1.45, (0.0, 0.0, 1.0)),
    "over_index": (0, 1.4, (-0.1, 0.0, 1.0)),
    "hold_middle": (2, 1.1, (0.6, 0.0, 1.0)),
    "hold_ring": (2, 1.4, (0.15, 0.0, 1.0)),
    "beside": (0, 1.05, (1.0, 0.0, 0.35)),
    "tucked": (None, 0.0, (-8.0, 62.0, 20.0)),
    "folded": (None, 0.0, (-10.0, 66.0, 24.0)),
}
THUMB_REACHING = ((0.36, 0.74, 0.57), (-0.10, 0.70, 0.70), (-0.70, 0.45, 0.50))


@dataclass(frozen=True)
class Person:
    """Factors on the tables: length of all bones, thickness of all flesh, width of the palm."""

    length: float
    thickness: float
    width: float


@dataclass(frozen=True)
class Skeleton:
    """A posed hand: fingers_mm (4, 4, 3), knuckle to tip; thumb_mm (4, 3), root to tip; and for each bone between two
    joints the unit vector out of its back, finger_backs (4, 3, 3) and thumb_backs (3, 3)."""

    person: Person
    fingers_mm: np.ndarray
    finger_backs: np.ndarray
    thumb_mm: np.ndarray
    thumb_backs: np.ndarray


def unit(vector: np.ndarray) -> np.ndarray:
    """Return vector (..., 3) at length one."""
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)


def _draw_person(rng: np.random.Generator) -> Person:
    if rng.random() < 0.2:  # a child: short, plump fingers for the size of the palm
        return Person(rng.uniform(0.90, 0.98), rng.uniform(1.0, 1.2), rng.uniform(0.94, 1.06))
    return Person(rng.uniform(0.93, 1.07), rng.uniform(0.88, 1.18), rng.uniform(0.94, 1.06))


def _pose_fingers(shape: Shape, person: Person, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
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
    name: str, fingers: np.ndarray, person: Person, rng: np.random.Generator
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
            target = at + unit(np.array(side)) * touching * 0.86
        joints = _reach(joints, target + rng.normal(0, 2.0, 3))
    axes = unit(np.diff(joints, axis=0))
    # The nail is on the outer side of the bend; a straight thumb shows it to its own side.
    bend = axes[2] - axes[1]
    outward = np.array([0.5, -0.2, -0.35]) - 2.0 * bend
    return joints, unit(outward - (axes @ outward)[:, None] * axes)


def draw_skeleton(pose: str, rng: np.random.Generator) -> Skeleton:
    """Draw a person, a way to show `pose` and small differences in every joint.

    Raises ValueError for a pose that is not in POSES.
    """
    if pose not in SHAPES:
        raise ValueError(f"unknown pose {pose!r}: expected one of {', '.join(POSES)}")
    shapes = SHAPES[pose]
    weights = np.array([shape.weight for shape in shapes])
    shape = shapes[rng.choice(len(shapes), p=weights / weights.sum())]
    person = _draw_person(rng)
    fingers, backs = _pose_fingers(shape, person, rng)
    thumb, thumb_backs = _pose_thumb(shape.thumbs[rng.integers(len(shape.thumbs))], fingers, person, rng)
    return Skeleton(person, fingers, backs, thumb, thumb_backs)
