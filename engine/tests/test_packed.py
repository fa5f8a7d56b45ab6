"""Packed, the algorithm of first layers on GPUs, against PyTorch's convolution; it runs on the CPU as well."""

import types

import pytest
import torch
from caffe.layer_types.grouped import Packed, choose, empty_blocks

SHAPES = (  # channels, height, width, kernel, stride, padding
    (3, 224, 224, (11, 11), 4, (0, 0)),
    (3, 37, 50, (7, 7), 2, (3, 3)),
    (1, 20, 23, (5, 3), 3, (2, 0)),
    (4, 18, 18, (2, 2), 4, (1, 1)),
    (2, 9, 9, (8, 8), 2, (0, 0)),
)


@pytest.mark.parametrize("channels, height, width, kernel, stride, padding", SHAPES)
def test_packed_equals_pytorchs_convolution(channels, height, width, kernel, stride, padding):
    geometry = types.SimpleNamespace(kernel=list(kernel), stride=[stride] * 2, pad=list(padding), dilation=[1, 1])
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, channels, *kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.conv2d(x, weight, bias, stride, padding)
    dy = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, (x, weight, bias), dy)

    algorithm = choose(geometry, 1, 0, weight.shape, on_gpu=True)
    assert isinstance(algorithm, Packed)
    with torch.no_grad():
        out = empty_blocks((1, *expected.shape), x)
        algorithm.forward(x[None], weight[None], bias[None], out)
        torch.testing.assert_close(out[0], expected)
        dx, found = empty_blocks((1, *x.shape), x), {}
        algorithm.backward(
            dy[None], x[None], weight[None], dx, lambda _, g: found.update(w=g), lambda _, g: found.update(b=g)
        )
    for value, gradient in zip((dx[0], found["w"], found["b"]), gradients):
        torch.testing.assert_close(value, gradient)


def test_packed_is_for_few_channels_with_a_stride_on_a_gpu():
    geometry = types.SimpleNamespace(kernel=[3, 3], stride=[2, 2], pad=[0, 0], dilation=[1, 1])
    assert choose(geometry, 1, 10, (8, 3, 3, 3), on_gpu=False) is None
    assert choose(geometry, 1, 10, (8, 5, 3, 3), on_gpu=True) is None
    geometry.stride = [1, 1]
    assert choose(geometry, 1, 10, (8, 3, 3, 3), on_gpu=True) is None
