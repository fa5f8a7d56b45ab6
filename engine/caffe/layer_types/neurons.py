"""Layers that work element by element (NeuronLayer in BVLC Caffe): activations, Power, Exp, Log, Dropout, Threshold."""

import math

import torch

from .. import TRAIN
from ..proto import caffe_pb2
from ..tensors import shaped
from .base import BuiltIn, Derived, register

aten = torch.ops.aten


@register
class ReLU(Derived):
    """max(x, 0) + negative_slope min(x, 0), in the type and the order of memory of the stored bottom."""

    def setup(self, bottom, top):
        self.negative_slope = self.param.relu_param.negative_slope

    def forward(self, bottom, top):
        x, self.in_place = bottom[0].raw(), top[0] is bottom[0]
        if self.negative_slope:
            top[0].put(aten.leaky_relu(x, self.negative_slope))
        else:
            top[0].put(aten.relu_(x) if self.in_place else aten.relu(x))

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        x = bottom[0].raw()
        dy = shaped(top[0].raw_gradient(), x.shape)
        if self.negative_slope:
            dx = aten.leaky_relu_backward(dy, x.to(dy.dtype), self.negative_slope, False)
        elif self.in_place and dy.dtype == x.dtype:
            dx = aten.threshold_backward.grad_input(dy, x, 0, grad_input=dy)
        else:
            dx = aten.threshold_backward(dy, x.to(dy.dtype), 0)
        bottom[0].put_gradient(dx)


@register
class PReLU(Derived):
    """max(x, 0) + a min(x, 0), where a is learned per channel, with channel_shared for all. Default filler: 0.25."""

    def setup(self, bottom, top):
        self.check(len(bottom[0].shape) >= 2, f"PReLU needs at least 2 axes, not {bottom[0].shape}")
        param = self.param.prelu_param
        default = caffe_pb2.FillerParameter(value=0.25)
        shape = () if param.channel_shared else (bottom[0].shape[1],)
        self.add_parameter(shape, param.filler if param.HasField("filler") else default)

    def compute(self, x, a):
        return torch.where(x > 0, x, x * a.reshape([-1] + [1] * (x.dim() - 2)))


@register
class ELU(Derived):
    """x if x > 0, else alpha (exp(x) - 1)."""

    def compute(self, x):
        return aten.elu(x, self.param.elu_param.alpha)


@register
class Sigmoid(Derived):
    """1 / (1 + exp(-x))."""

    def compute(self, x):
        return torch.sigmoid(x)


@register
class TanH(Derived):
    """tanh(x)."""

    def compute(self, x):
        return torch.tanh(x)


@register
class Swish(Derived):
    """x sigmoid(beta x)."""

    def compute(self, x):
        return x * torch.sigmoid(self.param.swish_param.beta * x)


@register
class BNLL(Derived):
    """log(1 + exp(x))."""

    at_result = True

    def compute(self, x):
        return torch.nn.functional.softplus(x)


@register
class AbsVal(Derived):
    """|x|; not in place."""

    def reshape(self, bottom, top):
        self.check(top[0] is not bottom[0], "AbsVal does not allow in-place computation")
        super().reshape(bottom, top)

    def compute(self, x):
        return x.abs()


@register
class Clip(Derived):
    """x, limited to the range from min to max."""

    at_result = True

    def compute(self, x):
        return x.clamp(self.param.clip_param.min, self.param.clip_param.max)


@register
class Power(Derived):
    """(shift + scale x) ^ power."""

    def compute(self, x):
        param = self.param.power_param
        if param.power * param.scale == 0:
            return torch.full_like(x, 1.0 if param.power == 0 else param.shift**param.power, requires_grad=False)
        y = x * param.scale
        if param.shift:
            y.add_(param.shift)
        return y if param.power == 1 else y.pow(param.power)


class Exponential(Derived):
    """Base of Exp and Log. Raises CaffeError for a base that is not positive; base -1 stands for e."""

    def setup(self, bottom, top):
        self.settings = self.param.exp_param if self.type == "Exp" else self.param.log_param
        base = self.settings.base
        self.check(base == -1 or base > 0, f"{self.type}: base must be positive, or -1 for e, not {base}")
        self.log_base = 1.0 if base == -1 else math.log(base)

    def argument(self, x):
        return self.settings.shift + self.settings.scale * x


@register
class Exp(Exponential):
    """base ^ (shift + scale x); base -1 stands for e."""

    def compute(self, x):
        return torch.exp(self.log_base * self.argument(x))


@register
class Log(Exponential):
    """The logarithm of shift + scale x to a base; base -1 stands for e."""

    def compute(self, x):
        return torch.log(self.argument(x)) / self.log_base


@register
class Threshold(Derived):
    """1 if x is above the threshold, else 0; without a gradient."""

    def compute(self, x):
        return (x > self.param.threshold_param.threshold).float()

    backward = BuiltIn.backward


@register
class Dropout(Derived):
    """In TRAIN, zero with probability dropout_ratio, else x / (1 - dropout_ratio); in TEST the identity."""

    def setup(self, bottom, top):
        self.ratio = self.param.dropout_param.dropout_ratio
        self.check(0 <= self.ratio < 1, f"dropout_ratio must lie between 0 and 1, not {self.ratio}")

    def forward(self, bottom, top):
        x = bottom[0].raw()
        self.mask = None
        if self.phase == TRAIN:
            self.mask = torch.empty_like(x).bernoulli_(1 - self.ratio).div_(1 - self.ratio)
        top[0].put(x.clone() if self.mask is None else x * self.mask)

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            dy = top[0].raw_gradient()
            bottom[0].put_gradient(dy.clone() if self.mask is None else dy * shaped(self.mask, dy.shape))
