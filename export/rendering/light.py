"""Light on a rendered hand: a key light with shadows, sky and ground, dark hollows, and the camera's exposure."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from export.rendering.hand_poses import unit


def soften(layers: np.ndarray, solid: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return layers (S, S, C) blurred, the empty part of the canvas left out."""
    weight = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), sigma_px) + 1e-3
    return cv2.GaussianBlur(layers * solid[..., None], (0, 0), sigma_px).reshape(layers.shape) / weight[..., None]


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


def _hollows(depth_px: np.ndarray, solid: np.ndarray, normal: np.ndarray, hand_px: float) -> np.ndarray:
    """Return 0 or more (M,): how far each pixel lies below what is around it, at two sizes.

    At an outline all that is around lies inwards, and higher by the slope alone: that is no hollow.
    """
    ys, xs = np.indices(depth_px.shape, np.float32)
    here = np.dstack([depth_px, xs, ys])
    slope = -normal[:, :2] / np.maximum(normal[:, 2:], 0.2)
    hidden = np.zeros(len(normal), np.float32)
    for share in (0.018, 0.05):
        around = soften(here, solid, share * hand_px)[solid] - here[solid]
        rise = np.maximum((slope * around[:, 1:]).sum(axis=1), 0)
        hidden += np.clip((around[:, 0] - rise) / (share * hand_px), 0, 1.5)
    return hidden


def shade(
    albedo: np.ndarray, gloss: np.ndarray, normal: np.ndarray, depth_px: np.ndarray, solid: np.ndarray, hand_px: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return linear light float32 (M, 3) from the M solid pixels to the camera, under a light drawn from `rng`.

    depth_px and solid (S, S); albedo and normal (M, 3) and gloss (M, 1) in the order of np.nonzero(solid);
    hand_px is the length of the hand.
    """
    light = _draw_light(rng)
    air = np.exp(-rng.uniform(0.5, 1.0) * _hollows(depth_px, solid, normal, hand_px)).astype(np.float32)[:, None]
    lit = 1 - 0.85 * _shadow(depth_px, light.direction, 0.22 * hand_px)[solid][:, None]
    wrap = np.array([0.48, 0.42, 0.40], np.float32)  # light travels on in skin, red light furthest
    diffuse = np.maximum(((normal @ light.direction)[:, None] + wrap) / (1 + wrap), 0) ** 2
    # walls are often brighter than what is behind the camera: an outline then is no darker than the rest
    walls = 1 + rng.uniform(0, 1.2) * (1 - normal[:, 2:]).astype(np.float32)
    ambient = (light.ground + (light.sky - light.ground) * (0.5 - 0.5 * normal[:, 1:2])) * walls
    half_way = unit(light.direction + np.array([0, 0, 1], np.float32))
    shine = np.maximum(normal @ half_way, 0)[:, None] ** 24
    out = albedo * (light.key * diffuse * lit * (0.5 + 0.5 * air) + ambient * air)
    return out + gloss * np.float32(rng.uniform(0.2, 1.6)) * light.key * shine * lit


def expose(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return sRGB float32 (M, 3), 0 to 255, as a camera that half corrects for a bright or dark hand."""
    gain = (0.28 / max(float(light.mean()), 1e-4)) ** rng.uniform(0.2, 0.7) * np.exp(rng.normal(0, 0.35))
    return np.clip(light * np.float32(gain), 0, 1) ** np.float32(rng.uniform(0.85, 1.15) / 2.2) * 255
