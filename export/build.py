"""The whole way from photos to a bundle, one step after the other."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from calibration import compare, heldout, report
from calibration import photos as photos_module
from calibration.heldout import HeldOut
from calibration.photos import NONE, DataError, Photo
from calibration.representative import COUNT, representative
from export import augment, bundle, convert, fit, fold, model, train
from export.arcface import SCALE, ArcFace
from export.clusters import prototypes
from export.rendering.person import RenderedPerson, rendered_people
from export.rendering.pool import rendered_hands
from export.rendering.render import RenderedHand
from export.rounding import rounded_well
from runtime.bundle import Bundle
from runtime.interpreter import load_networks
from runtime.pipeline import Pipeline

JANKEN = {"gu", "choki", "pa"}  # rendered hands help only where these are the classes
HANDS_PER_PERSON = 4  # rendered
REFERENCE_FRAMES = 2400  # augmented frames that prototypes and clusters are fitted on
CHECKPOINT_STEPS, FULL_STEPS = 250, 2000  # from the checkpoint with photos; rendered hands alone would only unteach it
CHECKPOINT_RATE, FULL_RATE = 1e-4, 1e-3  # a checkpoint only needs a nudge
NEW_STEPS, NEW_RATE = 300, FULL_RATE  # from the checkpoint, for classes that it does not know: more than a nudge
APART = 0.9  # cosine between class centres guessed from what a network gives; with any nearer it tells classes apart too little
CLASS_FRAMES = 40  # of each class, roughly, that its centre is guessed from before training


@dataclass(frozen=True)
class Material:
    """What there is to learn from: photos of all splits, the training photos with their frames, rendered hands and
    persons, and pictures of places without hands."""

    folders: list[Path]
    photos: list[Photo]
    labels: list[str]
    train_photos: list[Photo]
    train_frames: list[np.ndarray]
    hands: list[RenderedHand]
    people: list[RenderedPerson]
    places: list[np.ndarray]

    @property
    def measured_on(self) -> str:
        return "held-out photos" if self.photos else "RENDERED hands, held out"


def gather(options: argparse.Namespace) -> Material:
    """Read the photos and draw the hands. Raises DataError when the photos cannot be used."""
    folders = options.data or photos_module.public_folders()
    photos = photos_module.readable(photos_module.scan(folders)) if folders else []
    photos = photos_module.split(photos)  # the same for every seed, see model.seen_by
    labels = photos_module.labels_of(photos) if photos else [*photos_module.JANKEN_ORDER, NONE]
    if photos:
        print(f"photos from {', '.join(map(str, folders))}", photos_module.describe(photos), *photos_module.advice(photos),
              sep="\n", flush=True)
    else:
        print("no photos (give DATA=, or run `make data`): everything below is measured on RENDERED hands")
    kept, frames = photos_module.load(_of(photos, "train")) if photos else ([], [])
    hands = rendered_hands(options.rendered, options.seed) if set(labels) - {NONE} == JANKEN and options.rendered else []
    people = rendered_people(len(hands) // HANDS_PER_PERSON, options.seed) if len(hands) >= HANDS_PER_PERSON else []
    places = photos_module.pictures(options.backgrounds) if options.backgrounds else []
    return Material(folders, photos, labels, kept, frames, hands, people, places)


def build(options: argparse.Namespace) -> Path:
    """Train, convert, fit, check, and put the bundle in place; returns its folder. Prints the table of results."""
    start = time.monotonic()
    size_wh = input_size(options.size)
    keras.utils.set_random_seed(options.seed)
    material = gather(options)
    options.clusters = max(options.clusters, len(material.labels) - 1)  # with fewer, classes would share their heat
    trained = model.build(options.backbone or model.BACKBONE, options.init, size_wh)
    map_wh = trained.outputs[0].shape[2:0:-1]
    augmenter = augment.Augmenter(material.train_photos, material.train_frames, material.hands, material.labels,
                                  size_wh, map_wh, options.seed, places=material.places, people=material.people)
    # without training the starting weights stay as they are, and so does what is known of them; asked before that is replaced
    seen, fitted = _seen(material, options.init), model.fitted_for(options.init)
    steps = teach(trained, augmenter, options, seen, _learned(material, options.init))
    if steps or material.photos:
        fitted = None  # for other weights, or better fitted on these photos
    if options.save_checkpoint:
        model.keep(trained, options.save_checkpoint, seen)

    frames = material.train_frames or list(augmenter.batch(COUNT).frames)
    inputs = model.normalise(representative(frames, size_wh, options.seed))
    network = fold.fold(trained)
    print("rounding and converting to int8 ...", flush=True)
    content = convert.halves_to_int8(*model.split(rounded_well(network, inputs)), inputs)

    target = options.out / f"{options.name}-{options.bundle_version}"
    with bundle.building(target) as folder:
        fields = _fields(options, material, seen, trained, steps)
        made = _fit_and_write(folder, fields, content, model.split(network)[1], material, augmenter, options, fitted)
        fields["metrics"] = judge(made, network, material)
        bundle.add_runtime(folder)
        bundle.write_manifest(folder, fields)
        bundle.tar(folder, target)
        network.save(folder / "float.keras")
    if options.save_checkpoint:
        np.savez(model.fitted_record(options.save_checkpoint), made.prototypes, made.cluster_centers, made.cluster_weights,
                 [made.reject, made.box_threshold])
    (target / "float.keras").replace(target.with_name(f"{target.name}-float.keras"))  # for the workstation only
    print(report.text(fields["metrics"]))
    if not all(line["passed"] for line in fields["metrics"]["gate"]):
        print("export: the int8 bundle is below the gate; `make check` shows where", file=sys.stderr)
    print(f"{target} and {target}.tar.gz in {time.monotonic() - start:.0f} s")
    return target


def teach(network: keras.Model, augmenter: augment.Augmenter, options: argparse.Namespace, seen: dict,
          learned: bool = False) -> int:
    """Train `network` in place; returns the number of batches. A long run keeps its weights now and then, if that was asked.

    `learned`: the checkpoint learned from these very photo sets, and is not trained unless that was asked.
    """
    from_checkpoint, new = options.init == "checkpoint", _new_to_checkpoint(augmenter.labels, options.init)
    if from_checkpoint and not new:
        usual, rate = CHECKPOINT_STEPS if augmenter.scenes and not learned else 0, CHECKPOINT_RATE
    else:
        usual, rate = (NEW_STEPS, NEW_RATE) if new else (FULL_STEPS, FULL_RATE)
    steps = usual if options.steps is None else options.steps
    if learned and not steps:
        print(f"the checkpoint learned from these photo sets already: not trained again (--steps {CHECKPOINT_STEPS} would)",
              flush=True)
    recipe = train.Recipe(steps=steps, learning_rate=rate,
                          top_channels=options.top_channels, loss=options.loss)
    if steps:
        head = ArcFace(len(augmenter.labels))
        head.build((None, network.outputs[1].shape[-1]))
        teacher = means = None
        if options.teacher:
            knows = load_teacher(options.teacher, network)
            teacher_means = _class_means(knows, augmenter)
            # random weights find an embedding of their own more quickly than another's
            embeds = knows.outputs[1].shape == network.outputs[1].shape and options.init != "random"
            teacher = train.Teacher(knows, teacher_means, embeds)
            means = teacher_means if embeds else None
        if means is None and (from_checkpoint or options.init.endswith(".weights.h5")):
            means = _class_means(network, augmenter)
        if means is not None and (new or np.triu(means @ means.T, 1).max() < APART):
            head.centres.assign(means.T)

        def keep() -> None:
            model.keep(network, options.save_checkpoint, seen)
        if new or options.init == "imagenet":
            model.hold_early(network)
        train.train(network, head, augmenter.batches(recipe.batch_size, steps), recipe,
                    keep if options.save_checkpoint else None, teacher)
    return steps


def load_teacher(path: Path, network: keras.Model) -> keras.Model:
    """A float network saved by Keras. Raises DataError when it cannot be read or its feature map is of another shape."""
    try:
        teacher = keras.models.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        raise DataError(f"--teacher {path}: {error}; give a -float.keras that `make export` left beside its bundle") from error
    given, wanted = (tuple(of.outputs[0].shape[1:]) for of in (teacher, network))
    if given != wanted:
        raise DataError(f"--teacher {path} gives a feature map of {given}, the network to be taught one of {wanted}; "
                        "give one of the same --size")
    return teacher


def input_size(size_wh: tuple[int, int] | None) -> tuple[int, int]:
    """The network's input. Raises DataError for a side whose sixteenth, enlarged, would not be its eighth."""
    if size_wh and any(side < 32 or side % 16 for side in size_wh):
        raise DataError(f"--size {size_wh[0]}x{size_wh[1]}: expected multiples of 16 from 32 on, such as 64, 80 or 96")
    return size_wh or model.SIZE_WH


def _new_to_checkpoint(labels: Sequence[str], init: str) -> bool:
    """Whether training starts from the checkpoint with classes that it does not know."""
    return init == "checkpoint" and not set(labels) - {NONE} <= JANKEN


def _class_means(network: keras.Model, augmenter: augment.Augmenter) -> np.ndarray:
    """Where the classes lie already (L, D): random centres would first pull a trained network to pieces."""
    batch = augmenter.batch(max(512, CLASS_FRAMES * len(augmenter.labels)))
    return prototypes(network.predict(model.normalise(batch.frames), verbose=0)[1], batch.labels, len(augmenter.labels))


def judge(made: Bundle, network: keras.Model, material: Material) -> dict:
    """The manifest's metrics, on frames nothing was trained or tuned on: the float network as trained, and the bundle."""
    test = held_out(material, "test")
    of_float = compare.judge(compare.float_pipeline(made, network), test, "float, held out")
    of_int8 = compare.judge(Pipeline(made, load_networks(made, reference_kernels=True)), test, "int8, held out")
    measured = compare.fidelity(test, of_float, of_int8, made)
    return {"frames": material.measured_on,
            "float": asdict(compare.quality(test, of_float)), "int8": asdict(compare.quality(test, of_int8)),
            "int8_against_float": asdict(measured), "gate": [asdict(line) for line in compare.gate(measured)]}


def held_out(material: Material, split: str) -> list[HeldOut]:
    """The frames of a split; rendered ones when there are no photos."""
    return heldout.from_photos(_of(material.photos, split)) if material.photos else rendered_frames(split, 200)


def _of(photos: Sequence[Photo], split: str) -> list[Photo]:
    return [photo for photo in photos if photo.split == split]


def rendered_frames(split: str, count: int) -> list[HeldOut]:
    """Rendered hands and empty places that no training seed draws, named as rendered."""
    seed = {"validation": 10_001, "test": 10_002}[split]
    labels = [*photos_module.JANKEN_ORDER, NONE]
    augmenter = augment.Augmenter([], [], rendered_hands(count, seed), labels, (160, 120), (160, 120), seed)
    frames = []
    for i in range(count):
        frame, label, hand = augmenter.compose()  # as a camera sees it: training's extremes of light are not added
        box = heldout.bounds(hand) if label != NONE and hand.any() else None
        if label == NONE or box:
            frames.append(HeldOut(frame, f"rendered/{label}/{i:04d}", label, box, hand if box else None))
    return frames


def write_rendered_heldout(path: Path, count: int) -> Path:
    """`rendered_frames("test", count)` as a file for `python -m calibration check`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    heldout.save(rendered_frames("test", count), path)
    return path


def _seen(material: Material, init: str) -> dict[str, list[str]]:
    """Data sets that the network or its starting weights learned from, and the photos of them that neither did."""
    before = model.seen_by(init)
    own = {"folders": [folder.resolve().name for folder in material.folders],
           "test_files": [photo.name for photo in _of(material.photos, "test")]}
    return {key: sorted({*before[key], *own[key]}) for key in own}


def _learned(material: Material, init: str) -> bool:
    """Whether the checkpoint learned from all of the photo sets: a short run with fewer drawn hands would only unteach it."""
    names = {folder.resolve().name for folder in material.folders}
    return init == "checkpoint" and bool(names) and names <= set(model.seen_by(init)["folders"])


def _fields(options: argparse.Namespace, material: Material, seen: dict, network: keras.Model, steps: int) -> dict:
    """The manifest, but for what is fitted and measured later."""
    maps, embedding = network.outputs
    backbone = options.backbone or model.BACKBONE
    return {
        "name": options.name, "version": options.bundle_version, "task": options.task, "labels": material.labels,
        "input": {"size_wh": list(network.input_shape[2:0:-1]), "channel_order": "RGB", "crop": "whole",
                  "resize": "stretch-2x2", "scaling": {"subtract": model.SUBTRACT, "divide": model.DIVIDE}},
        "backbone": backbone,
        "feature_layer": {"name": model.FEATURE_LAYER, "shape_hwc": list(maps.shape[1:])},
        "embedding_dim": embedding.shape[-1], "score_scale": SCALE,
        "thresholds": {"reject": -1.0, "box": fit.DEFAULT_BOX},
        "clusters": {"count": options.clusters, "top_channels": options.top_channels},
        "metrics": {}, "tools": bundle.tools(), "seed": options.seed,
        "training": {"init": Path(options.init).name, "loss": options.loss, "steps": steps,
                     "rendered_hands": len(material.hands), "rendered_people": len(material.people),
                     "backgrounds": len(material.places)},
        "data": {**seen, "fingerprint": photos_module.fingerprint(material.photos), "photos": len(material.photos),
                 "representative": "training photos" if material.photos else "rendered hands"},
        "reproducible": bundle.REPRODUCIBLE,
    }


def _fit_and_write(folder: Path, fields: dict, content: tuple[bytes, bytes], embedding_net: keras.Model, material: Material,
                   augmenter: augment.Augmenter, options: argparse.Namespace, kept: list[np.ndarray] | None) -> Bundle:
    """Fit prototypes, clusters and thresholds on the int8 outputs, unless they are `kept`; write the bundle's files.

    Rendered hands lie a little beside real ones: without photos, what was fitted for these weights on photos is better.
    """
    networks = bundle.open_networks(folder, fields, *content)
    if kept and len(kept[1]) == options.clusters and np.count_nonzero(kept[2], axis=1).max() <= options.top_channels:
        fields["thresholds"] = {**dict(zip(("reject", "box"), kept[3].tolist())), "closer": fit.CLOSER}
        return bundle.write(folder, fields, *content, kept[1], kept[2], kept[0])
    batch = augmenter.batch(REFERENCE_FRAMES)
    fitted = fit.fit(networks, embedding_net, batch.frames, batch.labels, len(fields["labels"]),
                     size_wh=fields["input"]["size_wh"], subtract=model.SUBTRACT, divide=model.DIVIDE,
                     count=options.clusters, top_channels=options.top_channels, seed=options.seed)
    fields["clusters"]["count"] = len(fitted.clusters.centers)
    made = bundle.write(folder, fields, *content, fitted.clusters.centers, fitted.clusters.weights, fitted.prototypes)
    fields["thresholds"] = fit.thresholds(made, networks, held_out(material, "validation"))
    return bundle.write_manifest(folder, fields)
