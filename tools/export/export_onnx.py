"""A trained network as one ONNX file that stands alone: the graph from picture to answers, and its metadata."""

import json

import onnx
from onnx import TensorProto, helper

from data_prep import geometry
from data_prep.settings import to_json
from tools import model_files, networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.export import answer_graph, patch_graph
from tools.export.graph import Exporter

OPSET = 17
INPUT = "uint8 (N, H, W, 3), R G B, any size: aligned faces; of {} x {} pixels the eyes are at {} and {}".format(
    geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT, *(tuple(map(int, eye)) for eye in geometry.ALIGNED_EYES)
)
# Of the outputs, the axes after pictures and attributes.
SHAPES = {"probability": [], "present": [], "region": [4], "response": [4, 4], "revised_response": [4, 4]}


def export(model, weights, attributes, adjustable=(), uncalibrated=False):
    """An ONNX model of a deploy prototxt with its weights, from picture to answers. Raises ToolError.

    attributes: their names, in order; adjustable: parameters of RegionMapper that become inputs, scalars;
    uncalibrated: export weights without a calibration too
    """
    if not attributes or len(set(attributes)) != len(attributes) or not all(attributes):
        raise ToolError(f"the names of the attributes must be given, each once, not {', '.join(attributes) or 'none'}")
    net = networks.load(model, weights)
    if networks.attributes_of(net) != len(attributes):
        raise ToolError(
            f"{weights}: of a network for {networks.attributes_of(net)} attributes, but {len(attributes)} names are "
            f"given: {', '.join(attributes)}"
        )
    score, scores, calibrated = calibration.of_answer(weights, net, attributes)
    if not (calibrated or uncalibrated):
        raise ToolError(
            f"{weights} is not calibrated, its probabilities would be those of balanced batches; run face-cascade "
            "evaluate first, or export it so all the same with --uncalibrated"
        )
    description = model_files.read(model)
    arrays = {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
    shapes = {name: tuple(blob.data.shape) for name, blob in net.blobs.items()}

    made = Exporter(description, arrays, shapes, adjustable)
    patches, size = patch_graph.patch(made, "image")
    made.translate(patches)
    values = answer_graph.answers(made, score, scores, len(attributes))
    if "rois_image" in made.names:
        values["region"] = answer_graph.region(made, size)
        values.update((name, made.names[name]) for name in ("response", "revised_response"))
    # Nodes' values get names of their own; the outputs get names that users read.
    for name, value in values.items():
        made.nodes.append(helper.make_node("Identity", [value], [name], name=f"give_{name}"))
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", "H", "W", 3])]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in adjustable]
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.BOOL if name == "present" else TensorProto.FLOAT, ["N", len(attributes), *SHAPES[name]]
        )
        for name in values
    ]
    graph = helper.make_graph(made.nodes, description.name, inputs, outputs, made.constants)
    opset = [helper.make_opsetid("", OPSET)]
    onnx_model = helper.make_model(graph, opset_imports=opset, producer_name="face-cascade", ir_version=9)
    metadata = {
        "attributes": json.dumps(list(attributes)),
        "input": INPUT,
        "calibrated": "true" if calibrated else "false",
        "trained on": "rendered faces" if calibrated and calibrated.synthetic else "",
    }
    if calibrated:
        metadata["calibration"] = json.dumps(to_json(scores))
    helper.set_model_props(onnx_model, metadata)
    onnx.checker.check_model(onnx_model)
    return onnx_model
