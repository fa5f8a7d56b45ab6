"""Losses of classes, and Accuracy: SoftmaxWithLoss, InfogainLoss, MultinomialLogisticLoss."""

import torch

from ..errors import CaffeError
from ..proto import caffe_pb2
from ..prototxt import read_binary
from ..tensors import product
from .base import BuiltIn, register
from .losses import LabelLoss, Loss

# The least probability whose logarithm is taken.
LOG_THRESHOLD = 1e-20
SMALLEST_FLOAT = torch.finfo(torch.float32).tiny


class ClassLoss(LabelLoss):
    """Base: scores with classes along an axis, and one label for each place of the other axes."""

    def class_axis(self):
        return self.param.softmax_param.axis

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        shape = bottom[0].shape
        self.dim = self.axis(self.class_axis(), bottom[0])
        self.outer, self.classes, self.inner = (
            product(shape[: self.dim]),
            shape[self.dim],
            product(shape[self.dim + 1 :]),
        )
        places, labels = self.outer * self.inner, product(bottom[1].shape)
        self.check(places == labels, f"scores of shape {shape} need {places} labels (axis {self.dim}), not {labels}")
        if len(top) > 1:
            top[1].reshape(*shape)

    def rows(self, tensor):
        """Scores as (outer, classes, inner)."""
        return tensor.reshape(self.outer, self.classes, self.inner)

    def labels(self, bottom):
        """Labels (outer, inner), 0 where they do not count, and which count (None: all)."""
        labels = bottom[1].value().reshape(self.outer, self.inner).long()
        if self.ignored is None:
            return labels, None
        counts = labels != self.ignored
        return labels * counts, counts

    def divisor_for(self, counts):
        return self.normaliser(self.outer, self.inner, None if counts is None else counts.sum())

    def finish(self, losses, counts, bottom, top):
        """Hand on the loss of the places (outer, inner) that count and, where asked for, the probabilities."""
        if counts is not None:
            losses = losses * counts
        self.divisor = self.divisor_for(counts)
        top[0].put(losses.sum() / self.divisor)
        if len(top) > 1:
            top[1].put(self.probabilities.reshape(bottom[0].shape).clone())


def at_labels(rows, labels):
    """The number of each place's label: rows (outer, classes, inner), labels (outer, inner)."""
    return rows.gather(1, labels[:, None])[:, 0]


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(ClassLoss):
    tops = (0, 2)

    def forward(self, bottom, top):
        self.probabilities = self.rows(bottom[0].value()).softmax(1)
        labels, counts = self.labels(bottom)
        losses = -at_labels(self.probabilities, labels).clamp(min=SMALLEST_FLOAT).log()
        self.finish(losses, counts, bottom, top)

    def backward(self, top, propagate_down, bottom):
        self.no_label_gradient(propagate_down)
        if propagate_down[0]:
            labels, counts = self.labels(bottom)
            gradient = self.probabilities.clone()
            gradient.scatter_add_(1, labels[:, None], -torch.ones_like(gradient[:, :1]))
            if counts is not None:
                gradient *= counts[:, None]
            bottom[0].put_gradient((gradient * (self.scale(top) / self.divisor)).reshape(bottom[0].shape))


@register("InfogainLoss")
class InfogainLoss(ClassLoss):
    """Softmax, then the logarithms of all classes weighted by the label's row of a matrix H.

    H is the third bottom, or the blob in the file infogain_loss_param.source.
    """

    bottoms = (2, 3)
    tops = (0, 2)
    no_gradient = (1, 2)

    def class_axis(self):
        return self.param.infogain_loss_param.axis

    def setup(self, bottom, top):
        super().setup(bottom, top)
        self.check(
            not self.param.loss_param.HasField("normalize"), "InfogainLoss takes normalization in place of normalize"
        )
        self.stored = None
        if len(bottom) < 3:
            source = self.param.infogain_loss_param.source
            self.check(source, "InfogainLoss needs infogain_loss_param.source or a third bottom")
            proto = read_binary(source, caffe_pb2.BlobProto(), "BlobProto")
            self.stored = torch.tensor(list(proto.data or proto.double_data), dtype=torch.float32)

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        found = self.stored.numel() if self.stored is not None else product(bottom[2].shape)
        self.check(found == self.classes**2, f"the infogain matrix has {found} numbers, not {self.classes}^2")

    def gains(self, bottom, labels):
        """H's row of each place's label, (outer, classes, inner)."""
        matrix = bottom[2].value() if self.stored is None else self.stored.to(labels.device)
        return matrix.reshape(self.classes, self.classes)[labels].movedim(-1, 1)

    def forward(self, bottom, top):
        self.probabilities = self.rows(bottom[0].value()).softmax(1)
        labels, counts = self.labels(bottom)
        losses = -(self.gains(bottom, labels) * self.probabilities.clamp(min=LOG_THRESHOLD).log()).sum(1)
        self.finish(losses, counts, bottom, top)

    def backward(self, top, propagate_down, bottom):
        if any(propagate_down[1:]):
            raise CaffeError(f"{self.where}: InfogainLoss has no gradient to its labels and its matrix")
        if propagate_down[0]:
            labels, counts = self.labels(bottom)
            gains = self.gains(bottom, labels)
            gradient = self.probabilities * gains.sum(1, keepdim=True) - gains
            if counts is not None:
                gradient *= counts[:, None]
            bottom[0].put_gradient((gradient * (self.scale(top) / self.divisor)).reshape(bottom[0].shape))


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(Loss):
    """Cross-entropy of probabilities against labels, mean over the rows."""

    no_gradient = (1,)

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.check(product(bottom[1].shape[1:]) == 1, f"one label per row is needed, not shape {bottom[1].shape}")

    def operands(self, bottom):
        rows = bottom[0].value().reshape(bottom[0].shape[0], -1)
        labels = bottom[1].value().reshape(-1, 1).long()
        return rows, labels, rows.gather(1, labels).clamp(min=LOG_THRESHOLD)

    def forward(self, bottom, top):
        rows, _, right = self.operands(bottom)
        top[0].put(-right.log().sum() / len(rows))

    def backward(self, top, propagate_down, bottom):
        self.no_label_gradient(propagate_down)
        if propagate_down[0]:
            rows, labels, right = self.operands(bottom)
            gradient = torch.zeros_like(rows).scatter_(1, labels, -self.scale(top) / len(rows) / right)
            bottom[0].put_gradient(gradient.reshape(bottom[0].shape))


@register("Accuracy")
class Accuracy(BuiltIn):
    """Share of labels among the top_k scores of their place; on request that share per class too.

    A tie counts against the label, as in Caffe.
    """

    bottoms = 2
    tops = (1, 2)
    no_gradient = (0, 1)

    def setup(self, bottom, top):
        param = self.param.accuracy_param
        self.ignored = param.ignore_label if param.HasField("ignore_label") else None

    def reshape(self, bottom, top):
        param, shape = self.param.accuracy_param, bottom[0].shape
        self.dim = self.axis(param.axis, bottom[0])
        self.outer, self.classes, self.inner = (
            product(shape[: self.dim]),
            shape[self.dim],
            product(shape[self.dim + 1 :]),
        )
        labels, places = product(bottom[1].shape), self.outer * self.inner
        self.check(param.top_k <= self.classes, f"top_k {param.top_k} is more than the {self.classes} classes")
        self.check(places == labels, f"scores of shape {shape} need {places} labels (axis {self.dim}), not {labels}")
        top[0].reshape()
        if len(top) > 1:
            top[1].reshape(self.classes)

    def forward(self, bottom, top):
        rows = bottom[0].value().reshape(self.outer, self.classes, self.inner)
        labels = bottom[1].value().reshape(self.outer, self.inner).long()
        counts = torch.ones_like(labels, dtype=torch.bool) if self.ignored is None else labels != self.ignored
        labels = labels * counts
        at_least_as_high = (rows >= rows.gather(1, labels[:, None])).sum(1)
        right = ((at_least_as_high <= self.param.accuracy_param.top_k) & counts).float()
        top[0].put(right.sum() / counts.sum().clamp(min=1))
        if len(top) > 1:
            sums = torch.zeros((2, self.classes), device=right.device)
            sums[0].index_add_(0, labels.reshape(-1), right.reshape(-1))
            sums[1].index_add_(0, labels.reshape(-1), counts.reshape(-1).float())
            top[1].put(sums[0] / sums[1].clamp(min=1))
