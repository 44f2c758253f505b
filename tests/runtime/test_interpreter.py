from __future__ import annotations

import struct
import sys
import types

import numpy as np
import pytest

import runtime.interpreter
from runtime.bundle import load_bundle
from runtime.errors import BundleError, InterpreterError
from runtime.interpreter import Network, find_interpreter, load_networks
from runtime.quantize import Quantization


class FakeInterpreter:
    """An interpreter whose tensors are what a test says."""

    inputs = outputs = [{"index": 0, "dtype": np.int8, "shape": np.array([1, 4]), "quantization": (0.5, 3)}]

    def __init__(self, model_content: bytes, num_threads: int):
        if not model_content:
            raise ValueError("Model provided has model identifier '', should be 'TFL3'")

    def allocate_tensors(self): ...

    def get_input_details(self):
        return self.inputs

    def get_output_details(self):
        return self.outputs


def test_an_empty_model_is_refused_with_the_interpreter_s_words():
    with pytest.raises(BundleError, match="embedding.tflite: the interpreter cannot load it: given Model provided has"):
        Network("embedding.tflite", b"", FakeInterpreter, 1)


def test_a_network_says_shapes_without_batch_and_quantisations():
    network = Network("embedding.tflite", b"model", FakeInterpreter, 1)
    assert network.input_shape == network.output_shape == (4,)
    assert network.input_quantization == Quantization(0.5, 3)


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": np.float32, "quantization": (0.0, 0)}, "given float32, scale 0.0, expected int8 with one scale"),
        ({"dtype": np.uint8}, "given uint8, scale 0.5"),
        ({"quantization": (0.0, 0)}, "given int8, scale 0.0"),
    ],
)
def test_a_tensor_that_is_not_int8_is_refused(side, change, words):
    tensors = [{**FakeInterpreter.inputs[0], **change}]
    spoilt = type("Spoilt", (FakeInterpreter,), {f"{side}s": tensors})
    with pytest.raises(BundleError) as caught:
        Network("feature_map.tflite", b"model", spoilt, 1)
    assert f"feature_map.tflite: {side} tensor: {words}" in str(caught.value)


def test_two_outputs_are_refused():
    spoilt = type("Spoilt", (FakeInterpreter,), {"outputs": FakeInterpreter.outputs * 2})
    with pytest.raises(BundleError, match="output tensors: given 2, expected 1"):
        Network("feature_map.tflite", b"model", spoilt, 1)


def test_the_tiny_networks_hand_the_feature_map_over_as_it_is(tiny):
    networks = load_networks(tiny)
    feature_map, embedding = networks(np.zeros((16, 16, 3), np.int8))
    assert feature_map.shape == (4, 4, 8) and feature_map.dtype == np.int8
    assert embedding.shape == (8,) and embedding.dtype == np.int8
    assert networks.feature_quantization.zero_point == -128  # ReLU6


def test_reference_kernels_say_so_and_differ_by_rounding_at_most(tiny):
    usual, reference = load_networks(tiny), load_networks(tiny, reference_kernels=True)
    assert reference.interpreter == f"{usual.interpreter}, reference kernels"
    frame = np.random.default_rng(0).integers(-128, 128, (16, 16, 3), np.int8)
    for one, other in zip(usual(frame), reference(frame)):
        assert np.abs(one.astype(int) - other).max() <= 3  # steps; one per layer


def test_outputs_of_one_frame_survive_the_next(tiny):
    networks = load_networks(tiny)
    rng = np.random.default_rng(0)
    first, second = rng.integers(-128, 128, (2, 16, 16, 3), np.int8)
    feature_map, embedding = networks(first)
    kept = feature_map.copy(), embedding.copy()
    networks(second)
    assert (feature_map == kept[0]).all() and (embedding == kept[1]).all()


def test_unequal_quantisation_at_the_joint_is_refused(bundle_copy, tiny):
    scale = load_networks(tiny).feature_quantization.scale
    model = tiny.embedding_tflite
    spoilt = model.replace(struct.pack("<f", scale), struct.pack("<f", 2 * scale))
    assert spoilt != model
    bundle_copy.write("embedding.tflite", spoilt)
    with pytest.raises(BundleError) as caught:
        load_networks(load_bundle(bundle_copy.path))
    words = str(caught.value)
    assert "the joint between feature_map.tflite and embedding.tflite: given scale and zero point (0.0235" in words
    assert "(0.0470" in words and "expected equal ones" in words and "make export" in words


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("input.size_wh", [16, 8], "feature_map.tflite: input shape: given (16, 16, 3), expected (8, 16, 3)"),
        ("feature_layer.shape_hwc", [2, 8, 8], "feature_map.tflite: output shape: given (4, 4, 8), expected (2, 8, 8)"),
    ],
)
def test_a_model_of_another_shape_than_the_manifest_s_is_refused(bundle_copy, field, value, words):
    bundle_copy.edit(field, value)
    with pytest.raises(BundleError) as caught:
        load_networks(load_bundle(bundle_copy.path))
    assert words in str(caught.value)


def test_two_models_in_each_other_s_place_are_refused(bundle_copy, tiny):
    bundle_copy.write("embedding.tflite", tiny.feature_map_tflite)
    with pytest.raises(BundleError, match="embedding.tflite: input shape: given \\(16, 16, 3\\)"):
        load_networks(load_bundle(bundle_copy.path))


def test_no_interpreter_names_both_and_the_command(monkeypatch):
    monkeypatch.setattr(runtime.interpreter, "CANDIDATES", (("no_such_a.x", "pkg-a"), ("no_such_b.x", "pkg-b")))
    with pytest.raises(InterpreterError) as caught:
        find_interpreter()
    words = str(caught.value)
    assert "pkg-a: No module named 'no_such_a'" in words and "pkg-b: No module named 'no_such_b'" in words
    assert "-m pip install" in words or "-m venv" in words


def test_the_cheaper_interpreter_is_taken_where_both_are_installed(monkeypatch):
    for name in ("ai_edge_litert", "tflite_runtime"):
        module = types.ModuleType(f"{name}.interpreter")
        module.Interpreter = name
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(runtime.interpreter, "_obstacle", lambda module: None)
    assert find_interpreter()[1] == "ai_edge_litert"


def test_numpy_2_under_tflite_runtime_is_explained(monkeypatch):
    monkeypatch.setattr(runtime.interpreter.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(runtime.interpreter, "CANDIDATES", runtime.interpreter.CANDIDATES[1:])
    monkeypatch.setattr(np, "__version__", "2.2.6")
    with pytest.raises(InterpreterError, match="tflite-runtime: cannot work with numpy 2.2.6, it needs numpy<2"):
        find_interpreter()


def test_tensorflow_imported_first_is_explained(monkeypatch):
    monkeypatch.setattr(runtime.interpreter.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(runtime.interpreter, "CANDIDATES", runtime.interpreter.CANDIDATES[1:])
    monkeypatch.setattr(np, "__version__", "1.26.4")
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    with pytest.raises(InterpreterError, match="in a process that imported tensorflow first"):
        find_interpreter()
