"""What each remedy against int8 loss brings, on one network and the same photos: `python -m export remedies`.

Every row starts from the same float network and is judged with one bundle's prototypes, clusters and thresholds, so that
only the two .tflite differ. They were fitted on that bundle's own int8 outputs. Two rows train the float network on first, with
its activations rounded and without: they are held against what they then are in float.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import keras
import numpy as np

from calibration.compare import Fidelity, fidelity, float_pipeline, judge
from calibration.heldout import HeldOut
from calibration.photos import DataError
from calibration.representative import representative
from export import convert, model, train
from export.arcface import ArcFace
from export.augment import Augmenter, Batch
from export.build import CHECKPOINT_RATE, gather, held_out
from export.equalise import equalise
from export.fold import fold
from export.rounding import rounded_well
from export.studies import distil
from runtime.bundle import Bundle, load_bundle
from runtime.interpreter import load_networks
from runtime.pipeline import Pipeline
from runtime.results import Result

BATCH = 48  # frames, in the rows that are trained
COLUMNS = {"cosine_mean": "cosine mean", "cosine_worst_1_percent": "worst 1 %", "cosine_worst": "worst",
           "label_agreement": "same label", "accuracy_float": "float right", "accuracy_int8": "int8 right",
           "heat_correlation": "heat corr.", "box_iou": "box IoU", "seconds": "seconds"}


@dataclass(frozen=True)
class Row:
    """One remedy, int8 against float; see calibration.compare.Fidelity. `seconds`: to make it, conversion included."""

    remedy: str
    cosine_mean: float
    cosine_worst_1_percent: float
    cosine_worst: float
    label_agreement: float
    accuracy_float: float
    accuracy_int8: float
    heat_correlation: float
    box_iou: float
    seconds: float


@dataclass(frozen=True)
class Trial:
    """What every remedy is given, and what it is judged on.

    `network`: float, batch norm as trained; `inputs`: calibration frames, float32 (N, H, W, 3); `batches()`: `steps` training
    batches, the same at every call.
    """

    bundle: Bundle
    network: keras.Model
    inputs: np.ndarray
    batches: Callable[[], Iterable[Batch]]
    steps: int
    test: Sequence[HeldOut]


@dataclass(frozen=True)
class Comparison:
    """The rows, and how far the equalised network is from the original while both are float."""

    rows: list[Row]
    equalised_float: Fidelity


def compare(trial: Trial) -> Comparison:
    """Every remedy in turn. Raises ConversionError."""
    network, inputs = trial.network, trial.inputs
    of_float = judge(float_pipeline(trial.bundle, network), trial.test, "float")

    def kept(pipeline: Pipeline, what: str, reference: Sequence[Result] = of_float) -> Fidelity:
        return fidelity(trial.test, reference, judge(pipeline, trial.test, what), trial.bundle)

    def attempt(remedy: str, make: Callable[[], keras.Model], reference: Sequence[Result] = of_float) -> Row:
        print(f"{remedy} ...", flush=True)
        start = time.monotonic()
        made = to_int8(trial.bundle, make(), inputs)
        seconds = time.monotonic() - start
        return row(remedy, kept(Pipeline(made, load_networks(made, reference_kernels=True)), "int8", reference), seconds)

    def attempt_trained(rounded: bool) -> Row:
        trained = train_on(trial, rounded)
        reference = judge(float_pipeline(trial.bundle, trained), trial.test, "float")
        remedy = f"trained {trial.steps} batches more, activations {'rounded' if rounded else 'not rounded'}; then adaptively"
        return attempt(remedy, lambda: rounded_well(trained, inputs), reference)

    rows = [attempt(remedy, make) for remedy, make in {
        "plain": lambda: network,
        "folded": lambda: fold(network),
        "folded, equalised": lambda: fold(equalise(network, inputs)),
        "folded, bias-corrected": lambda: rounded_well(network, inputs, adapt=False),
        "folded, equalised, bias-corrected": lambda: rounded_well(equalise(network, inputs), inputs, adapt=False),
        "folded, rounded adaptively, bias-corrected": lambda: rounded_well(network, inputs),
        f"distilled, {trial.steps} batches": lambda: distil.distil(network, trial.batches(), trial.steps, inputs),
    }.items()]
    rows += [attempt_trained(rounded) for rounded in (False, True)]
    return Comparison(rows, kept(float_pipeline(trial.bundle, equalise(network, inputs)), "equalised, float"))


def to_int8(bundle: Bundle, network: keras.Model, inputs: np.ndarray) -> Bundle:
    """`bundle` with the two models of `network` in place of its own."""
    feature_map, embedding = convert.halves_to_int8(*model.split(network), inputs)
    return replace(bundle, feature_map_tflite=feature_map, embedding_tflite=embedding)


def train_on(trial: Trial, rounded: bool) -> keras.Model:
    """A copy trained on, as `make export` trains from the checkpoint. Its centres start as the bundle's prototypes."""
    network = keras.models.clone_model(trial.network)
    network.set_weights(trial.network.get_weights())
    head = ArcFace(len(trial.bundle.labels))
    head.build((None, trial.bundle.embedding_dim))
    head.centres.assign(trial.bundle.prototypes.T)
    train.train(network, head, trial.batches(),
                train.Recipe(steps=trial.steps, batch_size=BATCH, learning_rate=CHECKPOINT_RATE, rounded=rounded,
                             top_channels=trial.bundle.manifest["clusters"]["top_channels"]))
    return network


def row(remedy: str, measured: Fidelity, seconds: float) -> Row:
    """The figures of one remedy."""
    return Row(remedy, measured.embedding_cosine_mean, measured.embedding_cosine_worst_1_percent,
               measured.embedding_cosine_worst, measured.label_agreement, measured.accuracy_int8 + measured.accuracy_drop,
               measured.accuracy_int8, measured.heat_correlation, measured.box_iou, seconds)


def run(options: argparse.Namespace) -> Comparison:
    """`compare` for a bundle and the float weights it was made from. Raises DataError, BundleError, ConversionError."""
    if options.int8_steps < 1:
        raise DataError(f"--int8-steps {options.int8_steps}: expected at least one batch; three rows are trained")
    keras.utils.set_random_seed(options.seed)
    bundle = load_bundle(options.bundle)
    network = float_network(bundle, options.init)
    material = gather(options)
    if tuple(material.labels) != bundle.labels:
        raise DataError(f"the photos' labels are {', '.join(material.labels)}, the bundle's {', '.join(bundle.labels)}; "
                        "give --data the photo sets that the bundle was made from")

    def augmenter() -> Augmenter:
        return Augmenter(material.train_photos, material.train_frames, material.hands, material.labels, bundle.size_wh,
                         bundle.feature_shape_hwc[1::-1], options.seed, places=material.places, people=material.people)

    frames = material.train_frames or list(augmenter().batch(400).frames)
    inputs = model.normalise(representative(frames, bundle.size_wh, options.seed))
    print(f"judged on {material.measured_on}")
    steps = options.int8_steps
    return compare(Trial(bundle, network, inputs, lambda: augmenter().batches(BATCH, steps), steps, held_out(material, "test")))


def float_network(bundle: Bundle, init: str) -> keras.Model:
    """The network with the weights `init` (see model.build). Raises DataError when they are not this bundle's network's."""
    backbone = bundle.manifest.get("backbone", model.BACKBONE)
    try:
        network = model.build(backbone, init, bundle.size_wh)
    except (OSError, ValueError) as error:  # h5py's and Keras's word for a missing, broken or differently shaped file
        raise DataError(f"--init {init} does not fit {backbone}: {error}; give the .weights.h5 that `python -m export "
                        "--save-checkpoint` wrote when the bundle was made") from error
    shapes = tuple(network.outputs[0].shape[1:]), network.outputs[1].shape[-1]
    if shapes != (bundle.feature_shape_hwc, bundle.embedding_dim):
        raise DataError(f"the network of --init {init} gives feature map and embedding of {shapes}, the bundle's "
                        f"{(bundle.feature_shape_hwc, bundle.embedding_dim)}; give --bundle the one made from these weights")
    return network


def text(found: Comparison) -> str:
    """The rows as a table, and a line on equalisation."""
    width = max(len(r.remedy) for r in found.rows) + 2
    lines = [("remedy", *COLUMNS.values())] + [(r.remedy, *figures(r)) for r in found.rows]
    table = "\n".join(name.ljust(width) + "".join(f"{cell:>13}" for cell in cells) for name, *cells in lines)
    kept = found.equalised_float
    return (f"{table}\nEqualised, still float, against the original: embedding cosine {kept.embedding_cosine_mean:.6f}, "
            f"worst {kept.embedding_cosine_worst:.6f}; same label {kept.label_agreement:.4f}")


def figures(row: Row) -> list[str]:
    """The row's figures, in the order of COLUMNS."""
    *shares, seconds = astuple(row)[1:]
    return [f"{share:.4f}" for share in shares] + [f"{seconds:.0f}"]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """The same table as CSV, under the names of Row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[f.name for f in fields(Row)]] + [[r.remedy, *figures(r)] for r in rows])
