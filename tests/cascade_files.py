"""Networks with weights and calibration, written by tests that need no training."""

import dataclasses

import caffe
import numpy as np
from caffe.proto import caffe_pb2

from data_prep.files import sha256
from models import generate
from models.options import NETWORKS, NetworkOptions
from tools.evaluate import calibration
from tools.record import Data, Settings, Stage
from tools.run import Run, read_data

ATTRIBUTES = ["Eyeglasses", "Male"]


def write_networks(folder, width=1 / 16):
    """The prototxts of all networks for ATTRIBUTES, with the path of an LMDB folder in them."""
    generate.write(folder, NetworkOptions(ATTRIBUTES, batch=2, width=width, lmdb=str(folder.absolute() / "lmdb")))


def write_weights(model, path, with_average=True):
    """Weights of a deploy net whose responses and answers fall on both sides of their thresholds.

    with_average: whether they hold an average region, as all but those of task one alone do
    """
    caffe.set_random_seed(1)
    net = caffe.Net(str(model), caffe.TEST)
    rng = np.random.default_rng(0)
    for name, blobs in net.params.items():
        if name.startswith("conv"):
            # Without a mean, so that what differs between pictures is not lost in what is common to them.
            weights = rng.normal(0, (2 / blobs[0].data[0].size) ** 0.5, blobs[0].data.shape)
            blobs[0].data[...] = weights - weights.mean(axis=(1, 2, 3), keepdims=True)
    if "conv7" in net.params:
        net.params["conv7"][0].data[...] *= 8
    if "region_mapper" in net.params and with_average:
        average, rectangles = net.params["region_mapper"]
        average.data[...] = rng.uniform(0, 1, average.data.shape)
        low = rng.uniform(0, 7, (*average.data.shape, 2))
        rectangles.data[...] = np.concatenate([low, low + rng.uniform(0.5, 6, low.shape)], axis=-1)
    net.save(str(path))
    # As after training: Caffe stores the layers of the data, too, with their paths.
    stored = caffe_pb2.NetParameter.FromString(path.read_bytes())
    data = stored.layer.add(name="balanced_data", type="Python")
    data.python_param.param_str = f'{{"source": "{path.absolute().parent}"}}'
    data.blobs.add(data=[1.0]).shape.dim.append(1)
    path.write_bytes(stored.SerializeToString())


def write_calibration(weights, attributes=ATTRIBUTES):
    """A calibration of weights, beside them."""
    score = {"threshold": [0.25, 0.5], "slope": [1.0, 2.0], "offset": [0.0, -1.0]}
    made = {"weights": sha256(weights), "data": "data", "attributes": attributes, "prior": [0.2, 0.3], "faces": 0}
    calibration.write(weights, {**made, "scores": {"logits": score, "max_d": score}, "synthetic": False})


def write_run(folder, lmdb=None, stages=NETWORKS, engine="torch", synthetic=False, frame=None, width=1 / 16):
    """A run whose stages are done, with random weights: on LMDBs, or calibrated and without data."""
    data = read_data(lmdb, folder) if lmdb else Data("lmdb", "checksum", ATTRIBUTES, "compact", synthetic, frame)
    run = Run(folder, data, Settings(network={"width": width, "batch": 2}, engine=engine))
    generate.write(folder, run.network())
    for number, name in enumerate(stages):
        weights = folder / name / (f"{name}.caffemodel" if lmdb else f"{name}_iter_6.caffemodel")
        weights.parent.mkdir(exist_ok=True)
        write_weights(run.deploy(name), weights, not lmdb or name in ("average", "cascade"))
        if not lmdb:
            write_calibration(weights)
        trained = {"deploy": sha256(run.deploy(name)), "iterations": 6, "images": 8 * (1 + number)}
        stage = Stage({"data": data.checksum}, "done", f"{name}/{weights.name}", sha256(weights))
        run.stages[name] = dataclasses.replace(stage, **({} if name == "average" else trained))
    run.write()
    return run
