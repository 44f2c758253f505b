"""The flesh of a hand: rows of spheres around the bones of `hand_poses.py`, in its frame and in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.rendering.hand_poses import FINGER_RADIUS_MM, THUMB_RADIUS_MM, Person, Skeleton, draw_skeleton, unit

# Rows: index, middle, ring, little: where the bones of the palm meet the wrist.
CARPAL_MM = np.array([[16, 14, 0], [5, 14, -2], [-8, 13, -1], [-19, 12, 2]], float)
FOREARM_MM = 420.0  # runs out of every picture
HAND_MM = 190.0  # wrist to fingertip, about

SKIN, CLOTH, METAL, STRAP = range(4)
ARM, PALM, DIGIT = range(3)


@dataclass(frozen=True)
class Bones:
    """B bones: start_mm, axis and back (unit vectors, back out of the back of the hand), each (B, 3); length_mm, kind,
    segment and material (B,).

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


class _Builder:
    """Collects rows of spheres, each row on a bone of its own."""

    def __init__(self) -> None:
        self.centers, self.radii, self.owners, self.bones = [], [], [], []

    def row(self, start, end, radius_start, radius_end, back=(0, 0, -1), kind=PALM, segment=-1, material=SKIN) -> None:
        """Add a bone from start to end (3,), wrapped in spheres; everything in millimetres."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        length = float(np.linalg.norm(end - start))
        # Palm and arm are smoothed once more when drawn, and do with fewer spheres.
        count = 2 + int(length / ((0.36 if kind == DIGIT else 0.7) * min(radius_start, radius_end)))
        along = np.linspace(0, 1, count)
        self.centers.append(start + along[:, None] * (end - start))
        self.radii.append(radius_start + along * (radius_end - radius_start))
        self.owners.append(np.full(count, len(self.bones)))
        self.bones.append((start, (end - start) / max(length, 1e-9), back, length, kind, segment, material))

    def hand(self) -> Hand:
        bones = Bones(*(np.array(column) for column in zip(*self.bones, strict=True)))
        return Hand(*(np.concatenate(column) for column in (self.centers, self.radii, self.owners)), bones)


def _add_digits(build: _Builder, skeleton: Skeleton) -> None:
    for joints, backs, radii in zip(skeleton.fingers_mm, skeleton.finger_backs, FINGER_RADIUS_MM, strict=True):
        radii = radii * skeleton.person.thickness
        ends = joints[1:].copy()
        ends[2] -= unit(joints[3] - joints[2]) * radii[3]  # the last sphere ends where the finger does
        for bone in range(3):
            build.row(joints[bone], ends[bone], radii[bone], radii[bone + 1], backs[bone], DIGIT, bone)
    thumb, backs, radii = skeleton.thumb_mm, skeleton.thumb_backs, THUMB_RADIUS_MM * skeleton.person.thickness
    end = thumb[3] - unit(thumb[3] - thumb[2]) * radii[3] * 0.6
    build.row(thumb[0], thumb[1], radii[0], radii[1], backs[0])
    build.row(thumb[1], thumb[2], radii[1], radii[2], backs[1], DIGIT, 1)
    build.row(thumb[2], end, radii[2], radii[3], backs[2], DIGIT, 2)


def _add_palm(build: _Builder, skeleton: Skeleton) -> None:
    joints, person = skeleton.fingers_mm, skeleton.person
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
    build.row((-18.0 * person.width, 14.0, 6.0), knuckles[3] + (2, -16, 4), 15 * thick, 11 * thick)
    build.row((4, 12, 4), (2, 50, 4), 14 * thick, 12 * thick)


def _add_thumb_flesh(build: _Builder, skeleton: Skeleton) -> None:
    """Add the ball of the thumb, and the skin between thumb and index finger."""
    thumb, thick = skeleton.thumb_mm, skeleton.person.thickness
    carpal, knuckle = CARPAL_MM[0] * (skeleton.person.width, 1, 1), skeleton.fingers_mm[0, 0]
    ball_end = thumb[0] + 0.8 * (thumb[1] - thumb[0]) + (-3, 0, 2)
    build.row(thumb[0] + (-6, -2, 1), ball_end, 15.5 * thick, 13.5 * thick)
    for share in np.linspace(0.2, 1.05, 6):
        on_thumb = thumb[0] + share * (thumb[1] - thumb[0])
        on_palm = carpal + min(share, 0.85) * (knuckle - carpal)
        build.row(on_thumb, on_palm, (11.5 - 4.0 * share) * thick, (12 - 4.0 * share) * thick)


def _is_fist_finger(joints: np.ndarray) -> bool:
    """Whether a finger (4, 3) points back to the wrist by its middle bone."""
    return joints[2, 1] < joints[1, 1] - 10


def _add_fist_flesh(build: _Builder, skeleton: Skeleton) -> None:
    """Fill what tightly bent fingers enclose, also with the thumb on them: soft flesh leaves no hole there."""
    thick, thumb = skeleton.person.thickness, skeleton.thumb_mm
    for finger, joints in enumerate(skeleton.fingers_mm):
        if not _is_fist_finger(joints):
            continue
        knuckle, middle, end, tip = joints
        radius = 0.8 * FINGER_RADIUS_MM[finger, 2] * thick
        for share in (0.35, 0.8):
            outer, inner = knuckle + share * (middle - knuckle), tip + share * (end - tip)
            build.row(outer, inner, radius, radius, skeleton.finger_backs[finger, 1])
        # The palm swells up to the fingertips that press on it.
        build.row(CARPAL_MM[finger] + (0, 8, 5), tip + (0, -11, -3), 13.5 * thick, 11 * thick)
    end, tip = skeleton.fingers_mm[0, 2:]
    if _is_fist_finger(skeleton.fingers_mm[0]) and np.linalg.norm(thumb[2] - end) < 42:
        for share in (0.3, 0.65, 1.0):
            on_thumb = thumb[1] + share * (thumb[2] - thumb[1])
            build.row(on_thumb, tip + share * (end - tip), 8 * thick, 7 * thick)


def _add_forearm(build: _Builder, person: Person, rng: np.random.Generator) -> None:
    """Add the forearm at a wrist bent a little any way, with a sleeve on half of all arms and a watch on a few."""
    sideways, flexed = np.deg2rad(rng.normal(0, 12)), np.deg2rad(rng.normal(-5, 15))
    wrist_axis = unit(np.array([np.sin(sideways), -1.0, np.sin(flexed)]))
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

    for start, end in zip(places_mm[:-1], places_mm[1:], strict=True):
        if start < sleeve_at:
            stretch(start, min(end, sleeve_at + 10), 0.0, SKIN)
    if sleeve_at < FOREARM_MM:
        loose = rng.uniform(3, 12)
        stretch(sleeve_at, min(sleeve_at + 90, FOREARM_MM), loose, CLOTH)
        stretch(min(sleeve_at + 90, FOREARM_MM - 1), FOREARM_MM, loose * 1.3, CLOTH)
    elif rng.random() < 0.12:
        at = rng.uniform(22, 40)
        stretch(at, at + rng.uniform(10, 18), 1.8, STRAP)


def _add_ring(build: _Builder, skeleton: Skeleton, finger: int) -> None:
    start, end = skeleton.fingers_mm[finger, :2]
    radius = FINGER_RADIUS_MM[finger, 1] * skeleton.person.thickness + 1.0
    span = start + 0.55 * (end - start), start + 0.61 * (end - start)
    build.row(*span, radius, radius, skeleton.finger_backs[finger, 0], DIGIT, 0, METAL)


def draw_hand(pose: str, rng: np.random.Generator) -> Hand:
    """Draw a person's right hand showing `pose`, with forearm; now and then with a sleeve, a watch or a ring.

    Raises ValueError for a pose that is not in POSES.
    """
    skeleton, build = draw_skeleton(pose, rng), _Builder()
    _add_digits(build, skeleton)
    _add_palm(build, skeleton)
    _add_thumb_flesh(build, skeleton)
    _add_fist_flesh(build, skeleton)
    _add_forearm(build, skeleton.person, rng)
    if rng.random() < 0.06:
        _add_ring(build, skeleton, int(rng.integers(1, 3)))
    return build.hand()
