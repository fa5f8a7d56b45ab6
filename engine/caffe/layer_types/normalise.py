"""Normalisation layers: LRN, BatchNorm, MVN."""

import torch

from .. import TEST
from ..proto import caffe_pb2
from .base import Derived, register

aten = torch.ops.aten
SMALLEST_FLOAT = torch.finfo(torch.float32).tiny


@register
class LRN(Derived):
    """Local response normalisation, with a neighbourhood of local_size channels or local_size ^ 2 cells of a channel.

    ACROSS_CHANNELS: x / (k + alpha mean(x^2)) ^ beta; WITHIN_CHANNEL, without k: x / (1 + alpha mean(x^2)) ^ beta
    The squares are summed in float32 in every precision.
    """

    def setup(self, bottom, top):
        size = self.param.lrn_param.local_size
        self.check(size % 2 == 1, f"lrn_param.local_size must be odd, not {size}")

    def reshape(self, bottom, top):
        self.check(len(bottom[0].shape) == 4, f"LRN needs a blob of 4 axes, not {bottom[0].shape}")
        super().reshape(bottom, top)

    def compute(self, x):
        param = self.param.lrn_param
        size, half, squares = param.local_size, param.local_size // 2, x * x
        # As in BVLC Caffe, zeros outside the blob count in the mean.
        if param.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS:
            # The channels become the rows of a map, so that pooling with an n x 1 kernel averages over channels.
            rows = squares.reshape(x.shape[0], 1, x.shape[1], -1)
            mean, k = aten.avg_pool2d(rows, [size, 1], [1, 1], [half, 0], False, True).view(x.shape), param.k
        else:
            mean, k = aten.avg_pool2d(squares, [size] * 2, [1, 1], [half] * 2, False, True), 1
        return x * (k + param.alpha * mean).pow(-param.beta)


@register
class BatchNorm(Derived):
    """(x - mean) / sqrt(variance + eps) per channel.

    Mean and variance are those of the batch in TRAIN, and the running averages in TEST or with use_global_stats.
    Blobs, which are statistics and not learned: weighted sums of means (C,) and of unbiased variances (C,), and the sum
    of the weights (1,), by which both are divided.
    """

    def setup(self, bottom, top):
        param = self.param.batch_norm_param
        self.channels = 1 if len(bottom[0].shape) == 1 else bottom[0].shape[1]
        self.use_global_stats = param.use_global_stats if param.HasField("use_global_stats") else self.phase == TEST
        for shape in ((self.channels,), (self.channels,), (1,)):
            self.blobs.add_blob(*shape)
        # lr_mult 0, because the layer itself updates the statistics.
        for spec in self.param.param:
            learns = spec.HasField("lr_mult") and spec.lr_mult != 0
            self.check(not learns, "the blobs of BatchNorm are statistics; give them lr_mult: 0")
        while len(self.param.param) < 3:
            self.param.param.add()
        for spec in self.param.param:
            spec.lr_mult = 0

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        found = 1 if len(shape) == 1 else shape[1]
        self.check(found == self.channels, f"input of shape {shape} does not have {self.channels} channels")
        super().reshape(bottom, top)

    def view(self, x):
        """A tensor as (N, C, all other axes flattened)."""
        return x.reshape(x.shape[0], self.channels, -1)

    def statistics(self, x):
        """Mean and variance of each channel, (C,), of a batch (N, C, other axes)."""
        mean = x.mean((0, 2))
        return mean, (x - mean[:, None]).square().mean((0, 2))

    def forward(self, bottom, top):
        x = self.view(bottom[0].value())
        super().forward(bottom, top)
        if not self.use_global_stats:
            count, fraction = x.numel() // self.channels, self.param.batch_norm_param.moving_average_fraction
            mean, variance = self.statistics(x if self.overwritten is None else self.view(self.overwritten))
            unbiased = variance * (count / (count - 1) if count > 1 else 1)
            for blob, new in zip(self.blobs, (mean, unbiased, 1)):
                blob.put(blob.value() * fraction + new)

    def backward(self, top, propagate_down, bottom):
        self.learns = [False] * 3  # whatever force_backward says
        super().backward(top, propagate_down, bottom)

    def compute(self, x, means, variances, factor):
        rows = self.view(x)
        if self.use_global_stats:
            factor = torch.where(factor == 0, factor, 1 / factor)
            mean, variance = means * factor, variances * factor
        else:
            mean, variance = self.statistics(rows)
        deviation = (variance + self.param.batch_norm_param.eps).sqrt()
        return ((rows - mean[:, None]) / deviation[:, None]).reshape(x.shape)


@register
class MVN(Derived):
    """(x - mean) / (sqrt(variance) + eps) over each channel of each image, or with across_channels over each image.

    With normalize_variance: false, only the mean is subtracted.
    """

    def compute(self, x):
        param = self.param.mvn_param
        rows = x.reshape(*x.shape[: 1 if param.across_channels else 2], -1)
        y = rows - rows.mean(-1, keepdim=True)
        if param.normalize_variance:
            # The gradient of a root is infinite at 0, the variance of equal numbers.
            variance = y.square().mean(-1, keepdim=True).clamp(min=SMALLEST_FLOAT)
            y = y / (variance.sqrt() + param.eps)
        return y.reshape(x.shape)
