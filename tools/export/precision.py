"""Smaller ONNX files: weights stored in half precision, or as 8-bit integers."""

import logging
import pathlib
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Values of a constant from which on it is stored in half precision; the rest is no part of the file's size.
MANY = 1024


def unchanged(model):
    """The model itself."""
    return model


def half(model):
    """The model with its weights in half precision. It computes in single precision, as before."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    casts = []
    for constant in result.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.dtype == np.float32 and values.size >= MANY:
            stored = f"{constant.name}_half"
            casts.append(helper.make_node("Cast", [stored], [constant.name], to=TensorProto.FLOAT))
            constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [*casts, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    onnx.checker.check_model(result)
    return result


def integers(model):
    """The model with convolutions in 8-bit integers, whose inputs are quantised as they come (dynamic quantisation)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        logging.disable(logging.WARNING)  # it advises steps that would fix the size of the pictures
        try:
            # ONNX Runtime's convolutions take weights without a sign only.
            quantize_dynamic(model, path, op_types_to_quantize=["Conv"], weight_type=QuantType.QUInt8)
        finally:
            logging.disable(logging.NOTSET)
        result = onnx.load(path)
    helper.set_model_props(result, {entry.key: entry.value for entry in model.metadata_props})
    return result


CONVERSIONS = {"fp32": unchanged, "fp16": half, "int8": integers}
