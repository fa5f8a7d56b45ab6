"""Algorithms for convolutions with several groups or few channels, and the choice of the fastest one.

PyTorch's grouped convolution is slow on the CPU for a few groups with many channels. The algorithms here work on
"blocks", tensors (G, N, C, H, W) in which each group is contiguous with channels last; C is the number of channels per
group. They are

- Separate: a convolution per group, on the CPU for groups with many operations;
- Batched: windows gathered into rows (im2col), then one batched matrix product for all groups, on the CPU for groups
  with few operations;
- Packed: the pixels of a square become channels, on the GPU for large steps over few channels, as in a first layer;
- native: PyTorch's call for all groups, everywhere else.

In the docstrings C', H', W' belong to the output, and h, w are the size of the kernel.
"""

import torch

from ..tensors import product

aten = torch.ops.aten

# Multiply-adds per group from which on Separate is used on the CPU.
MIN_SEPARATE_WORK = 1_000_000
# Channels per group, in input and output, up to which the native call is used.
MAX_NATIVE_CHANNELS = 2
# Input channels up to which Packed is used on the GPU.
MAX_PACKED_CHANNELS = 4


def blocks(raw, shape, groups):
    """The stored tensor of a blob of shape (N, G * C, H, W) as blocks, copied only if its strides require it."""
    split = raw.reshape(shape[0], groups, -1, *shape[2:]).transpose(0, 1)
    if split[0].is_contiguous(memory_format=torch.channels_last):
        return split
    return empty_blocks(split.shape, split).copy_(split)


def empty_blocks(shape, like):
    """Uninitialised blocks of a shape (G, N, C, H, W), in the type and on the device of a tensor."""
    groups, images, channels, height, width = shape
    tensor = torch.empty((groups, images, height, width, channels), dtype=like.dtype, device=like.device)
    return tensor.permute(0, 1, 4, 2, 3)


def unblock(tensor):
    """A view of blocks as (N, G, C, H, W), whose elements are in the order of a blob (N, G * C, H, W)."""
    return tensor.transpose(0, 1)


class Separate:
    """A convolution per group; geometry: windows.Geometry."""

    def __init__(self, geometry):
        self.settings = (geometry.stride, geometry.pad, geometry.dilation, False, [0] * len(geometry.pad), 1)

    def forward(self, x, weight, bias, out):
        """Fill out (G, N, C', H', W') from x (G, N, C, H, W), weight (G, C', C, h, w) and bias (G, C') or None."""
        for group in range(len(x)):
            out[group] = aten.convolution(
                x[group], weight[group], None if bias is None else bias[group], *self.settings
            )

    def backward(self, dy, x, weight, dx, dw, db):
        """Compute the gradients that are not None, from the gradient dy of the output.

        dx: tensor that is filled with the gradient of the input
        dw, db: functions (group, tensor) that are called with the gradients of weights and bias of each group, or of
            all at once, where group is slice(None)
        """
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
    """Windows as rows of a matrix per group, multiplied for all groups in one call; geometry: windows.Geometry."""

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
        """(H', W') for the height and width of a padded input."""
        (down, across), (high, wide) = self.geometry.stride, self.geometry.extents()
        return (height - high) // down + 1, (width - wide) // across + 1

    @staticmethod
    def matrix(weight):
        """Weights (G, C', C, h, w) as (G, h * w * C, C')."""
        return weight.permute(0, 3, 4, 2, 1).reshape(weight.shape[0], -1, weight.shape[1])

    def forward(self, x, weight, bias, out):
        """See Separate.forward."""
        result = torch.bmm(self.rows(x), self.matrix(weight))
        if bias is not None:
            result += bias[:, None]
        out.permute(0, 1, 3, 4, 2).copy_(result.view(*out.permute(0, 1, 3, 4, 2).shape))

    def backward(self, dy, x, weight, dx, dw, db):
        """See Separate.backward."""
        flat = dy.permute(0, 1, 3, 4, 2).reshape(dy.shape[0], -1, dy.shape[2])
        if db is not None:
            db(slice(None), flat.float().sum(1))
        if dw is not None:
            product_ = torch.bmm(self.rows(x).transpose(1, 2), flat)
            groups, outputs, channels, high, wide = weight.shape
            dw(slice(None), product_.view(groups, high, wide, channels, outputs).permute(0, 4, 3, 1, 2))
        if dx is not None:
            self.scatter(torch.bmm(flat, self.matrix(weight).transpose(1, 2)), dy.shape, dx)

    def scatter(self, rows, shape, dx):
        """Sum the gradients of windows, (G, N * H' * W', h * w * C), in dx (G, N, C, H, W) (col2im).

        shape: of the output, (G, N, C', H', W')
        """
        geometry = self.geometry
        (top, left), (down, across), dilation = geometry.pad, geometry.stride, geometry.dilation
        groups, images, channels, height, width = dx.shape
        _, _, _, high, wide = shape
        parts = rows.view(groups, images, high, wide, *geometry.kernel, channels)
        # Each element is a sum of up to h * w numbers, so it is computed in float32 for parts of every type.
        total = torch.zeros((groups, images, height + 2 * top, width + 2 * left, channels), device=dx.device)
        for i in range(geometry.kernel[0]):
            for j in range(geometry.kernel[1]):
                y, x = i * dilation[0], j * dilation[1]
                place = total[:, :, y : y + down * (high - 1) + 1 : down, x : x + across * (wide - 1) + 1 : across]
                place += parts[:, :, :, :, i, j]
        dx.permute(0, 1, 3, 4, 2).copy_(total[:, :, top : top + height, left : left + width])


class Packed:
    """A convolution with stride s as one with stride 1 over s x s squares of pixels, whose pixels become channels.

    A GPU multiplies matrices in tiles, which 3 channels fill badly, and 3 s^2 channels well. One group; geometry:
    windows.Geometry with the same stride on both axes and without dilation
    """

    settings = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)

    def __init__(self, geometry):
        self.geometry, self.side = geometry, geometry.stride[0]
        self.squares = [-(-size // self.side) for size in geometry.kernel]  # that a window covers, per axis

    def pack(self, x, rows, columns, top=0, left=0):
        """Images (N, C, H, W), with `top` rows and `left` columns of zeros before, as (N, s s C, rows, columns).

        What exceeds the rows and columns of squares is cut off, what is missing is zero.
        """
        side = self.side
        bottom, right = rows * side - x.shape[2] - top, columns * side - x.shape[3] - left
        x = x.permute(0, 2, 3, 1)
        if top or left or bottom or right:
            x = torch.nn.functional.pad(x, (0, 0, left, right, top, bottom))
        x = x.reshape(len(x), rows, side, columns, side, -1).transpose(2, 3)
        return x.reshape(len(x), rows, columns, -1).permute(0, 3, 1, 2)

    def unpack(self, weight, channels):
        """The inverse of `pack` for filters of the kernel's size: (N, s s C, rows, columns) to (N, C, h, w)."""
        (rows, columns), side, (high, wide) = self.squares, self.side, self.geometry.kernel
        weight = weight.permute(0, 2, 3, 1).reshape(len(weight), rows, columns, side, side, channels).transpose(2, 3)
        weight = weight.reshape(len(weight), rows * side, columns * side, channels)
        return weight[:, :high, :wide].permute(0, 3, 1, 2)

    def operands(self, x, weight, sizes):
        """Packed images and filters; sizes: H' and W' of the output."""
        squares = [size + count - 1 for size, count in zip(sizes, self.squares)]
        return self.pack(x[0], *squares, *self.geometry.pad), self.pack(weight[0], *self.squares)

    def forward(self, x, weight, bias, out):
        """See Separate.forward."""
        bias = None if bias is None else bias[0]
        out[0] = aten.convolution(*self.operands(x, weight, out.shape[3:]), bias, *self.settings)

    def backward(self, dy, x, weight, dx, dw, db):
        """See Separate.backward."""
        packed, filters = self.operands(x, weight, dy.shape[3:])
        wanted = [False, dw is not None, db is not None]
        if any(wanted):
            gradients = aten.convolution_backward(dy[0], packed, filters, [dy.shape[2]], *self.settings, wanted)
            if dw is not None:
                dw(0, self.unpack(gradients[1], x.shape[2]))
            if db is not None:
                db(0, gradients[2])
        if dx is not None:
            Separate(self.geometry).backward(dy, x, weight, dx, None, None)


def choose(geometry, groups, positions, weight_shape, on_gpu):
    """The algorithm for a convolution: a Separate, Batched or Packed, or None for the native call.

    positions: N * H' * W', the number of positions of each filter; weight_shape: (G * C', C, h, w)
    """
    if len(geometry.kernel) != 2:
        return None
    if on_gpu:
        stride = geometry.stride[0]
        packs = groups == 1 and weight_shape[1] <= MAX_PACKED_CHANNELS and geometry.stride == [stride, stride]
        return Packed(geometry) if packs and stride > 1 and geometry.dilation == [1, 1] else None
    if groups == 1 or weight_shape[0] // groups <= MAX_NATIVE_CHANNELS >= weight_shape[1]:
        return None
    work = positions * product(weight_shape) // groups
    return Separate(geometry) if work >= MIN_SEPARATE_WORK else Batched(geometry)
