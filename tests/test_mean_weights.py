"""scripts/mean_weights.py: one network out of several."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from export import model
from scripts.mean_weights import mean

SEEN = {"folders": ["photos"], "test_files": ["photos/gu/1.jpg"]}


def network(seed):
    keras.utils.set_random_seed(seed)
    return model.build("mobilenet_v2_0.35", "random", (64, 64))


def run(*arguments):
    return subprocess.run([sys.executable, "scripts/mean_weights.py", "--backbone", "mobilenet_v2_0.35", *map(str, arguments)],
                          capture_output=True, text=True)


def test_every_weight_is_the_mean_of_all():
    networks = [network(seed) for seed in range(3)]
    given = [each.get_weights() for each in networks]
    for made, arrays in zip(mean(networks).get_weights(), zip(*given)):
        np.testing.assert_allclose(made, np.mean(arrays, axis=0), atol=1e-6)


def test_the_file_remembers_the_photos_and_can_be_started_from(tmp_path):
    first, second = (network(seed) for seed in range(2))
    for name, each in (("first", first), ("second", second)):
        model.keep(each, tmp_path / f"{name}.weights.h5", SEEN)
    made = run(tmp_path / "mean.weights.h5", tmp_path / "first.weights.h5", tmp_path / "second.weights.h5")
    assert made.returncode == 0, made.stderr
    assert model.seen_by(str(tmp_path / "mean.weights.h5")) == SEEN
    found = model.build("mobilenet_v2_0.35", str(tmp_path / "mean.weights.h5")).get_layer("detail").get_weights()[0]
    np.testing.assert_allclose(found, (first.get_layer("detail").get_weights()[0]
                                       + second.get_layer("detail").get_weights()[0]) / 2, atol=1e-6)


@pytest.mark.parametrize("seen, said", [({"folders": [], "test_files": []}, "other photos"), (None, "second.weights.h5")])
def test_weights_that_saw_other_photos_or_are_not_there_are_refused(tmp_path, seen, said):
    model.keep(network(0), tmp_path / "first.weights.h5", SEEN)
    if seen:
        model.keep(network(1), tmp_path / "second.weights.h5", seen)
    made = run(tmp_path / "mean.weights.h5", tmp_path / "first.weights.h5", tmp_path / "second.weights.h5")
    assert made.returncode == 2 and said in made.stderr and "Traceback" not in made.stderr
    assert not (tmp_path / "mean.weights.h5").exists()
