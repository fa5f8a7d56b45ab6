"""Networks with weights and calibration, written by tests that need no training."""

import caffe
import numpy as np

from data_prep.files import sha256
from models import generate
from models.options import NetworkOptions
from tools.evaluate import calibration

ATTRIBUTES = ["Eyeglasses", "Male"]


def write_networks(folder):
    """The prototxts of all networks for ATTRIBUTES."""
    generate.write(folder, NetworkOptions(ATTRIBUTES, batch=2, width=1 / 16))


def write_weights(model, path, gain=20, with_average=True):
    """Weights of a deploy net whose responses fall on both sides of the threshold for a gain above 1.

    with_average: whether they hold an average region, as all but those of task one alone do
    """
    caffe.set_random_seed(1)
    net = caffe.Net(str(model), caffe.TEST)
    rng = np.random.default_rng(0)
    if "conv7" in net.params:
        net.params["conv7"][0].data[...] *= gain
    if "region_mapper" in net.params and with_average:
        average, rectangles = net.params["region_mapper"]
        average.data[...] = rng.uniform(0, 1, average.data.shape)
        low = rng.uniform(0, 7, (*average.data.shape, 2))
        rectangles.data[...] = np.concatenate([low, low + rng.uniform(0.5, 6, low.shape)], axis=-1)
    net.save(str(path))


def write_calibration(weights, attributes=ATTRIBUTES):
    """A calibration of weights, beside them."""
    score = calibration.ScoreCalibration([0.25, 0.5], [1.0, 2.0], [0.0, -1.0])
    scores = {"logits": score, "max_d": score}
    made = calibration.Calibration(sha256(weights), "data", attributes, [0.2, 0.3], 0, "accuracy", scores)
    calibration.write(weights, made)
