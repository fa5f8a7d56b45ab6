"""The prototxts in a real Caffe: table 1's sizes, losses, training, exact resumption, average response and regions."""

import signal
import subprocess
import time

import caffe
import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from shared import ATTRIBUTES, CAFFE, REPOSITORY, B, caffe_train, weights

from models import table1
from models.networks import network
from models.options import NETWORKS, NetworkOptions
from python_layers import regions
from tools import networks
from tools.evaluate import localisation
from tools.train import caffe_log


@pytest.mark.parametrize("net_name", NETWORKS)
def test_output_sizes_are_those_of_table_1(net_name):
    net = caffe.Net(str(REPOSITORY / "models" / net_name / "deploy.prototxt"), caffe.TEST)
    attributes = len(NetworkOptions().attributes)
    # Rows in the order of the table, with the number of groups and the channels that each group gets.
    conv2 = table1.SHARED[2]
    rows = [(row, 1, before) for row, before in zip(table1.SHARED, (3, 96, 96, 256))]
    rows.append((table1.CONV3, attributes, conv2.channels))
    if net_name != "whole_face":
        rows += [(row, attributes, before) for row, before in zip(table1.TASK_ONE, (384, 384, 256, 64))]
    if net_name != "region":
        rows += [(row, attributes, before) for row, before in zip(table1.TASK_TWO, (384, 128, 64))]
        assert net.blobs["roi"].data.shape == (1, 384 * attributes, 5, 5)
        assert net.blobs["prob"].data.shape == (1, attributes)
    for row, groups, inputs in rows:
        expected = (1, row.channels * groups, row.output, row.output)
        assert net.blobs[row.name].data.shape == expected, row.name
        if not row.name.startswith("pool"):
            assert net.params[row.name][0].data.shape == (row.channels * groups, inputs, row.kernel, row.kernel)


def cross_entropy(scores, labels):
    probabilities = 1 / (1 + np.exp(-scores.astype(np.float64)))
    return -np.where(labels == 1, np.log(probabilities), np.log(1 - probabilities)).mean(axis=0)


def distance(scores, labels):
    return abs(labels - 1 / (1 + np.exp(-scores.astype(np.float64)))).mean(axis=0)


@pytest.mark.parametrize("l1, own", (("log", 0), ("linear", 0), ("log", 0.75)))
@pytest.mark.parametrize("net_name", NETWORKS)
def test_early_stopping_watches_the_weighted_losses_of_each_attribute(lmdb_folder, tmp_path, net_name, l1, own):
    """An attribute's loss in the window is alpha L1 + beta L2 (eq. 6), and so is the net's loss, summed over them."""
    alpha, beta = 2.5, 0.25
    losses = {"l1": l1, "alpha": alpha, "beta": beta, "task_two_loss": own}
    options = NetworkOptions(ATTRIBUTES, lmdb_folder, "stream", width=1 / 16, batch=B, **losses)
    path = tmp_path / "train_val.prototxt"
    path.write_text(network(net_name, options))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.forward()
    blobs = {name: net.blobs[name].data.copy() for name in net.blobs}
    expected = np.zeros(len(ATTRIBUTES))
    total = 0
    if net_name != "whole_face":
        expected += alpha * (cross_entropy if l1 == "log" else distance)(blobs["max_d"], blobs["label"])
        total += alpha * blobs["loss_region"]
    if net_name != "region":
        expected += beta * cross_entropy(blobs["logits"], blobs["label"])
        total += beta * blobs["loss_attribute"]
    if net_name == "cascade" and own:
        expected += own * cross_entropy(blobs["max_conv6-t2"].reshape(B, -1), blobs["label"])
        total += own * blobs["loss_task_two"]
    assert ("loss_task_two" in blobs) == (net_name == "cascade" and own > 0)
    np.testing.assert_allclose(net.params["early_stopping"][0].data[:, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(expected.sum(), total, rtol=1e-4)


def test_training_log_has_accuracy_and_state_of_each_attribute(run_folder, region_weights):
    series = caffe_log.read((run_folder / "build/region.log").read_text().splitlines())
    overall, each = series["test", "accuracy_region"], series["test", "accuracy_region_each"]
    assert len(overall) == len(each) > 0
    for (_, mean), (_, values) in zip(overall, each):
        assert len(values) == len(ATTRIBUTES) and np.mean(values) == pytest.approx(mean, abs=1e-4)
    flags = [values for _, values in series["train", "attributes_training_each"]]
    assert len(flags) > 0 and all(len(values) == len(ATTRIBUTES) for values in flags)


def responses_of_the_training_faces(run_folder, lmdb_folder, region_weights):
    """Responses (n, 4, 4) and labels (n,) of the records of each attribute, computed with pycaffe only."""
    model = run_folder / "models/region/deploy.prototxt"
    net = caffe.Net(str(model), caffe.TEST, weights=str(region_weights))
    responses, labels = ([[] for _ in ATTRIBUTES] for _ in range(2))
    with lmdb.open(str(lmdb_folder / "train"), readonly=True, lock=False) as environment:
        with environment.begin() as transaction:
            for number, (_, value) in enumerate(transaction.cursor()):
                datum = caffe_pb2.Datum.FromString(value)
                image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_COLOR)
                net.blobs["data"].data[...] = image.transpose(2, 0, 1)
                net.forward()
                attribute = number % len(ATTRIBUTES)
                responses[attribute].append(1 / (1 + np.exp(-net.blobs["d"].data[0, attribute].astype(np.float64))))
                labels[attribute].append(datum.label)
    return np.array(responses), np.array(labels)


def test_average_response_is_the_mean_over_positive_faces(run_folder, lmdb_folder, region_weights, start):
    responses, labels = responses_of_the_training_faces(run_folder, lmdb_folder, region_weights)
    average = weights(start)["region_mapper[0]"].reshape(len(ATTRIBUTES), 4, 4)
    assert average.std() > 0
    for attribute in range(len(ATTRIBUTES)):
        positive = labels[attribute] == 1
        assert 0 < positive.sum() < len(positive)
        mean = responses[attribute][positive].mean(axis=0)
        np.testing.assert_allclose(average[attribute], mean, rtol=1e-4)
        # The tolerance distinguishes this mean from that over all faces.
        assert abs(mean - responses[attribute].mean(axis=0)).max() > 2e-4


def test_average_region_changes_nothing_else_in_the_weights(region_weights, start):
    before, after = weights(region_weights), weights(start)
    names = [name for name in before if not name.startswith("early_stopping")]
    assert len(names) == 2 * 7 and set(after) == {*names, "region_mapper[0]", "region_mapper[1]"}
    for name in names:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_measured_rectangles_lie_in_the_map_and_differ_from_the_formula(start):
    rectangles = weights(start)["region_mapper[1]"].reshape(2, 4, 4, 4)
    assert (rectangles[..., 2:] > rectangles[..., :2]).all()
    assert rectangles.min() >= 0 and rectangles.max() <= 13
    assert (rectangles != regions.theoretical_rectangles()).any()


def test_cascade_keeps_the_written_regions_and_trains_the_rest(start, cascade_weights):
    before, after = weights(start), weights(cascade_weights)
    for name in before:
        assert (after[name] == before[name]).all() == name.startswith("region_mapper"), name
    window, state = after["early_stopping[0]"], after["early_stopping[1]"].reshape(2, 3)
    assert (window > 0).all() and (state[:, 0] > 0).all() and (state[:, 1] == 6).all()


def losses(log):
    """The last three training losses of a log."""
    found = [line.split("= ")[-1] for line in log.splitlines() if "iter/s" in line and "loss" in line]
    return found[-3:]


def test_resuming_after_a_kill_continues_exactly(run_folder, start, cascade_weights):
    """After SIGKILL and resumption, weights, early stopping and losses equal those of an undisturbed training."""
    straight, log = weights(cascade_weights), (run_folder / "build/cascade.log").read_text()
    solver = run_folder / "solver/cascade.prototxt"
    text = solver.read_text().replace("build/cascade", "build/killed").replace("max_iter: 6", "max_iter: 600")
    (run_folder / "killed.prototxt").write_text(text)
    (run_folder / "resumed.prototxt").write_text(text.replace("max_iter: 600", "max_iter: 6"))
    state = run_folder / "build/killed_iter_3.solverstate"
    command = [CAFFE, "train", "-solver", "killed.prototxt"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=str(run_folder))
    deadline = time.time() + 120
    # Once the next snapshot exists, the state of this one is complete.
    while not (run_folder / "build/killed_iter_6.solverstate").exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run_folder / "build/killed_iter_6.caffemodel").unlink()
    done = caffe_train("-solver", "resumed.prototxt", "-snapshot", state, folder=run_folder)
    assert done.returncode == 0, done.stderr[-2000:]
    resumed = weights(run_folder / "build/killed_iter_6.caffemodel")
    assert straight.keys() == resumed.keys()
    for name in straight:
        np.testing.assert_array_equal(resumed[name], straight[name], err_msg=name)
    assert losses(done.stderr) == losses(log) and len(losses(log)) == 3


def test_regions_of_the_network_and_of_the_tools_follow_from_raw_or_revised_responses(
    run_folder, cascade_weights, tmp_path
):
    """average_weight 0 maps the raw responses, 0.5 the mean of them and the average response."""
    text = (run_folder / "models/cascade/deploy.prototxt").read_text()
    assert text.count('"average_weight": 0.5') == 1
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8))
    average = rng.uniform(0.3, 0.7, (2, 4, 4)).astype(np.float32)
    low = rng.integers(0, 8, (2, 4, 4, 2))
    rectangles = np.concatenate([low, low + rng.integers(1, 5, low.shape)], axis=-1).astype(np.float32)
    found = {}
    for weight in (0, 0.5):
        model = tmp_path / f"{weight}.prototxt"
        model.write_text(text.replace('"average_weight": 0.5', f'"average_weight": {weight}'))
        net = caffe.Net(str(model), caffe.TEST, weights=str(cascade_weights))
        net.params["region_mapper"][0].data[...] = average
        net.params["region_mapper"][1].data[...] = rectangles
        blobs = networks.forward(net, images, ["response", "rois", "rois_image"])
        expected = regions.regions(blobs["response"], average, rectangles, 0.5, weight, "cells")
        np.testing.assert_allclose(blobs["rois"], expected, atol=1e-5)
        # Cell c is the pixels [16 c + 9, 16 c + 25).
        found[weight] = (16 * expected + 9).clip(0, 224)
        np.testing.assert_allclose(blobs["rois_image"], found[weight], atol=1e-4)
        mapper = localisation.mapper(net, model)
        np.testing.assert_allclose(localisation.regions_of(mapper, blobs["response"]), found[weight], atol=1e-4)
    raw = localisation.regions_of(mapper, blobs["response"], revise=False)
    np.testing.assert_allclose(raw, found[0], atol=1e-4)
    assert (abs(found[0] - found[0.5]).max(axis=-1) >= 16).any()
