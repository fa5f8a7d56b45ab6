"""Export a trained network as one ONNX file that stands alone, or as a web page that runs it in the browser.

    face-cascade export --run build/run
    face-cascade export --run build/run --page build/page
    face-cascade export --models models --lmdb data/lmdb --weights build/cascade_iter_30000.caffemodel \\
        --out build/cascade.onnx

Input `image`: uint8 (N, H, W, 3), R G B, any size; pictures framed like CelebA's aligned ones, as `predict --aligned`
takes them. Outputs, for each picture and attribute: `probability`, calibrated; `present`, by the threshold tuned on the
validation split; and of networks with regions `region` (x1 y1 x2 y2 in pixels of the picture), `response` and
`revised_response` (4 x 4 maps, without and with the average region). The file's metadata hold: attributes (JSON list
of names, in order), input, calibrated ("true" or "false") and calibration (JSON).
"""

import json
import pathlib

import onnx
from onnx import TensorProto, helper

from data_prep import geometry
from data_prep.files import write_bytes
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, json_records
from tools.export import answer_graph, page, patch_graph, precision
from tools.export.graph import Exporter

OPSET = 17
DEFAULT_RUN = "build/run"
INPUT = "uint8 (N, H, W, 3), R G B, any size: aligned faces; of {} x {} pixels the eyes are at {} and {}".format(
    geometry.ALIGNED_WIDTH, geometry.ALIGNED_HEIGHT, *(tuple(map(int, eye)) for eye in geometry.ALIGNED_EYES)
)
# Of the outputs, the axes after pictures and attributes.
SHAPES = {"probability": [], "present": [], "region": [4], "response": [4, 4], "revised_response": [4, 4]}


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
    calibrated = calibration.read(weights, list(attributes))
    if not (calibrated or uncalibrated):
        raise ToolError(
            f"{weights} is not calibrated, its probabilities would be those of balanced batches; run face-cascade "
            "evaluate first, or export it so all the same with --uncalibrated"
        )
    score = "logits" if "logits" in net.blobs else "max_d"
    scores = calibrated.scores[score] if calibrated else calibration.ScoreCalibration(0.0, 1.0, 0.0)
    description = networks.description(model)
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
    }
    if calibrated:
        metadata["calibration"] = json.dumps(json_records.dump(scores))
    helper.set_model_props(onnx_model, metadata)
    onnx.checker.check_model(onnx_model)
    return onnx_model


def add_arguments(parser):
    """The options of `face-cascade export`."""
    add = parser.add_argument
    add("--run", metavar="FOLDER", help=f"The folder of the run to export from (default: {DEFAULT_RUN}).")
    add("--stage", default="cascade", choices=record.TRAINED, help="The stage of the run to export (default: cascade).")
    add(
        "--weights",
        metavar="FILE",
        help="Export this .caffemodel, of any of the networks (default: that of the run's stage).",
    )
    add(
        "--models",
        metavar="FOLDER",
        help="With --weights: the folder of the prototxts (default: the run's, else models).",
    )
    add(
        "--lmdb",
        metavar="FOLDER",
        help="With --weights: the LMDB folder that the weights were trained on, for their attributes' names.",
    )
    add(
        "--names",
        metavar="A,B,...",
        help="With --weights: the names of their attributes, in order (default: those of --run, --lmdb or "
        "calibration.json).",
    )
    add(
        "--out",
        metavar="FILE",
        help="The .onnx file to write; needed with --weights (default: STAGE.onnx in the run).",
    )
    add(
        "--precision",
        default="fp32",
        choices=tuple(precision.CONVERSIONS),
        help="How weights are stored: fp32; fp16, half the size; or int8, a quarter, computed in integers "
        "(default: fp32).",
    )
    add(
        "--uncalibrated",
        action="store_true",
        help="Export weights that have not been evaluated; their probabilities are those of balanced batches (default: "
        "stop with an error).",
    )
    add(
        "--page",
        metavar="FOLDER",
        help="Instead of a file, write a web page into this folder that runs the cascade in the browser.",
    )
    add(
        "--onnxruntime-web",
        metavar="FOLDER",
        help="With --page: the folder of the unpacked npm package onnxruntime-web (default: fetch it with npm).",
    )


def run(arguments):
    """`face-cascade export`: the exit status. Raises ToolError, OSError."""
    if arguments.page and arguments.out:
        raise ToolError("--page writes a folder, --out a file; give one of the two")
    if arguments.onnxruntime_web and not arguments.page:
        raise ToolError("--onnxruntime-web belongs to --page")
    if arguments.weights:
        if not (arguments.out or arguments.page):
            raise ToolError("--weights needs --out, the .onnx file to write, or --page")
        names = None if arguments.names is None else [name.strip() for name in arguments.names.split(",")]
        weights, out = arguments.weights, arguments.out
        made = runs.Run.read(arguments.run) if arguments.run else None
        model = networks.deploy(arguments.models or arguments.run or "models", weights)
        attributes = attribute_names(weights, made, arguments.lmdb, names)
    else:
        runs.refuse_for_run(arguments, ("models", "lmdb", "names"), "a run has networks and names of its own")
        made = runs.Run.read(arguments.run or DEFAULT_RUN)
        weights, model = made.weights(arguments.stage), made.deploy(arguments.stage)
        attributes = attribute_names(weights, made)
        out = arguments.out or made.folder / f"{arguments.stage}.onnx"
    if arguments.page and networks.net_of(weights) != "cascade":
        raise ToolError(
            f"{weights}: not of a cascade; the page shows regions and answers, which only the cascade gives"
        )
    adjustable = page.ADJUSTABLE if arguments.page else ()
    exported = export(model, weights, attributes, adjustable, arguments.uncalibrated)
    exported = precision.CONVERSIONS[arguments.precision](exported)
    if arguments.page:
        folder = pathlib.Path(arguments.page)
        size = page.write(folder, exported, networks.region_mapper_parameters(model), arguments.onnxruntime_web)
        print(f"{folder}: {size / 1e6:.0f} MB; to see it: python3 -m http.server -d {folder}, then open localhost:8000")
        return 0
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, exported.SerializeToString())
    outputs = ", ".join(output.name for output in exported.graph.output)
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB; attributes {', '.join(attributes)}; outputs {outputs}")
    return 0
