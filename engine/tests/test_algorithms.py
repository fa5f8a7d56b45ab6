"""The algorithms of convolutions against PyTorch's convolution in double precision, and which is chosen when."""

import types

import pytest
import torch
from caffe.layer_types.algorithms import Gathered, Native, Packed, Separate, choose
from caffe.layer_types.windows import Geometry
from caffe.proto import caffe_pb2

LAST = {"memory_format": torch.channels_last}
CASES = [  # algorithm, groups, channels, outputs (of all groups), (height, width), kernel, stride, pad, dilation
    (Packed, 1, 3, 6, (224, 224), (11, 11), 4, (0, 0), 1),
    (Packed, 1, 3, 6, (37, 50), (7, 7), 2, (3, 3), 1),
    (Packed, 1, 1, 6, (20, 23), (5, 3), 3, (2, 0), 1),
    (Packed, 1, 4, 6, (18, 18), (2, 2), 4, (1, 1), 1),
    (Packed, 1, 2, 6, (9, 9), (8, 8), 2, (0, 0), 1),
    (Gathered, 1, 3, 5, (9, 8), (3, 2), 2, (1, 0), 1),
    (Gathered, 3, 6, 12, (7, 7), (3, 3), 1, (1, 1), 2),
    (Separate, 2, 6, 4, (9, 9), (3, 3), 2, (1, 1), 1),
    (Native, 2, 6, 4, (9, 9), (3, 3), 1, (0, 0), 1),
]


def geometry(kernel, stride, pad, dilation=1):
    fields = {"kernel_size": kernel, "stride": [stride] * 2, "pad": pad, "dilation": [dilation] * 2}
    return Geometry(caffe_pb2.ConvolutionParameter(**fields), 2, "layer")


@pytest.mark.parametrize("kind, groups, channels, outputs, size, kernel, stride, pad, dilation", CASES)
def test_algorithm_equals_pytorchs_convolution(kind, groups, channels, outputs, size, kernel, stride, pad, dilation):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, channels, *size), (outputs, channels // groups, *kernel), (outputs,)
    x, weight, bias = (torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes)
    expected = torch.nn.functional.conv2d(x, weight, bias, stride, pad, dilation, groups)
    dy = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(expected, (x, weight, bias), dy)
    # What is summed in float32 in the algorithm is compared in float32.
    algorithm = kind(geometry(kernel, stride, pad, dilation), *[groups] * (kind is not Packed))
    with torch.no_grad():
        x, weight, dy = (tensor.detach().contiguous(**LAST) for tensor in (x, weight, dy))
        prepared = algorithm.prepare(x)
        torch.testing.assert_close(algorithm.forward(prepared, weight, bias), expected)
        torch.testing.assert_close(algorithm.forward(prepared, weight, None) + bias[:, None, None], expected)
        found = algorithm.backward(dy, prepared, weight, [True] * 3)
        for value, gradient in zip(found, gradients):
            torch.testing.assert_close(value.double(), gradient, rtol=1e-5, atol=1e-5)
        for wanted in range(3):
            only = algorithm.backward(dy, prepared, weight, [index == wanted for index in range(3)])
            assert [value is not None for value in only] == [index == wanted for index in range(3)]
            torch.testing.assert_close(only[wanted], found[wanted])


def test_the_fastest_algorithm_is_chosen():
    """As measured on AVX2, AVX-512 and AMX processors (docs/benchmarks.md)."""
    first = geometry((11, 11), 4, (0, 0)), 1, 80 * 54 * 54, (96, 3, 11, 11)
    conv3 = geometry((3, 3), 1, (1, 1)), 20, 4 * 13 * 13, (20 * 384, 256, 3, 3)
    narrow = geometry((3, 3), 1, (1, 1)), 20, 16 * 13 * 13, (20 * 48, 32, 3, 3)
    low, full = torch.bfloat16, torch.float32
    expected = {
        ("GPU", full): (Packed, Native, Native),
        ("GPU", low): (Packed, Native, Native),
        ("AMX", full): (Native, Native, Native),
        ("AMX", low): (Packed, Separate, Separate),
        ("AVX512", full): (Native, Native, Native),
        ("AVX512", low): (Packed, Native, Native),
        ("AVX2", full): (Native, Gathered, Native),
    }
    for (unit, kind), algorithms in expected.items():
        assert tuple(type(choose(*shape, kind, unit)) for shape in (first, conv3, narrow)) == algorithms, (unit, kind)
    few = geometry((11, 11), 4, (0, 0)), 1, 100, (8, 3, 11, 11)
    assert type(choose(*few, low, "AVX512")) is Native and type(choose(*few, low, "GPU")) is Packed
    assert type(choose(*few[:3], (8, 5, 11, 11), low, "GPU")) is Native
    assert type(choose(geometry((3, 3), 1, (0, 0)), 1, 100, (8, 3, 3, 3), low, "GPU")) is Native
    assert type(choose(types.SimpleNamespace(**{**vars(few[0]), "stride": [4, 2]}), *few[1:], low, "GPU")) is Native
