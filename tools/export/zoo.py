"""A trained network as a folder to hand on, laid out as Caffe's Model Zoo asks for: `face-cascade export --zoo FOLDER`.

readme.md           front matter (name, caffemodel, license, sha1, ...), then what the network is for and was made from
NET.caffemodel      the weights alone: neither the state of their training nor paths
deploy.prototxt, train_val.prototxt, solver.prototxt
calibration.json    probabilities and thresholds, where the network was evaluated
run.json            checksums, attributes and the place of the eyes, by which it is opened as a run in any clone

No file in it names a path of the machine that made it.
"""

import dataclasses
import hashlib
import json
import pathlib

from data_prep import files, geometry
from data_prep.store import manifest
from models import generate
from models.networks import POSITION, STATE_LAYERS
from models.options import NETWORKS, NetworkOptions
from tools import model_files
from tools.by_hand import DEPLOY
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.record import Settings, Stage
from tools.run import Run

README = "readme.md"
# Tells that the folder holds a model, which may be written again: the checksum of readme.md as it was written last.
MARK = ".face-cascade-zoo"
UNSTATED = "not stated; whoever publishes these weights must fill it in"
BODY = pathlib.Path(__file__).with_name("readme.template")


def write(folder, run, stage, licence="", terms=""):
    """Write the folder; a readme.md that was edited since an earlier call stays. Raises ToolError, OSError.

    stage: whose weights; licence, terms: of weights and data, texts, "" where they are not stated
    Returns the size of the folder in bytes, and the SHA-1 of the weights if readme.md stayed, else None.
    """
    weights, net = run.weights(stage), "region" if stage == "average" else stage
    entry, path = calibration.read(weights, list(run.attributes)), folder / f"{net}.caffemodel"
    if not run.recorded:
        raise ToolError(f"{run.folder}: holds no record of the training of its weights; give the run that made them")
    folder.mkdir(parents=True, exist_ok=True)
    for name in NETWORKS:  # an earlier model of another network may be here
        (folder / f"{name}.caffemodel").unlink(missing_ok=True)
    places = {"net": "train_val.prototxt", "deploy": DEPLOY, "solver": "solver.prototxt", "snapshot_prefix": net}
    places["weights"] = path.name  # so that they are trained further
    options = dataclasses.replace(run.network(), lmdb=NetworkOptions.lmdb)
    generate.write(folder, options, run.solver_changes(), [net], lambda _: places)
    files.write_bytes(path, model_files.bare(weights, (*STATE_LAYERS[1:], POSITION)).SerializeToString())
    files.write_bytes(folder / DEPLOY, files.read_bytes(run.deploy(stage)))
    if entry:
        calibration.write(path, {**entry, "weights": files.sha256(path)})
    text, described, mark = readme(run, stage, path, licence, terms).encode(), folder / README, folder / MARK
    edited = described.exists() and mark.exists() and files.sha256(described) != mark.read_text()
    if not edited:
        files.write_bytes(mark, hashlib.sha256(text).hexdigest().encode())
        files.write_bytes(described, text)
    data = dataclasses.replace(run.data, lmdb=NetworkOptions.lmdb, checksum="")
    done = Stage({}, "done", path.name, files.sha256(path), files.sha256(folder / DEPLOY))
    Run(folder, data, Settings(network=run.settings.network), {net: done}).write()
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return size, sha1(path) if edited else None


def sha1(path):
    return hashlib.sha1(files.read_bytes(path)).hexdigest()


def readme(run, stage, path, licence, terms):
    """The text of readme.md. path: of the weights in the folder."""
    names, made_with, rendered = list(run.attributes), run.stages[stage].made_with, run.data.synthetic
    engine = {"bvlc": "BVLC Caffe 1.0", "torch": "the engine of face-cascade"}.get(made_with.get("engine"), "unknown")
    front = {
        "name": f"Face attributes with regions ({stage}): {', '.join(names)}",
        "caffemodel": path.name,
        "caffemodel_url": "",
        "license": licence,
        "sha1": sha1(path),
        "caffe_version": engine + (f", PyTorch {made_with['torch']}" if "torch" in made_with else ""),
        "attributes": names,
    }
    try:
        found = manifest.read(run.lmdb)
        images = f", {found.splits['train'].images:,} images" if "train" in found.splits else ""
        data = manifest.KINDS.get(found.kind, "data of unknown origin") + images
    except (OSError, ValueError):
        data = "data that were not there when this folder was written"
    frames = geometry.ALIGNED_EYES if run.data.frame is None else run.data.frame, geometry.ALIGNED_EYES
    eyes, network_eyes = (" and ".join(f"({x:g}, {y:g})" for x, y in frame) for frame in frames)
    return BODY.read_text().format(
        front="\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()),
        attributes=", ".join(names),
        eyes=eyes,
        network_eyes=network_eyes,
        size=f"{geometry.ALIGNED_WIDTH} x {geometry.ALIGNED_HEIGHT}",
        data=f"{'rendered faces in the layout of ' if rendered else ''}{data}",
        warning=" Answers for photos mean nothing." if rendered else "",
        licence=licence or UNSTATED,
        terms=terms or UNSTATED,
    )
