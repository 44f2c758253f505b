"""The two int8 networks, run by ai-edge-litert or, where that is not installed, by tflite-runtime.

The only file that names an interpreter, and it imports one only when models are loaded.
"""
from __future__ import annotations

import importlib.util
import sys
from functools import partial
from typing import Any, Callable

import numpy as np

from . import advice
from .bundle import EMBEDDING, FEATURE_MAP, Bundle
from .errors import BundleError, InterpreterError
from .quantize import Quantization

# The cheaper one first: ai-edge-litert runs int8 by XNNPACK, tflite-runtime 2.14.0's XNNPACK takes floats only. In the table
# of `make bench-pi` the two networks of models/janken cost half as many instructions with it.
CANDIDATES = (("ai_edge_litert.interpreter", "ai-edge-litert"), ("tflite_runtime.interpreter", "tflite-runtime"))
CONVERT_AGAIN = "Convert both models to full int8 with built-in ops only: `make export` does."


def find_interpreter(reference_kernels: bool = False) -> tuple[str, Callable[..., Any]]:
    """Name with version, and what makes an Interpreter, of the first candidate that can work here.

    Args:
        reference_kernels: those that define what int8 gives, and slow. tflite-runtime's fast ones on a Pi give the very same
            numbers; those for x86 round otherwise here and there. So a workstation that asks for them computes as a Pi does.

    Raises:
        InterpreterError: none can; the message says why for each, and what to run.
    """
    reasons = []
    for module, package in CANDIDATES:
        obstacle = _obstacle(module)
        if obstacle is None:
            try:
                found = importlib.import_module(module)
                name, interpreter = f"{package} {advice.version_of(package)}", found.Interpreter
                if reference_kernels:
                    resolver = found.OpResolverType.BUILTIN_REF
                    return f"{name}, reference kernels", partial(interpreter, experimental_op_resolver_type=resolver)
                return name, interpreter
            except (ImportError, AttributeError) as error:  # AttributeError: a package that lost half its files
                obstacle = str(error)
        reasons.append(f"{package}: {obstacle}")
    raise InterpreterError(
        "no TFLite interpreter can be used here",
        given="; ".join(reasons),
        expected=" or ".join(package for _, package in CANDIDATES),
        remedy=advice.install_line(*advice.interpreter_requirements()),
    )


def _obstacle(module: str) -> str | None:
    """Why an interpreter would fail although importing it succeeds; None when nothing speaks against it."""
    top = module.partition(".")[0]
    if top != "tflite_runtime" or importlib.util.find_spec(top) is None:
        return None
    if advice.too_new_for_tflite(np.__version__):
        return f"cannot work with numpy {np.__version__}, it needs numpy<2"
    if "tensorflow" in sys.modules:
        return "cannot work in a process that imported tensorflow first"
    return None


class Network:
    """One model with one int8 input and one int8 output, batch size 1.

    Attributes:
        input_shape, output_shape: without the batch axis.
        input_quantization, output_quantization: scale and zero point of the whole tensor.

    Raises:
        BundleError: the model cannot be loaded, or is not of that kind.
    """

    def __init__(self, name: str, content: bytes, interpreter_class: Callable[..., Any], threads: int):
        self._name = name
        try:
            self._interpreter = interpreter_class(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{name}: the interpreter cannot load it", given=error, remedy=CONVERT_AGAIN) from error
        self._input, self.input_shape, self.input_quantization = self._only_tensor("input")
        self._output, self.output_shape, self.output_quantization = self._only_tensor("output")

    def _only_tensor(self, side: str) -> tuple[int, tuple[int, ...], Quantization]:
        details: list[dict[str, Any]] = getattr(self._interpreter, f"get_{side}_details")()
        if len(details) != 1:
            raise BundleError(f"{self._name}: {side} tensors", given=len(details), expected=1, remedy=CONVERT_AGAIN)
        tensor = details[0]
        scale, zero_point = tensor["quantization"]
        if tensor["dtype"] is not np.int8 or scale <= 0:
            raise BundleError(
                f"{self._name}: {side} tensor",
                given=f"{np.dtype(tensor['dtype'])}, scale {scale}",
                expected="int8 with one scale and zero point",
                remedy=CONVERT_AGAIN,
            )
        return tensor["index"], tuple(int(n) for n in tensor["shape"][1:]), Quantization(float(scale), int(zero_point))

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """int8 of input_shape to int8 of output_shape."""
        self._interpreter.set_tensor(self._input, values[None])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


class SplitNetwork:
    """feature_map.tflite and embedding.tflite, joined: the int8 feature map is handed over as it is.

    Attributes:
        interpreter: name and version of what runs them.
        image_quantization, feature_quantization, embedding_quantization: of the three tensors.
    """

    def __init__(self, feature_net: Network, embedding_net: Network, interpreter: str):
        self._feature_net = feature_net
        self._embedding_net = embedding_net
        self.interpreter = interpreter
        self.image_quantization = feature_net.input_quantization
        self.feature_quantization = feature_net.output_quantization
        self.embedding_quantization = embedding_net.output_quantization

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """image: int8 (H, W, 3). Returns the feature map, int8 (h, w, C), and the embedding, int8 (D,)."""
        feature_map = self._feature_net(image)
        return feature_map, self._embedding_net(feature_map)


def load_networks(bundle: Bundle, threads: int = 1, reference_kernels: bool = False) -> SplitNetwork:
    """Load both models of a bundle, check that they fit each other and the manifest. `reference_kernels`: see find_interpreter.

    Raises:
        InterpreterError: no interpreter can be used here.
        BundleError: a model is not int8, or a shape or the quantisation at the joint does not fit.
    """
    name, interpreter_class = find_interpreter(reference_kernels)
    feature_net = Network(FEATURE_MAP, bundle.feature_map_tflite, interpreter_class, threads)
    embedding_net = Network(EMBEDDING, bundle.embedding_tflite, interpreter_class, threads)
    width, height = bundle.size_wh
    _require_shape(f"{FEATURE_MAP}: input", feature_net.input_shape, (height, width, 3))
    _require_shape(f"{FEATURE_MAP}: output", feature_net.output_shape, bundle.feature_shape_hwc)
    _require_shape(f"{EMBEDDING}: input", embedding_net.input_shape, bundle.feature_shape_hwc)
    _require_shape(f"{EMBEDDING}: output", embedding_net.output_shape, (bundle.embedding_dim,))
    require_equal_joint(feature_net.output_quantization, embedding_net.input_quantization)
    return SplitNetwork(feature_net, embedding_net, name)


def _require_shape(what: str, given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if given != expected:
        raise BundleError(f"{what} shape", given=given, expected=f"{expected} by the manifest", remedy=CONVERT_AGAIN)


def require_equal_joint(feature_out: Quantization, embedding_in: Quantization) -> None:
    """Refuse two models whose shared tensor means two different things. Raises BundleError."""
    if feature_out != embedding_in:
        raise BundleError(
            f"the joint between {FEATURE_MAP} and {EMBEDDING}",
            given=f"scale and zero point {tuple(feature_out)} out, {tuple(embedding_in)} in",
            expected="equal ones, because the tensor is handed over as it is",
            remedy=CONVERT_AGAIN,
        )
