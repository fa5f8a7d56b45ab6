"""Export a trained network: as one ONNX file that stands alone, as a web page that runs it in the browser, or as a
folder to hand on, as Caffe's Model Zoo has them.

    face-cascade export                            build/run/cascade.onnx
    face-cascade export --page build/page
    face-cascade export --zoo build/zoo --license "..." --data-terms "..."

ONNX: input `image`, uint8 (N, H, W, 3), R G B, any size: aligned faces, framed like CelebA's (of 178 x 218 pixels, the
eyes at 69, 111 and 108, 111), whatever the frame of the training data; the file finds no faces. Outputs, for each
picture and attribute: `probability`, calibrated; `present`, by the threshold tuned on the validation split; and of
networks with regions `region` (x1 y1 x2 y2 in pixels of the picture), `response` and `revised_response` (4 x 4 maps,
without and with the average region). The file's metadata hold:
attributes (JSON list of names, in order), input, calibrated ("true" or "false"), calibration (JSON), and trained on
("rendered faces", or nothing).
"""

import pathlib
import sys

from data_prep.files import write_bytes
from tools import record
from tools import run as runs
from tools.errors import ToolError

PRECISIONS = ("fp32", "fp16", "int8")


TEXTS = {
    "--out FILE": "The .onnx file to write (default: STAGE.onnx in the run).",
    "--page FOLDER": "Instead of a file, write a web page into this folder that runs the cascade in the browser.",
    "--onnxruntime-web FOLDER": "With --page: the folder of the unpacked npm package onnxruntime-web (default: fetched "
    "with npm).",
    "--zoo FOLDER": "Instead of a file, write the model to hand on into this folder: weights, prototxts, solver, "
    "calibration, and readme.md as Caffe's Model Zoo asks for.",
    "--license TEXT": "With --zoo: the licence of the weights (default: none, readme.md says so).",
    "--data-terms TEXT": "With --zoo: the terms of the training data (default: none, readme.md says so).",
}


def add_arguments(parser):
    """The options of `face-cascade export`."""
    add = parser.add_argument
    runs.add_argument(parser, "of the run to export from, a model that was handed on, or a .caffemodel")
    add("--stage", choices=record.TRAINED, help="The stage to export (default: the one that predict answers with).")
    add(
        "--precision",
        choices=PRECISIONS,
        help="How weights are stored: fp32; fp16, half the size; or int8, a quarter, computed in integers (default: "
        "fp32, of a page fp16).",
    )
    add(
        "--uncalibrated",
        action="store_true",
        help="Export weights that have not been evaluated; their probabilities are those of balanced batches (default: "
        "stop with an error).",
    )
    for option, words in TEXTS.items():
        name, metavar = option.split()
        add(name, metavar=metavar, help=words)


def run(arguments):
    """`face-cascade export`: the exit status. Raises ToolError, OSError."""
    if sum(map(bool, (arguments.page, arguments.zoo, arguments.out))) > 1:
        raise ToolError("--page and --zoo write a folder, --out a file; give one of the three")
    for option, of in (("onnxruntime_web", "page"), ("license", "zoo"), ("data_terms", "zoo")):
        if getattr(arguments, option) and not getattr(arguments, of):
            raise ToolError(f"--{option.replace('_', '-')} belongs to --{of}")
    if arguments.zoo and arguments.precision:
        raise ToolError("--zoo keeps the weights as they are trained; leave out --precision")
    from tools import networks
    from tools.evaluate import calibration
    from tools.export import model, page, zoo

    found = runs.Run.read(arguments.run)
    stage, names = arguments.stage or found.answering(), ", ".join(found.attributes)
    if stage == "region":  # its weights with the average region, where that is measured, are the evaluated ones
        stage = found.evaluated().get(stage, stage)
    note = None if arguments.stage else found.passed_over()
    if note:
        print(f"note: {note}", file=sys.stderr)
    if arguments.page and stage != "cascade":
        raise ToolError(f"{found.folder}: {stage} is no cascade; the page shows regions and answers of a cascade")
    weights = found.weights(stage)
    if not arguments.uncalibrated and calibration.read(weights, list(found.attributes)) is None:
        raise ToolError(
            f"{weights} is not calibrated, its probabilities would be those of balanced batches; run face-cascade "
            "evaluate first, or export it so all the same with --uncalibrated"
        )
    if arguments.zoo:
        folder = own_folder(arguments.zoo, zoo.MARK)
        size, edited = zoo.write(folder, found, stage, arguments.license or "", arguments.data_terms or "")
        print(f"{folder}: {size / 1e6:.1f} MB; attributes {names}; to use it: --run {folder}")
        missing = [f"--{name.replace('_', '-')}" for name in ("license", "data_terms") if not getattr(arguments, name)]
        if edited:
            print(f"{folder / zoo.README}: kept, because it was edited; sha1 of these weights: {edited}")
        elif missing:
            print(f"{folder / zoo.README}: not stated, yours to fill in before you publish it: {' and '.join(missing)}")
    elif arguments.page:
        folder = own_folder(arguments.page, page.MARK)
        exported = model.export(found, stage, arguments.precision or "fp16", page.ADJUSTABLE)
        parameters = networks.region_mapper_parameters(found.deploy(stage))
        size = page.write(folder, exported, parameters, arguments.onnxruntime_web)
        print(f"{folder}: {size / 1e6:.0f} MB; to see it: python3 -m http.server -d {folder}, then open localhost:8000")
    else:
        exported = model.export(found, stage, arguments.precision or "fp32")
        out = pathlib.Path(arguments.out or found.output / f"{stage}.onnx")
        out.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(out, exported.SerializeToString())
        outputs = ", ".join(output.name for output in exported.graph.output)
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; attributes {names}; outputs {outputs}")
    return 0


def own_folder(folder, mark):
    """A folder to write into, made if it is missing: empty, or of an earlier export, whole or not, by its file `mark`.

    Raises ToolError for another one, OSError for a file.
    """
    folder = pathlib.Path(folder)
    if not (folder / mark).exists():
        if folder.exists() and any(folder.iterdir()):
            raise ToolError(f"{folder}: holds other files; give a folder that is empty, or not there yet")
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / mark, b"")
    return folder
