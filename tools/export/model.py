"""A trained network as one ONNX file that stands alone: the graph from picture to answers, and its metadata."""

import io
import json
import logging
import pathlib
import tempfile
import warnings

import onnx
import torch
from onnx import helper

from data_prep import geometry
from tools import model_files, networks
from tools.evaluate import calibration
from tools.export.network import Answering

OPSET = 17
INPUT = "uint8 (N, H, W, 3), R G B, any size: aligned faces; of {} x {} pixels the eyes are at {} and {}".format(
    geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT, *(tuple(map(int, eye)) for eye in geometry.ALIGNED_EYES)
)


def export(run, stage, precision="fp32", adjustable=()):
    """The ONNX model of a stage of a run, from picture to answers. Raises ToolError.

    precision: fp32, fp16 or int8, how the weights are stored; adjustable: parameters of RegionMapper that become
    inputs, scalars
    """
    weights, deploy = run.weights(stage), run.deploy(stage)
    net = networks.load(deploy, weights)
    score, scores, calibrated = calibration.of_answer(weights, net, run.attributes)
    model = traced(Answering(net, model_files.read(deploy), score, scores, adjustable, precision == "fp16"))
    model = integers(model) if precision == "int8" else model
    synthetic = run.data.synthetic or (calibrated and calibrated.synthetic)
    described = {
        "attributes": json.dumps(list(run.attributes)),
        "input": INPUT,
        "calibrated": "true" if calibrated else "false",
        "trained on": "rendered faces" if synthetic else "",
    }
    if calibrated:
        described["calibration"] = json.dumps(scores)
    helper.set_model_props(model, described)
    onnx.checker.check_model(model)
    return model


def traced(module):
    """The ONNX model of an Answering, for any number and size of pictures."""
    image = torch.zeros(1, geometry.ALIGNED_HEIGHT, geometry.ALIGNED_WIDTH, 3, dtype=torch.uint8)
    file, adjusted = io.BytesIO(), [torch.tensor(0.5)] * len(module.adjustable)
    with warnings.catch_warnings():
        # The newer exporter cannot leave the size of pictures open; of the older one PyTorch warns that it is older.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (image, *adjusted),
            file,
            dynamo=False,
            do_constant_folding=False,  # it would store weights in single precision
            opset_version=OPSET,
            input_names=["image", *module.adjustable],
            output_names=module.outputs,
            dynamic_axes={"image": {0: "N", 1: "H", 2: "W"}, **{name: {0: "N"} for name in module.outputs}},
        )
    return onnx.load_from_string(file.getvalue())


def metadata(model):
    """The metadata of an ONNX model: dict of texts."""
    return {entry.key: entry.value for entry in model.metadata_props}


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
        return onnx.load(path)
