"""BalancedData in a real Caffe: its samples, resumption, the end of its workers, errors."""

import dataclasses
import gc
import os
import pathlib
import shutil
import signal
import subprocess
import time

import caffe
import compact_folder
import cv2
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from compact_folder import ATTRIBUTES, batches, damaged, layer, net, same, stored

from data_prep import geometry
from data_prep.plan import balance
from data_prep.store import databases, manifest
from python_layers import balanced_data, prefetch

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CAFFE = str(REPOSITORY / (".caffe" if hasattr(caffe, "_caffe") else ".venv") / "bin/caffe")

folder = compact_folder.folder


def test_batches_are_those_of_the_plan_cut_from_the_faces(tmp_path, folder):
    labels = databases.read_labels(folder / "train_labels")
    plan, images = balance.Plan(labels, ATTRIBUTES, 5, "minority"), stored(folder, "train")
    for number, (data, label) in enumerate(batches(net(tmp_path, folder), 30)):
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
    one = batches(net(tmp_path, folder, workers=1, ahead=1), 40)
    assert same(one, batches(net(tmp_path, folder, workers=3, ahead=4), 40))
    assert not same(one, batches(net(tmp_path, folder, seed=6), 40))
    # The largest class has at most 28 images, so 14 batches are more than an epoch.
    assert not any(same(one[:5], one[start : start + 5]) for start in range(1, 35))


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


def train(*arguments):
    environment = dict(os.environ, GLOG_minloglevel="0")
    command = [CAFFE, "train", *map(str, arguments)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=str(REPOSITORY))


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
    copy = damaged(folder, tmp_path, "no picture")
    done = train("-solver", write_solver(tmp_path, copy, "broken", 100))
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode != 0
    assert len(lines) == 1
    assert lines[0].startswith(f"error: BalancedData: {copy}/train_images: record 00000001 is not a readable image")
    assert wait_until(lambda: not workers_of(copy))


def test_the_stream_form_is_refused(tmp_path, folder):
    copy = tmp_path / "copy"
    copy.mkdir()
    manifest.write(copy, manifest.Manifest(ATTRIBUTES, form="stream"))
    with pytest.raises(ValueError, match=f"BalancedData: {copy} holds the stream form, and the net reads the compact"):
        net(tmp_path, copy)


def test_worker_reads_datums_without_caffe():
    datum = caffe_pb2.Datum(channels=3, height=300, width=70000, data=b"\1" * 300, label=5, encoded=True)
    datum.float_data.extend([1.0, 2.0])
    del datum.float_data[:]
    assert bytes(prefetch.encoded(datum.SerializeToString())) == b"\1" * 300
    with pytest.raises(ValueError):
        prefetch.encoded(caffe_pb2.Datum(label=3).SerializeToString())
