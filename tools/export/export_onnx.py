"""Export a trained network as ONNX, so that a model can leave Caffe.

    face-cascade export --run build/run
    .venv/bin/python -m tools.export.export_onnx --models models --lmdb data/lmdb \\
        --weights build/cascade_iter_30000.caffemodel --out build/cascade.onnx

Input `data`, float32 (N, 3, 224, 224), B G R, 0 to 255, any N: centre patches of aligned faces. Outputs: the deploy
net's own, and the logits. RegionMapper and RoIWarp are written in standard operators. The file's metadata hold:
attributes (JSON list of names, in order), input, calibrated ("true" or "false") and calibration (JSON, by output:
threshold, slope and offset per attribute; sigmoid(slope * score + offset) is the probability).
"""

import json
import pathlib

import onnx
from onnx import TensorProto, helper

from data_prep.files import write_bytes
from models import table1
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError, standalone
from tools.evaluate import calibration, json_records
from tools.export.graph import Exporter

OPSET = 17
DEFAULT_RUN = "build/run"
# Blobs that are worth having although other layers read them.
OUTPUTS = ("logits", "max_d", "response", "rois", "rois_image")


def attribute_names(weights, run=None, lmdb=None, names=None):
    """The names of the attributes that weights were trained on, in order.

    names: as given; run: tools.run.Run; lmdb: LMDB folder; else those of calibration.json beside the weights. Raises
    ToolError where there are none, or where calibration.json says that they are others.
    """
    calibrated = calibration.read(weights)
    if names is not None:
        attributes = list(names)
    elif run is not None:
        attributes = list(run.attributes)
    elif lmdb is not None:
        attributes = list(networks.manifest(lmdb).attributes)
    elif calibrated:
        return calibrated.attributes
    else:
        raise ToolError(f"{weights}: the names of its attributes are not known; give --run, --lmdb or --names A,B,...")
    if calibrated and calibrated.attributes != attributes:
        raise ToolError(
            f"{weights}: trained on {', '.join(calibrated.attributes)}, as {calibration.NAME} beside it says, not on "
            f"{', '.join(attributes)}"
        )
    return attributes


def export(model, weights, attributes):
    """An ONNX model of a deploy prototxt with its weights, and whether it is calibrated. Raises ToolError.

    attributes: their names, in order; a calibration that fits is taken from calibration.json beside the weights
    """
    if not attributes or len(set(attributes)) != len(attributes) or not all(attributes):
        raise ToolError(f"the names of the attributes must be given, each once, not {', '.join(attributes) or 'none'}")
    net = networks.load(model, weights)
    if networks.attributes_of(net) != len(attributes):
        raise ToolError(
            f"{weights}: of a network for {networks.attributes_of(net)} attributes, but {len(attributes)} names are "
            f"given: {', '.join(attributes)}"
        )
    description = networks.description(model)
    arrays = {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()}
    shapes = {name: tuple(blob.data.shape) for name, blob in net.blobs.items()}
    made = Exporter(description, arrays, shapes)
    outputs = [name for name in dict.fromkeys([*net.outputs, *OUTPUTS]) if name in made.names]
    # Nodes' values get names of their own; the outputs get the names of Caffe's blobs.
    for name in outputs:
        made.nodes.append(helper.make_node("Identity", [made.names[name]], [name], name=f"give_{name}"))
    size = table1.INPUT_SIZE
    inputs = [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, size, size])]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shapes[name][1:]]) for name in outputs]
    graph = helper.make_graph(made.nodes, description.name, inputs, results, made.constants)
    opset = [helper.make_opsetid("", OPSET)]
    onnx_model = helper.make_model(graph, opset_imports=opset, producer_name="face-cascade", ir_version=9)
    metadata = {
        "attributes": json.dumps(list(attributes)),
        "input": "B G R, 0 to 255, centre patch of an aligned face",
        "calibrated": "false",
    }
    calibrated = calibration.read(weights, list(attributes))
    if calibrated:
        metadata.update(calibrated="true", calibration=json.dumps(json_records.dump(calibrated.scores)))
    helper.set_model_props(onnx_model, metadata)
    onnx.checker.check_model(onnx_model)
    return onnx_model, calibrated is not None


def add_arguments(parser):
    """The options of `face-cascade export`."""
    add = parser.add_argument
    add("--run", metavar="FOLDER", help=f"Folder of the run to export from. Default: {DEFAULT_RUN}.")
    add("--stage", default="cascade", choices=record.TRAINED, help="Stage of the run to export. Default: cascade.")
    add("--weights", metavar="FILE", help="Export this .caffemodel of any of the networks, instead of a run's stage.")
    add("--models", metavar="FOLDER", help="With --weights: the networks' prototxts. Default: the run's, else models.")
    add("--lmdb", metavar="FOLDER", help="With --weights: LMDBs it was trained on, for the names of its attributes.")
    add("--names", metavar="A,B,...", help="With --weights: the names of its attributes, in order, instead of --lmdb.")
    add("--out", metavar="FILE", help="The .onnx file to write. Default: STAGE.onnx in the run; needed with --weights.")


def run(arguments):
    """`face-cascade export`: the exit status. Raises ToolError, OSError."""
    if arguments.weights:
        if not arguments.out:
            raise ToolError("--weights needs --out, the .onnx file to write")
        names = None if arguments.names is None else [name.strip() for name in arguments.names.split(",")]
        weights, out = arguments.weights, pathlib.Path(arguments.out)
        made = runs.Run.read(arguments.run) if arguments.run else None
        model = networks.deploy(arguments.models or arguments.run or "models", weights)
        attributes = attribute_names(weights, made, arguments.lmdb, names)
    else:
        for name in ("lmdb", "names"):
            if getattr(arguments, name) is not None:
                raise ToolError(f"--{name} belongs to --weights; a run's record has its attributes' names")
        made = runs.Run.read(arguments.run or DEFAULT_RUN)
        weights, model = made.weights(arguments.stage), made.deploy(arguments.stage)
        attributes = attribute_names(weights, made)
        out = pathlib.Path(arguments.out) if arguments.out else made.folder / f"{arguments.stage}.onnx"
    exported, calibrated = export(model, weights, attributes)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, exported.SerializeToString())
    outputs = ", ".join(output.name for output in exported.graph.output)
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB; attributes {', '.join(attributes)}; outputs {outputs}")
    if not calibrated:
        print(
            f"{out}: NOT calibrated, since {weights} has not been evaluated: its probabilities are those of balanced "
            "batches; evaluate it (face-cascade evaluate), then export again"
        )
    return 0


if __name__ == "__main__":
    standalone(__doc__, add_arguments, run)
