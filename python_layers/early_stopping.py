"""Early stopping per attribute by blocking its gradient: Caffe Python layer `EarlyStopping` (section 3.4.2)."""

import dataclasses
import typing

import caffe
import numpy as np

from data_prep.settings import like, setting
from models.options import L1_FORMS, NetworkOptions
from python_layers import arrays
from python_layers.parameters import check_count, logs_errors, read_parameters

# Chance level: the loss of score 0, where p = 0.5.
CHANCE = {"log": np.log(2), "linear": 0.5}
# Columns of the state blob.
EPSILON, SEEN, STOPPED = range(3)
# With several processes the engine averages over their mini-batches; a process of BVLC Caffe decides by its own.
over_solvers = getattr(caffe, "solver_mean", lambda array: array)


def attribute_losses(scores, labels, form):
    """Mean loss of each attribute over the mini-batch: scores, labels (b, A) -> (A,).

    form: "log" for the cross-entropy of eq. 4, "linear" for |y - sigmoid(score)| of eq. 1
    """
    xp, scores = arrays.library(scores), arrays.double(scores)
    if form == "log":
        losses = scores.clip(0, None) - scores * labels + xp.log1p(xp.exp(-abs(scores)))
    else:
        losses = abs(labels - 0.5 * (1 + xp.tanh(scores / 2)))
    return losses.mean(axis=0)


def observe(losses, window, state, vibration, ceiling):
    """Add one mini-batch's losses (A,) to the windows; returns which attributes it trains, (A,) bool.

    window: (A, W), changed in place: ring buffers of the last W losses of each attribute
    state: (A, 3), changed in place: epsilon (0 until it is fixed), losses observed, mini-batches stopped
    vibration: largest standard deviation of a full window at which epsilon may be fixed
    ceiling: the mean of the window must also be below this for epsilon to be fixed
    """
    xp, size = arrays.library(window), window.shape[1]
    place = arrays.places(window) == (state[:, SEEN] % size)[:, None]
    window[...] = xp.where(place, losses[:, None], arrays.double(window))
    state[:, SEEN] += 1
    mean = window.mean(axis=1)
    deviation = xp.sqrt(((window - mean[:, None]) ** 2).mean(axis=1))
    settled = (state[:, SEEN] >= size) & (deviation <= vibration) & (mean < ceiling)
    fixes = settled & (state[:, EPSILON] == 0)
    state[:, EPSILON] = xp.where(fixes, mean, state[:, EPSILON])
    training = ~(losses < state[:, EPSILON])
    state[:, STOPPED] += ~training
    return training


@dataclasses.dataclass
class Parameters:
    """The parameters of EarlyStopping.

    window: number of mini-batches whose losses are observed
    range: largest standard deviation at which epsilon is fixed, for losses whose weights have the sum 1; 0 switches
    early stopping off
    ceiling: the mean must be below this share of the chance level (ln 2 per log loss, 1/2 per linear loss)
    forms: form of each score's loss, "log" (cross-entropy) or "linear" (|y - sigmoid|), ["log", ...] by default
    weights: weight of each score's loss, [1, ...] by default
    """

    window: int = setting(200, least=2)
    range: float = like(NetworkOptions, "early_stopping_range")
    ceiling: float = setting(0.5, least=0, most=1)
    forms: typing.Optional[list[str]] = setting(None, choices=L1_FORMS)
    weights: typing.Optional[list[float]] = setting(None, least=0)


class EarlyStopping(caffe.Layer):
    """Blocks the gradient of an attribute in mini-batches whose loss is below that attribute's epsilon.

    bottom  one to three scores (b, A), before the sigmoid (logits, max d), then label (b, A), 0 or 1
    top     the same scores, unchanged; optionally the number of attributes that train in this mini-batch, (1,);
            optionally 1 for each attribute that trains and 0 for each that is stopped, (A,)
    blobs[0]  (A, window): the losses of the last mini-batches
    blobs[1]  (A, 3): epsilon (0 until it is fixed), losses observed, mini-batches stopped

    In TRAIN, forward adds each attribute's loss to its window: the mean over b, summed over the scores with their
    weights (alpha L1 + beta L2, eq. 6). When the window is full, its standard deviation is at most `range` times the
    sum of these weights, and its mean is below `ceiling` times the chance level, epsilon of that attribute is fixed to
    the window's mean. From then on backward passes no gradient for an attribute whose mini-batch loss is below its
    epsilon; a mini-batch above it still trains. In TEST the layer is the identity and changes no state.

    The standard deviation is used because losses of mini-batches of b = 4 have single large values, which alone would
    determine the difference of the largest and smallest loss. The ceiling is needed because losses also vary little at
    the start of training, around the chance level.

    param_str, JSON: see Parameters.

    Give both blobs `param { lr_mult: 0 decay_mult: 0 }`: snapshots then store the state, and resumed training equals
    uninterrupted training. Known limit: weight decay and momentum still act on a stopped attribute's weights.
    Raises ValueError for wrong parameters or shapes.
    """

    supports_tensors = True

    @logs_errors
    def setup(self, bottom, top):
        check_count(self, "bottom", bottom, (2, 3, 4), "one to three scores, label")
        self.scores = len(bottom) - 1
        what = "the scores, attributes training, each attribute's"
        check_count(self, "top", top, (self.scores, self.scores + 1, self.scores + 2), what)
        parameters = read_parameters(self, Parameters)
        self.parameters = parameters
        self.forms = parameters.forms or ["log"] * self.scores
        self.weights = parameters.weights or [1.0] * self.scores
        for key, values in (("forms", self.forms), ("weights", self.weights)):
            if len(values) != self.scores:
                raise ValueError(f"EarlyStopping: {key} must have one entry per score ({self.scores}), not {values}")
        chance = sum(weight * CHANCE[form] for weight, form in zip(self.weights, self.forms))
        self.ceiling, self.vibration = parameters.ceiling * chance, parameters.range * sum(self.weights)
        self.check_shapes(bottom)
        attributes = bottom[0].shape[1]
        self.blobs.add_blob(attributes, parameters.window)
        self.blobs.add_blob(attributes, 3)
        self.blobs[0].data[...] = 0
        self.blobs[1].data[...] = 0

    def check_shapes(self, bottom):
        shapes = [tuple(bottom[index].shape) for index in range(len(bottom))]
        if len(shapes[0]) != 2 or any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"EarlyStopping: scores and label must all be (b, A), not {shapes}")

    @logs_errors
    def reshape(self, bottom, top):
        self.check_shapes(bottom)
        for index in range(self.scores):
            top[index].reshape(*bottom[index].shape)
        if len(top) > self.scores:
            top[self.scores].reshape(1)
        if len(top) > self.scores + 1:
            top[self.scores + 1].reshape(bottom[0].shape[1])

    def forward(self, bottom, top):
        for index in range(self.scores):
            top[index].data[...] = bottom[index].data
        self.training = arrays.places(bottom[0].data[0]) >= 0
        if self.phase == caffe.TRAIN and self.parameters.range > 0:
            labels = bottom[self.scores].data
            losses = sum(
                weight * attribute_losses(bottom[index].data, labels, form)
                for index, (weight, form) in enumerate(zip(self.weights, self.forms))
            )
            losses, window, state = over_solvers(losses), self.blobs[0].data, self.blobs[1].data
            self.training = observe(losses, window, state, self.vibration, self.ceiling)
        if len(top) > self.scores:
            top[self.scores].data[...] = self.training.sum()
        if len(top) > self.scores + 1:
            top[self.scores + 1].data[...] = self.training

    def backward(self, top, propagate_down, bottom):
        for index in range(self.scores):
            if propagate_down[index]:
                bottom[index].diff[...] = top[index].diff * self.training
