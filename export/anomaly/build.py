"""The whole way from normal photos to a bundle that shows defects, one step after the other."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from calibration import anomaly as metrics
from calibration import anomaly_photos
from calibration.anomaly_photos import GOOD, AnomalyPhotos, Sample
from calibration.compare import FloatNetworks
from calibration.photos import DataError
from export import bundle, clusters, convert, fold, gradcam, model
from export.anomaly import fit, learn, network, rings, twins
from export.anomaly.fit import Outputs, Stored
from export.anomaly.learn import DEFECT, NORMAL
from export.arcface import SCALE
from export.equalise import equalise
from export.rounding import rounded_well
from runtime.anomaly_pipeline import deviations
from runtime.bundle import ANOMALY_FILES, SCORERS, Anomaly, Bundle
from runtime.image import stretch_2x2
from runtime.interpreter import load_networks
from runtime.pipeline import Networks
from runtime.quantize import dequantize, pixel_table
from runtime.results import NONE_LABEL

LABELS = ["defect", NONE_LABEL]
HELD_OUT = 0.2  # of the normal photos, the last by name: nothing is trained on them, what judges is chosen on them
PAIRS = 600  # frames with their twins to learn from
HELD_PAIRS = 150
REPRESENTATIVE = 300  # frames that int8 ranges are measured on
EVENED = 48  # frames on which the network is made fit for int8
JUDGED = 150  # of the twins, from which clusters and channel weights are made
SIDE = 224  # of the network's input, pixels
FRAMES = 240  # views of the normal photos to store from, where there are not more photos than that
MOST_VIEWS = 4  # of a photo
BATCH, RATE = 24, 1e-3
TOP_CHANNELS = 24  # of the feature map's channels that learn
AS_GOOD = 0.02  # AUROCs closer than this are not told apart by so few photos, nor by defects that are all drawn
BOX = 0.5  # where the box ends, as a fraction of the peak's heat


@dataclass(frozen=True)
class Material:
    """`photos`; size_wh: the network's input; frames uint8 (F, H, W, 3) of that size: views of the normal photos, photo (F,):
    which one each shows; learned (F,) bool: whether anything may be trained on it."""

    photos: AnomalyPhotos
    size_wh: tuple[int, int]
    frames: np.ndarray
    photo: np.ndarray
    learned: np.ndarray
    measured_on: str


def gather(options: argparse.Namespace) -> Material:
    """Read the photos, or draw the rings. Raises DataError when the photos cannot be used."""
    if options.data and len(options.data) > 1:
        raise DataError(f"anomaly detection takes one folder of normal photos, given {len(options.data)}")
    size_wh = options.size or (SIDE, SIDE)
    if size_wh[0] != size_wh[1] or size_wh[0] < 32 or size_wh[0] % 32:
        raise DataError(f"--size {size_wh[0]}x{size_wh[1]}: expected a square, its side a multiple of 32, such as 160 or 224")
    if options.data:
        photos = anomaly_photos.read(options.data[0])
        measured_on = "test photos" if photos.test else "SYNTHETIC defects on normal photos that were held out"
    else:
        whole, judged = (rings.samples(rings.good(200, options.seed + s), f"rings{s}") for s in (0, 10_002))
        photos = AnomalyPhotos(whole, judged + rings.samples(rings.defective(150, options.seed + 10_003), "rings"))
        measured_on = "drawn rings, held out"
    print(f"{options.data[0] if options.data else 'drawn rings (give DATA= for your own normal photos)'}\n"
          f"{anomaly_photos.describe(photos)}")
    rng = np.random.default_rng(options.seed)
    count = len(photos.train)
    views = int(np.clip(FRAMES // count, 1, MOST_VIEWS))
    frames = [view for sample in tqdm(photos.train, desc="reading", unit="photo", mininterval=2)
              for view in _views(sample.frame_rgb(), size_wh, views, rng)]
    photo = np.repeat(np.arange(count), views)
    return Material(photos, size_wh, np.stack(frames), photo, photo < count - max(4, round(HELD_OUT * count)), measured_on)


def _views(frame_rgb: np.ndarray, size_wh: tuple[int, int], count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The photo as the device would hand it to the network, and cut a little closer: no camera is ever quite still."""
    height, width = frame_rgb.shape[:2]
    views = [stretch_2x2(frame_rgb, size_wh).copy()]
    for _ in range(count - 1):
        left, right, above, below = (rng.uniform(0, 0.03, 4) * (width, width, height, height)).astype(int)
        closer = np.ascontiguousarray(frame_rgb[above:height - below, left:width - right])
        views.append(stretch_2x2(closer, size_wh).copy())
    return views


def build(options: argparse.Namespace) -> Path:
    """Train, convert, fit, check, and put the bundle in place; returns its anomaly_photos. Prints the table of results."""
    began = time.monotonic()
    keras.utils.set_random_seed(options.seed)
    material = gather(options)
    parts = network.start(options.init, options.backbone, material.size_wh)
    seen, other = twins.kinds(0), twins.kinds(1)  # what judges is chosen on kinds of defects that training did not show
    taught = _twins(material.frames[material.learned], PAIRS, seen, options.seed)
    teach(parts, material, taught, options)

    representative = np.concatenate([material.frames[material.learned], np.stack([t.frame_rgb for t in taught])])
    chosen = np.random.default_rng(options.seed).permutation(len(representative))[:REPRESENTATIVE]
    inputs = model.normalise(representative[chosen])
    folded = fold.fold(parts.whole)
    print("converting to int8 ...", flush=True)
    content = convert.halves_to_int8(*model.split(fit_for_int8(folded, inputs[:EVENED])), inputs)

    held = _twins(material.frames[~material.learned], HELD_PAIRS, other, options.seed + 1)
    target = options.out / f"{options.name}-{options.bundle_version}"
    with bundle.building(target) as place:
        fields = _fields(options, material, parts.whole)
        networks = bundle.open_networks(place, {**fields, "task": "classify"}, *content)
        made = _fit_and_write(place, fields, content, networks, parts, material, taught, held, options)
        fields["metrics"] = judge(made, fields, folded, material, held, options)
        bundle.add_runtime(place)
        bundle.write_manifest(place, fields)
        bundle.tar(place, target)
        folded.save(place / "float.keras")
    (target / "float.keras").replace(target.with_name(f"{target.name}-float.keras"))  # for the workstation only
    print(text(fields["metrics"]))
    print(f"{target} and {target}.tar.gz in {time.monotonic() - began:.0f} s")
    return target


def teach(parts: network.Parts, material: Material, taught: list[twins.Twin], options: argparse.Namespace) -> None:
    """Open the neck and, where that is asked for, train it and what is above, in place."""
    print("working out features ...", flush=True)
    learned = material.frames[material.learned]
    normals = network.features(parts, learned)
    few = np.random.default_rng(options.seed).permutation(len(learned))[:60]
    network.open_neck(parts, normals[0][few], normals[1][few], options.seed)
    if options.steps:
        of_twins = network.features(parts, np.stack([t.frame_rgb for t in taught]))
        drawn = np.arange(len(taught)) % len(learned)  # as in _twins
        pairs = learn.Pairs(tuple(side[drawn] for side in normals), of_twins,
                            network.heat_targets(taught, parts.neck.output_shape[2:0:-1]))
        learn.learn(parts, pairs, options.steps, BATCH, RATE, TOP_CHANNELS, options.seed)


def fit_for_int8(folded: keras.Model, frames: np.ndarray) -> keras.Model:
    """The same network, its channels' ranges evened out and its biases corrected, so that int8 takes little from it.

    Without it distances to normal cells are drowned in what rounding does to the few large channels.
    """
    return rounded_well(equalise(folded, frames), frames, adapt=False)


def _twins(frames: np.ndarray, count: int, kinds: list, seed: int) -> list[twins.Twin]:
    """`count` twins of the frames, each in its turn."""
    rng = np.random.default_rng(seed)
    return [twins.twin(frames[i % len(frames)], rng, kinds) for i in range(count)]


def outputs(networks: Networks, frames: np.ndarray, photo: np.ndarray | None = None) -> Outputs:
    """What the networks, int8 or a float stand-in, say of frames uint8 (N, H, W, 3) of their own size."""
    table = pixel_table(model.SUBTRACT, model.DIVIDE, networks.image_quantization)
    pairs = [networks(table[frame]) for frame in tqdm(frames, desc="frames through it", unit="frame", mininterval=2)]
    maps = dequantize(np.stack([m for m, _ in pairs]), networks.feature_quantization)
    embeddings = clusters.unit(dequantize(np.stack([e for _, e in pairs]), networks.embedding_quantization))
    return Outputs(maps, embeddings, np.arange(len(frames)) if photo is None else photo)


@dataclass(frozen=True)
class Fitted:
    """`section`: the manifest's "anomaly"; places (2, h, w): see fit.usual; `choice`: AUROC of each scorer on held-out photos;
    `normal`: what it is from."""

    section: dict
    stored: Stored
    places: np.ndarray
    choice: dict[str, float]
    normal: Outputs


def fit_to(networks: Networks, material: Material, held: list[twins.Twin], seed: int, scorer: str | None = None) -> Fitted:
    """Everything that judges, for these networks; `scorer`: one of SCORERS, None for the best on the held-out photos."""
    normal = outputs(networks, material.frames, material.photo)
    defects = outputs(networks, np.stack([t.frame_rgb for t in held]))
    learned, apart = np.unique(material.photo[material.learned]), np.unique(material.photo[~material.learned])
    of_some = fit.store(normal.of(learned), seed)
    good, bad = fit.distances(normal.of(apart), of_some), fit.distances(defects, of_some)
    everyone = fit.unseen(normal, seed)
    places = fit.usual(everyone.cells)
    normals = fit.joined([good, everyone])
    spread = {"embedding": fit.spread(normals.embedding), "patch": fit.spread(normals.patch(places))}

    def value(frames: fit.Distances, name: str) -> np.ndarray:
        return deviations(name, frames.embedding, frames.patch(places), spread)

    truth = np.repeat([False, True], [len(good.embedding), len(bad.embedding)])
    choice = {name: metrics.image_auroc(np.concatenate([value(good, name), value(bad, name)]), truth) for name in SCORERS}
    best = [name for name in ("both", "patch", "embedding") if choice[name] >= max(choice.values()) - AS_GOOD]
    scorer = scorer or best[0]
    peaks = fit.by_place(bad.cells, places).max(axis=(1, 2))
    stored = fit.store(normal, seed)
    section = {
        **spread, "scorer": scorer, "top_cells": fit.top_cells(places.shape[1:]),
        "threshold": fit.threshold(value(normals, scorer), len(learned) + len(apart)),
        **fit.heat_scale(fit.by_place(normals.cells, places), peaks),
        "normals": len(stored.normals), "patches": len(stored.patches), "patch_channels": stored.patches.shape[1],
    }
    return Fitted(section, stored, places, choice, normal)


def _fit_and_write(place: Path, fields: dict, content: tuple[bytes, bytes], networks: Networks, parts: network.Parts,
                   material: Material, taught: list[twins.Twin], held: list[twins.Twin], options: argparse.Namespace) -> Bundle:
    """Fit everything on the int8 outputs and write the bundle's files."""
    fitted = fit_to(networks, material, held, options.seed)
    of_twins = outputs(networks, np.stack([t.frame_rgb for t in taught[:JUDGED]]))
    together = np.concatenate([of_twins.embeddings, fitted.normal.embeddings])
    labels = np.repeat([DEFECT, NORMAL], [len(of_twins.embeddings), len(fitted.normal.embeddings)])
    prototypes = clusters.prototypes(together, labels, len(LABELS))
    asked = np.broadcast_to(prototypes[DEFECT], of_twins.embeddings.shape)
    weights = gradcam.channel_weights(parts.above, of_twins.maps, asked)
    weights[:, :network.KEPT] = 0  # what only mirrors the frame would warm all of it
    found = clusters.fit(of_twins.embeddings, weights, of_twins.maps, options.clusters, TOP_CHANNELS, options.seed)
    fields["clusters"]["count"] = len(found.centers)
    fields["anomaly"] = fitted.section
    fields["metrics"] = {"choice": fitted.choice}
    stored = fitted.stored
    for name, array in zip(ANOMALY_FILES, (stored.normals, stored.whitening, stored.patches, fitted.places)):
        np.save(place / name, array.astype(np.float32), allow_pickle=False)
    return bundle.write(place, fields, *content, found.centers, found.weights, prototypes)


def judge(made: Bundle, fields: dict, folded: keras.Model, material: Material, held: list[twins.Twin],
          options: argparse.Namespace) -> dict:
    """The manifest's metrics: every scorer, float and int8, on frames nothing was trained or fitted on."""
    frames = material.photos.test or _synthetic(material, held)
    float_networks = FloatNetworks(folded, model.DIVIDE)
    of_float = fit_to(float_networks, material, held, options.seed, made.anomaly.scorer)
    float_made = replace(made, anomaly=_anomaly(of_float))
    int8_networks = load_networks(made, reference_kernels=True)
    return {**fields["metrics"], "frames": material.measured_on, "scorer": made.anomaly.scorer,
            "float": metrics.judge(float_made, float_networks, frames, "float, held out"),
            "int8": metrics.judge(made, int8_networks, frames, "int8, held out")}


def _anomaly(fitted: Fitted) -> Anomaly:
    counts = ("normals", "patches", "patch_channels")
    section = {key: value for key, value in fitted.section.items() if key not in counts}
    return Anomaly(**section, **vars(fitted.stored), places=fitted.places)


def _synthetic(material: Material, held: list[twins.Twin]) -> list[Sample]:
    """Where there are no test photos: the held-out normal ones and their twins."""
    def sample(name: str, kind: str, frame: np.ndarray, mask: np.ndarray) -> Sample:
        read: Callable[[], np.ndarray] = lambda: frame  # noqa: E731
        return Sample(name, kind, read, anomaly_photos.small_mask(mask))

    good = [sample(f"held out {i}", GOOD, frame, np.zeros(material.size_wh[::-1], np.uint8))
            for i, frame in enumerate(material.frames[~material.learned])]
    return good + [sample(f"twin {i}", " ".join(t.kind), t.frame_rgb, t.mask) for i, t in enumerate(held)]


def _fields(options: argparse.Namespace, material: Material, whole: keras.Model) -> dict:
    """The manifest, but for what is fitted and measured later."""
    maps, embedding = whole.outputs
    data = options.data[0].resolve().name if options.data else "drawn rings"
    return {
        "name": options.name, "version": options.bundle_version, "task": "anomaly", "labels": LABELS,
        "input": {"size_wh": list(material.size_wh), "channel_order": "RGB", "crop": "whole", "resize": "stretch-2x2",
                  "scaling": {"subtract": model.SUBTRACT, "divide": model.DIVIDE}},
        "backbone": whole.name,
        "feature_layer": {"name": model.FEATURE_LAYER, "shape_hwc": list(maps.shape[1:])},
        "embedding_dim": embedding.shape[-1], "score_scale": SCALE,
        "thresholds": {"reject": -1.0, "box": BOX},
        "clusters": {"count": options.clusters, "top_channels": TOP_CHANNELS},
        "metrics": {}, "tools": bundle.tools(), "seed": options.seed,
        "training": {"init": Path(options.init).name, "loss": "arcface" if options.steps else None, "steps": options.steps or 0,
                     "pairs": PAIRS},
        "data": {"folders": [data], "fingerprint": anomaly_photos.fingerprint(material.photos.train),
                 "photos": len(material.photos.train), "views": len(material.frames),
                 "held_out": len(np.unique(material.photo[~material.learned])), "test": len(material.photos.test)},
        "reproducible": bundle.REPRODUCIBLE,
    }


def text(measured: dict) -> str:
    """The table of results."""
    chosen = ", ".join(f"{name} {value:.3f}" for name, value in measured["choice"].items())
    return (f"measured on {measured['frames']}; the bundle's scorer: {measured['scorer']}\n"
            f"{metrics.table({kind: measured[kind] for kind in ('float', 'int8')})}\n"
            f"chosen by image AUROC on held-out normals with synthetic defects of unseen kinds: {chosen}")
