"""Convolutions of several groups, by the algorithm that is fastest for their size.

A grouped convolution in one call is slow on CPU and GPU where the groups are few and wide. Blocks are the tensors
used here instead: (G, N, C, H, W), each group's images together, channels last. Three algorithms:

- separate: a convolution per group, for groups with much work on the CPU;
- batched: windows gathered into rows, then one batched matrix product for all groups, on the GPU and for
  groups with little work;
- native: one grouped call, for a channel or two per group, and for other than two spatial axes.
"""

import torch

from ..tensors import product

aten = torch.ops.aten

# Multiply-adds per group from which on the CPU takes a convolution per group.
MIN_SEPARATE_WORK = 1_000_000
# Channels per group, in and out, up to which the native call is best.
MAX_NATIVE_CHANNELS = 2


def blocks(raw, shape, groups):
    """Any tensor of a blob of shape (N, G * C, H, W) as blocks (G, N, C, H, W), copied only where it must be."""
    split = raw.reshape(shape[0], groups, -1, *shape[2:]).transpose(0, 1)
    if split[0].is_contiguous(memory_format=torch.channels_last):
        return split
    return empty_blocks(split.shape, split).copy_(split)


def empty_blocks(shape, like):
    """Blocks (G, N, C, H, W) of undefined numbers."""
    groups, images, channels, height, width = shape
    tensor = torch.empty((groups, images, height, width, channels), dtype=like.dtype, device=like.device)
    return tensor.permute(0, 1, 4, 2, 3)


def unblock(tensor):
    """Blocks as a tensor (N, G, C, H, W), whose elements lie in the blob's order."""
    return tensor.transpose(0, 1)


class Separate:
    """A convolution per group."""

    def __init__(self, geometry):
        self.settings = (geometry.stride, geometry.pad, geometry.dilation, False, [0] * len(geometry.pad), 1)

    def forward(self, x, weight, bias, out):
        """out (G, N, C', H', W') from x (G, N, C, H, W), weight (G, C', C, h, w), bias (G, C') or None."""
        for group in range(len(x)):
            out[group] = aten.convolution(
                x[group], weight[group], None if bias is None else bias[group], *self.settings
            )

    def backward(self, dy, x, weight, dx, dw, db):
        """Fill dx, and hand each group's gradients to dw(group, tensor) and db(group, tensor), unless they are None."""
        wanted = [dx is not None, dw is not None, db is not None]
        for group in range(len(dy)):
            gradients = aten.convolution_backward(
                dy[group], x[group], weight[group], [dy.shape[2]], *self.settings, wanted
            )
            if dx is not None:
                dx[group] = gradients[0]
            if dw is not None:
                dw(group, gradients[1])
            if db is not None:
                db(group, gradients[2])


class Batched:
    """Windows as rows of a matrix per group, multiplied for all groups at once."""

    def __init__(self, geometry):
        self.geometry = geometry

    def rows(self, x):
        """The windows of x (G, N, C, H, W) as (G, N * H' * W', h * w * C)."""
        geometry = self.geometry
        top, left = geometry.pad
        x = x.permute(0, 1, 3, 4, 2)
        if top or left:
            x = torch.nn.functional.pad(x, (0, 0, left, left, top, top))
        groups, images, height, width, channels = x.shape
        high, wide = self.outputs(height, width)
        sizes = (groups, images, high, wide, *geometry.kernel, channels)
        g, n, h, w, c = x.stride()
        windows = x.as_strided(
            sizes,
            (
                *(g, n, h * geometry.stride[0], w * geometry.stride[1]),
                *(h * geometry.dilation[0], w * geometry.dilation[1], c),
            ),
            x.storage_offset(),
        )
        return windows.reshape(groups, images * high * wide, -1)

    def outputs(self, height, width):
        """Sizes of the output for a padded input."""
        (down, across), (high, wide) = self.geometry.stride, self.geometry.extents()
        return (height - high) // down + 1, (width - wide) // across + 1

    @staticmethod
    def matrix(weight):
        """Weights (G, C', C, h, w) as (G, h * w * C, C')."""
        return weight.permute(0, 3, 4, 2, 1).reshape(weight.shape[0], -1, weight.shape[1])

    def forward(self, x, weight, bias, out):
        result = torch.bmm(self.rows(x), self.matrix(weight))
        if bias is not None:
            result += bias[:, None]
        out.permute(0, 1, 3, 4, 2).copy_(result.view(*out.permute(0, 1, 3, 4, 2).shape))

    def backward(self, dy, x, weight, dx, dw, db):
        flat = dy.permute(0, 1, 3, 4, 2).reshape(dy.shape[0], -1, dy.shape[2])
        if db is not None:
            sums = flat.float().sum(1)
            for group in range(len(dy)):
                db(group, sums[group])
        if dw is not None:
            product_ = torch.bmm(self.rows(x).transpose(1, 2), flat)
            groups, outputs, channels, high, wide = weight.shape
            gradient = product_.view(groups, high, wide, channels, outputs).permute(0, 4, 3, 1, 2)
            for group in range(groups):
                dw(group, gradient[group])
        if dx is not None:
            self.scatter(torch.bmm(flat, self.matrix(weight).transpose(1, 2)), dy.shape, dx)

    def scatter(self, rows, shape, dx):
        """Add the gradients of windows, (G, N * H' * W', h * w * C), up into dx (G, N, C, H, W)."""
        geometry = self.geometry
        (top, left), (down, across), dilation = geometry.pad, geometry.stride, geometry.dilation
        groups, images, channels, height, width = dx.shape
        _, _, _, high, wide = shape
        parts = rows.view(groups, images, high, wide, *geometry.kernel, channels)
        # Sums of up to h * w numbers: in float32, whatever the type of the parts.
        total = torch.zeros((groups, images, height + 2 * top, width + 2 * left, channels), device=dx.device)
        for i in range(geometry.kernel[0]):
            for j in range(geometry.kernel[1]):
                y, x = i * dilation[0], j * dilation[1]
                place = total[:, :, y : y + down * (high - 1) + 1 : down, x : x + across * (wide - 1) + 1 : across]
                place += parts[:, :, :, :, i, j]
        dx.permute(0, 1, 3, 4, 2).copy_(total[:, :, top : top + height, left : left + width])


def choose(geometry, groups, positions, weight_shape, on_gpu):
    """The algorithm for a convolution: Separate, Batched or None (native).

    positions: N * H' * W', at which each filter is applied; weight_shape: (G * C', C, h, w) of the whole layer
    """
    if groups == 1 or len(geometry.kernel) != 2 or weight_shape[0] // groups <= MAX_NATIVE_CHANNELS >= weight_shape[1]:
        return None
    work = positions * product(weight_shape) // groups
    return Separate(geometry) if work >= MIN_SEPARATE_WORK and not on_gpu else Batched(geometry)
