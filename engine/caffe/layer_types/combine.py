"""Layers that combine or reduce blobs: Eltwise, Reduction, ArgMax, Softmax."""

import math

import torch

from ..proto import caffe_pb2
from .base import BuiltIn, Derived, register

SUM, PROD = caffe_pb2.EltwiseParameter.SUM, caffe_pb2.EltwiseParameter.PROD


@register
class Eltwise(Derived):
    """SUM (weighted by coeff), PROD or MAX of bottoms of one shape, element by element."""

    bottoms = (2, None)

    def setup(self, bottom, top):
        param = self.param.eltwise_param
        count = len(param.coeff)
        self.check(count in (0, len(bottom)), f"eltwise_param.coeff: give none or one per bottom ({len(bottom)})")
        self.check(not count or param.operation == SUM, "eltwise_param.coeff is for operation SUM")
        self.factors = list(param.coeff) or [1.0] * len(bottom)

    def reshape(self, bottom, top):
        for blob in bottom:
            self.check(blob.shape == bottom[0].shape, f"bottoms differ in shape: {blob.shape}, {bottom[0].shape}")
        super().reshape(bottom, top)

    def compute(self, *values):
        operation = self.param.eltwise_param.operation
        if operation == SUM:
            total = values[0] * self.factors[0]
            for value, factor in zip(values[1:], self.factors[1:]):
                total = total.add(value, alpha=factor)
            return total
        if operation == PROD:
            return math.prod(values)
        # As in BVLC Caffe, the second of two equal bottoms 0 and 1 gets the gradient; later ones must be larger.
        total = torch.where(values[0] > values[1], values[0], values[1])
        for value in values[2:]:
            total = torch.where(value > total, value, total)
        return total


@register
class Reduction(Derived):
    """SUM, ASUM (sum of absolute values), SUMSQ (sum of squares) or MEAN over all axes from `axis` on, times coeff."""

    def reshape(self, bottom, top):
        self.dim = self.axis(self.param.reduction_param.axis, bottom[0])
        self.size = math.prod(bottom[0].shape[self.dim :])
        top[0].reshape(*bottom[0].shape[: self.dim])

    def compute(self, x):
        param, kinds = self.param.reduction_param, caffe_pb2.ReductionParameter
        rows = x.reshape(*x.shape[: self.dim], -1)
        if param.operation == kinds.ASUM:
            rows = rows.abs()
        elif param.operation == kinds.SUMSQ:
            rows = rows.square()
        return rows.sum(-1) * (param.coeff / self.size if param.operation == kinds.MEAN else param.coeff)


@register
class ArgMax(BuiltIn):
    """Indices of the top_k largest numbers, with out_max_val their values.

    With `axis` along that axis: indices or values. Without it over each image: (N, 1, top_k), or (N, 2, top_k) for
    indices and values.
    """

    def setup(self, bottom, top):
        param = self.param.argmax_param
        self.dim = self.axis(param.axis, bottom[0]) if param.HasField("axis") else None
        size = bottom[0].shape[self.dim] if self.dim is not None else math.prod(bottom[0].shape[1:])
        self.check(1 <= param.top_k <= size, f"argmax_param.top_k must be 1 to {size}, not {param.top_k}")

    def reshape(self, bottom, top):
        param, shape = self.param.argmax_param, list(bottom[0].shape)
        if self.dim is not None:
            shape[self.dim] = param.top_k
        else:
            axes = max(len(shape), 3)
            shape = [shape[0]] + [1] * (axes - 1)
            shape[2] = param.top_k
            if param.out_max_val:
                shape[1] = 2
        top[0].reshape(*shape)

    def forward(self, bottom, top):
        param, x = self.param.argmax_param, bottom[0].value()
        rows = x.reshape(x.shape[0], -1) if self.dim is None else x.movedim(self.dim, -1)
        # As in BVLC Caffe, which sorts pairs (value, index) in descending order, the last of equal numbers comes first.
        order = rows.flip(-1).sort(dim=-1, descending=True, stable=True)
        values = order.values[..., : param.top_k]
        places = (rows.shape[-1] - 1 - order.indices[..., : param.top_k]).float()
        if self.dim is not None:
            result = (values if param.out_max_val else places).movedim(-1, self.dim)
        else:
            result = torch.stack([places, values], 1) if param.out_max_val else places
        top[0].put(result.reshape(top[0].shape).contiguous())


@register
class Softmax(Derived):
    """exp(x) / sum of exp(x) along an axis."""

    def reshape(self, bottom, top):
        super().reshape(bottom, top)
        self.dim = self.axis(self.param.softmax_param.axis, bottom[0])

    def compute(self, x):
        return x.softmax(self.dim)
