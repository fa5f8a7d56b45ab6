"""Small undamaged files of every kind that the project reads: `make(folder)` writes all of them."""

import csv
import os
import pathlib
import shutil

import caffe
import cv2
import h5py
import numpy as np
import scipy.io
from caffe import snapshot
from caffe.proto import caffe_pb2

from data_prep import files
from data_prep.build.builder import build
from data_prep.sources import celeba, lfwa
from data_prep.sources.mat import read_mat
from data_prep.sources.opening import open_source
from data_prep.store import manifest
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
    data_sets(folder)
    folders_of_lmdbs(folder)
    trained(folder / "net")
    (folder / "changes").mkdir()
    (folder / "changes/changes.txt").write_text(CHANGES)
    records(folder)
    images(folder / "images")


def data_sets(folder):
    """Label files of all layouts, without the images (those of `celeba` alone have them)."""
    shares = dict.fromkeys(ATTRIBUTES, 0.5)
    synthetic_faces.generate(folder / "celeba", 30, 4, shares, workers=1)
    synthetic_faces.generate(folder / "lfwa", 20, 4, shares, workers=1, layout="lfwa")
    shutil.rmtree(folder / "lfwa/lfw")
    matlab_73(folder / "lfwa", folder / "lfwa73")
    source = celeba.read(folder / "celeba")
    (folder / "celeba csv").mkdir()
    with open(folder / "celeba csv" / celeba.LABELS[1], "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", *source.attributes])
        writer.writerows([name, *(2 * row - 1)] for name, row in zip(source.names, source.labels.astype(int)))
    with open(folder / "celeba csv" / celeba.PARTITION[1], "w", newline="") as file:
        csv.writer(file).writerows([("image_id", "partition"), *zip(source.names, source.partition)])
    (folder / "table").mkdir()
    with open(folder / "table/faces.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "person", "split", *ATTRIBUTES])
        splits = list(celeba_splits(source))
        writer.writerows([f"a/{n}.jpg", f"p{n // 2}", splits[n], n % 2, n // 2 % 2] for n in range(len(splits)))
    for folder_of, kind in (("zip", "zip"), ("tar", "tar"), ("tar", "gztar")):
        place = folder / f"packed {folder_of}"
        place.mkdir(exist_ok=True)
        shutil.make_archive(str(place / "faces"), kind, folder / "celeba/img_align_celeba")


def celeba_splits(source):
    return (("train", "val", "test")[part] for part in source.partition)


def matlab_73(plain, folder):
    """The .mat files of a folder as those of MATLAB 7.3, which LFWA's own are: HDF5, cells as references."""
    folder.mkdir()
    for name in (lfwa.ANNOTATION, lfwa.INDICES):
        with h5py.File(folder / name, "w", userblock_size=512) as file:
            for key, value in read_mat(plain / name).items():
                if isinstance(value, np.ndarray):
                    file[key] = value.T.astype(float)
                    continue
                cells = file.create_dataset(key, (1, len(value)), h5py.ref_dtype)
                for index, word in enumerate(value):
                    text = file.create_dataset(f"#refs#/{key}{index}", data=np.array([[ord(c)] for c in word], "u2"))
                    text.attrs["MATLAB_class"] = np.bytes_("char")
                    cells[0, index] = text.ref


def folders_of_lmdbs(folder):
    """Both forms, and one image and one label database each on its own."""
    settings = manifest.Settings(records=6)
    for form in manifest.FORMS:
        build(open_source(folder / "celeba"), folder / form, ATTRIBUTES, settings, form, workers=1)
        shutil.rmtree(folder / form / "sheets")
    for name in ("test_images", "test_labels"):
        shutil.copytree(folder / "compact" / name, folder / "databases" / name)
        (folder / "databases" / name / "lock.mdb").unlink(missing_ok=True)
    (folder / "manifest").mkdir()
    shutil.copy(folder / "compact/manifest.json", folder / "manifest/manifest.json")


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


def images(folder):
    """One picture in every format that is read, and a JPEG with Exif's orientation."""
    folder.mkdir()
    picture = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8), (80, 60))
    for ending in ("jpg", "png", "bmp", "webp", "tiff", "ppm", "gif"):
        cv2.imwrite(str(folder / f"picture.{ending}"), picture)
    cv2.imwrite(str(folder / "lossless.webp"), picture, [cv2.IMWRITE_WEBP_QUALITY, 101])
    cv2.imwrite(str(folder / "grey.png"), picture[..., 0])
    cv2.imwrite(str(folder / "deep.png"), picture.astype(np.uint16) * 257)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    cv2.imwrite(str(folder / "progressive.jpg"), picture, progressive)
    data = (folder / "picture.jpg").read_bytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (folder / "turned.jpg").write_bytes(data[:2] + segment + data[2:])
    scipy.io.savemat(folder / "not an image.mat", {"a": np.eye(3)})
