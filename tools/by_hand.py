"""Networks without a record of how they were trained, opened as a run.

  .                        the project's folder (or another with models/, solver/ and build/), in which networks were
                           trained with Caffe's own commands: the newest snapshot of each, and build/average.caffemodel
  FOLDER                   deploy.prototxt and one .caffemodel, and where it is there calibration.json
  FILE.caffemodel          weights, with deploy.prototxt beside them, or that of their network in ./models

The names of the attributes are those in the comment of deploy.prototxt, the data those that train_val.prototxt reads.
"""

import json
import pathlib
import re

from data_prep import files
from data_prep.attributes import wrong_names
from data_prep.store import manifest
from models import generate
from models.networks import attributes_of
from models.options import NetworkOptions
from tools import model_files
from tools.errors import ToolError
from tools.record import TRAINED, Data, Stage

SUFFIX, DEPLOY = ".caffemodel", "deploy.prototxt"


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
    files_there = sorted(place.glob(f"*{SUFFIX}")) if (place / DEPLOY).is_file() else []
    if len(files_there) == 1:
        return weights(files_there[0])
    raise ToolError(f"{place}: no run in it (run.json is missing); train first: face-cascade train --run {place}")


def repository(root):
    """The parts of the run of a folder in which Caffe's own commands train. Raises DataError, OSError."""
    build, places, stages = root / "build", generate.in_repository, {}
    for net in TRAINED:
        found = ((re.fullmatch(rf"{net}_iter_(\d+)", path.stem), path) for path in build.glob(f"{net}_iter_*{SUFFIX}"))
        snapshots = [(int(name[1]), path) for name, path in found if name]
        if snapshots:
            iteration, path = max(snapshots)
            stages[net] = stage(root, path, iteration)
    if (build / generate.AVERAGE).is_file():
        stages["average"] = stage(root, build / generate.AVERAGE, 0)
    layers = {layer.name: layer for layer in model_files.read(root / places("region")["net"]).layer if layer.include}
    compact, lmdb = "balanced_data" in layers, NetworkOptions.lmdb
    if compact:
        lmdb = json.loads(layers["balanced_data"].python_param.param_str or "{}").get("source", lmdb)
    elif "data" in layers:
        lmdb = str(pathlib.Path(layers["data"].data_param.source).parent)
    names = attributes_of((root / places("region")["deploy"]).read_text(encoding="utf-8", errors="replace"))
    data = Data(lmdb, "", names, "compact" if compact else "stream")
    if manifest.exists(root / lmdb):
        found = manifest.read(root / lmdb)
        data.checksum, data.synthetic, data.frame = manifest.checksum(root / lmdb), found.synthetic, found.frame
    return {"folder": root, "data": data, "stages": stages, "output": build, "places": places}


def weights(path):
    """The parts of the run of one file of weights. Raises ToolError."""
    net, deploy = model_files.network_of(path), path.with_name(DEPLOY).absolute()
    if not deploy.is_file():
        deploy = pathlib.Path(generate.in_repository(net)["deploy"]).absolute()
        if not deploy.is_file():
            raise ToolError(f"{path}: no {DEPLOY} beside it, and no {generate.in_repository(net)['deploy']} here")
    names = attributes_of(deploy.read_text(encoding="utf-8", errors="replace"))
    fault = wrong_names(names)
    if fault:
        raise ToolError(f"{deploy}: the attributes in its comment: {fault}")
    data = Data(str(pathlib.Path(NetworkOptions.lmdb).absolute()), "", names, "compact")
    stages, files_of = {net: stage(path.parent, path, 0)}, {"deploy": str(deploy)}
    return {"folder": path.parent, "data": data, "stages": stages, "output": path.parent, "places": lambda _: files_of}


def check_names(deploy, names):
    """Raise ToolError unless the attributes in the comment of a deploy.prototxt, which orders them, are `names`."""
    if deploy.is_file() and attributes_of(deploy.read_text(encoding="utf-8", errors="replace")) != names:
        raise ToolError(f"{deploy}: for other attributes than {', '.join(names)} of its record; one was changed")


def stage(root, path, iterations):
    """The Stage of a file of weights. Raises OSError."""
    checksum = files.sha256(path)
    return Stage({}, "done", str(path.relative_to(root)), checksum, iterations=iterations)
