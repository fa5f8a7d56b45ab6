"""BalancedData in a real Caffe: its samples, resumption, the end of its workers, errors of one line."""

import dataclasses
import gc
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
from caffe.proto import caffe_pb2
from shared import CAFFE, REPOSITORY, caffe_train

from data_prep import geometry
from data_prep.plan import balance
from data_prep.store import databases, manifest
from python_layers import balanced_data, prefetch

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
    return list(databases.images(folder / f"{split}_images"))


def damaged(folder, copy, damage):
    """A copy of a folder with damaged training faces."""
    shutil.copytree(str(folder), str(copy))
    if damage == "truncated":
        data = (copy / "train_images/data.mdb").read_bytes()
        (copy / "train_images/data.mdb").write_bytes(data[: len(data) // 2])
        return copy
    with lmdb.open(str(copy / "train_images"), map_size=1 << 28) as environment:
        with environment.begin(write=True) as transaction:
            transaction.delete(databases.key(1))
            if damage == "no picture":
                transaction.put(databases.key(1), databases.encoded_datum(b"nothing"))
    return copy


def test_batches_are_those_of_the_plan_cut_from_the_faces(tmp_path, folder):
    labels = databases.read_labels(folder / "train_labels")
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


def test_the_test_phase_gives_all_faces_in_order_and_starts_again(tmp_path, folder):
    for split in ("val", "test"):
        images, labels = stored(folder, split), databases.read_labels(folder / f"{split}_labels")
        given = batches(net(tmp_path, folder, caffe.TEST, split=split, batch=3), 4)
        for place in range(12):
            data, label = (blob[place % 3] for blob in given[place // 3])
            expected = geometry.patch(geometry.face(images[place % len(images)]))
            np.testing.assert_array_equal(data, expected.transpose(2, 0, 1))
            assert label.shape == (3, 1, 1) and label.ravel().tolist() == labels[place % len(images)].tolist()


def test_a_position_beyond_the_exact_integers_of_a_float_is_restored(tmp_path, folder):
    for number in (0, 65535, 65536, 2**24 + 1, 2**50 + 12345):
        assert balanced_data.from_digits(balanced_data.to_digits(number)) == number
    made = net(tmp_path, folder)
    batches(made, 2)
    made.params["balanced_data"][0].data[...] = balanced_data.to_digits(2**24 + 1)
    (_, _), (data, _) = batches(made, 2)
    assert balanced_data.from_digits(made.params["balanced_data"][0].data) == 2**24 + 3
    labels = databases.read_labels(folder / "train_labels")
    image, _, dx, dy, mirror = balance.Plan(labels, ATTRIBUTES, 5, "minority").batch(2**24 + 2, 4)[0].item()
    expected = geometry.patch(geometry.face(stored(folder, "train")[image]), dx, dy, mirror)
    np.testing.assert_array_equal(data[0], expected.transpose(2, 0, 1))


TAIL = """
layer { name: "small" type: "Pooling" bottom: "data" top: "small"
  pooling_param { pool: AVE kernel_size: 56 stride: 56 } }
layer { name: "score" type: "InnerProduct" bottom: "small" top: "score" param { lr_mult: 1 }
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.001 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label_flat" top: "loss" include { phase: TRAIN } }
layer { name: "gone" type: "Silence" bottom: "label_flat" include { phase: TEST } }
"""


def write_solver(tmp_path, folder, name, last):
    data = {"source": str(folder), "workers": 1}
    text = layer("balanced_data", "TRAIN", data) + layer("val_data", "TEST", data)
    (tmp_path / "train_val.prototxt").write_text(text + TAIL)
    path = tmp_path / f"{name}.prototxt"
    path.write_text(
        f'net: "{tmp_path}/train_val.prototxt"\nsnapshot_prefix: "{tmp_path}/{name}"\nbase_lr: 0.001\n'
        f'lr_policy: "fixed"\nmomentum: 0.9\nmax_iter: {last}\nsnapshot: 10\ndisplay: 1\nrandom_seed: 1\n'
        "test_iter: 2\ntest_interval: 10\n"
    )
    return path


def workers_of(folder):
    found = subprocess.run(["ps", "-ewwo", "args"], stdout=subprocess.PIPE, text=True).stdout
    return [line for line in found.splitlines() if "python_layers.prefetch" in line and str(folder) in line]


def wait_until(condition):
    end = time.time() + 300  # on a busy machine Caffe starts in a minute
    while not condition() and time.time() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_caffe(tmp_path, folder, how):
    folder = shutil.copytree(str(folder), str(tmp_path / "copy"))
    solver = write_solver(tmp_path, folder, "ended", 10**6)
    command = [CAFFE, "train", "-solver", str(solver)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=str(REPOSITORY))
    try:
        assert wait_until(lambda: (tmp_path / "ended_iter_10.solverstate").exists())
        assert len(workers_of(folder)) == 2  # one for each phase
        process.send_signal(how)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    assert wait_until(lambda: not workers_of(folder))
    if how == signal.SIGINT:  # Caffe stops after a snapshot, whatever its workers do
        assert process.returncode == 0


def test_workers_end_with_their_pool(tmp_path, folder):
    folder = shutil.copytree(str(folder), str(tmp_path / "copy"))
    pool = prefetch.Pool(f"{folder}/test_images", 5, 2, 1)
    pool.ask(np.zeros(5, balance.SAMPLE))
    assert len(workers_of(folder)) == 2
    samples, pixels = pool.take()
    assert len(samples) == 5 and (pixels == pixels[0]).all() and pixels.any()
    del pool, pixels
    gc.collect()
    assert not workers_of(folder)


def test_a_killed_worker_is_an_error_of_the_layer(tmp_path, folder):
    made = net(tmp_path, folder)
    made.forward()
    found = subprocess.check_output(["ps", "-ewwo", "pid,ppid,args"]).decode().splitlines()[1:]
    own = [line.split() for line in found if "python_layers.prefetch" in line and str(folder) in line]
    [os.kill(int(pid), signal.SIGKILL) for pid, parent, *_ in own if int(parent) == os.getpid()]
    with pytest.raises(prefetch.PrefetchError, match=r"BalancedData: a worker process ended \(killed by signal 9\)"):
        batches(made, 5)


def test_faces_are_framed_as_the_manifest_says(tmp_path, folder):
    copy = tmp_path / "copy"
    shutil.copytree(str(folder), str(copy))
    eyes = ((12.0, 25.0), (33.0, 29.0))
    manifest.write(copy, dataclasses.replace(manifest.read(copy), frame=eyes))
    (data, _), *_ = batches(net(tmp_path, copy, caffe.TEST, split="val", batch=3), 1)
    for image, pixels in zip(stored(copy, "val"), data):
        expected = geometry.patch(geometry.face(geometry.align(image, np.array(eyes))[1]))
        np.testing.assert_array_equal(pixels, expected.transpose(2, 0, 1))
        assert abs(expected.astype(int) - geometry.patch(geometry.face(image))).mean() > 10


def test_an_unreadable_face_ends_caffe_with_an_error_of_one_line(tmp_path, folder):
    copy = damaged(folder, tmp_path / "copy", "no picture")
    done = caffe_train("-solver", write_solver(tmp_path, copy, "broken", 100))
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0
    assert len(lines) == 1
    assert lines[0].startswith(f"error: BalancedData: {copy}/train_images: record 00000001 is not a readable image")
    assert wait_until(lambda: not workers_of(copy))


def test_worker_reads_datums_without_caffe():
    datum = caffe_pb2.Datum(channels=3, height=300, width=70000, data=b"\1" * 300, label=5, encoded=True)
    datum.float_data.extend([1.0, 2.0])
    del datum.float_data[:]
    assert bytes(prefetch.encoded(datum.SerializeToString())) == b"\1" * 300
    with pytest.raises(ValueError):
        prefetch.encoded(caffe_pb2.Datum(label=3).SerializeToString())


# Errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage, words",
    [
        ("gone", "record 00000001 is missing"),
        ("truncated", "damaged LMDB, cut short"),
    ],
)
def test_unreadable_faces_are_named_in_the_error(tmp_path, folder, damage, words):
    copy = damaged(folder, tmp_path / "copy", damage)
    with pytest.raises(prefetch.PrefetchError, match=f"BalancedData: {copy}/train_images.*{words}"):
        batches(net(tmp_path, copy), 30)


@pytest.mark.parametrize(
    "row, words", [(b"\0\2\1", "labels other than 0 and 1"), (b"\0\1", "has 2 labels, but should have 3")]
)
def test_damaged_labels_are_named_in_the_error(tmp_path, folder, row, words):
    copy = tmp_path / "copy"
    shutil.copytree(str(folder), str(copy))
    shutil.rmtree(str(copy / "train_labels"))
    bad = caffe_pb2.Datum(channels=3, height=1, width=1, data=row).SerializeToString()
    databases.write_lmdb(copy / "train_labels", [databases.label_datum([0, 1, 1]), bad], 2, "labels")
    with pytest.raises(ValueError, match=f"BalancedData: {copy}/train_labels: record 00000001 .*{words}"):
        net(tmp_path, copy)


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"batch": 3}, "batch must be even"),
        ({"batch": 0}, "batch: must be a whole number of at least 1"),
        ({"source": "nowhere"}, "nowhere/manifest.json: missing; face-cascade data"),
        ({"split": "training"}, "split: must be train, val or test"),
        ({"colour": "grey"}, "unknown .*'colour'"),
        ({"workers": 0}, "workers: must be a whole number of at least 1"),
    ],
)
def test_wrong_parameters_are_named_in_the_error(tmp_path, folder, parameters, words):
    with pytest.raises(ValueError, match=f"BalancedData: .*{words}"):
        net(tmp_path, folder, **parameters)
