"""A trained network as a folder to hand on, laid out as Caffe's Model Zoo asks for: `face-cascade export --zoo FOLDER`.

readme.md           front matter (name, caffemodel, license, sha1, ...), then what the network is for and was made from
NET.caffemodel      the weights alone: neither the state of their training nor paths
deploy.prototxt, train_val.prototxt, solver.prototxt
calibration.json    probabilities and thresholds, where the network was evaluated

tools.by_hand opens it in place of a run, in any clone of the project; no file in it names a path of the machine that
made it.
"""

import hashlib
import json
import pathlib
import re

from data_prep import files, geometry
from data_prep.store import manifest
from models.networks import POSITION, STATE_LAYERS
from tools import model_files
from tools.by_hand import DEPLOY, README
from tools.errors import ToolError
from tools.evaluate import calibration

UNSTATED = "not stated; whoever publishes these weights must fill it in"
# The folder of the data in prototxts: in a Data layer, and in the JSON of a Python layer.
SOURCE = re.compile(r'(source"?: )"(?:[^"\\]|\\+.)*?(/train|/(?:val|test)_(?:images|labels))?"')
BODY = """---
{front}
---

A multi-task cascaded network in Caffe: task one finds the region of the face that an attribute depends on, task two
recognises the attribute there. Attributes: {attributes}.

## Intended use

Studying and reproducing the paper; not for decisions about a person. An answer is a guess at a label that annotators
gave to pictures, not a fact about a person. Faces must be roughly frontal; probabilities hold for faces like those
of the training data.

## Input

Aligned faces. In pictures of the training data the eyes are at {left} and {right} pixels; `predict` finds and aligns
the faces of photos. The network takes the centre 224 x 224 pixels of the aligned face at 256 x 256, B G R, 0 to 255.

    face-cascade predict --run THIS_FOLDER photo.jpg
    python examples/predict.py THIS_FOLDER aligned_face.jpg
    face-cascade export --run THIS_FOLDER

The Python layers in the prototxts are those of the project face-cascade; the commands run in its clone.

## Data

Trained on {data}.{warning}

## Licence and terms

- Licence of the weights: {licence}
- Terms of the training data: {terms}
"""


def write(folder, run, stage, licence="", terms=""):
    """Write the folder. Returns its size in bytes. Raises ToolError, OSError.

    stage: whose weights; licence, terms: of weights and data, texts, "" where they are not stated
    """
    weights, net = run.weights(stage), "region" if stage == "average" else stage
    entry, places = calibration.read(weights, list(run.attributes)), run.places(net)
    if "net" not in places:
        raise ToolError(f"{run.folder}: weights without the prototxts of their training; give the run that made them")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{net}.caffemodel"
    train_val = files.read_bytes(run.folder / places["net"]).decode()
    solver = files.read_bytes(run.folder / places["solver"]).decode()
    files.write_bytes(path, model_files.bare(weights, (*STATE_LAYERS[1:], POSITION)).SerializeToString())
    files.write_bytes(folder / DEPLOY, files.read_bytes(run.deploy(stage)))
    files.write_bytes(folder / "train_val.prototxt", without_paths(train_val).encode())
    files.write_bytes(folder / "solver.prototxt", in_folder(solver, path.name).encode())
    if entry:
        calibration.write(path, {**entry, "weights": files.sha256(path)})
    files.write_bytes(folder / README, readme(run, stage, path, licence, terms).encode())
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def without_paths(prototxt):
    """The text of a prototxt with the default folder of the data."""
    return SOURCE.sub(r'\1"data/lmdb\2"', prototxt)


def in_folder(solver, weights):
    """The text of a solver prototxt as it is in the folder, where it trains the published weights further."""
    solver = re.sub(r"(caffe train -solver )\S+", r"\1solver.prototxt", solver)
    solver = re.sub(r"^weights: .*\n", "", solver, flags=re.MULTILINE)
    net = f'net: "train_val.prototxt"\nweights: "{weights}" # the published ones, to train them further'
    solver = re.sub(r'^net: ".*"', net, solver, flags=re.MULTILINE)
    prefix = f'snapshot_prefix: "{pathlib.Path(weights).stem}"'
    return re.sub(r'^snapshot_prefix: ".*"', prefix, solver, flags=re.MULTILINE)


def readme(run, stage, path, licence, terms):
    """The text of readme.md. path: of the weights in the folder."""
    names, made_with, rendered = list(run.attributes), run.stages[stage].made_with, run.data.synthetic
    engine = {"bvlc": "BVLC Caffe 1.0", "torch": "the engine of face-cascade"}.get(made_with.get("engine"), "unknown")
    front = {
        "name": f"Face attributes with regions ({stage}): {', '.join(names)}",
        "caffemodel": path.name,
        "caffemodel_url": "",
        "license": licence,
        "sha1": hashlib.sha1(files.read_bytes(path)).hexdigest(),
        "deploy_sha1": hashlib.sha1(files.read_bytes(path.with_name(DEPLOY))).hexdigest(),
        "caffe_version": engine + (f", PyTorch {made_with['torch']}" if "torch" in made_with else ""),
        "attributes": names,
        "frame": run.data.frame,
        "trained_on": "rendered faces" if rendered else "",
    }
    try:
        found = manifest.read(run.lmdb)
        images = f", {found.splits['train'].images:,} images" if "train" in found.splits else ""
        data = manifest.KINDS.get(found.kind, "data of unknown origin") + images
    except (OSError, ValueError):
        data = "data that were not there when this folder was written"
    left, right = (f"({x:g}, {y:g})" for x, y in run.data.frame or geometry.ALIGNED_EYES)
    return BODY.format(
        front="\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()),
        attributes=", ".join(names),
        left=left,
        right=right,
        data=f"{'rendered faces in the layout of ' if rendered else ''}{data}",
        warning=" Answers for photos mean nothing." if rendered else "",
        licence=licence or UNSTATED,
        terms=terms or UNSTATED,
    )
