"""Classification losses and accuracy: SoftmaxWithLoss, InfogainLoss, MultinomialLogisticLoss, Accuracy.

Shapes are written (outer, classes, inner), as in BVLC Caffe: the axes before and after the class axis are flattened.
"""

import math

import torch

from .. import wire
from .base import BuiltIn, Derived, register
from .losses import LabelLoss, Loss

# Probabilities are raised to this value before their logarithm is taken (kLOG_THRESHOLD).
LOG_THRESHOLD = 1e-20


class ByClass(BuiltIn):
    """Base: bottom 0 has scores with the classes along an axis, bottom 1 a label for each position (outer, inner)."""

    def split_axes(self, axis, bottom):
        """Set outer, classes and inner, for scores with the class axis `axis`. Raises CaffeError."""
        shape, dim = bottom[0].shape, self.axis(axis, bottom[0])
        self.outer, self.classes, self.inner = math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :])
        places, labels = self.outer * self.inner, math.prod(bottom[1].shape)
        self.check(places == labels, f"scores of shape {shape} need {places} labels (axis {dim}), not {labels}")

    def rows(self, bottom):
        """Scores as (outer, classes, inner)."""
        return bottom[0].value().reshape(self.outer, self.classes, self.inner)

    def labels(self, bottom):
        """(labels, counts), both (outer, inner): labels, 0 if ignored; whether each counts, None if all do."""
        labels = bottom[1].value().reshape(self.outer, self.inner).long()
        if self.ignored is None:
            return labels, None
        counts = labels != self.ignored
        return labels * counts, counts


class CrossEntropy(ByClass, LabelLoss):
    """Base: -sum over classes k of g[k] log p[k], where p is the softmax of the scores; gradient p sum(g) - g.

    A second top gives the probabilities. smallest: probabilities are raised to this value before their logarithm
    """

    tops = (0, 2)

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        param = self.param.infogain_loss_param if self.type == "InfogainLoss" else self.param.softmax_param
        self.split_axes(param.axis, bottom)
        if len(top) > 1:
            top[1].reshape(*bottom[0].shape)

    def gains(self, bottom, labels):
        """g for labels (outer, inner), as (outer, classes, inner)."""
        raise NotImplementedError

    def forward(self, bottom, top):
        self.probabilities = self.rows(bottom).softmax(1)
        labels, counts = self.labels(bottom)
        losses = -(self.gains(bottom, labels) * self.probabilities.clamp(min=self.smallest).log()).sum(1)
        if counts is not None:
            losses = losses.masked_fill(~counts, 0)  # even those that are not finite
        self.divisor = self.normaliser(self.outer, self.inner, None if counts is None else counts.sum())
        top[0].put(losses.sum() / self.divisor)
        if len(top) > 1:
            top[1].put(self.probabilities.reshape(bottom[0].shape).clone())

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            labels, counts = self.labels(bottom)
            gains = self.gains(bottom, labels)
            gradient = self.probabilities * gains.sum(1, keepdim=True) - gains
            if counts is not None:
                gradient.masked_fill_(~counts[:, None], 0)
            bottom[0].put_gradient((gradient * (self.scale(top) / self.divisor)).reshape(bottom[0].shape))


@register
class SoftmaxWithLoss(CrossEntropy):
    """-log p[label]."""

    smallest = torch.finfo(torch.float32).tiny

    def gains(self, bottom, labels):
        return torch.zeros_like(self.probabilities).scatter_(1, labels[:, None], 1)


@register
class InfogainLoss(CrossEntropy):
    """-sum over classes k of H[label, k] log p[k].

    H (classes, classes) is the third bottom, or the BlobProto in the file infogain_loss_param.source.
    """

    bottoms = (2, 3)
    no_gradient = (1, 2)
    smallest = LOG_THRESHOLD

    def setup(self, bottom, top):
        super().setup(bottom, top)
        self.check(
            not self.param.loss_param.HasField("normalize"), "InfogainLoss takes normalization in place of normalize"
        )
        self.stored = None
        if len(bottom) < 3:
            source = self.param.infogain_loss_param.source
            self.check(source, "InfogainLoss needs infogain_loss_param.source or a third bottom")
            self.stored = torch.from_numpy(wire.read_blob_file(source))

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        found = self.stored.numel() if self.stored is not None else math.prod(bottom[2].shape)
        self.check(found == self.classes**2, f"the infogain matrix has {found} numbers, not {self.classes}^2")

    def gains(self, bottom, labels):
        matrix = bottom[2].value() if self.stored is None else self.stored.to(labels.device)
        return matrix.reshape(self.classes, self.classes)[labels].movedim(-1, 1)


@register
class MultinomialLogisticLoss(Loss, Derived):
    """-log p[label], mean over the rows, where bottom 0 holds probabilities p (N, classes)."""

    no_gradient = (1,)

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.check(math.prod(bottom[1].shape[1:]) == 1, f"one label per row is needed, not shape {bottom[1].shape}")

    def compute(self, probabilities, labels):
        rows = probabilities.reshape(len(probabilities), -1)
        right = rows.gather(1, labels.reshape(-1, 1).long())
        # The gradient is that of the value that counts, also below the threshold.
        right = right + (right.clamp(min=LOG_THRESHOLD) - right).detach()
        return -right.log().sum() / len(rows)


@register
class Accuracy(ByClass):
    """Fraction of positions whose label is among the top_k scores; a second top gives it per class (classes,).

    As in BVLC Caffe, scores that equal that of the label count as higher.
    """

    bottoms = 2
    tops = (1, 2)
    no_gradient = (0, 1)

    def setup(self, bottom, top):
        param = self.param.accuracy_param
        self.ignored = param.ignore_label if param.HasField("ignore_label") else None

    def reshape(self, bottom, top):
        param = self.param.accuracy_param
        self.split_axes(param.axis, bottom)
        self.check(param.top_k <= self.classes, f"top_k {param.top_k} is more than the {self.classes} classes")
        top[0].reshape()
        if len(top) > 1:
            top[1].reshape(self.classes)

    def forward(self, bottom, top):
        rows, (labels, counts) = self.rows(bottom), self.labels(bottom)
        counts = torch.ones_like(labels) if counts is None else counts
        at_least_as_high = (rows >= rows.gather(1, labels[:, None])).sum(1)
        right = (at_least_as_high <= self.param.accuracy_param.top_k).float() * counts
        top[0].put(right.sum() / counts.sum().clamp(min=1))
        if len(top) > 1:
            sums = torch.zeros((2, self.classes), device=right.device)
            sums[0].index_add_(0, labels.reshape(-1), right.reshape(-1))
            sums[1].index_add_(0, labels.reshape(-1), counts.reshape(-1).float())
            top[1].put(sums[0] / sums[1].clamp(min=1))
