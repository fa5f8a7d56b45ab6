"""BalancedData in a real Caffe: its samples, resumption, the end of its workers, errors of one line."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from shared import CAFFE, caffe_train

from data_prep import geometry
from data_prep.plan import balance
from data_prep.store import databases, manifest
from models import generate, solvers
from models.options import NetworkOptions
from python_layers import balanced_data, prefetch
from tools import networks

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


def net(tmp_path, folder, phase=caffe.TRAIN, **parameters):
    text = json.dumps({"source": str(folder), "batch": 4, **parameters})
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "balanced_data" type: "Python" top: "data" top: "label_flat" python_param { '
        f"module: 'python_layers.balanced_data' layer: 'BalancedData' param_str: '{text}' }} }}"
    )
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
    return list(databases.images(folder / f"{split}_images"))


@pytest.fixture
def copy(folder, tmp_path):
    """A copy of the folder, for one test to change, or to find its workers by."""
    return shutil.copytree(folder, tmp_path / "copy")


def test_batches_are_those_of_the_plan_cut_from_the_faces(tmp_path, folder):
    labels = databases.read_labels(folder / "train_labels", 3)
    plan, images = balance.Plan(labels, ATTRIBUTES, 5, "minority"), stored(folder, "train")
    for number, (data, label) in enumerate(batches(net(tmp_path, folder, workers=1), 30)):
        assert data.shape == (12, 3, 224, 224) and label.shape == (12,)
        # 1:1 for every attribute, absent and present alternate.
        assert label.reshape(4, 3).tolist() == [[0] * 3, [1] * 3] * 2
        for record, sample in enumerate(plan.batch(number, 4)):
            image, _, dx, dy, mirror = sample.item()
            assert labels[image, record % 3] == label[record]
            if number % 10 == 0:
                expected = cv2.resize(images[image], (256, 256))[16 + dy : 240 + dy, 16 + dx : 240 + dx]
                expected = expected[:, ::-1] if mirror else expected
                np.testing.assert_array_equal(data[record], expected.transpose(2, 0, 1))


def test_equal_seeds_give_equal_bytes_and_epochs_differ(tmp_path, folder):
    one = batches(net(tmp_path, folder, workers=1, ahead=1), 20)
    assert same(one, batches(net(tmp_path, folder, workers=3, ahead=4), 20))
    assert not same(one, batches(net(tmp_path, folder, seed=6), 1))
    # The largest class has at most 28 images, so 14 batches are more than an epoch.
    assert not any(same(one[:4], one[start : start + 4]) for start in range(1, 17))


@pytest.mark.parametrize("split", ("val", "test"))
def test_the_test_phase_gives_all_faces_in_order_and_starts_again(tmp_path, folder, split):
    images, labels = stored(folder, split), databases.read_labels(folder / f"{split}_labels", 3)
    given = batches(net(tmp_path, folder, caffe.TEST, split=split, batch=3), 4)
    data, found = (np.concatenate(blobs) for blobs in zip(*given))
    assert found.shape == (12, 3, 1, 1)
    for place in range(12):
        expected = geometry.patch(geometry.face(images[place % len(images)]))
        np.testing.assert_array_equal(data[place], expected.transpose(2, 0, 1))
        assert found[place].ravel().tolist() == labels[place % len(images)].tolist()


def test_a_position_beyond_the_exact_integers_of_a_float_is_restored(tmp_path, folder):
    for number in (0, 65535, 65536, 2**24 + 1, 2**50 + 12345):
        assert balanced_data.from_digits(balanced_data.to_digits(number)) == number
    made = net(tmp_path, folder)
    batches(made, 2)
    made.params["balanced_data"][0].data[...] = balanced_data.to_digits(2**24 + 1)
    (_, _), (data, _) = batches(made, 2)
    assert balanced_data.from_digits(made.params["balanced_data"][0].data) == 2**24 + 3
    labels = databases.read_labels(folder / "train_labels", 3)
    image, _, dx, dy, mirror = balance.Plan(labels, ATTRIBUTES, 5, "minority").batch(2**24 + 2, 4)[0].item()
    expected = geometry.patch(geometry.face(stored(folder, "train")[image]), dx, dy, mirror)
    np.testing.assert_array_equal(data[0], expected.transpose(2, 0, 1))


# Workers ----------------------------------------------------------------------------------------------------


def workers_of(folder):
    """The processes of a folder's workers."""
    found = subprocess.check_output(["ps", "-ewwo", "pid,args"]).decode().splitlines()
    return [int(line.split()[0]) for line in found if "python_layers.prefetch" in line and str(folder) in line]


def wait_until(condition):
    end = time.time() + 300  # on a busy machine Caffe starts in a minute
    while not condition() and time.time() < end:
        time.sleep(0.05)
    return condition()


def write_solver(place, folder):
    """Write a net and its solver for a folder below a place."""
    changes = solvers.parse_changes("max_iter=100000,snapshot=2,test_interval=2,test_iter=1")
    generate.write(place, NetworkOptions(ATTRIBUTES, folder, batch=2, test_batch=5, width=1 / 16), changes, ["region"])


def test_no_worker_outlives_caffe(tmp_path, copy):
    write_solver(tmp_path, copy)
    command = [CAFFE, "train", "-solver", "region/solver.prototxt"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=str(tmp_path))
    try:
        assert wait_until(lambda: (tmp_path / "region/region_iter_2.solverstate").exists())
        assert len(workers_of(copy)) >= 2  # of each phase
    finally:
        process.kill()
        process.wait()
    assert wait_until(lambda: not workers_of(copy))


def test_an_unreadable_face_ends_caffe_with_an_error_of_one_line(tmp_path, copy):
    """tests/data/test_store.py has every kind of damage."""
    with lmdb.open(str(copy / "train_images"), map_size=1 << 28) as environment:
        with environment.begin(write=True) as transaction:
            transaction.put(databases.key(1), databases.encoded_datum(b"nothing"))
    write_solver(tmp_path, copy)
    done = caffe_train("-solver", "region/solver.prototxt", folder=tmp_path)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert done.returncode != 0
    assert line.startswith(f"error: BalancedData: {copy}/train_images: record 00000001 is not a readable image")
    assert wait_until(lambda: not workers_of(copy))


def test_a_killed_worker_is_an_error_of_the_layer(tmp_path, copy):
    made = net(tmp_path, copy)
    made.forward()
    for pid in workers_of(copy):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(prefetch.PrefetchError, match=r"BalancedData: a worker process ended \(killed by signal 9\)"):
        batches(made, 5)


# Samples in a frame, and errors -----------------------------------------------------------------------------


def test_faces_are_framed_as_the_manifest_says(tmp_path, copy):
    """In training, and where the tools read them."""
    eyes = ((12.0, 25.0), (33.0, 29.0))
    manifest.write(copy, dataclasses.replace(manifest.read(copy), frame=eyes))
    (data, _), *_ = batches(net(tmp_path, copy, caffe.TEST, split="val", batch=3), 1)
    for image, pixels, patch in zip(stored(copy, "val"), data, networks.patches(copy, "val")):
        expected = geometry.patch(geometry.face(geometry.align(image, np.array(eyes))[1]))
        np.testing.assert_array_equal(pixels, expected.transpose(2, 0, 1))
        np.testing.assert_array_equal(patch, expected)


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"batch": 3}, "batch must be even"),
        ({"source": "nowhere"}, "nowhere/manifest.json: missing; face-cascade data"),
        ({"colour": "grey"}, "unknown .*'colour'"),
    ],
)
def test_wrong_parameters_are_named_in_the_error(tmp_path, folder, parameters, words):
    with pytest.raises(ValueError, match=f"BalancedData: .*{words}"):
        net(tmp_path, folder, **parameters)
