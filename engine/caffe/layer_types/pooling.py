"""The layer Pooling: MAX and AVE, with BVLC Caffe's output sizes, padding and divisors.

PyTorch rounds sizes down by default and limits the padding to half a window. Where its rules differ from Caffe's, the
input is padded here first.
"""

import torch

from ..proto import caffe_pb2
from ..tensors import shaped
from .base import Derived, register
from .windows import spatial

aten = torch.ops.aten

MAX, AVE = caffe_pb2.PoolingParameter.MAX, caffe_pb2.PoolingParameter.AVE
# The padding of MAX pooling: the lowest float32, -FLT_MAX in BVLC Caffe.
LOWEST = torch.finfo(torch.float32).min


@register
class Pooling(Derived):
    """MAX or AVE over windows, or with global_pooling over each map.

    A second top of MAX gives the index of the maximum in its map, row * width + column. The divisor of AVE counts
    padding, as in BVLC Caffe.
    """

    tops = (1, 2)

    def setup(self, bottom, top):
        param = self.param.pooling_param
        self.check(len(bottom[0].shape) == 4, f"Pooling needs a blob of 4 axes, not {bottom[0].shape}")
        self.check(param.pool in (MAX, AVE), "pooling_param.pool: STOCHASTIC is not supported; use MAX or AVE")
        self.check(len(top) == 1 or param.pool == MAX, "only MAX pooling has a second top, the indices of the maxima")
        self.is_global = param.global_pooling
        sized = param.HasField("kernel_size") or param.HasField("kernel_h") or param.HasField("kernel_w")
        if self.is_global:
            self.check(not sized, "pooling_param: with global_pooling, remove the size of the kernel")
        else:
            self.check(sized, "pooling_param needs kernel_size, or kernel_h and kernel_w, or global_pooling: true")
        self.kernel, self.stride, self.pad = (
            spatial(param, field, 2, default, self.where)
            for field, default in (("kernel_size", 0), ("stride", 1), ("pad", 0))
        )
        if self.is_global:
            self.check(self.pad == [0, 0] and self.stride == [1, 1], "global_pooling takes stride 1 and pad 0")
        else:
            self.check(min(self.kernel) > 0 and min(self.stride) > 0, "kernel and stride must be at least 1")
            fits = all(pad < kernel for pad, kernel in zip(self.pad, self.kernel))
            self.check(fits, f"pad {self.pad} must be less than the kernel {self.kernel}")

    def output(self, size, kernel, stride, pad):
        """The output size along an axis, rounded as round_mode says (default: up).

        As in BVLC Caffe, if there is padding, a last window that begins after the map is dropped.
        """
        up = self.param.pooling_param.round_mode == caffe_pb2.PoolingParameter.CEIL
        count = (size + 2 * pad - kernel + (stride - 1 if up else 0)) // stride + 1
        if any(self.pad) and (count - 1) * stride >= size + pad:
            count -= 1
        return count

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        self.check(len(shape) == 4, f"Pooling needs a blob of 4 axes, not {shape}")
        if self.is_global:
            self.kernel = list(shape[2:])
        sizes = [self.output(*sides) for sides in zip(shape[2:], self.kernel, self.stride, self.pad)]
        self.check(min(sizes) > 0, f"kernel {self.kernel} is larger than the padded map of shape {shape}")
        for blob in top:
            blob.reshape(*shape[:2], *sizes)
        # Number of rows and columns after the map that the last windows cover.
        self.overhang = [
            max((count - 1) * stride + kernel - pad - size, 0)
            for count, size, kernel, stride, pad in zip(sizes, shape[2:], self.kernel, self.stride, self.pad)
        ]
        # PyTorch pads by at most half a window and drops windows that begin after the map; Caffe does neither.
        starts_inside = all((n - 1) * s < size + p for n, s, size, p in zip(sizes, self.stride, shape[2:], self.pad))
        self.pads_natively = starts_inside and all(2 * pad <= kernel for pad, kernel in zip(self.pad, self.kernel))
        self.ceil_mode = self.overhang != [0, 0] and any(o > p for o, p in zip(self.overhang, self.pad))

    def windows(self):
        """Kernel, stride, padding, dilation, and whether sizes are rounded up, for PyTorch."""
        pad, up = (self.pad, self.ceil_mode) if self.pads_natively else ([0, 0], False)
        return self.kernel, self.stride, pad, [1, 1], up

    def padded(self, x, value):
        """x, padded with a value if PyTorch cannot pad it as Caffe does."""
        if self.pads_natively:
            return x
        (top, left), (below, right) = self.pad, self.overhang
        return torch.nn.functional.pad(x, (left, right, top, below), value=value)

    def forward(self, bottom, top):
        if self.param.pooling_param.pool == AVE:
            return super().forward(bottom, top)
        x = shaped(bottom[0].raw(), bottom[0].shape)
        if self.is_global:
            y, self.argmax = (tensor.unsqueeze(3) for tensor in x.flatten(2).max(2, keepdim=True))
        else:
            y, self.argmax = aten.max_pool2d_with_indices(self.padded(x, LOWEST), *self.windows())
        if len(top) > 1:
            top[1].put(self.unpadded_argmax(x))
        top[0].put(y)

    def backward(self, top, propagate_down, bottom):
        if self.param.pooling_param.pool == AVE:
            return super().backward(top, propagate_down, bottom)
        if not propagate_down[0]:
            return
        x = shaped(bottom[0].raw(), bottom[0].shape)
        dy = shaped(top[0].raw_gradient(), top[0].shape).to(x.dtype)
        if self.is_global:
            dx = torch.zeros_like(x).flatten(2).scatter_(2, self.argmax.flatten(2), dy.flatten(2)).view(x.shape)
        else:
            padded = self.padded(x, LOWEST)
            dx = aten.max_pool2d_with_indices_backward(dy, padded, *self.windows(), self.argmax)
            top, left = (0, 0) if self.pads_natively else self.pad
            dx = dx[:, :, top : top + x.shape[2], left : left + x.shape[3]]
        bottom[0].put_gradient(dx)

    def compute(self, x):
        """AVE pooling."""
        if self.pads_natively:
            kernel, stride, pad, _, ceil_mode = self.windows()
            return aten.avg_pool2d(x, kernel, stride, pad, ceil_mode, True)
        # Sums, which the divisor 1 gives, over windows that begin after the map too.
        sums = aten.avg_pool2d(self.padded(x, 0), self.kernel, self.stride, [0, 0], False, True, 1)
        return sums / self.divisors(x)

    def unpadded_argmax(self, x):
        """The indices of the maxima in the map without padding, as float32."""
        argmax = self.argmax
        if not self.pads_natively:
            width = x.shape[3] + self.pad[1] + self.overhang[1]
            rows, columns = argmax // width - self.pad[0], argmax % width - self.pad[1]
            argmax = rows * x.shape[3] + columns
        return argmax.float()

    def divisors(self, x):
        """The number of cells of each window in the map and its padding, (H', W')."""
        sides = []
        for size, kernel, stride, pad, over in zip(x.shape[2:], self.kernel, self.stride, self.pad, self.overhang):
            count = (size + pad + over - kernel) // stride + 1
            start = torch.arange(count, device=x.device) * stride - pad
            sides.append((start + kernel).clamp(max=size + pad) - start)
        return (sides[0][:, None] * sides[1]).to(x.dtype)
