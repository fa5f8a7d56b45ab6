"""Layers that work element by element (NeuronLayer in BVLC Caffe): activations, Power, Exp, Log, Dropout, Threshold."""

import math

import torch

from .. import context
from ..fillers import fill
from ..tensors import like
from .base import BuiltIn, register

aten = torch.ops.aten


class Neuron(BuiltIn):
    """Base: one bottom and one top of its shape, which may be the same blob.

    Subclasses define y = evaluate(x) and dx = gradient(x, y, dy). The tensors have the strides of the stored bottom.
    any_type: whether they may have other types than float32
    """

    any_type = False

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def tensor(self, tensor):
        """A tensor in a type that the layer supports."""
        return tensor if self.any_type else tensor.float()

    def forward(self, bottom, top):
        top[0].put(self.evaluate(self.tensor(bottom[0].raw())))

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            x, y, dy = (self.tensor(t) for t in (bottom[0].raw(), top[0].raw(), top[0].raw_gradient()))
            bottom[0].put_gradient(self.gradient(x, like(y, x), like(dy, x)))


@register("ReLU")
class ReLU(Neuron):
    """max(x, 0) + negative_slope min(x, 0)."""

    any_type = True

    def setup(self, bottom, top):
        self.negative_slope = self.param.relu_param.negative_slope
        self.in_place = False

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.in_place = top[0] is bottom[0]

    def evaluate(self, x):
        if self.negative_slope:
            return aten.leaky_relu(x, self.negative_slope)
        return aten.relu_(x) if self.in_place else aten.relu(x)

    def gradient(self, x, y, dy):
        if self.negative_slope:
            return aten.leaky_relu_backward(dy, x, self.negative_slope, False)
        if self.in_place and dy.dtype == x.dtype:
            return aten.threshold_backward.grad_input(dy, x, 0, grad_input=dy)
        return aten.threshold_backward(dy, x.to(dy.dtype), 0)


@register("PReLU")
class PReLU(Neuron):
    """max(x, 0) + a min(x, 0), where a is learned per channel, with channel_shared for all. Default filler: 0.25."""

    def setup(self, bottom, top):
        self.check(len(bottom[0].shape) >= 2, f"PReLU needs at least 2 axes, not {bottom[0].shape}")
        param = self.param.prelu_param
        self.blobs.add_blob(*(() if param.channel_shared else (bottom[0].shape[1],)))
        if param.HasField("filler"):
            fill(self.blobs[0], param.filler)
        else:
            self.blobs[0].data[...] = 0.25

    def weight(self, axes):
        """The parameter a, in a shape that broadcasts to a blob with `axes` axes."""
        return self.blobs[0].value().reshape([-1] + [1] * (axes - 2))

    def forward(self, bottom, top):
        x = self.input = bottom[0].value()
        if top[0] is bottom[0]:
            self.input = x.clone()
        top[0].put(torch.where(x > 0, x, x * self.weight(x.dim())))

    def backward(self, top, propagate_down, bottom):
        x, dy = self.input, top[0].gradient()
        if self.learns[0]:
            product = dy * x * (x <= 0)
            if self.param.prelu_param.channel_shared:
                self.blobs[0].diff_memory.add(product.sum())
            else:
                self.blobs[0].diff_memory.add(product.sum([axis for axis in range(x.dim()) if axis != 1]))
        if propagate_down[0]:
            bottom[0].put_gradient(torch.where(x > 0, dy, dy * self.weight(x.dim())))


@register("ELU")
class ELU(Neuron):
    """x if x > 0, else alpha (exp(x) - 1)."""

    def evaluate(self, x):
        return aten.elu(x, self.param.elu_param.alpha)

    def gradient(self, x, y, dy):
        return torch.where(x > 0, dy, dy * (y + self.param.elu_param.alpha))


@register("Sigmoid")
class Sigmoid(Neuron):
    """1 / (1 + exp(-x))."""

    def evaluate(self, x):
        return torch.sigmoid(x)

    def gradient(self, x, y, dy):
        return aten.sigmoid_backward(dy, y)


@register("TanH")
class TanH(Neuron):
    """tanh(x)."""

    def evaluate(self, x):
        return torch.tanh(x)

    def gradient(self, x, y, dy):
        return aten.tanh_backward(dy, y)


@register("Swish")
class Swish(Neuron):
    """x sigmoid(beta x)."""

    def evaluate(self, x):
        self.input = x.clone()
        return x * torch.sigmoid(self.param.swish_param.beta * x)

    def gradient(self, x, y, dy):
        x, beta = like(self.input, x), self.param.swish_param.beta
        s = torch.sigmoid(beta * x)
        return dy * (s + beta * x * s * (1 - s))


@register("BNLL")
class BNLL(Neuron):
    """log(1 + exp(x)). The gradient limits x to 50, as BVLC Caffe does (kBNLL_THRESHOLD)."""

    def evaluate(self, x):
        return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))

    def gradient(self, x, y, dy):
        return dy * torch.sigmoid(x.clamp(max=50))


@register("AbsVal")
class AbsVal(Neuron):
    """|x|; not in place."""

    def reshape(self, bottom, top):
        self.check(top[0] is not bottom[0], "AbsVal does not allow in-place computation")
        super().reshape(bottom, top)

    def evaluate(self, x):
        return x.abs()

    def gradient(self, x, y, dy):
        return dy * torch.sign(x)


@register("Clip")
class Clip(Neuron):
    """x, limited to the range from min to max."""

    def evaluate(self, x):
        return x.clamp(self.param.clip_param.min, self.param.clip_param.max)

    def gradient(self, x, y, dy):
        low, high = self.param.clip_param.min, self.param.clip_param.max
        return dy * ((x >= low) & (x <= high))


@register("Power")
class Power(Neuron):
    """(shift + scale x) ^ power."""

    def setup(self, bottom, top):
        param = self.param.power_param
        self.power, self.scale, self.shift = param.power, param.scale, param.shift

    def evaluate(self, x):
        if self.power * self.scale == 0:
            return torch.full_like(x, 1.0 if self.power == 0 else self.shift**self.power)
        if self.scale != 1:
            y = x * self.scale
            return self.to_power(y.add_(self.shift) if self.shift else y)
        return self.to_power(x + self.shift)

    def to_power(self, y):
        """y ^ power."""
        return y if self.power == 1 else y.pow(self.power)

    def gradient(self, x, y, dy):
        factor = self.power * self.scale
        if self.power == 1 or factor == 0:
            return dy * factor
        if self.power == 2:
            return dy * (factor * self.scale * x + factor * self.shift)
        return dy * (factor * y / (x * self.scale + self.shift))


@register("Exp")
class Exp(Neuron):
    """base ^ (shift + scale x); base -1 stands for e."""

    def setup(self, bottom, top):
        param = self.param.exp_param
        self.check(
            param.base == -1 or param.base > 0, f"exp_param.base must be positive, or -1 for e, not {param.base}"
        )
        log_base = 1.0 if param.base == -1 else math.log(param.base)
        self.inner, self.outer = log_base * param.scale, math.exp(log_base * param.shift)

    def evaluate(self, x):
        return torch.exp(x * self.inner) * self.outer

    def gradient(self, x, y, dy):
        return dy * y * self.inner


@register("Log")
class Log(Neuron):
    """The logarithm of shift + scale x to a base; base -1 stands for e."""

    def setup(self, bottom, top):
        param = self.param.log_param
        self.check(
            param.base == -1 or param.base > 0, f"log_param.base must be positive, or -1 for e, not {param.base}"
        )
        self.factor = 1.0 if param.base == -1 else 1 / math.log(param.base)
        self.scale, self.shift = param.scale, param.shift

    def evaluate(self, x):
        return torch.log(x * self.scale + self.shift) * self.factor

    def gradient(self, x, y, dy):
        return dy * (self.scale * self.factor / (x * self.scale + self.shift))


@register("Threshold")
class Threshold(Neuron):
    """1 if x is above the threshold, else 0; without a gradient."""

    def evaluate(self, x):
        return (x > self.param.threshold_param.threshold).float()

    backward = BuiltIn.backward


@register("Dropout")
class Dropout(Neuron):
    """In TRAIN, zero with probability dropout_ratio, else x / (1 - dropout_ratio); in TEST the identity."""

    any_type = True

    def setup(self, bottom, top):
        self.ratio = self.param.dropout_param.dropout_ratio
        self.check(0 < self.ratio < 1, f"dropout_ratio must lie between 0 and 1, not {self.ratio}")

    def evaluate(self, x):
        if self.phase == context.TEST:
            return x.clone()
        self.mask = torch.empty_like(x).bernoulli_(1 - self.ratio).div_(1 - self.ratio)
        return x * self.mask

    def gradient(self, x, y, dy):
        return dy * like(self.mask, dy) if self.phase == context.TRAIN else dy.clone()
