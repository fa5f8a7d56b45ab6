"""The layers InnerProduct and Embed, which have a weight matrix."""

import math

import torch

from .. import context
from .base import BuiltIn, Derived, register


class Matrix(BuiltIn):
    """Base: blobs are a weight matrix and, with bias_term, a bias (num_output,)."""

    def make_blobs(self, param, shape):
        """Add and fill the blobs; shape: of the weight matrix. Raises CaffeError."""
        self.check(param.num_output > 0, f"{self.type}: num_output must be at least 1")
        self.add_parameter(shape, param.weight_filler)
        if param.bias_term:
            self.add_parameter((param.num_output,), param.bias_filler)


@register
class InnerProduct(Matrix):
    """y = x W^T + b, where the axes of the bottom from `axis` on are flattened to K inputs.

    W is (num_output, K), with `transpose` (K, num_output).
    """

    def setup(self, bottom, top):
        param = self.param.inner_product_param
        self.dim = self.axis(param.axis, bottom[0])
        self.inputs = math.prod(bottom[0].shape[self.dim :])
        shape = (self.inputs, param.num_output) if param.transpose else (param.num_output, self.inputs)
        self.make_blobs(param, shape)

    def reshape(self, bottom, top):
        shape = bottom[0].shape
        found = math.prod(shape[self.dim :])
        self.check(
            found == self.inputs,
            f"input of shape {shape} has {found} numbers from axis {self.dim} on, not {self.inputs}",
        )
        top[0].reshape(*shape[: self.dim], self.param.inner_product_param.num_output)

    def operands(self, bottom):
        """Input (M, K) and weights (num_output, K), in the type in which the product is computed."""
        kind = context.compute_type()
        x = bottom[0].raw().reshape(bottom[0].shape).reshape(-1, self.inputs).to(kind)
        weight = self.blobs[0].converted(kind)
        return x, weight.t() if self.param.inner_product_param.transpose else weight

    def forward(self, bottom, top):
        x, weight = self.operands(bottom)
        bias = self.blobs[1].value().to(x.dtype) if len(self.blobs) > 1 else None
        top[0].put(torch.nn.functional.linear(x, weight, bias))

    def backward(self, top, propagate_down, bottom):
        x, weight = self.operands(bottom)
        dy = top[0].raw_gradient().reshape(-1, weight.shape[0])
        if len(self.blobs) > 1 and self.learns[1]:
            self.blobs[1].diff_memory.add(dy.float().sum(0))
        dy = dy.to(x.dtype)
        if self.learns[0]:
            gradient = x.t() @ dy if self.param.inner_product_param.transpose else dy.t() @ x
            self.blobs[0].diff_memory.add(gradient)
        if propagate_down[0]:
            bottom[0].put_gradient(dy @ weight)


@register
class Embed(Derived, Matrix):
    """Row x of a matrix (input_dim, num_output) for each integer x in the bottom, plus a bias."""

    no_gradient = (0,)

    def setup(self, bottom, top):
        param = self.param.embed_param
        self.check(param.input_dim > 0, "embed_param.input_dim must be at least 1")
        self.make_blobs(param, (param.input_dim, param.num_output))

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape, self.param.embed_param.num_output)

    def compute(self, index, weight, bias=None):
        rows = weight[index.long().reshape(-1)]
        return rows if bias is None else rows + bias
