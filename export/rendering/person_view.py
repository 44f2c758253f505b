"""How the camera sees a body of ellipsoids and tapered limbs: its depth map, normals, and what is in front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.rendering.person_body import Body, Shape

SIZE_WH = (192, 160)  # of a finished picture
CANVAS_PX = 240  # side of the canvas it is drawn on, square as `light.py` wants it


@dataclass(frozen=True)
class View:
    """What turns millimetres into pixels of a canvas size_px wide and high, of which the upper part is the picture."""

    scale: float
    camera_mm: float
    focus_mm: np.ndarray
    shift_px: np.ndarray
    size_px: int

    def zoom(self, z_mm):
        """Return pixels a millimetre at z_mm, one or many."""
        return self.scale * self.camera_mm / np.maximum(self.camera_mm - (z_mm - self.focus_mm[2]), 90.0)

    def project(self, point_mm: np.ndarray) -> tuple[np.ndarray, float]:
        """Return (3,) pixels with z, and the scale there."""
        zoom = self.zoom(point_mm[2])
        flat = (point_mm[:2] - self.focus_mm[:2]) * zoom + self.shift_px
        return np.array([*flat, (point_mm[2] - self.focus_mm[2]) * self.scale]), float(zoom)

    def unproject(self, xyz_px: np.ndarray) -> np.ndarray:
        """Return millimetres (N, 3) of pixels with z (N, 3)."""
        z_mm = xyz_px[:, 2] / self.scale + self.focus_mm[2]
        flat = (xyz_px[:, :2] - self.shift_px) / self.zoom(z_mm)[:, None] + self.focus_mm[:2]
        return np.column_stack([flat, z_mm])

    def leaves(self, point_mm: np.ndarray, margin_mm: float = 45.0) -> bool:
        """Whether a point and what is margin_mm around it are out of the picture."""
        (x, y, _), zoom = self.project(point_mm)
        margin, (width, height) = margin_mm * zoom, (self.size_px, self.size_px * SIZE_WH[1] / SIZE_WH[0])
        return not (-margin < x < width + margin and -margin < y < height + margin)


def _ball_patch(shape: Shape, box, center, zoom):
    """Return depth (h, w), normal (3, h, w) and cover (h, w) of an ellipsoid in the box x0, y0, x1, y1 of the canvas."""
    x0, y0, x1, y1 = box
    to_ball = np.linalg.inv(shape.axes * zoom).astype(np.float32)
    dx, dy = np.arange(x0, x1, dtype=np.float32)[None, :] - center[0], np.arange(y0, y1, dtype=np.float32)[:, None] - center[1]
    flat = to_ball[:, 0, None, None] * dx + to_ball[:, 1, None, None] * dy  # where z = 0, in the unit ball
    up = to_ball[:, 2]
    a, b = float(up @ up), np.tensordot(up, flat, 1)
    inside = b * b - a * ((flat * flat).sum(axis=0) - 1)
    dz = (np.sqrt(np.maximum(inside, 0)) - b) / a
    normal = np.tensordot(to_ball.T, flat + up[:, None, None] * dz, 1)
    normal /= np.maximum(np.sqrt((normal * normal).sum(axis=0)), 1e-9)
    return dz + np.float32(center[2]), normal, inside > 0


def _rod_patch(shape: Shape, box, start, end, zooms):
    """See `_ball_patch`. Of the spheres along the rod, at share t, the one nearest to the camera is seen."""
    x0, y0, x1, y1 = box
    ra, rb = shape.radius_start * zooms[0], shape.radius_end * zooms[1]
    dx, dy = np.arange(x0, x1, dtype=np.float32)[None, :] - start[0], np.arange(y0, y1, dtype=np.float32)[:, None] - start[1]
    along, rise, widen = (end - start)[:2], end[2] - start[2], rb - ra
    # radius(t)^2 - distance(t)^2 = top - a (t - t0)^2
    a = max(float(along @ along) - widen**2, 1e-3)
    b = along[0] * dx + along[1] * dy + ra * widen
    t0 = b / a
    top = ra * ra - dx * dx - dy * dy + b * t0
    t = np.clip(t0 + np.sign(rise) * np.sqrt(np.maximum(top, 0) * (rise**2 / (a * a + a * rise**2))), 0, 1).astype(np.float32)
    inside = top - a * (t - t0) ** 2
    dz = np.sqrt(np.maximum(inside, 0))
    normal = np.stack([dx - along[0] * t, dy - along[1] * t, dz]) / (ra + widen * t)
    return dz + np.float32(start[2]) + np.float32(rise) * t, normal, inside > 0


def _patch(shape: Shape, view: View):
    """Return the window (two slices) that a shape covers, its depth, normal (3, h, w) and cover; None if off the canvas."""
    start, zoom = view.project(shape.start_mm)
    end, zoom_end = view.project(shape.end_mm)
    if shape.axes is not None:
        reach = np.linalg.norm(shape.axes[:2], axis=1) * zoom
        low, high = start[:2] - reach, start[:2] + reach
    else:
        first, last = shape.radius_start * zoom, shape.radius_end * zoom_end
        low, high = np.minimum(start[:2] - first, end[:2] - last), np.maximum(start[:2] + first, end[:2] + last)
    x0, y0 = np.maximum(np.floor(low), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(high) + 1, (view.size_px, np.ceil(view.size_px * SIZE_WH[1] / SIZE_WH[0]))).astype(int)
    if x0 >= x1 or y0 >= y1:
        return None
    box = (x0, y0, x1, y1)
    if shape.axes is not None:
        seen = _ball_patch(shape, box, start, zoom)
    else:
        seen = _rod_patch(shape, box, start, end, (zoom, zoom_end))
    return (slice(y0, y1), slice(x0, x1)), *seen


def splat(body: Body, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return depth_px (S, S), normal (S, S, 3), part and material int8 (S, S), part -1 where nobody is."""
    size = view.size_px
    depth, normal = np.full((size, size), -1e6, np.float32), np.zeros((3, size, size), np.float32)
    part, material = np.full((size, size), -1, np.int8), np.zeros((size, size), np.int8)
    for shape in body.shapes:
        patch = _patch(shape, view)
        if patch is None:
            continue
        here, near, facing, inside = patch
        blend = max(shape.blend_mm * view.scale, 0.5)
        # A smooth maximum: surfaces less than `blend` apart flow into each other.
        above = (near - depth[here]) / blend
        share = np.clip(0.5 + 0.5 * above, 0, 1) * inside
        share *= np.clip(2.5 * facing[2] + above - 1, 0, 1)  # a shape that is half sunk in another shows no rim
        if not share.any():
            continue
        depth[here] += share * (near - depth[here] + blend * (1 - share))
        normal[(slice(None), *here)] += share * (facing - normal[(slice(None), *here)])
        ahead = share > 0.5
        part[here][ahead], material[here][ahead] = shape.part, shape.material
    return depth, normal.transpose(1, 2, 0), part, material
