"""Folded Keras halves -> int8 TFLite, and the proof that they are what the device can run."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

# Operator versions that tflite-runtime 2.14.0 is sure to know: those of TensorFlow's lite/core/kernels/register.cc in 2023.
OP_VERSIONS = {"ADD": 5, "AVERAGE_POOL_2D": 3, "CONV_2D": 7, "DEPTHWISE_CONV_2D": 7, "FULLY_CONNECTED": 10, "MEAN": 3,
               "MUL": 7, "PAD": 4, "RESHAPE": 1, "RESIZE_BILINEAR": 3}


class ConversionError(Exception):
    """The converted network is not one that the device could run as it should."""


def halves_to_int8(feature_net: keras.Model, embedding_net: keras.Model, inputs: np.ndarray) -> tuple[bytes, bytes]:
    """Both halves as int8 TFLite, ranges from the same frames float32 (N, H, W, 3), equal at the joint."""
    maps = feature_net.predict(inputs, verbose=0)
    feature_map = to_int8(feature_net, [frame[None] for frame in inputs])
    return feature_map, weld(feature_map, to_int8(embedding_net, [row[None] for row in maps]))


def to_int8(net: keras.Model, inputs: Sequence[np.ndarray]) -> bytes:
    """Full int8 TFLite of a Keras model, ranges calibrated on `inputs` (each float32 (1, ...), real and representative)."""
    def representative():
        for value in inputs:
            yield [value]

    with tempfile.TemporaryDirectory() as folder:
        net.export(folder, format="tf_saved_model", verbose=False,
                   input_signature=[keras.InputSpec(shape=(1, *net.input_shape[1:]), dtype="float32")])
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        content = converter.convert()
    check(content, net.name)
    return content


def check(content: bytes, name: str) -> None:
    """Raises ConversionError for a custom or Flex operator, one newer than the device's, or a tensor that is not integer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    names = {value: key for key, value in vars(schema.BuiltinOperator).items() if not key.startswith("_")}
    for code in model.operatorCodes:
        op = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if op not in OP_VERSIONS:
            raise ConversionError(f"{name}: operator {op} is not one of {', '.join(OP_VERSIONS)}; use layers that become these")
        if code.version > OP_VERSIONS[op]:
            raise ConversionError(f"{name}: operator {op} has version {code.version}, tflite-runtime 2.14.0 knows up to "
                                  f"{OP_VERSIONS[op]}; change the layer or the converter's version")
    for tensor in model.subgraphs[0].tensors:
        if tensor.type not in (schema.TensorType.INT8, schema.TensorType.INT32):
            raise ConversionError(f"{name}: tensor {tensor.name.decode()} has type {tensor.type}, expected int8 or int32; "
                                  "an operator was left in float")


def joint(feature_map: bytes, embedding: bytes) -> tuple[float, int]:
    """(scale, zero point) of the tensor handed from one net to the other. Raises ConversionError when they differ."""
    out, into = _tensor(feature_map, "outputs"), _tensor(embedding, "inputs")
    if out != into:
        raise ConversionError(f"the feature map leaves with scale and zero point {out} but enters with {into}; "
                              "both must be calibrated on the same photos, behind a ReLU6")
    return out


def weld(feature_map: bytes, embedding: bytes) -> bytes:
    """`embedding` with the very scale that `feature_map` leaves with.

    Where no photo drives the ReLU6 to its end, both ranges are measured, by two kernels that differ in the seventh digit;
    anything more than that is a mistake, which `joint` then refuses.
    """
    (scale, zero_point), into = _tensor(feature_map, "outputs"), _tensor(embedding, "inputs")
    if (scale, zero_point) != into and zero_point == into[1] and abs(scale - into[0]) < 1e-5 * scale:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(embedding))
        graph = model.subgraphs[0]
        graph.tensors[graph.inputs[0]].quantization.scale = [scale]
        builder = flatbuffers.Builder(len(embedding))
        builder.Finish(model.Pack(builder), b"TFL3")
        embedding = bytes(builder.Output())
    joint(feature_map, embedding)
    return embedding


def _tensor(content: bytes, side: str) -> tuple[float, int]:
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content)).subgraphs[0]
    quantization = graph.tensors[getattr(graph, side)[0]].quantization
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])
