"""A small folder in the compact form, and nets with BalancedData on it, for the tests of that layer."""

import json
import shutil

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep.store import databases, manifest

ATTRIBUTES = ["Eyeglasses", "Male", "Smiling"]
COUNTS = {"train": 30, "val": 7, "test": 5}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder in the compact form, of noise. Positives of the first attribute are rare."""
    folder = tmp_path_factory.mktemp("compact")
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        labels = rng.random((count, 3)) < [0.2, 0.5, 0.7]
        labels[:2] = [[0, 0, 0], [1, 1, 1]]
        images = [cv2.imencode(".png", rng.integers(0, 255, (60, 50, 3)).astype(np.uint8))[1] for _ in range(count)]
        values = [databases.encoded_datum(image.tobytes()) for image in images]
        databases.write_lmdb(folder / f"{split}_images", values, count, split)
        databases.write_lmdb(folder / f"{split}_labels", map(databases.label_datum, labels), count, split)
    settings = manifest.Settings(seed=5, augment="minority")
    manifest.write(folder, manifest.Manifest(ATTRIBUTES, form="compact", settings=settings))
    return folder


def layer(name, phase, parameters):
    return (
        f'layer {{ name: "{name}" type: "Python" top: "data" top: "label_flat" include {{ phase: {phase} }}\n'
        + ("param { lr_mult: 0 decay_mult: 0 }\n" if phase == "TRAIN" else "")
        + 'python_param { module: "python_layers.balanced_data" layer: "BalancedData" '
        + f"param_str: '{json.dumps(parameters)}' }} }}\n"
    )


def net(tmp_path, folder, phase=caffe.TRAIN, **parameters):
    parameters = dict({"source": str(folder), "batch": 4}, **parameters)
    path = tmp_path / "net.prototxt"
    path.write_text(layer("balanced_data", ("TRAIN", "TEST")[phase], parameters))
    return caffe.Net(str(path), phase)


def batches(made, count):
    found = []
    for _ in range(count):
        made.forward()
        found.append((made.blobs["data"].data.copy(), made.blobs["label_flat"].data.copy()))
    return found


def same(one, other):
    return all((a == c).all() and (b == d).all() for (a, b), (c, d) in zip(one, other))


def stored(folder, split):
    with lmdb.open(str(folder / f"{split}_images"), readonly=True, lock=False) as environment:
        with environment.begin() as transaction:
            data = [caffe_pb2.Datum.FromString(value).data for _, value in transaction.cursor()]
    return [cv2.imdecode(np.frombuffer(item, np.uint8), cv2.IMREAD_COLOR) for item in data]


def damaged(folder, tmp_path, damage):
    """A copy of a folder with damaged training faces."""
    copy = tmp_path / "copy"
    shutil.copytree(str(folder), str(copy))
    if damage == "truncated":
        data = (copy / "train_images/data.mdb").read_bytes()
        (copy / "train_images/data.mdb").write_bytes(data[: len(data) // 2])
        return copy
    if damage == "no database":
        shutil.rmtree(str(copy / "train_images"))
        return copy
    with lmdb.open(str(copy / "train_images"), map_size=1 << 28) as environment:
        with environment.begin(write=True) as transaction:
            transaction.delete(databases.key(1))
            if damage != "gone":
                data = b"nothing" if damage == "no picture" else b""
                transaction.put(databases.key(1), databases.encoded_datum(data))
    return copy
