"""The whole way from photos to a bundle, one step after the other."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from calibration import compare, heldout, report
from calibration import photos as photos_module
from calibration.heldout import HeldOut
from calibration.photos import NONE, Photo
from calibration.representative import representative
from export import augment, bundle, convert, distil, fit, model, train
from export.arcface import SCALE, ArcFace
from export.pool import rendered_hands
from runtime.bundle import Bundle
from runtime.interpreter import load_networks

JANKEN = {"gu", "choki", "pa"}  # rendered hands help only where these are the classes
REFERENCE_FRAMES = 1200  # augmented frames that prototypes and clusters are fitted on
CHECKPOINT_STEPS, FULL_STEPS = 250, 2000
CHECKPOINT_RATE, FULL_RATE = 2e-4, 1e-3  # a checkpoint only needs a nudge


def build(options: argparse.Namespace) -> Path:
    """Train, convert, fit, check, and put the bundle in place; returns its folder. Prints the table of results."""
    start = time.monotonic()
    keras.utils.set_random_seed(options.seed)
    folders = options.data or photos_module.public_folders()
    photos = photos_module.split(photos_module.scan(folders), options.seed) if folders else []
    labels = photos_module.labels_of(photos) if photos else [*photos_module.JANKEN_ORDER, NONE]
    print(f"photos from {', '.join(map(str, folders))}\n{photos_module.describe(photos)}" if photos
          else "no photos (give DATA=, or run `make data`): everything below is measured on RENDERED hands")
    hands = rendered_hands(options.rendered, options.seed) if set(labels) - {NONE} == JANKEN and options.rendered else []

    start_model = model.build(options.backbone or model.BACKBONE, options.init)
    map_wh = start_model.outputs[0].shape[2:0:-1]
    train_photos, train_frames = photos_module.load(_of(photos, "train")) if photos else ([], [])
    augmenter = augment.Augmenter(train_photos, train_frames, hands, labels, model.SIZE_WH, map_wh, options.seed)

    from_checkpoint = options.init == "checkpoint"
    steps = options.steps if options.steps is not None else CHECKPOINT_STEPS if from_checkpoint else FULL_STEPS
    recipe = train.Recipe(steps=steps, learning_rate=CHECKPOINT_RATE if from_checkpoint else FULL_RATE,
                          top_channels=options.top_channels)
    train.train(start_model, ArcFace(len(labels)), augmenter.batches(recipe.batch_size, steps), recipe)
    if options.save_checkpoint:
        start_model.save_weights(options.save_checkpoint)

    frames = representative(train_frames or list(augmenter.batch(400).frames), model.SIZE_WH, options.seed)
    network = distil.distil(start_model, augmenter.batches(48, options.int8_steps), options.int8_steps, model.normalise(frames))
    feature_net, embedding_net = model.split(network)
    content = _convert(feature_net, embedding_net, model.normalise(frames))

    validation, test = (_held_out(photos, name) if photos else rendered_frames(name, 200) for name in ("validation", "test"))
    target = options.out / f"{options.name}-{options.bundle_version}"
    with bundle.building(target) as folder:
        fields = _fields(options, labels, start_model, photos, folders, steps, len(hands))
        made = _fit_and_write(folder, fields, content, embedding_net, augmenter, train_photos, train_frames, validation, options)
        of_float = compare.judge(compare.float_pipeline(made, network), test, "float, held out")
        of_int8 = compare.judge(bundle_pipeline(made), test, "int8, held out")
        measured = compare.fidelity(test, of_float, of_int8, made)
        fields["thresholds"] = made.manifest["thresholds"]
        fields["metrics"] = {"float": asdict(compare.quality(test, of_float)), "int8": asdict(compare.quality(test, of_int8)),
                             "int8_against_float": asdict(measured),
                             "frames": "held-out photos" if photos else "rendered hands, held out"}
        bundle.add_runtime(folder)
        bundle.write_manifest(folder, fields)
        network.save(target.with_name(f".{target.name}-float.keras"))
        bundle.tar(folder, target)
    target.with_name(f".{target.name}-float.keras").rename(target.with_name(f"{target.name}-float.keras"))
    print(table(fields["metrics"], compare.gate(measured)))
    print(f"{target} ({sum(f.stat().st_size for f in target.glob('*.*')) / 1e6:.2f} MB) in {time.monotonic() - start:.0f} s")
    return target


def bundle_pipeline(made: Bundle):
    """The runtime's pipeline around the int8 networks of a bundle."""
    from runtime.pipeline import Pipeline
    return Pipeline(made, load_networks(made, threads=2))


def _of(photos: Sequence[Photo], split: str) -> list[Photo]:
    return [photo for photo in photos if photo.split == split]


def _held_out(photos: Sequence[Photo], split: str) -> list[HeldOut]:
    return heldout.from_photos(_of(photos, split))


def rendered_frames(split: str, count: int) -> list[HeldOut]:
    """Rendered hands and empty places that no training seed draws, named as rendered."""
    seed = {"validation": 10_001, "test": 10_002}[split]
    hands = [hand for hand in rendered_hands(count, seed) if hand.pose in JANKEN]
    labels = [*photos_module.JANKEN_ORDER, NONE]
    augmenter = augment.Augmenter([], [], hands, labels, (160, 120), (160, 120), seed)
    frames = []
    for i in range(count):
        frame, label, heat, _ = augmenter.sample()
        hand = np.uint8(heat * 255)
        box = heldout.bounds(hand) if hand.any() else None
        frames.append(HeldOut(frame, f"rendered/{labels[label]}/{i:04d}", labels[label], box, hand if box else None))
    return [f for f in frames if f.label == NONE or f.box_xyxy]


def write_rendered_heldout(path: Path, count: int) -> Path:
    """`rendered_frames("test", count)` as a file for `python -m calibration check`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    heldout.save(rendered_frames("test", count), path)
    return path


def _convert(feature_net: keras.Model, embedding_net: keras.Model, inputs: np.ndarray) -> tuple[bytes, bytes]:
    """Both halves as int8 TFLite, ranges from the same frames, equal at the joint."""
    print("converting to int8 ...", flush=True)
    maps = feature_net.predict(inputs, verbose=0)
    feature_map = convert.to_int8(feature_net, [row[None] for row in inputs])
    return feature_map, convert.weld(feature_map, convert.to_int8(embedding_net, [row[None] for row in maps]))


def _fields(options, labels, network, photos, folders, steps, rendered) -> dict:
    """The manifest, but for what is fitted and measured later."""
    maps, embedding = network.outputs
    backbone = options.backbone or model.BACKBONE
    return {
        "name": options.name, "version": options.bundle_version, "task": "classify", "labels": labels,
        "input": {"size_wh": list(model.SIZE_WH), "channel_order": "RGB", "crop": "whole", "resize": "stretch-2x2",
                  "scaling": {"subtract": model.SUBTRACT, "divide": model.DIVIDE}},
        "backbone": backbone,
        "feature_layer": {"name": model.BACKBONES[backbone].feature_layer, "shape_hwc": list(maps.shape[1:])},
        "embedding_dim": embedding.shape[-1], "score_scale": SCALE,
        "thresholds": {"reject": -1.0, "box": fit.DEFAULT_BOX},
        "clusters": {"count": options.clusters, "top_channels": options.top_channels},
        "metrics": {}, "tools": bundle.tools(), "seed": options.seed,
        "training": {"init": options.init, "steps": steps, "int8_steps": options.int8_steps, "rendered_hands": rendered},
        "data": {"folders": [Path(f).resolve().name for f in folders],
                 "fingerprint": photos_module.fingerprint(photos),
                 "photos": len(photos), "representative": "training photos" if photos else "rendered hands",
                 "test_files": [p.name for p in _of(photos, "test")]},
        "reproducible": bundle.REPRODUCIBLE,
    }


def _fit_and_write(folder, fields, content, embedding_net, augmenter, train_photos, train_frames, validation, options) -> Bundle:
    """Fit prototypes, clusters and thresholds on the int8 outputs and write the bundle's files."""
    labels, (_, _, channels) = fields["labels"], fields["feature_layer"]["shape_hwc"]
    classes = len(labels)
    draft = bundle.write(folder, {**fields, "clusters": {"count": 1, "top_channels": 1}}, *content,
                         np.eye(1, fields["embedding_dim"]), np.zeros((1, channels)), np.eye(classes, fields["embedding_dim"]))
    networks = load_networks(draft, threads=2)
    batch = augmenter.batch(REFERENCE_FRAMES)
    frames = [*batch.frames, *train_frames]
    truth = np.array([*batch.labels, *(labels.index(p.label) for p in train_photos)])
    kept = [i for i in range(len(frames)) if i < REFERENCE_FRAMES or train_photos[i - REFERENCE_FRAMES].label != NONE]
    fitted = fit.fit(networks, embedding_net, [frames[i] for i in kept], truth[kept], classes, size_wh=model.SIZE_WH,
                     subtract=model.SUBTRACT, divide=model.DIVIDE, count=options.clusters, top_channels=options.top_channels,
                     seed=options.seed)
    fields["clusters"]["count"] = len(fitted.clusters.centers)
    made = bundle.write(folder, fields, *content, fitted.clusters.centers, fitted.clusters.weights, fitted.prototypes)
    fields["thresholds"] = fit.thresholds(made, networks, validation)
    return bundle.write_manifest(folder, fields)


def table(measured: dict, verdicts: list[compare.Verdict]) -> str:
    """The results as plain text."""
    if not all(v.passed for v in verdicts):
        print("export: the int8 bundle is below the gate; `make check` shows where. More INT8_STEPS usually help.", file=sys.stderr)
    return report.text({**measured, "gate": [asdict(v) for v in verdicts]})
