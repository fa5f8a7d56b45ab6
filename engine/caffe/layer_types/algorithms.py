"""Algorithms for convolutions, and the choice of the fastest one.

Native is PyTorch's convolution, one call for all groups, on images, weights and gradients with channels last in memory.
The others are for what it does slowly. They were chosen by measurement (docs/benchmarks.md says on which processors):

- Packed: the pixels of a square become channels, for large steps over few channels, as in a first layer;
- Gathered: the gradient of the weights as a product with the gathered windows (im2col), for groups with many weights
  and few positions;
- Separate: Gathered with one convolution per group.

In the docstrings N is the number of images, C and C' are the channels of input and output, all groups together, H', W'
the size of the output, and h, w that of the kernel; weights are (C', C / groups, h, w).
"""

import functools
import math

import torch

from ..tensors import LAST

aten = torch.ops.aten

# Input channels up to which Packed is used, and on the CPU the output channels from which on it is.
MAX_PACKED_CHANNELS, MIN_PACKED_OUTPUTS = 4, 16
# Weights of a group per position from which on Gathered is used; multiply-adds of a group, for Separate.
MIN_GATHERED_RATIO, MIN_SEPARATE_WORK = 128, 1_000_000


class Native:
    """PyTorch's convolution, for any number of axes; geometry: windows.Geometry; transposed: for a deconvolution."""

    def __init__(self, geometry, groups, transposed=False):
        self.geometry, self.groups = geometry, groups
        axes = len(geometry.kernel)
        self.settings = (geometry.stride, geometry.pad, geometry.dilation, transposed, [0] * axes, groups)

    def prepare(self, x):
        """What forward and backward take in place of the input x (N, C, H, W)."""
        return x

    def forward(self, x, weight, bias):
        """The output (N, C', H', W') for what `prepare` returned, weights and bias (C',) or None."""
        if bias is None or set(self.geometry.dilation) == {1}:
            return aten.convolution(x, weight, bias, *self.settings)
        # PyTorch 2.13 crashes with a bias where all windows of an axis are outside of the image.
        return aten.convolution(x, weight, None, *self.settings) + bias.view(-1, *[1] * len(self.geometry.kernel))

    def backward(self, dy, x, weight, wanted):
        """The gradients of input, weights and bias, each None unless it is wanted (list of three bool).

        dy: gradient of the output
        """
        gradients = aten.convolution_backward(dy, x, weight, [dy.shape[1]], *self.settings, wanted)
        return [gradient if want else None for gradient, want in zip(gradients, wanted)]


class Gathered(Native):
    """Native, with the gradient of the weights as one product of matrices per group."""

    def backward(self, dy, x, weight, wanted):
        dx = self.input_gradient(dy, x, weight) if wanted[0] else None
        # The rows of a matrix product over bfloat16 are summed in float32, those of a sum are not.
        db = dy.float().sum((0, 2, 3)) if wanted[2] else None
        if not wanted[1]:
            return dx, None, db
        outputs, channels = dy.shape[1] // self.groups, x.shape[1] // self.groups
        parts = []
        for images, gradients in zip(x.split(channels, 1), dy.split(outputs, 1)):
            rows = gradients.permute(LAST).reshape(-1, outputs)
            parts.append(rows.t() @ self.windows(images))
        dw = torch.cat(parts).view(dy.shape[1], *self.geometry.kernel, channels)
        return dx, dw.permute(0, 3, 1, 2), db

    def input_gradient(self, dy, x, weight):
        """The gradient of the input."""
        return super().backward(dy, x, weight, [True, False, False])[0]

    def windows(self, x):
        """The windows of images (N, C, H, W) as (N H' W', h w C)."""
        (top, left), (down, across) = self.geometry.pad, self.geometry.stride
        x = torch.nn.functional.pad(x.permute(LAST), (0, 0, left, left, top, top))
        images, *_, channels = x.shape
        high, wide = self.geometry.output(x.shape[1:3], padded=True)
        n, h, w, c = x.stride()
        within = [stride * step for stride, step in zip((h, w), self.geometry.dilation)]
        sizes, strides = (*self.geometry.kernel, channels), (*within, c)
        windows = x.as_strided((images, high, wide, *sizes), (n, h * down, w * across, *strides), x.storage_offset())
        return windows.reshape(images * high * wide, -1)


class Separate(Gathered):
    """A convolution per group."""

    def __init__(self, geometry, groups):
        super().__init__(geometry, groups)
        self.single = Native(geometry, 1)

    def forward(self, x, weight, bias):
        biases = [None] * self.groups if bias is None else bias.chunk(self.groups)
        parts = zip(x.chunk(self.groups, 1), weight.chunk(self.groups), biases)
        return torch.cat([self.single.forward(self.dense(x), w, b) for x, w, b in parts], 1)

    def input_gradient(self, dy, x, weight):
        parts = zip(*(tensor.chunk(self.groups, 1) for tensor in (dy, x)), weight.chunk(self.groups))
        wanted = [True, False, False]
        return torch.cat([self.single.backward(self.dense(dy), self.dense(x), w, wanted)[0] for dy, x, w in parts], 1)

    @staticmethod
    def dense(x):
        """Some channels of images as images of their own."""
        return x.contiguous(memory_format=torch.channels_last)


class Packed(Native):
    """A convolution with stride s as one with stride 1 over s x s squares of pixels, whose pixels become channels.

    Matrix units and vector units multiply many channels at a time, which 3 channels fill badly, and 3 s^2 channels
    well. One group; the same stride on both axes, no dilation
    """

    def __init__(self, geometry):
        super().__init__(geometry, 1)
        self.side, self.full = geometry.stride[0], self.settings
        self.settings = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
        self.squares = [-(-size // self.side) for size in geometry.kernel]  # that a window covers, per axis

    def prepare(self, x):
        self.shape = x.shape
        sizes = self.geometry.output(x.shape[2:])
        return self.pack(x, *(size + count - 1 for size, count in zip(sizes, self.squares)), *self.geometry.pad)

    def pack(self, x, rows, columns, top=0, left=0):
        """Images (N, C, H, W), with `top` rows and `left` columns of zeros before, as (N, s s C, rows, columns).

        What exceeds the rows and columns of squares is cut off, what is missing is zero.
        """
        side = self.side
        bottom, right = rows * side - x.shape[2] - top, columns * side - x.shape[3] - left
        x = x.permute(LAST)
        if top or left or bottom or right:
            x = torch.nn.functional.pad(x, (0, 0, left, right, top, bottom))
        x = x.reshape(len(x), rows, side, columns, side, -1).transpose(2, 3)
        return x.reshape(len(x), rows, columns, -1).permute(0, 3, 1, 2)

    def unpack(self, weight, channels):
        """The inverse of `pack` for filters of the kernel's size: (N, s s C, rows, columns) to (N, C, h, w)."""
        (rows, columns), side, (high, wide) = self.squares, self.side, self.geometry.kernel
        weight = weight.permute(LAST).reshape(len(weight), rows, columns, side, side, channels).transpose(2, 3)
        weight = weight.reshape(len(weight), rows * side, columns * side, channels)
        return weight[:, :high, :wide].permute(0, 3, 1, 2)

    def forward(self, x, weight, bias):
        return super().forward(x, self.pack(weight, *self.squares), bias)

    def backward(self, dy, x, weight, wanted):
        dx, dw, db = super().backward(dy, x, self.pack(weight, *self.squares), [False, *wanted[1:]])
        if wanted[0]:
            unused = dy.new_empty(self.shape).contiguous(memory_format=torch.channels_last)
            dx = aten.convolution_backward(dy, unused, weight, None, *self.full, [True, False, False])[0]
        return dx, None if dw is None else self.unpack(dw, weight.shape[1]), db


@functools.cache
def processor():
    """What the CPU multiplies with: "AMX" (matrix units, for bfloat16), "AVX512", "AVX2" or "DEFAULT"."""
    if getattr(torch.cpu, "_is_amx_tile_supported", bool)():
        return "AMX"
    return torch.backends.cpu.get_cpu_capability()


def choose(geometry, groups, positions, weight_shape, kind, unit):
    """The algorithm for a convolution with two spatial axes.

    positions: N H' W'; weight_shape: (C', C / groups, h, w); kind: torch.dtype of the operands
    unit: what `processor` returns, or "GPU"
    """
    low, stride = kind == torch.bfloat16, geometry.stride[0]
    packs = groups == 1 and weight_shape[1] <= MAX_PACKED_CHANNELS and geometry.stride == [stride, stride] != [1, 1]
    if packs and geometry.dilation == [1, 1] and (unit == "GPU" or (low and weight_shape[0] >= MIN_PACKED_OUTPUTS)):
        return Packed(geometry)
    weights = math.prod(weight_shape) // groups
    if low and unit == "AMX" and groups > 1 and positions * weights >= MIN_SEPARATE_WORK:
        return Separate(geometry, groups)
    # PyTorch is slow in these: bfloat16 with matrix units, and float32 with vectors shorter than those of AVX-512.
    slow = unit == "AMX" if low else unit in ("AVX2", "DEFAULT")
    return (Gathered if slow and weights >= MIN_GATHERED_RATIO * positions else Native)(geometry, groups)
