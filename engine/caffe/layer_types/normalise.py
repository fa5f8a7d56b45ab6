"""Normalisation layers: LRN, BatchNorm, MVN."""

import torch

from .. import context
from ..errors import CaffeError
from ..proto import caffe_pb2
from .base import BuiltIn, register

aten = torch.ops.aten


@register("LRN")
class LRN(BuiltIn):
    """Local response normalisation, with a neighbourhood of local_size channels or local_size ^ 2 cells of a channel.

    ACROSS_CHANNELS: x / (k + alpha mean(x^2)) ^ beta; WITHIN_CHANNEL, without k: x / (1 + alpha mean(x^2)) ^ beta
    The squares are summed in float32 in every precision.
    """

    def setup(self, bottom, top):
        param = self.param.lrn_param
        self.size, self.alpha, self.beta, self.k = param.local_size, param.alpha, param.beta, param.k
        self.check(self.size % 2 == 1, f"lrn_param.local_size must be odd, not {self.size}")
        self.across = param.norm_region == caffe_pb2.LRNParameter.ACROSS_CHANNELS

    def reshape(self, bottom, top):
        self.check(len(bottom[0].shape) == 4, f"LRN needs a blob of 4 axes, not {bottom[0].shape}")
        top[0].reshape(*bottom[0].shape)

    def mean(self, x):
        """Means over the neighbourhoods of all elements. As in BVLC Caffe, zeros outside the blob count in the mean."""
        half = self.size // 2
        if self.across:
            # The channels become the rows of a map, so that pooling with an n x 1 kernel averages over channels.
            shape = x.shape
            rows = x.reshape(shape[0], 1, shape[1], -1)
            return aten.avg_pool2d(rows, [self.size, 1], [1, 1], [half, 0], False, True).view(shape)
        return aten.avg_pool2d(x, [self.size] * 2, [1, 1], [half] * 2, False, True)

    def mean_gradient(self, dy):
        """The gradient of `mean`, which is `mean` itself, because the neighbourhoods are symmetric."""
        return self.mean(dy)

    def forward(self, bottom, top):
        x = bottom[0].value()
        if self.across:
            self.base = self.mean(x * x).mul_(self.alpha).add_(self.k)
        else:
            self.base = self.mean(x * x).mul_(self.alpha).add_(1)
        self.input = x.clone() if top[0] is bottom[0] else None
        top[0].put(x * self.base.pow(-self.beta))

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        x = bottom[0].value() if self.input is None else self.input
        dy = top[0].gradient()
        power = self.base.pow(-self.beta)
        inner = dy * x * power / self.base
        bottom[0].put_gradient(dy * power - 2 * self.alpha * self.beta * x * self.mean_gradient(inner))


@register("BatchNorm")
class BatchNorm(BuiltIn):
    """(x - mean) / sqrt(variance + eps) per channel.

    Mean and variance are those of the batch in TRAIN, and the running averages in TEST or with use_global_stats.
    Blobs, which are statistics and not learned: weighted sums of means (C,) and of unbiased variances (C,), and the sum
    of the weights (1,), by which both are divided.
    """

    def setup(self, bottom, top):
        param = self.param.batch_norm_param
        self.channels = 1 if len(bottom[0].shape) == 1 else bottom[0].shape[1]
        self.eps, self.fraction = param.eps, param.moving_average_fraction
        self.use_global_stats = (
            param.use_global_stats if param.HasField("use_global_stats") else self.phase == context.TEST
        )
        for shape in ((self.channels,), (self.channels,), (1,)):
            self.blobs.add_blob(*shape)
        # lr_mult 0, because the layer itself updates the statistics.
        for spec in self.param.param:
            if spec.HasField("lr_mult") and spec.lr_mult != 0:
                raise CaffeError(f"{self.where}: the blobs of BatchNorm are statistics; give them lr_mult: 0")
        while len(self.param.param) < 3:
            self.param.param.add()
        for spec in self.param.param:
            spec.lr_mult = 0

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        found = 1 if len(shape) == 1 else shape[1]
        self.check(found == self.channels, f"input of shape {shape} does not have {self.channels} channels")
        top[0].reshape(*shape)

    def view(self, x):
        """A tensor as (N, C, all other axes flattened)."""
        return x.reshape(x.shape[0], self.channels, -1)

    def forward(self, bottom, top):
        x = self.view(bottom[0].value())
        if self.use_global_stats:
            factor = self.blobs[2].value()
            factor = torch.where(factor == 0, factor, 1 / factor)
            mean, variance = self.blobs[0].value() * factor, self.blobs[1].value() * factor
        else:
            mean = x.mean((0, 2))
            variance = (x - mean[:, None]).square().mean((0, 2))
            count = x.numel() // self.channels
            unbiased = count / (count - 1) if count > 1 else 1
            self.blobs[2].put(self.blobs[2].value() * self.fraction + 1)
            self.blobs[0].put(self.blobs[0].value() * self.fraction + mean)
            self.blobs[1].put(self.blobs[1].value() * self.fraction + variance * unbiased)
        self.deviation = (variance + self.eps).sqrt()
        self.normal = (x - mean[:, None]) / self.deviation[:, None]
        # A copy, because a layer that works in place on the top would change the values that backward needs.
        top[0].put(self.normal.reshape(bottom[0].shape).clone())

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        dy = self.view(top[0].gradient())
        if not self.use_global_stats:
            y = self.normal
            dy = dy - dy.mean((0, 2))[:, None] - y * (dy * y).mean((0, 2))[:, None]
        bottom[0].put_gradient((dy / self.deviation[:, None]).reshape(bottom[0].shape))


@register("MVN")
class MVN(BuiltIn):
    """(x - mean) / (sqrt(variance) + eps) over each channel of each image, or with across_channels over each image.

    With normalize_variance: false, only the mean is subtracted.
    """

    def setup(self, bottom, top):
        param = self.param.mvn_param
        self.eps, self.normalize_variance, self.across = param.eps, param.normalize_variance, param.across_channels

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def rows(self, tensor, blob):
        """A tensor of a blob as a matrix whose rows are normalised."""
        shape = blob.shape
        return tensor.reshape(shape[0] if self.across else shape[0] * shape[1], -1)

    def forward(self, bottom, top):
        x = self.rows(bottom[0].value(), bottom[0])
        y = x - x.mean(1, keepdim=True)
        if self.normalize_variance:
            self.deviation = y.square().mean(1, keepdim=True).sqrt() + self.eps
            y = y / self.deviation
        self.normal = y
        top[0].put(y.reshape(top[0].shape).clone())

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        dy, y = self.rows(top[0].gradient(), top[0]), self.normal
        dx = dy - dy.mean(1, keepdim=True)
        if self.normalize_variance:
            dx = (dx - y * (dy * y).mean(1, keepdim=True)) / self.deviation
        bottom[0].put_gradient(dx.reshape(bottom[0].shape))
