"""The prototxts in a real Caffe: table 1's sizes, losses, training, average response and regions."""

import caffe
import numpy as np
import pytest
from shared import ATTRIBUTES, REPOSITORY, B, weights

from data_prep.store import databases
from models.networks import network
from models.options import NETWORKS, NetworkOptions
from python_layers import regions
from tools import networks
from tools.evaluate import localisation
from tools.train import caffe_log

SHARED = {"conv1": (96, 54), "pool1": (96, 27), "conv2": (256, 27), "pool2": (256, 13), "conv3": (20 * 384, 13)}
TASK_ONE = {"conv4": (20 * 384, 13), "conv5": (20 * 256, 13), "conv6": (20 * 64, 6), "conv7": (20 * 2, 4)}
TASK_TWO = {"roi": (20 * 384, 5), "conv4-t2": (20 * 128, 5), "conv5-t2": (20 * 64, 5), "conv6-t2": (20, 5)}


@pytest.mark.parametrize("net_name, tasks", list(zip(NETWORKS, (TASK_ONE, {**TASK_ONE, **TASK_TWO}, TASK_TWO))))
def test_output_sizes_are_those_of_table_1(net_name, tasks):
    """Channels and side of the blobs, for the paper's twenty attributes."""
    net = caffe.Net(str(REPOSITORY / "models" / net_name / "deploy.prototxt"), caffe.TEST)
    found = {name: blob.data.shape for name, blob in net.blobs.items() if name in {**SHARED, **TASK_ONE, **TASK_TWO}}
    assert found == {name: (1, channels, side, side) for name, (channels, side) in {**SHARED, **tasks}.items()}


def sigmoid(scores):
    return 1 / (1 + np.exp(-scores.astype(np.float64)))


LOSSES = {
    "log": lambda scores, labels: -np.log(np.where(labels == 1, sigmoid(scores), 1 - sigmoid(scores))).mean(axis=0),
    "linear": lambda scores, labels: abs(labels - sigmoid(scores)).mean(axis=0),
}


@pytest.mark.parametrize("l1, own", (("linear", 0), ("log", 0.75)))
@pytest.mark.parametrize("net_name", NETWORKS)
def test_early_stopping_watches_the_weighted_losses_of_each_attribute(run_folder, tmp_path, net_name, l1, own):
    """An attribute's loss in the window is alpha L1 + beta L2 (eq. 6), and so is the net's loss, summed over them."""
    alpha, beta = 2.5, 0.25
    losses = {"l1": l1, "alpha": alpha, "beta": beta, "task_two_loss": own}
    options = NetworkOptions(ATTRIBUTES, run_folder / "lmdb", "stream", width=1 / 16, batch=B, **losses)
    path = tmp_path / "train_val.prototxt"
    path.write_text(network(net_name, options))
    net = caffe.Net(str(path), caffe.TRAIN)
    net.forward()
    label, total = net.blobs["label"].data, 0
    expected = np.zeros(len(ATTRIBUTES))
    if net_name != "whole_face":
        expected += alpha * LOSSES[l1](net.blobs["max_d"].data, label)
        total += alpha * net.blobs["loss_region"].data
    if net_name != "region":
        expected += beta * LOSSES["log"](net.blobs["logits"].data, label)
        total += beta * net.blobs["loss_attribute"].data
    if net_name == "cascade" and own:
        expected += own * LOSSES["log"](net.blobs["max_conv6-t2"].data.reshape(B, -1), label)
        total += own * net.blobs["loss_task_two"].data
    assert ("loss_task_two" in net.blobs) == (net_name == "cascade" and own > 0)
    np.testing.assert_allclose(net.params["early_stopping"][0].data[:, 0], expected, rtol=1e-4)
    np.testing.assert_allclose(expected.sum(), total, rtol=1e-4)


def test_training_log_has_accuracy_and_state_of_each_attribute(run_folder, region_weights):
    lines = (run_folder / "build/region.log").read_text().splitlines()
    found = caffe_log.read(lines)
    assert found["train", "loss"] and found == caffe_log.read([*lines, *lines])  # resumed, it has iterations twice
    ((_, overall),), ((_, each),) = found["test", "accuracy_region"][-1:], found["test", "accuracy_region_each"][-1:]
    assert len(each) == len(ATTRIBUTES) and np.mean(each) == pytest.approx(overall, abs=1e-4)
    assert {len(values) for _, values in found["train", "attributes_training_each"]} == {len(ATTRIBUTES)}


def test_average_region_is_measured_on_positive_faces_and_changes_nothing_else(run_folder, region_weights, start):
    before, after = weights(region_weights), weights(start)
    names = [name for name in before if not name.startswith("early_stopping")]
    assert len(names) == 2 * 7 and set(after) == {*names, "region_mapper[0]", "region_mapper[1]"}
    for name in names:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    net = caffe.Net(str(run_folder / "models/region/deploy.prototxt"), caffe.TEST, weights=str(region_weights))
    faces = list(databases.images(run_folder / "lmdb/train"))
    responses = sigmoid(networks.forward(net, faces, ["d"])["d"])
    for attribute, average in enumerate(after["region_mapper[0]"].reshape(2, 4, 4)):
        # Record i * A + a is image i of attribute a, present in every second one.
        of_attribute = responses[attribute::2, attribute]
        mean = of_attribute[1::2].mean(axis=0)
        np.testing.assert_allclose(average, mean, rtol=1e-4)
        # The tolerance distinguishes this mean from that over all faces.
        assert abs(mean - of_attribute.mean(axis=0)).max() > 2e-4
    rectangles = after["region_mapper[1]"].reshape(2, 4, 4, 4)
    assert (rectangles[..., 2:] > rectangles[..., :2]).all() and rectangles.min() >= 0 and rectangles.max() <= 13
    assert (rectangles != regions.theoretical_rectangles()).any()


def test_cascade_keeps_the_written_regions_and_trains_the_rest(start, cascade_weights):
    before, after = weights(start), weights(cascade_weights)
    for name in before:
        assert (after[name] == before[name]).all() == name.startswith("region_mapper"), name
    window, state = after["early_stopping[0]"], after["early_stopping[1]"].reshape(2, 3)
    assert (window > 0).all() and (state[:, 0] > 0).all() and (state[:, 1] == 6).all()


def test_regions_of_the_network_and_of_the_tools_follow_from_raw_or_revised_responses(
    run_folder, cascade_weights, tmp_path
):
    """average_weight 0 maps the raw responses, 0.5 the mean of them and the average response."""
    text = (run_folder / "models/cascade/deploy.prototxt").read_text()
    assert text.count('"average_weight": 0.5') == 1
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (3, 224, 224, 3), dtype=np.uint8))
    blobs = rng.uniform(0.3, 0.7, (2, 4, 4)), np.sort(rng.uniform(0, 13, (2, 4, 4, 4)), axis=-1)
    found = []
    for weight in (0, 0.5):
        model = tmp_path / f"{weight}.prototxt"
        model.write_text(text.replace('"average_weight": 0.5', f'"average_weight": {weight}'))
        net = caffe.Net(str(model), caffe.TEST, weights=str(cascade_weights))
        for blob, values in zip(net.params["region_mapper"], blobs):
            blob.data[...] = values
        made = networks.forward(net, images, ["response", "rois_image"])
        mapper = localisation.mapper(net, model)
        np.testing.assert_allclose(made["rois_image"], localisation.regions_of(mapper, made["response"]), atol=1e-4)
        found.append(made["rois_image"])
    raw = localisation.regions_of(mapper, made["response"], revise=False)
    np.testing.assert_allclose(raw, found[0], atol=1e-4)
    assert (abs(found[0] - found[1]).max(axis=-1) >= 16).any()
