"""The layers Convolution and Deconvolution, computed by the algorithms of algorithms.py.

A layer with several bottoms and tops applies the same filters to each of them.
"""

import math

import torch

from .. import TEST, context
from ..tensors import shaped
from . import algorithms
from .base import BuiltIn, register
from .windows import Geometry


class Filter(BuiltIn):
    """Base of both.

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
        self.add_parameter((rows, columns // self.groups, *self.geometry.kernel), param.weight_filler)
        if param.bias_term:
            self.add_parameter((self.outputs,), param.bias_filler)

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
        self.images, self.chosen = math.prod(shape[: self.dim]), {}

    def algorithm(self, top):
        """The algorithm for the current device and precision, and the present shapes."""
        unit = "GPU" if context.state.gpu else algorithms.processor()
        key = context.compute_type(), unit
        if key not in self.chosen:
            self.chosen[key] = self.choose(math.prod(top[0].shape) // self.outputs, *key)
        return self.chosen[key]

    def choose(self, positions, kind, unit):
        """The algorithm for a number of positions of each filter, a torch.dtype and a processing unit."""
        return algorithms.Native(self.geometry, self.groups, self.transposed)

    def operand(self, tensor):
        """A tensor as an operand of the convolution: in the type that is computed in, of four axes channels last."""
        tensor = tensor.to(context.compute_type())
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor

    def maps(self, raw, blob, channels):
        """The stored tensor of a blob as an operand (N, channels, *sizes), with all axes before the channels in N."""
        return self.operand(shaped(raw, (self.images, channels, *blob.shape[self.dim + 1 :])))

    def input(self, blob, algorithm):
        """The data of a bottom as the algorithm takes them; in TRAIN they are kept for the backward pass."""

        def convert():
            return algorithm.prepare(self.maps(blob.raw(), blob, self.channels))

        return convert() if self.phase == TEST else blob.data_memory.derived(algorithm, convert)

    def parameters(self):
        """Weights and bias (or None) as operands."""
        weight, kind = self.blobs[0], context.compute_type()
        if len(weight.shape) == 4:
            weight.data_memory.store_channels_last(weight.shape)
        return self.operand(weight.converted(kind)), self.blobs[1].value().to(kind) if len(self.blobs) > 1 else None

    def forward(self, bottom, top):
        algorithm, parameters = self.algorithm(top), self.parameters()
        for source, target in zip(bottom, top):
            target.put(algorithm.forward(self.input(source, algorithm), *parameters))

    def backward(self, top, propagate_down, bottom):
        algorithm, (weight, _) = self.algorithm(top), self.parameters()
        for source, target, down in zip(bottom, top, propagate_down):
            wanted = [down, self.learns[0], len(self.blobs) > 1 and self.learns[1]]
            if not any(wanted):
                continue
            dy = self.maps(target.raw_gradient(), target, self.outputs)
            dx, *gradients = algorithm.backward(dy, self.input(source, algorithm), weight, wanted)
            if down:
                source.put_gradient(dx)
            for blob, gradient in zip(self.blobs, gradients):
                if gradient is not None:
                    blob.diff_memory.add(gradient)


@register
class Convolution(Filter):
    """Convolution."""

    def choose(self, positions, kind, unit):
        if self.dim != 1 or len(self.geometry.kernel) != 2:
            return super().choose(positions, kind, unit)
        return algorithms.choose(self.geometry, self.groups, positions, self.blobs[0].shape, kind, unit)


@register
class Deconvolution(Filter):
    """Transposed convolution: the map that the backward pass of a Convolution applies to its top's diff."""

    transposed = True
