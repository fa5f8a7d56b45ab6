"""Small undamaged files of every kind that the project reads: `make(folder)` writes all of them."""

import os
import pathlib
import shutil

import caffe
from caffe import snapshot
from caffe.proto import caffe_pb2

from data_prep import files
from data_prep.build.builder import build
from data_prep.sources.opening import open_source
from data_prep.synthetic import synthetic_faces
from tools.record import Stage
from tools.run import Run

ATTRIBUTES = ["Male", "Smiling"]
NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "t" type: "DummyData" top: "t" dummy_data_param {
        data_filler { type: "constant" value: 1 } shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 decay_mult: 0 }
        convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "norm" type: "LRN" bottom: "pool" top: "norm" lrn_param { local_size: 3 } }
layer { name: "halves" type: "Slice" bottom: "norm" top: "one" top: "two" slice_param { slice_point: 2 } }
layer { name: "both" type: "Concat" bottom: "one" bottom: "two" top: "both" }
layer { name: "rows" type: "Reshape" bottom: "both" top: "rows" reshape_param { shape { dim: 0 dim: -1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "rows" top: "ip"
        inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "t" top: "loss" loss_weight: 2
        include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt"
base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 4  # halved twice
momentum: 0.9 weight_decay: 0.0005 clip_gradients: 2 max_iter: 2 display: 1
test_iter: 1 test_interval: 3 snapshot: 2 snapshot_prefix: "tiny" random_seed: 1
"""
CHANGES = "base_lr=0.01,region.max_iter=500,cascade.stepvalue=10,cascade.stepvalue=20,type=Adam,clip_gradients=-1"


def make(folder):
    """Write the originals; a folder for each kind."""
    folder = pathlib.Path(folder)
    synthetic_faces.generate(folder / "celeba", 30, 4, dict.fromkeys(ATTRIBUTES, 0.5), workers=1)
    folders_of_lmdbs(folder)
    trained(folder / "net")
    (folder / "changes").mkdir()
    (folder / "changes/changes.txt").write_text(CHANGES)
    records(folder)


def folders_of_lmdbs(folder):
    """A folder of LMDBs, and one image and one label database each on its own."""
    build(open_source(folder / "celeba"), folder / "compact", ATTRIBUTES, workers=1)
    for name in ("test_images", "test_labels"):
        shutil.copytree(folder / "compact" / name, folder / "databases" / name)
        (folder / "databases" / name / "lock.mdb").unlink(missing_ok=True)


def trained(folder):
    """A tiny net, its solver, and the snapshot of a short training in both formats."""
    folder.mkdir()
    (folder / "net.prototxt").write_text(NET)
    for ending in ("", "snapshot_format: HDF5\n"):
        (folder / "solver.prototxt").write_text(SOLVER + ending)
        before = os.getcwd()
        os.chdir(folder)  # so that states name their weights without a folder
        try:
            caffe.get_solver("solver.prototxt").solve()
        finally:
            os.chdir(before)
    (folder / "solver.prototxt").write_text(SOLVER)
    assert snapshot.read(folder / "tiny_iter_2.solverstate").learned_net == "tiny_iter_2.caffemodel"


def records(folder):
    """A run's record with the weights that it names, and a log."""
    run = Run.create(folder / "run", folder / "compact")
    run.settings.engine = "torch"
    run.settings.network = {"batch": 2, "alpha": 1.0}
    run.settings.solver = {"region": {"max_iter": "4"}, "cascade": {"stepvalue": "2 3"}}
    (folder / "run/region").mkdir(parents=True)
    weights = folder / "run/region/region_iter_4.caffemodel"
    message = caffe_pb2.NetParameter()
    blob = message.layer.add(name="conv7", type="Convolution").blobs.add()
    blob.shape.dim.extend((2, 3))
    blob.data.extend(range(6))
    weights.write_bytes(message.SerializeToString())
    inputs = {"network.alpha": 1.0, "data": run.data.checksum}
    told = {"iterations": 4, "images": 8, "seconds": 2.5, "images_per_second": 3.5, "made_with": {"engine": "torch"}}
    run.stages["region"] = Stage(inputs, "done", str(weights.relative_to(run.folder)), files.sha256(weights), **told)
    run.stages["cascade"] = Stage(dict(inputs), "failed", message="the loss is not finite")
    run.write()
    (folder / "logs/region").mkdir(parents=True)
    lines = ["Iteration 0, Testing net (#0)", "    Test net output #0: loss = 0.69 (* 1 = 0.69 loss)"]
    lines += [f"Iteration {n} (2.5 iter/s, 1s/1 iters), loss = 0.{n}e-2" for n in range(5)]
    (folder / "logs/region/train.log").write_text("\n".join(lines) + "\n")
