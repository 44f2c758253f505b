"""The faults of the program this project began from (../shared/facts.md lists them), each held off by a test.

The fifth, a normalisation over the whole batch in ArcFace, belongs to training and is tested there.
"""
from __future__ import annotations

import dataclasses
import io
import pickle

import numpy as np
import pytest

from runtime.box import peak_and_box, reach
from runtime.bundle import CLUSTER_CENTERS, load_bundle
from runtime.camera import open_source
from runtime.errors import BundleError, FrameError, SourceError
from runtime.heatmap import ActivationMaps
from runtime.interpreter import find_interpreter
from runtime.quantize import Quantization
from runtime.scoring import classify

RELU6 = Quantization(6 / 255, -128)


def test_1_a_frame_that_did_not_come_is_refused_before_it_is_sliced(pipeline):
    with pytest.raises(FrameError, match="no frame came: given None, expected a uint8 numpy array"):
        pipeline(None)


@pytest.mark.filterwarnings("error")  # numpy only warns about 0 / 0
def test_2_an_activation_map_of_zeros_is_divided_by_nothing(pipeline):
    heat = ActivationMaps(RELU6, np.ones((1, 8), np.float32))(np.full((6, 6, 8), -128, np.int8), 0)
    assert heat.tolist() == np.zeros((6, 6)).tolist()
    assert peak_and_box(heat, 0.45, (320, 240)) == (None, None)
    assert np.isfinite(pipeline(np.zeros((48, 64, 3), np.uint8)).heat).all()


@pytest.mark.filterwarnings("error")
def test_3_no_maximum_is_taken_over_an_empty_selection():
    assert peak_and_box(np.zeros((6, 6), np.float32), 1.0, (320, 240)) == (None, None)
    lone = np.zeros((6, 6), np.float32)
    lone[5, 5] = 1e-30  # warm by a hair, and at the edge
    peak_xy, box = peak_and_box(lone, 1.0, (320, 240))
    assert box is not None and peak_xy is not None
    assert reach([1.0], level=1.0) == 0.5


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_4_a_blank_frame_stays_cold(pipeline, grey):
    assert not pipeline(np.full((48, 64, 3), grey, np.uint8)).heat.any()


def test_4_heat_has_a_fixed_scale_and_no_frame_s_maximum_in_it():
    faint = np.full((6, 6, 8), -128, np.int8)
    faint[2, 3, 0] = -128 + 17  # a fifteenth of the way
    heat = ActivationMaps(RELU6, np.full((1, 8), 1 / 6, np.float32))(faint, 0)
    assert heat.max() == pytest.approx(17 / 255, rel=1e-5)  # a float32 sum of 8 numbers, zero points in it


class Trap:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


def pickled_npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([Trap()], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("content", [pickled_npy(), pickle.dumps(Trap())], ids=["object array", "bare pickle"])
def test_6_a_pickle_in_the_bundle_is_refused_and_not_run(bundle_copy, content):
    bundle_copy.write(CLUSTER_CENTERS, content)
    with pytest.raises(BundleError, match="cluster_centers.npy: not a plain array"):
        load_bundle(bundle_copy.path)


@pytest.mark.parametrize("content", [pickled_npy(), pickle.dumps(Trap())], ids=["object array", "bare pickle"])
def test_6_a_pickle_as_frames_is_refused_and_not_run(tmp_path, content):
    (tmp_path / "frames.npy").write_bytes(content)
    with pytest.raises(SourceError, match="frames.npy: cannot be opened"):
        open_source(str(tmp_path / "frames.npy"), print)


def test_7_choki_is_a_class_of_its_own(tiny, pipeline, draw_frame):
    on_choki = tiny.prototypes @ tiny.prototypes[tiny.labels.index("choki")]
    assert classify(on_choki, tiny.labels, tiny.score_scale, tiny.reject)[0] == "choki"
    assert pipeline(draw_frame("choki")).label == "choki"


def test_7_choki_is_the_one_whose_prototype_is_the_embedding(tiny, pipeline, draw_frame):
    embedding = pipeline(draw_frame("pa")).embedding
    prototypes = tiny.prototypes.copy()
    prototypes[[1, 2]] = embedding, prototypes[1]  # what was pa is now choki's own
    moved = dataclasses.replace(tiny, prototypes=prototypes)
    assert type(pipeline)(moved, pipeline.networks)(draw_frame("pa")).label == "choki"


@pytest.mark.parametrize("name", ["tiny", "janken"])
@pytest.mark.parametrize("model", ["feature_map_tflite", "embedding_tflite"])
def test_8_both_models_are_int8_at_both_ends(root, name, model):
    folder = root / "models" / name
    if not folder.exists():
        pytest.skip(f"models/{name} is not in this checkout")
    interpreter = find_interpreter()[1](model_content=getattr(load_bundle(folder), model))
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details() + interpreter.get_output_details():
        assert tensor["dtype"] is np.int8 and tensor["quantization"][0] > 0
