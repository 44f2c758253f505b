"""The folded network learns to give the float network's answers while every number in it is rounded to int8.

A remedy that training buys; export/rounding.py does as well in seconds (models/README.md), so that it is compared alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from export.augment import Batch
from export.fold import Rounding, fold
from export.model import normalise
from export.train import unlike

LEARNING_RATE = 5e-5  # the folded network is nearly there; three times that was no better (models/README.md)


def distil(teacher: keras.Model, batches: Iterable[Batch], steps: int, calibration: np.ndarray) -> keras.Model:
    """A folded copy of `teacher` whose weights give the teacher's answers once they are rounded to int8.

    The loss is (1 - cosine of the embeddings) + relative squared error of the feature maps, against the teacher's own float
    outputs on the same frames. `calibration` float32 (N, H, W, 3) sets the ranges of the linear layers.
    """
    rounding = Rounding()
    student = fold(teacher, rounding)
    rounding.state = "observe"
    student(calibration)
    rounding.state = "on"
    variables = student.trainable_variables
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, max(1, steps), alpha=0.01)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=1.0)
    optimizer.build(variables)

    @tf.function
    def step(frames):
        wanted = teacher(frames, training=False)
        with tf.GradientTape() as tape:
            turned, error = unlike(student(frames, training=True), wanted)
            loss = turned + error
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return 1 - turned, error

    shown = np.zeros(2)
    progress = tqdm(batches, total=steps, desc="teaching int8", unit="batch", mininterval=2)
    for i, batch in enumerate(progress):
        shown += (np.array([float(v) for v in step(normalise(batch.frames))]) - shown) * max(0.02, 1 / (i + 1))
        progress.set_postfix_str(f"embedding cosine {shown[0]:.4f} feature error {shown[1]:.4f}", refresh=False)
    rounding.state = "off"
    return fold(student)
