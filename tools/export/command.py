"""Export a trained network as one ONNX file that stands alone, or as a web page that runs it in the browser.

    face-cascade export                            build/run/cascade.onnx
    face-cascade export --page build/page

Input `image`: uint8 (N, H, W, 3), R G B, any size; aligned faces, framed like CelebA's, as `predict --aligned` takes
them: the file finds no faces. Outputs, for each picture and attribute: `probability`, calibrated; `present`, by the
threshold tuned on the validation split; and of networks with regions `region` (x1 y1 x2 y2 in pixels of the picture),
`response` and `revised_response` (4 x 4 maps, without and with the average region). The file's metadata hold:
attributes (JSON list of names, in order), input, calibrated ("true" or "false"), calibration (JSON), and trained on
("rendered faces", or nothing).
"""

import pathlib

from data_prep.files import write_bytes
from tools import record
from tools import run as runs
from tools.errors import ToolError

PRECISIONS = ("fp32", "fp16", "int8")


def add_arguments(parser):
    """The options of `face-cascade export`."""
    add = parser.add_argument
    runs.add_argument(parser, "of the run to export from, a model that was handed on, or a .caffemodel")
    add("--stage", choices=record.TRAINED, help="The stage to export (default: the one that predict answers with).")
    add("--out", metavar="FILE", help="The .onnx file to write (default: STAGE.onnx in the run).")
    add(
        "--precision",
        default="fp32",
        choices=PRECISIONS,
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
    from tools import networks
    from tools.export import page, precision
    from tools.export.export_onnx import export

    found = runs.Run.read(arguments.run)
    stage = arguments.stage or found.answering()
    if arguments.page and stage != "cascade":
        raise ToolError(f"{found.folder}: {stage} is no cascade; the page shows regions and answers of a cascade")
    weights, model = found.weights(stage), found.deploy(stage)
    adjustable = page.ADJUSTABLE if arguments.page else ()
    exported = export(model, weights, found.attributes, adjustable, arguments.uncalibrated)
    exported = precision.CONVERSIONS[arguments.precision](exported)
    if arguments.page:
        folder = pathlib.Path(arguments.page)
        size = page.write(folder, exported, networks.region_mapper_parameters(model), arguments.onnxruntime_web)
        print(f"{folder}: {size / 1e6:.0f} MB; to see it: python3 -m http.server -d {folder}, then open localhost:8000")
        return 0
    out = pathlib.Path(arguments.out or found.output / f"{stage}.onnx")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, exported.SerializeToString())
    outputs = ", ".join(output.name for output in exported.graph.output)
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB; attributes {', '.join(found.attributes)}; outputs {outputs}")
    return 0
