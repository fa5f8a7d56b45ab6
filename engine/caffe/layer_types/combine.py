"""Layers that combine or reduce blobs: Eltwise, Reduction, ArgMax, Softmax."""

import torch

from ..proto import caffe_pb2
from ..tensors import product
from .base import BuiltIn, register

SUM, PROD = caffe_pb2.EltwiseParameter.SUM, caffe_pb2.EltwiseParameter.PROD


@register("Eltwise")
class Eltwise(BuiltIn):
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
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        values, operation = [blob.value() for blob in bottom], self.param.eltwise_param.operation
        if operation == SUM:
            total = values[0] * self.factors[0]
            for value, factor in zip(values[1:], self.factors[1:]):
                total.add_(value, alpha=factor)
        elif operation == PROD:
            total = values[0] * values[1]
            for value in values[2:]:
                total *= value
        else:
            # As in BVLC Caffe, the second of two equal bottoms 0 and 1 gets the gradient; later ones must be larger.
            first = values[0] > values[1]
            total, self.winner = torch.where(first, values[0], values[1]), (~first).long()
            for index, value in enumerate(values[2:], 2):
                larger = value > total
                total = torch.where(larger, value, total)
                self.winner[larger] = index
        top[0].put(total)

    def backward(self, top, propagate_down, bottom):
        dy, param = top[0].gradient(), self.param.eltwise_param
        for index, (blob, wanted) in enumerate(zip(bottom, propagate_down)):
            if not wanted:
                continue
            if param.operation == SUM:
                gradient = dy * self.factors[index]
            elif param.operation == PROD:
                if param.stable_prod_grad:
                    others = product(other.value() for i, other in enumerate(bottom) if i != index)
                else:
                    others = top[0].value() / blob.value()
                gradient = dy * others
            else:
                gradient = dy * (self.winner == index)
            blob.put_gradient(gradient)


@register("Reduction")
class Reduction(BuiltIn):
    """SUM, ASUM (sum of absolute values), SUMSQ (sum of squares) or MEAN over all axes from `axis` on, times coeff."""

    def reshape(self, bottom, top):
        self.dim = self.axis(self.param.reduction_param.axis, bottom[0])
        self.size = product(bottom[0].shape[self.dim :])
        top[0].reshape(*bottom[0].shape[: self.dim])

    def forward(self, bottom, top):
        param = self.param.reduction_param
        rows = bottom[0].value().reshape(*bottom[0].shape[: self.dim], -1)
        kinds = caffe_pb2.ReductionParameter
        if param.operation == kinds.ASUM:
            rows = rows.abs()
        elif param.operation == kinds.SUMSQ:
            rows = rows.square()
        factor = param.coeff / self.size if param.operation == kinds.MEAN else param.coeff
        top[0].put(rows.sum(-1) * factor)

    def backward(self, top, propagate_down, bottom):
        if not propagate_down[0]:
            return
        param, kinds = self.param.reduction_param, caffe_pb2.ReductionParameter
        x = bottom[0].value()
        factor = param.coeff / self.size if param.operation == kinds.MEAN else param.coeff
        dy = (top[0].gradient() * factor).reshape(*bottom[0].shape[: self.dim], *[1] * (x.dim() - self.dim))
        if param.operation == kinds.ASUM:
            gradient = dy * x.sign()
        elif param.operation == kinds.SUMSQ:
            gradient = dy * 2 * x
        else:
            gradient = dy.expand(x.shape).contiguous()
        bottom[0].put_gradient(gradient)


@register("ArgMax")
class ArgMax(BuiltIn):
    """Indices of the top_k largest numbers, with out_max_val their values.

    With `axis` along that axis: indices or values. Without it over each image: (N, 1, top_k), or (N, 2, top_k) for
    indices and values.
    """

    def setup(self, bottom, top):
        param = self.param.argmax_param
        self.dim = self.axis(param.axis, bottom[0]) if param.HasField("axis") else None
        size = bottom[0].shape[self.dim] if self.dim is not None else product(bottom[0].shape[1:])
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


@register("Softmax")
class Softmax(BuiltIn):
    """exp(x) / sum of exp(x) along an axis."""

    def reshape(self, bottom, top):
        self.dim = self.axis(self.param.softmax_param.axis, bottom[0])
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].put(bottom[0].value().softmax(self.dim))

    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            y, dy = top[0].value(), top[0].gradient()
            bottom[0].put_gradient((dy - (dy * y).sum(self.dim, keepdim=True)) * y)
