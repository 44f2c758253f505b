"""Ways to make heat, side by side on the same network and photos: `python -m export cams`.

Per-image methods take the gradient of every photo, towards its true class:

* Grad-CAM: weights = mean gradient (Selvaraju et al., arXiv 1610.02391)
* Grad-CAM++: weights = sum of alpha * ReLU(gradient) (Chattopadhay et al., arXiv 1710.11063, eq. 19)
* LayerCAM: every cell weighted by its own ReLU(gradient) (Jiang et al., IEEE TIP 2021, eq. 5)
* Eigen-CAM: projection on the first principal direction, no gradient (Muhammad and Yeasin, arXiv 2008.00299)

Looked-up methods only see the photo: its embedding finds the Grad-CAM weights of the nearest training photo (Chen et al.,
arXiv 2001.06538) or of the nearest k-means cluster (Faster-Grad-CAM), of all channels or the largest. They learn from the
training photos alone. Ours are the bundle's own, and show nothing of a hand taken for none, which counts against them.

Two controls look at nothing: random heat, and a Gaussian in the middle of the frame. Each method's box threshold is chosen
on the validation photos, and peak and box are read off by the runtime's own code, so that only the heat differs: one look at
each photo. What the device gives, which looks closer where it is not sure or the hand is small, stands in two rows of its own.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from calibration import metrics, photos, report
from calibration.__main__ import float_path, load_float
from calibration.compare import float_pipeline
from calibration.heldout import HeldOut, from_photos
from calibration.photos import NONE, DataError, session_of
from export import clusters, gradcam
from export.arcface import normalise
from export.fit import BOX_CANDIDATES
from export.model import normalise as to_input
from export.studies import faithfulness
from runtime.box import peak_and_box
from runtime.bundle import Bundle, load_bundle
from runtime.image import stretch_2x2
from runtime.interpreter import load_networks
from runtime.pipeline import Pipeline
from runtime.results import Box, Result

REFERENCE_LAYER = "block_16_expand_relu"  # where Faster-Grad-CAM reads its heat: 3x3 cells at 96 px
REFERENCE_RULE = 10, 50  # its k-means clusters (None: each training photo is one) and channels kept (None: all)
PAPER_RULES = [(count, top) for count in (None, 10, 50) for top in (50, None)]
OUR_RULE = 10, 50, True  # the same clusters and channels, of Grad-CAM++ weights
COLUMNS = {"peak_inside": "peak inside", "box_iou": "box IoU", "box_threshold": "threshold", "deletion": "deletion",
           "insertion": "insertion"}
BATCH = 64  # photos a pass
SHOWN = 12  # photos on the page
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]  # feature map (h, w, C), its gradient -> heat (h, w), not scaled


def grad_cam(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    return np.maximum(maps @ gradient.mean(axis=(0, 1)), 0)


def grad_cam_pp(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    bottom = 2 * gradient ** 2 + maps.sum(axis=(0, 1)) * gradient ** 3
    alpha = np.divide(gradient ** 2, bottom, out=np.zeros_like(gradient), where=bottom != 0)
    return np.maximum(maps @ (alpha * np.maximum(gradient, 0)).sum(axis=(0, 1)), 0)


def layer_cam(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    return (np.maximum(gradient, 0) * maps).sum(axis=-1).clip(min=0)


def eigen_cam(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    cells = maps.reshape(-1, maps.shape[-1])
    direction = np.linalg.svd(cells, full_matrices=False)[2][0]
    heat = cells @ direction  # its sign is arbitrary: features are positive, so the larger side is where they are
    return np.maximum(heat * np.sign(heat.sum()), 0).reshape(maps.shape[:2])


PER_IMAGE: dict[str, Method] = {"Grad-CAM": grad_cam, "Grad-CAM++": grad_cam_pp, "LayerCAM": layer_cam, "Eigen-CAM": eigen_cam}


@dataclass(frozen=True)
class Row:
    """One method: shares of the photos whose hand is known; deletion, insertion: see faithfulness.py."""

    method: str
    peak_inside: float
    box_iou: float
    box_threshold: float
    deletion: float
    insertion: float


@dataclass(frozen=True)
class Heats:
    """One method's heat (h, w) for every photo. `fixed_scale`: 1 is full heat, else the scale means nothing; `shown`: the
    method has a column among the page's pictures; `placed`: results for the test photos, whose peak and box, found with
    `box_threshold`, count instead of those that the heat has.
    """

    method: str
    validation: Sequence[np.ndarray]
    test: Sequence[np.ndarray]
    fixed_scale: bool = False
    shown: bool = False
    placed: Sequence[Result] | None = None
    box_threshold: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Every method on the same `test` photos; `heats` and `rows` go in step."""

    bundle: Bundle
    test: list[HeldOut]
    heats: list[Heats]
    rows: list[Row]


@dataclass(frozen=True)
class Seen:
    """Photos at one layer: maps and gradients float32 (N, h, w, C), embeddings float32 (N, D) of unit length."""

    maps: np.ndarray
    gradients: np.ndarray
    embeddings: np.ndarray


class Probe:
    """A layer of a float network (None: the feature layer), with the gradient of cos(embedding, prototype) at it.

    The gradient takes every way from the layer to the embedding, so the network need not be cut there.
    """

    def __init__(self, network: keras.Model, layer: str | None = None):
        features = network.get_layer(layer).output if layer else network.outputs[0]
        model = keras.Model(network.input, [features, network.outputs[1]])

        @tf.function(reduce_retracing=True)
        def compute(images, prototypes):
            with tf.GradientTape() as tape:
                tape.watch(images)
                maps, embeddings = model(images, training=False)
                embeddings = normalise(embeddings)
                score = tf.reduce_sum(embeddings * prototypes)
            return maps, tape.gradient(score, maps), embeddings

        self._compute = compute

    def __call__(self, images: np.ndarray, prototypes: np.ndarray) -> Seen:
        """images float32 (N, H, W, 3), the network's input; prototypes (N, D), one for each image."""
        parts = [self._compute(tf.constant(images[i:i + BATCH]), tf.constant(prototypes[i:i + BATCH]))
                 for i in range(0, len(images), BATCH)]
        return Seen(*(np.concatenate(arrays) for arrays in zip(*parts)))


def learn(seen: Seen, count: int | None, top_channels: int, seed: int, plus: bool = False) -> clusters.Clusters:
    """What is looked up: the weights of `count` k-means clusters, or for None those of every training photo; by Grad-CAM's
    rule, as the paper has them, or with `plus` by Grad-CAM++'s, as we do."""
    weights = gradcam.plus_plus(seen.maps, seen.gradients).numpy() if plus else seen.gradients.mean(axis=(1, 2))
    if count is None:
        return clusters.Clusters(seen.embeddings, np.stack([clusters.keep_top(row, top_channels) for row in weights]))
    return clusters.fit(seen.embeddings, weights, seen.maps, count, top_channels, seed)


def look_up(found: clusters.Clusters, seen: Seen) -> np.ndarray:
    """Heat (N, h, w) by the weights of the nearest centre."""
    return gradcam.cam(seen.maps, found.weights[np.argmax(seen.embeddings @ found.centers.T, axis=1)])


def at_layer(network: keras.Model, layer: str | None, sets: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> list[Heats]:
    """Per-image and looked-up methods at a layer (None: ours). sets: train, validation, test as (images, prototypes)."""
    probe = Probe(network, layer)
    learned, *judged = (probe(*photos_and_prototypes) for photos_and_prototypes in sets)
    rows, columns, channels = learned.maps.shape[1:]
    where = f"{rows}x{columns}" + (" (reference's layer)" if layer else "")
    result = [Heats(f"{name}, {where}", *([method(m, g) for m, g in zip(s.maps, s.gradients)] for s in judged),
                    shown=layer is None) for name, method in PER_IMAGE.items()]
    rules = [(*REFERENCE_RULE, False)] if layer else [(*rule, False) for rule in PAPER_RULES] + [OUR_RULE]
    for count, top, plus in rules:
        name = (f"k-means {count}" if count else "nearest photo") + (f", top {top}" if top else ", all channels")
        found = learn(learned, count, top or channels, seed, plus)
        result.append(Heats(name + (" of Grad-CAM++" if plus else "") + f", {where}", *(look_up(found, s) for s in judged),
                            fixed_scale=bool(count), shown=layer is not None))
    return result


def compare(network: keras.Model, bundle: Bundle, ours: dict[str, Pipeline], train: Sequence[HeldOut],
            validation: Sequence[HeldOut], test: Sequence[HeldOut], seed: int = 0) -> Comparison:
    """All methods on those photos of `test` whose hand's place is known. Raises DataError where a set has none.

    `ours`: pipelines of the bundle, by the name of their row. A network without the reference's layer is compared without it.
    """
    sets = [[f for f in frames if f.box_xyxy is not None and f.label != NONE] for frames in (train, validation, test)]
    if not all(sets):
        raise DataError("the comparison needs photos with a hand's box or mask to train, to validate and to test; given: "
                        + ", ".join(str(len(frames)) for frames in sets))
    inputs = [(np.stack([to_input(stretch_2x2(np.ascontiguousarray(f.frame_rgb), bundle.size_wh)) for f in frames]),
               bundle.prototypes[[bundle.labels.index(f.label) for f in frames]]) for frames in sets]
    heats = at_layer(network, None, inputs, seed)
    if any(layer.name == REFERENCE_LAYER for layer in network.layers):
        heats += at_layer(network, REFERENCE_LAYER, inputs, seed)
    for name, pipeline in ours.items():
        judged = [[pipeline(np.ascontiguousarray(f.frame_rgb)) for f in frames] for frames in sets[1:]]
        closer = {"placed": judged[1], "box_threshold": bundle.box_threshold} if pipeline.bundle.closer else {"shown": True}
        heats.append(Heats(name, *([result.heat for result in results] for results in judged), fixed_scale=True, **closer))
    for name, made in faithfulness.controls(bundle.feature_shape_hwc[:2], len(sets[1]) + len(sets[2]), seed).items():
        heats.append(Heats(f"control: {name}", made[:len(sets[1])], made[len(sets[1]):]))
    rows = [row(h, *sets[1:], faithfulness.mean_areas(network, bundle, inputs[2][0], [f.label for f in sets[2]], h.test,
                                                      h.method)) for h in heats]
    return Comparison(bundle, sets[2], heats, rows)


def row(heats: Heats, validation: Sequence[HeldOut], test: Sequence[HeldOut], areas: tuple[float, float]) -> Row:
    """A method's figures, with its own box threshold, or else that which is best on the validation photos."""
    def places(maps, frames, threshold):
        return [find(heat, frame, threshold) for heat, frame in zip(maps, frames)]

    def judged(found, frames):
        inside = np.mean([metrics.peak_inside(peak, f.hand, f.box_xyxy) for (peak, _), f in zip(found, frames)])
        return float(inside), float(np.mean([metrics.box_iou(box, f.box_xyxy) for (_, box), f in zip(found, frames)]))

    if heats.placed is not None:
        return Row(heats.method, *judged([(r.peak_xy, r.box_xyxy) for r in heats.placed], test), heats.box_threshold, *areas)
    best = max(BOX_CANDIDATES, key=lambda t: judged(places(heats.validation, validation, t), validation)[1])
    return Row(heats.method, *judged(places(heats.test, test, best), test), round(float(best), 3), *areas)


def find(heat: np.ndarray, frame: HeldOut, threshold: float) -> tuple[tuple[int, int] | None, Box | None]:
    """peak_xy and box_xyxy as on the device, in pixels of the frame."""
    return peak_and_box(heat.astype(np.float32), threshold, frame.frame_rgb.shape[1::-1])


def run(folder: Path, data: Sequence[Path]) -> Comparison:
    """`compare` for a bundle folder over data sets whose split it knows. Raises DataError, BundleError."""
    bundle = load_bundle(folder)
    network = load_float(float_path(folder), bundle)
    every = photos.split(photos.scan(data))
    sets = [from_photos([p for p in every if p.split == name], parts=False) for name in ("train", "validation", "test")]
    int8 = load_networks(bundle, reference_kernels=True)
    looks = {"": replace(bundle, closer=0.0)} | ({", closer where unsure or small": bundle} if bundle.closer else {})
    ours = {f"ours, {kind}{look}": make(as_it_looks) for look, as_it_looks in looks.items()
            for kind, make in (("float", lambda b: float_pipeline(b, network)), ("int8", lambda b: Pipeline(b, int8)))}
    return compare(network, bundle, ours, *sets)


def text(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    width = max(len(r.method) for r in rows) + 2
    lines = [("heat", *COLUMNS.values())] + [(r.method, *figures(r)) for r in rows]
    return "\n".join(name.ljust(width) + "".join(f"{cell:>13}" for cell in cells) for name, *cells in lines)


def figures(row: Row) -> list[str]:
    """The row's figures, in the order of COLUMNS."""
    return [f"{getattr(row, name):.3f}" for name in COLUMNS]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """The same table as CSV: method, then COLUMNS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("method", *COLUMNS)] + [(r.method, *figures(r)) for r in rows])


def write_page(path: Path, found: Comparison) -> None:
    """The table, and methods beside each other on SHOWN photos, as one HTML file with the pictures inside."""
    name = escape(f"{found.bundle.name} {found.bundle.version}")
    table = report.table(("", *COLUMNS.values()), [(escape(r.method), *figures(r)) for r in found.rows])
    sections = [
        f'<h1>Ways to make heat: {name}</h1><p class="soft">One network and {len(found.test)} held-out photos of hands for '
        "all of them: the reference's layer and rule are shown on this network, not on the reference's own.</p>",
        report.section("Figures", "Peak inside: share of photos whose hottest place lies on the hand. Box IoU: with the true "
                       "box, at the threshold that is best on the validation photos. Deletion (lower is better) and insertion "
                       "(higher is better): the float network's mean probability of the true class while the photo is blurred, "
                       "or brought back from the blur, from the hottest pixels on. Ours shows nothing of a hand taken for "
                       "none: no peak, no box, and its pixels in the order of random heat. Closer where unsure or small: peak "
                       "and box as the device gives them, which then looks twice; all others look once. The controls look at "
                       "nothing.",
                       table),
        report.section("Pictures", "Photos drawn by a fixed seed. Yellow: the box found; thin white line: the true box. The "
                       "per-image methods have no fixed scale, so each is drawn with its own peak as full heat, however little "
                       "that is. The looked-up ones, the reference's layer and ours, have one, as on the device.",
                       "\n".join(strip(found, i) for i in sample(found.test))),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.document(f"{found.bundle.name}: ways to make heat", sections, "wide"), encoding="utf-8")


def strip(found: Comparison, i: int) -> str:
    """Test photo `i`, and every shown method on it."""
    frame = found.test[i]
    cells = [(report.picture(frame), f'<b>{escape(frame.label)}</b><br><span class="soft">{escape(frame.name)}</span>')]
    for heats, row in zip(found.heats, found.rows):
        if heats.shown:
            heat = heats.test[i] if heats.fixed_scale else heats.test[i] / max(heats.test[i].max(), 1e-12)
            box = find(heat, frame, row.box_threshold)[1]
            said = f"IoU {metrics.box_iou(box, frame.box_xyxy):.2f}" if box else '<span class="bad">no heat</span>'
            cells.append((report.picture(frame, heat, box), f"{escape(heats.method)}<br>{said}"))
    return report.figures(cells, "strip")


def sample(frames: Sequence[HeldOut], count: int = SHOWN, seed: int = 0) -> list[int]:
    """Indices of `count` frames drawn by `seed`: the labels take turns, each with the session shown least so far."""
    waiting = defaultdict(list)
    for i in np.random.default_rng(seed).permutation(len(frames)):
        waiting[frames[i].label].append(int(i))
    shown, chosen = Counter(), []
    while len(chosen) < min(count, len(frames)):
        for label in sorted(label for label in waiting if waiting[label]):
            best = min(waiting[label], key=lambda i: shown[session_of(frames[i].name)])
            waiting[label].remove(best)
            shown[session_of(frames[best].name)] += 1
            chosen.append(best)
    return chosen[:count]
