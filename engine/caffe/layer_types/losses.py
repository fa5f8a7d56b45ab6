"""EuclideanLoss, SigmoidCrossEntropyLoss, HingeLoss and ContrastiveLoss, and the base classes of all losses.

Losses are float32 in every precision. Their gradients are multiplied by the loss weight, which the net stores in the
diff of the top. Rows are the N items of axis 0.
"""

import math

import torch

from ..proto import caffe_pb2
from .base import BuiltIn, Derived, register

KINDS = caffe_pb2.LossParameter


class Loss(BuiltIn):
    """Base: two bottoms with as many rows, and a scalar top whose loss weight is 1 by default."""

    bottoms = 2
    tops = (0, 1)
    is_loss = True

    def reshape(self, bottom, top):
        first = [blob.shape[0] if blob.shape else 1 for blob in bottom[:2]]
        self.check(first[0] == first[1], f"scores and labels have {first[0]} and {first[1]} rows")
        top[0].reshape()

    def scale(self, top):
        """The loss weight as a scalar tensor; converting it to a Python number would wait for the device."""
        return top[0].gradient().reshape(())


class LabelLoss(Loss):
    """Base: losses with ignore_label and the normalisation of loss_param.

    default_kind: the normalisation if loss_param does not give one
    """

    no_gradient = (1,)
    default_kind = KINDS.VALID

    def setup(self, bottom, top):
        param = self.param.loss_param
        self.ignored = param.ignore_label if param.HasField("ignore_label") else None
        if param.HasField("normalization"):
            self.kind = param.normalization
        elif param.HasField("normalize"):
            self.kind = KINDS.VALID if param.normalize else KINDS.BATCH_SIZE
        else:
            self.kind = self.default_kind

    def normaliser(self, images, labels, valid):
        """The number by which the sum of the losses is divided (GetNormalizer in BVLC Caffe), at least 1.

        images: rows of the batch; labels: number of labels per row
        valid: number of labels that are not ignored, a tensor, or None for all
        NONE: 1; BATCH_SIZE: images; VALID: valid; FULL: images * labels
        """
        if self.kind == KINDS.NONE:
            return 1.0
        if self.kind == KINDS.BATCH_SIZE:
            return max(float(images), 1.0)
        if self.kind == KINDS.VALID and valid is not None:
            return valid.clamp(min=1)
        return max(float(images * labels), 1.0)


@register
class EuclideanLoss(Loss, Derived):
    """Half the squared Euclidean distance of the rows of two bottoms, mean over the rows."""

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        sizes = [math.prod(blob.shape[1:]) for blob in bottom]
        self.check(sizes[0] == sizes[1], f"the inputs' rows have {sizes[0]} and {sizes[1]} numbers")

    def compute(self, a, b):
        return (a - b.reshape(a.shape)).square().sum() / len(a) / 2


@register
class SigmoidCrossEntropyLoss(LabelLoss):
    """Cross-entropy of sigmoid(x) and targets t from 0 to 1: max(x, 0) - x t + log(1 + exp(-|x|)).

    By default the sum of a row, mean over the rows.
    """

    default_kind = KINDS.BATCH_SIZE

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        counts = [math.prod(blob.shape) for blob in bottom]
        self.check(counts[0] == counts[1], f"shapes of scores and targets differ: {bottom[0].shape}, {bottom[1].shape}")

    def operands(self, bottom):
        """Scores, targets, and which targets count (None: all)."""
        x = bottom[0].value()
        t = bottom[1].value().reshape(x.shape)
        return x, t, None if self.ignored is None else t.trunc() != self.ignored

    def forward(self, bottom, top):
        x, t, counts = self.operands(bottom)
        losses = x.clamp(min=0) - x * t + torch.log1p(torch.exp(-x.abs()))
        if counts is not None:
            losses = losses.masked_fill(~counts, 0)  # even those that are not finite
        shape = bottom[0].shape
        valid = None if counts is None else counts.sum()
        self.divisor = self.normaliser(shape[0], math.prod(shape[1:]), valid)
        top[0].put(losses.sum() / self.divisor)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            x, t, counts = self.operands(bottom)
            gradient = torch.sigmoid(x).sub_(t).mul_(self.scale(top) / self.divisor)
            bottom[0].put_gradient(gradient if counts is None else gradient.masked_fill(~counts, 0))


@register
class HingeLoss(Loss, Derived):
    """One-against-all hinge loss: sum over classes of max(0, 1 + s x), squared for norm L2, mean over the rows.

    The sign s is -1 for the class of the label and 1 for the others.
    """

    no_gradient = (1,)

    def compute(self, x, labels):
        rows = x.reshape(len(x), -1)
        signs = torch.ones_like(rows).scatter_(1, labels.reshape(-1, 1).long(), -1)
        margins = (1 + signs * rows).relu()
        squared = self.param.hinge_loss_param.norm == caffe_pb2.HingeLossParameter.L2
        return (margins.square() if squared else margins).sum() / len(x)


@register
class ContrastiveLoss(Loss, Derived):
    """Contrastive loss of pairs of vectors with distance d (Hadsell et al., 2006), half of the mean over the rows.

    For similar pairs (label 1) d^2, for others max(0, margin - d)^2, with legacy_version max(0, margin - d^2).
    """

    bottoms = 3
    no_gradient = (2,)

    def setup(self, bottom, top):
        for blob in bottom[:2]:
            self.check(
                blob.shape[1:] == bottom[0].shape[1:] and math.prod(blob.shape[2:]) == 1,
                f"ContrastiveLoss needs vectors (N, C), not {bottom[0].shape} and {bottom[1].shape}",
            )
        self.check(math.prod(bottom[2].shape[1:]) == 1, f"one label per row is needed, not shape {bottom[2].shape}")

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.check(bottom[2].shape[0] == bottom[0].shape[0], "as many labels as rows are needed")

    def compute(self, a, b, labels):
        param = self.param.contrastive_loss_param
        squared = (a - b).reshape(len(a), -1).square().sum(1)
        if param.legacy_version:
            far = (param.margin - squared).relu()
        else:
            # The gradient of a distance d is divided by d + 1e-4 in place of d, as in BVLC Caffe.
            distance = squared.detach().sqrt()
            distance = distance + (squared - squared.detach()) / (2 * (distance + 1e-4))
            far = (param.margin - distance).relu().square()
        return torch.where(labels.reshape(-1).trunc() != 0, squared, far).sum() / len(a) / 2
