"""The layers Convolution and Deconvolution. Convolutions with groups use the algorithms of grouped.py.

A layer with several bottoms and tops applies the same filters to each of them.
"""

import torch

from .. import context
from ..fillers import fill
from ..tensors import product
from . import grouped
from .base import BuiltIn, register
from .windows import Geometry

aten = torch.ops.aten


class Filter(BuiltIn):
    """Base of both: parameters, shapes, bias, and the computation of all groups in one call.

    Blobs: weights (num_output, channels / group, *kernel), of a Deconvolution (channels, num_output / group, *kernel),
    and with bias_term a bias (num_output,).
    """

    bottoms = (1, None)
    tops = (1, None)
    transposed = False

    def setup(self, bottom, top):
        param = self.param.convolution_param
        self.check(len(bottom) == len(top), f"needs as many tops as bottoms, not {len(top)} and {len(bottom)}")
        self.check(param.num_output > 0, "convolution_param.num_output must be at least 1")
        self.dim = self.axis(param.axis, bottom[0])
        self.geometry = Geometry(param, len(bottom[0].shape) - self.dim - 1, self.where)
        self.groups, self.outputs, channels = param.group, param.num_output, bottom[0].shape[self.dim]
        self.check(self.groups > 0, "convolution_param.group must be at least 1")
        for what, count in (("input channels", channels), ("num_output", self.outputs)):
            self.check(count % self.groups == 0, f"{count} {what} do not divide into {self.groups} groups")
        self.channels = channels
        rows, columns = (channels, self.outputs) if self.transposed else (self.outputs, channels)
        self.weight_shape = (rows, columns // self.groups, *self.geometry.kernel)
        self.blobs.add_blob(*self.weight_shape)
        fill(self.blobs[0], param.weight_filler)
        if param.bias_term:
            self.blobs.add_blob(self.outputs)
            fill(self.blobs[1], param.bias_filler)

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        for blob in bottom:
            self.check(blob.shape == shape, f"bottoms differ in shape: {blob.shape}, {shape}")
        self.check(
            len(shape) == self.dim + 1 + len(self.geometry.kernel) and shape[self.dim] == self.channels,
            f"input of shape {shape} does not have {self.channels} channels at axis {self.dim}",
        )
        sizes = shape[self.dim + 1 :]
        new = self.geometry.deconvolved(sizes) if self.transposed else self.geometry.output(sizes)
        self.check(min(new) > 0, f"kernel {self.geometry.kernel} is larger than the padded input of shape {shape}")
        for blob in top:
            blob.reshape(*shape[: self.dim], self.outputs, *new)

    def folded(self, tensor, channels, sizes):
        """A tensor of a blob as (N, channels, *sizes), with all axes before the channel axis flattened to N."""
        return tensor.reshape(-1, channels, *sizes)

    def operand(self, tensor):
        """A tensor converted to the type in which the product is computed."""
        return tensor.to(context.compute_type())

    def bias(self):
        """The bias in that type, or None."""
        return self.operand(self.blobs[1].value()) if len(self.blobs) > 1 else None

    def wanted(self, propagate_down):
        """Which gradients backward computes: list of bool for the input, the weights and the bias."""
        return [propagate_down, self.learns[0], len(self.blobs) > 1 and self.learns[1]]

    def add_gradients(self, weight, bias):
        """Add gradients, or None, to the diffs of the parameter blobs."""
        for blob, gradient in zip(self.blobs, (weight, bias)):
            if gradient is not None:
                blob.diff_memory.add(gradient.reshape(blob.shape))

    # One call for all groups ------------------------------------------------------------------------------

    def settings(self):
        """The arguments of aten.convolution after the bias."""
        geometry = self.geometry
        return (geometry.stride, geometry.pad, geometry.dilation, self.transposed, [0] * len(geometry.pad), self.groups)

    def input(self, blob):
        """The data of a bottom as (N, channels, *sizes); with two spatial axes channels last, which is faster."""
        shape = blob.shape
        x = self.operand(self.folded(blob.raw(), self.channels, shape[self.dim + 1 :]))
        return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 and self.channels_last() else x

    def channels_last(self):
        return True

    def weight(self):
        """The weights in the type of the product."""
        weight = self.operand(self.blobs[0].value())
        if weight.dim() == 4 and weight.is_cuda:
            weight = weight.contiguous(memory_format=torch.channels_last)
        return weight

    def forward(self, bottom, top):
        weight, bias = self.weight(), self.bias()
        for source, target in zip(bottom, top):
            target.put(aten.convolution(self.input(source), weight, bias, *self.settings()))

    def backward(self, top, propagate_down, bottom):
        weight = self.weight()
        for source, target, down in zip(bottom, top, propagate_down):
            wanted = self.wanted(down)
            if not any(wanted):
                continue
            dy = self.operand(self.folded(target.raw_gradient(), self.outputs, target.shape[self.dim + 1 :]))
            sizes = [self.outputs] if wanted[2] else None
            gradients = aten.convolution_backward(dy, self.input(source), weight, sizes, *self.settings(), wanted)
            if down:
                source.put_gradient(gradients[0])
            self.add_gradients(*(g if want else None for g, want in zip(gradients[1:], wanted[1:])))


@register("Convolution")
class Convolution(Filter):
    """Convolution, with the fastest algorithm of grouped.py if there are groups."""

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        positions = product(top[0].shape) // self.outputs
        self.algorithms = [None, None]
        if self.dim == 1:
            self.algorithms = [
                grouped.choose(self.geometry, self.groups, positions, self.weight_shape, gpu) for gpu in (False, True)
            ]

    @property
    def algorithm(self):
        """The algorithm of grouped.py for the current device, or None for one call for all groups."""
        return self.algorithms[context.on_gpu()]

    def grouped_weight(self):
        """The weights as (groups, num_output / groups, channels / groups, *kernel)."""
        outputs, *rest = self.weight_shape
        return self.operand(self.blobs[0].value()).view(self.groups, outputs // self.groups, *rest)

    def input_blocks(self, blob):
        """The data of a bottom as blocks; see grouped.py."""
        return self.operand(grouped.blocks(blob.raw(), blob.shape, self.groups))

    def forward(self, bottom, top):
        algorithm = self.algorithm
        if algorithm is None:
            return super().forward(bottom, top)
        weight, bias = self.grouped_weight(), self.bias()
        bias = None if bias is None else bias.view(self.groups, -1)
        self.cast_weight = weight if weight.dtype != torch.float32 and self.phase == context.TRAIN else None
        for source, target in zip(bottom, top):
            x = self.input_blocks(source)
            images, _, height, width = target.shape
            out = grouped.empty_blocks((self.groups, images, self.outputs // self.groups, height, width), x)
            algorithm.forward(x, weight, bias, out)
            target.put(grouped.unblock(out))

    def backward(self, top, propagate_down, bottom):
        algorithm = self.algorithm
        if algorithm is None:
            return super().backward(top, propagate_down, bottom)
        weight = self.grouped_weight() if self.cast_weight is None else self.cast_weight
        for source, target, down in zip(bottom, top, propagate_down):
            wanted = self.wanted(down)
            if not any(wanted):
                continue
            x = self.input_blocks(source)
            dy = self.operand(grouped.blocks(target.raw_gradient(), target.shape, self.groups))
            dx = grouped.empty_blocks(x.shape, x) if down else None
            adders = [self.adder(index) if want else None for index, want in enumerate(wanted[1:])]
            algorithm.backward(dy, x, weight, dx, *adders)
            if down:
                source.put_gradient(grouped.unblock(dx))

    def adder(self, index):
        """A function (group, tensor) that adds the gradient of groups to the diff of parameter blob `index`."""
        shape = self.blobs[index].shape
        total, fresh = self.blobs[index].diff_memory.accumulator(shape)
        total = total.view(self.groups, shape[0] // self.groups, *shape[1:])

        def add(group, gradient):
            if fresh:
                total[group] = gradient
            else:
                total[group] += gradient

        return add


@register("Deconvolution")
class Deconvolution(Filter):
    """Transposed convolution: the map that the backward pass of a Convolution applies to its top's diff."""

    transposed = True
