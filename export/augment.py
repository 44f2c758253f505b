"""Photos and cut-out hands -> endless training batches: many hands, places, scales, lights.

Every sample is one affine warp into the network's input. A hand with a mask, drawn or found from its box, is laid over
another background, so that the network cannot lean on the table it was photographed on; a photo with a box is also cropped
so that the hand fills a sixth to all of the frame. The warped mask (or box) becomes the target of the heat: the share of
every feature-map cell that the hand covers, relative to the cell it covers most, under a root.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.heldout import bounds, parts_without
from calibration.photos import NONE, Photo, box_mask, load_hand_mask
from export.cutout import hand_mask
from export.rendering.person import RenderedPerson
from export.rendering.render import RenderedHand, render_background

Size = tuple[int, int]


@dataclass(frozen=True)
class Batch:
    """frames uint8 (B, H, W, 3) RGB; labels int32 (B,); heat float32 (B, h, w), 0..1, peak 1; has_heat float32 (B,), 0 or 1."""

    frames: np.ndarray
    labels: np.ndarray
    heat: np.ndarray
    has_heat: np.ndarray


@dataclass(frozen=True)
class Cutout:
    """A hand to lay over any background: uint8 (H, W, 3), (H, W) with forearm, (H, W) hand only."""

    frame_rgb: np.ndarray
    alpha: np.ndarray
    hand: np.ndarray
    label: str
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """A photo used as it is: the hand's place is known (`box_xyxy`, and `hand` uint8 (H, W)), or not (None)."""

    frame_rgb: np.ndarray
    label: str
    box_xyxy: tuple[float, float, float, float] | None
    hand: np.ndarray | None


# Shares of a batch; a kind whose material is missing gives its share to the others.
MIX = {"scene": 0.30, "cutout": 0.27, "rendered": 0.25, "nothing": 0.18}
PLACES = {"empty": 0.35, "places": 0.40, "drawn": 0.25}  # shares of the backgrounds, likewise
WOVEN = 0.15  # of the backgrounds are a pattern, as of a rug or a wallpaper
ALIKE = 0.3  # of the backgrounds in training have the colours of skin, as wood, brick and red rugs have, or a warm lamp's room
SOMEONE = 0.4  # of the backgrounds have a rendered person in them: in front of a webcam there is nearly always one
# The hand's share of the frame, along its longer side: from across the room to closer than close. Across the same room a fist
# is smaller than a hand whose fingers are out.
FILL, FIST_FILL = (0.28, 1.1), (0.17, 0.95)
ARM_GOES_ON = 0.7  # of the arms that their picture's edge cuts off reach the frame's edge
WHOLE_PHOTO = 0.25  # of the photos are shown as the camera took them, as the device will see them


class Augmenter:
    """Draws labelled samples from photos and rendered hands; everything random comes from one seeded generator."""

    def __init__(self, photos: Sequence[Photo], frames: Sequence[np.ndarray], rendered: Sequence[RenderedHand],
                 labels: Sequence[str], size_wh: Size, map_wh: Size, seed: int, mix: dict[str, float] = MIX,
                 places: Sequence[np.ndarray] = (), people: Sequence[RenderedPerson] = ()):
        self.labels, self.size_wh, self.map_wh = list(labels), size_wh, map_wh
        self.rng = np.random.default_rng(seed)
        self.scenes: dict[str, list[Scene]] = {}
        self.cutouts: dict[str, list[Cutout]] = {}
        self.rendered: dict[str, list[Cutout]] = {}
        self.empty: list[np.ndarray] = []  # photos of `none`, and parts of the others without a hand
        self.alike = 0.0  # ALIKE while training: int8 is calibrated, and classes are centred, on what is seen more often
        self.places = places  # pictures of anything but hands
        self.people = people
        for photo, frame in zip(photos, frames):
            self._add_photo(photo, frame)
        for hand in rendered:
            cutout = Cutout(hand.frame_rgb, hand.alpha, hand.hand_alpha, hand.pose, bounds(hand.hand_alpha))
            self.rendered.setdefault(hand.pose, []).append(cutout)
        has = {"scene": self.scenes, "cutout": self.cutouts, "rendered": self.rendered, "nothing": True}
        self.mix = {kind: share for kind, share in mix.items() if has[kind]}

    def _add_photo(self, photo: Photo, frame_rgb: np.ndarray) -> None:
        size_wh = frame_rgb.shape[1::-1]
        masks = load_hand_mask(photo, size_wh) or (photo.box_xyxy and hand_mask(frame_rgb, photo.box_xyxy))
        hand = None
        if masks:
            alpha, hand = masks
            self.cutouts.setdefault(photo.label, []).append(Cutout(frame_rgb, alpha, hand, photo.label, bounds(hand)))
        elif photo.box_xyxy:
            hand = box_mask(photo.box_xyxy, size_wh)
        self.scenes.setdefault(photo.label, []).append(Scene(frame_rgb, photo.label, photo.box_xyxy, hand))
        if photo.box_xyxy:
            self.empty += parts_without(frame_rgb, photo.box_xyxy if not masks else bounds(masks[0]))
        elif photo.name.split("/")[-2].lower() == NONE:  # `other` shows what is rejected, but no empty place
            self.empty.append(frame_rgb)

    # --- one sample -------------------------------------------------------------------------------------------------

    def sample(self) -> tuple[np.ndarray, int, np.ndarray, float]:
        """(frame uint8 (H, W, 3), label index, heat float32 (h, w), 1.0 if the heat is known else 0.0)."""
        frame, label, hand = self.compose()
        known = hand is not None or label == NONE
        if label == NONE or hand is None:
            hand = np.zeros(self.size_wh[::-1], np.uint8)
        # the root keeps fingers, which cover little of a cell, in the box; a small hand is as hot as a large one, while a
        # sliver at the edge stays cool
        heat = np.sqrt(cv2.resize(hand.astype(np.float32) / 255, self.map_wh, interpolation=cv2.INTER_AREA))
        heat /= max(heat.max(), 0.2)
        return photometric(frame, self.rng), self.labels.index(label), heat, float(known)

    def compose(self) -> tuple[np.ndarray, str, np.ndarray | None]:
        """(frame uint8 (H, W, 3), label, hand uint8 (H, W), or None where its place is unknown), before the light changes."""
        kind = self._pick(list(self.mix), np.array(list(self.mix.values())))
        if kind == "nothing":
            return self.background(), NONE, np.zeros(self.size_wh[::-1], np.uint8)
        pool = {"scene": self.scenes, "cutout": self.cutouts, "rendered": self.rendered}[kind]
        names = sorted(pool)
        label = self._pick(names, np.array([0.25 if name == NONE else 1.0 for name in names]))
        item = pool[label][self.rng.integers(len(pool[label]))]
        frame, hand = self._scene(item) if kind == "scene" else self._over_background(item)
        return frame, label, hand

    def _pick(self, names: list[str], weights: np.ndarray) -> str:
        return names[self.rng.choice(len(names), p=weights / weights.sum())]

    def _scene(self, scene: Scene) -> tuple[np.ndarray, np.ndarray | None]:
        box = scene.box_xyxy or (0, 0, *scene.frame_rgb.shape[1::-1])
        fill = fill_of(scene.label) if scene.box_xyxy else (0.8, 1.4)
        if self.rng.random() < WHOLE_PHOTO:
            box, fill = (0, 0, *scene.frame_rgb.shape[1::-1]), (0.9, 1.1)
        matrix = self._warp(box, fill, degrees=25, keep_inside=scene.frame_rgb.shape[1::-1])
        frame = cv2.warpAffine(scene.frame_rgb, matrix, self.size_wh, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        if self.rng.random() < 0.5:  # what lies outside of the photo becomes another place instead of smeared pixels
            inside = cv2.warpAffine(np.full(scene.frame_rgb.shape[:2], 255, np.uint8), matrix, self.size_wh)
            frame = np.where(inside[..., None] > 127, frame, self.background())
        hand = None if scene.hand is None else cv2.warpAffine(scene.hand, matrix, self.size_wh)
        return frame, hand

    def _over_background(self, cutout: Cutout) -> tuple[np.ndarray, np.ndarray]:
        matrix = self._warp(cutout.box_xyxy, fill_of(cutout.label), degrees=35)
        # a small hand is seen with its whole forearm: where the cutout ends, the arm goes on
        goes_on = ends_in_arm(cutout) and self.rng.random() < ARM_GOES_ON
        hand = cv2.warpAffine(cutout.hand, matrix, self.size_wh)
        light = _light(self.rng) if self.rng.random() < 0.5 else 1.0  # hand and place were not lit alike
        return lay_over(self.background(cutout), cutout.frame_rgb, cutout.alpha, matrix, light, goes_on), hand

    def _warp(self, box_xyxy, fill: tuple[float, float], degrees: float, keep_inside: Size | None = None) -> np.ndarray:
        """2x3 matrix source -> input: the box fills a random share of the frame, anywhere in it, turned and mirrored.

        With `keep_inside` (the source's size) the view is pushed back towards the source so that little lies outside.
        """
        rng, (out_w, out_h) = self.rng, self.size_wh
        x0, y0, x1, y1 = box_xyxy
        centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        aspect = np.exp(rng.uniform(np.log(0.8), np.log(1.8)))  # of the camera's frame, width / height
        share = np.exp(rng.uniform(np.log(fill[0]), np.log(fill[1])))
        view_h = max((y1 - y0), (x1 - x0) / aspect) / share
        view = np.array([view_h * aspect, view_h])
        if keep_inside and rng.random() < 0.8:
            view *= min(1.0, 1.15 / max(view / np.array(keep_inside)))
        free = np.maximum(view - np.array([x1 - x0, y1 - y0]), 0) / 2
        middle = centre + rng.uniform(-1.1, 1.1, 2) * free
        if keep_inside:
            slack = np.maximum((np.array(keep_inside) - view) / 2, 0) + 0.08 * view
            middle = np.clip(middle, np.array(keep_inside) / 2 - slack, np.array(keep_inside) / 2 + slack)
        turn = np.deg2rad(rng.normal(0, degrees / 2) if rng.random() < 0.85 else rng.uniform(-90, 90))  # arms from the side
        mirror = rng.choice([-1.0, 1.0])
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        linear = np.diag([mirror * out_w / view[0], out_h / view[1]]) @ rotation
        return np.column_stack([linear, np.array([out_w, out_h]) / 2 - linear @ middle])

    # --- places without a hand --------------------------------------------------------------------------------------

    def background(self, hand: Cutout | None = None) -> np.ndarray:
        """uint8 (H, W, 3) of a place without a hand: part of a photo, or drawn. `hand`: what will be laid over it."""
        pools = {"empty": self.empty, "places": self.places, "drawn": [None]}
        kinds = [kind for kind, pool in pools.items() if len(pool)]
        kind = self._pick(kinds, np.array([PLACES[kind] for kind in kinds]))
        place = (render_background(self.rng, self.size_wh) if kind == "drawn"
                 else self._crop(pools[kind][self.rng.integers(len(pools[kind]))]))
        if self.rng.random() < WOVEN:
            place = self._woven(place)
        if self.alike and self.rng.random() < self.alike and (hand := hand or self._any_cutout()):
            place = self._alike(place, hand)
        if len(self.people) and self.rng.random() < SOMEONE:
            place = self._with_person(place, self.people[self.rng.integers(len(self.people))])
        return place

    def _woven(self, place: np.ndarray) -> np.ndarray:
        """A pattern over the whole frame, of one piece of a place: mirrored and repeated, its contrast raised."""
        piece = cv2.resize(self._crop(place), tuple(self.rng.integers(8, 49, 2).tolist()), interpolation=cv2.INTER_AREA)
        mean = piece.mean(axis=(0, 1))
        piece = np.clip((piece - mean) * self.rng.uniform(1, 3) + mean, 0, 255).astype(np.uint8)
        piece = np.hstack([piece, piece[:, ::-1]])
        piece = np.vstack([piece, piece[::-1]])
        width, height = self.size_wh
        turn = cv2.getRotationMatrix2D((0, 0), self.rng.uniform(-45, 45), self.rng.uniform(0.7, 1.4))
        turn[:, 2] = self.rng.uniform(-200, 0, 2)
        return cv2.warpAffine(np.tile(piece, (1 + 600 // len(piece), 1 + 600 // piece.shape[1], 1)), turn, (width, height),
                              flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)

    def _any_cutout(self) -> Cutout | None:
        pools = [pool[label] for pool in (self.cutouts, self.rendered) for label in sorted(pool)]
        if not pools:
            return None
        pool = pools[self.rng.integers(len(pools))]
        return pool[self.rng.integers(len(pool))]

    def _alike(self, place: np.ndarray, hand: Cutout) -> np.ndarray:
        """The place with the hand's mean colour, about as bright, some of its own colours left: only shape tells them apart."""
        skin = np.float32(cv2.mean(hand.frame_rgb, (hand.hand > 127).astype(np.uint8))[:3])
        grey = place.mean(axis=2, keepdims=True, dtype=np.float32)
        light = (grey - grey.mean()) * self.rng.uniform(0.7, 1.8) + skin.mean() * np.exp(self.rng.uniform(-0.5, 0.5))
        alike = light * (skin / max(skin.mean(), 1)) + self.rng.uniform(0, 1) * (place - grey)
        return np.clip(alike, 0, 255).astype(np.uint8)

    def _with_person(self, place: np.ndarray, person: RenderedPerson) -> np.ndarray:
        matrix = self._warp((0, 0, *person.alpha.shape[::-1]), (0.7, 1.6), degrees=12)
        return lay_over(place, person.frame_rgb, person.alpha, matrix, goes_on=True)

    def _crop(self, frame_rgb: np.ndarray) -> np.ndarray:
        height, width = frame_rgb.shape[:2]
        w, h = (max(16, int(side * self.rng.uniform(0.4, 1.0))) for side in (width, height))
        x, y = self.rng.integers(width - w + 1) if w < width else 0, self.rng.integers(height - h + 1) if h < height else 0
        part = cv2.resize(frame_rgb[y:y + h, x:x + w], self.size_wh, interpolation=cv2.INTER_AREA)
        return part[:, ::-1] if self.rng.random() < 0.5 else part

    # --- batches ----------------------------------------------------------------------------------------------------

    def batches(self, batch_size: int, count: int) -> Iterator[Batch]:
        """`count` batches to train on, made ahead in a thread (OpenCV and TensorFlow both let go of the interpreter lock)."""
        ready: queue.Queue = queue.Queue(maxsize=4)
        stop = threading.Event()

        def put(item) -> None:
            while not stop.is_set():
                try:
                    return ready.put(item, timeout=0.5)
                except queue.Full:
                    pass

        def work() -> None:
            try:
                for _ in range(count):
                    if stop.is_set():
                        return
                    put(self.batch(batch_size))
            except BaseException as error:  # handed to the consumer, which would otherwise wait for ever
                put(error)

        self.alike = ALIKE
        worker = threading.Thread(target=work, daemon=True, name="augment")
        worker.start()
        try:
            for _ in range(count):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            worker.join()
            self.alike = 0.0

    def batch(self, batch_size: int) -> Batch:
        frames, labels, heat, has_heat = zip(*(self.sample() for _ in range(batch_size)))
        return Batch(np.stack(frames), np.array(labels, np.int32), np.stack(heat), np.array(has_heat, np.float32))


def lay_over(place: np.ndarray, frame_rgb: np.ndarray, alpha: np.ndarray, matrix: np.ndarray,
             light: np.ndarray | float = 1.0, goes_on: bool = False) -> np.ndarray:
    """uint8 (H, W, 3): `place` with what `alpha` (h, w) covers of `frame_rgb` (h, w, 3) laid over it by `matrix` (2x3).

    Colours are multiplied by their cover before they are shrunk and turned, so that nothing of what lay around them comes in: a
    drawn hand has black there, and a hand with a dark outline is easier to learn than any hand is.
    """
    scale = min(1.0, 2 * np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    layer = np.dstack([cv2.multiply(frame_rgb, cv2.merge([alpha] * 3), scale=1 / 255), alpha])
    if scale < 1:  # areas, as a camera's pixels are; the warp below only looks at the nearest four
        height, width = alpha.shape
        layer = cv2.resize(layer, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
        grown = np.array([width / layer.shape[1], height / layer.shape[0]])
        matrix = np.column_stack([matrix[:, :2] * grown, matrix[:, 2] + matrix[:, :2] @ (grown / 2 - 0.5)])
    border = cv2.BORDER_REPLICATE if goes_on else cv2.BORDER_CONSTANT
    layer = cv2.warpAffine(layer, matrix, place.shape[1::-1], borderMode=border)
    cover = layer[..., 3:].astype(np.float32)
    return np.rint(np.minimum(layer[..., :3] * light, cover) + place * (1 - cover / 255)).astype(np.uint8)


def fill_of(label: str) -> tuple[float, float]:
    """The least and the largest share of the frame for a hand that shows `label`."""
    return FIST_FILL if label == "gu" else FILL


def ends_in_arm(cutout: Cutout) -> bool:
    """Whether nothing but the arm touches the edge of the cutout's picture; a corner would go on as a wedge."""
    corners = cutout.alpha[[0, 0, -1, -1], [0, -1, 0, -1]]
    return not corners.any() and not any(edge.any() for edge in (*cutout.hand[[0, -1]], *cutout.hand[:, [0, -1]].T))


def photometric(frame_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 -> uint8 (H, W, 3): light, contrast, gamma, colour, greyscale, blur, motion, low resolution, noise."""
    frame = frame_rgb.astype(np.float32)
    if rng.random() < 0.15:
        frame = _blur(frame, rng)
    if rng.random() < 0.8:
        mean = frame.mean()
        frame = (frame - mean) * np.exp(rng.uniform(-0.5, 0.35)) + mean * np.exp(rng.uniform(-0.55, 0.4))
        frame *= np.exp(rng.normal(0, 0.08, 3)).astype(np.float32)  # white balance
    if rng.random() < 0.15:  # a window on one side
        axis = int(rng.random() < 0.6)
        ramp = np.linspace(*np.exp(rng.uniform(-0.7, 0.5, 2)), frame.shape[axis], dtype=np.float32)
        frame *= ramp[None, :, None] if axis else ramp[:, None, None]
    if rng.random() < 0.3:
        grey = frame.mean(axis=2, keepdims=True)
        frame = grey + (frame - grey) * (0.0 if rng.random() < 0.3 else rng.uniform(0.2, 1.6))
    np.clip(frame, 0, 255, out=frame)
    if rng.random() < 0.3:
        frame = 255 * (frame / 255) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.3:
        frame = frame + rng.standard_normal(frame.shape, dtype=np.float32) * rng.uniform(1, 6)
    return np.clip(frame, 0, 255).astype(np.uint8)


def _blur(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = rng.integers(3)
    if kind == 0:
        return cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.3, 0.9))
    if kind == 1:  # motion
        length = int(rng.integers(2, 5))
        kernel = np.zeros((7, 7), np.float32)
        angle = rng.uniform(0, np.pi)
        tip = (np.array([np.cos(angle), np.sin(angle)]) * length / 2).round().astype(int)
        cv2.line(kernel, tuple(3 - tip), tuple(3 + tip), 1.0)
        return cv2.filter2D(frame, -1, kernel / kernel.sum())
    height, width = frame.shape[:2]
    k = rng.uniform(0.6, 0.9)
    small = cv2.resize(frame, (int(width * k), int(height * k)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _light(rng: np.random.Generator) -> np.ndarray:
    """Factors of red, green and blue."""
    return np.exp(rng.uniform(-0.9, 0.3) + rng.normal(0, 0.08, 3))
