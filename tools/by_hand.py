"""Networks without a record of how they were trained, opened as a run.

  .                        the project's folder (or another with models/, solver/ and build/), in which networks were
                           trained with Caffe's own commands: the newest snapshot of each, and build/average.caffemodel
  FOLDER                   a model to hand on (face-cascade export --zoo): deploy.prototxt, one .caffemodel, calibration
  FILE.caffemodel          weights, with deploy.prototxt beside them, or that of their network in ./models

The names of the attributes are those in the comment of deploy.prototxt, the data those that train_val.prototxt reads.
"""

import json
import pathlib
import re

from data_prep import files
from data_prep.store import manifest
from models import generate
from models.networks import attributes_of
from models.options import NetworkOptions
from tools import model_files
from tools.errors import ToolError
from tools.record import TRAINED, Data, Stage

SUFFIX = ".caffemodel"


def is_repository(folder):
    """Whether a folder is laid out as the project's own: networks, solvers, and what they train."""
    return (pathlib.Path(folder) / generate.in_repository("region")["solver"]).is_file()


def read(place):
    """The parts of a run at a place without a record, as the arguments of tools.run.Run: dict.

    Raises ToolError when there is none.
    """
    place = pathlib.Path(place)
    if is_repository(place):
        return repository(place)
    if place.suffix == SUFFIX and place.is_file():
        return weights(place)
    files_there = sorted(place.glob(f"*{SUFFIX}")) if (place / "deploy.prototxt").is_file() else []
    if len(files_there) == 1:
        return weights(files_there[0])
    raise ToolError(f"{place}: no run in it (run.json is missing); train first: face-cascade train --run {place}")


def repository(root):
    """The parts of the run of a folder in which Caffe's own commands train. Raises ToolError."""
    build, stages = root / "build", {}
    for net in TRAINED:
        snapshots = {
            int(path.stem.rpartition("_")[2]): path
            for path in build.glob(f"{net}_iter_*{SUFFIX}")
            if re.fullmatch(rf"{net}_iter_\d+", path.stem)
        }
        if snapshots:
            iteration = max(snapshots)
            stages[net] = stage(root, snapshots[iteration], iteration)
    if (build / generate.AVERAGE).is_file():
        stages["average"] = stage(root, build / generate.AVERAGE, 0)
    places = generate.in_repository
    data = data_of(root, places("region"))
    return {"folder": root, "data": data, "stages": stages, "output": build, "places": places}


def weights(path):
    """The parts of the run of one file of weights. Raises ToolError."""
    net = model_files.network_of(path)
    deploy = path.with_name("deploy.prototxt")
    if not deploy.is_file():
        deploy = pathlib.Path(generate.in_repository(net)["deploy"]).absolute()
        if not deploy.is_file():
            raise ToolError(
                f"{path}: no deploy.prototxt beside it, and no {generate.in_repository(net)['deploy']} here"
            )
    names = attributes_of(deploy.read_text(encoding="utf-8", errors="replace"))
    data = Data(str(pathlib.Path("data/lmdb").absolute()), "", names, "compact")
    stages, files_of = {net: stage(path.parent, path, 0)}, {"deploy": str(deploy)}
    return {"folder": path.parent, "data": data, "stages": stages, "output": path.parent, "places": lambda _: files_of}


def stage(root, path, iterations):
    """The Stage of a file of weights. Raises OSError."""
    checksum = files.sha256(path)
    return Stage({}, "done", str(path.relative_to(root)), checksum, iterations=iterations)


def data_of(root, places):
    """The Data that a train_val prototxt reads and its deploy prototxt is for. Raises ToolError."""
    layers = {layer.name: layer for layer in model_files.read(root / places["net"]).layer if layer.include}
    compact, lmdb = "balanced_data" in layers, NetworkOptions.lmdb
    if compact:
        lmdb = json.loads(layers["balanced_data"].python_param.param_str or "{}").get("source", lmdb)
    elif "data" in layers:
        lmdb = str(pathlib.Path(layers["data"].data_param.source).parent)
    checksum = manifest.checksum(root / lmdb) if manifest.exists(root / lmdb) else ""
    names = attributes_of((root / places["deploy"]).read_text(encoding="utf-8", errors="replace"))
    return Data(lmdb, checksum, names, "compact" if compact else "stream")
