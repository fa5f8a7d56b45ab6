"""The algorithms of convolutions against PyTorch's convolution in double precision, and which is chosen when."""

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
    strides = stride if isinstance(stride, list) else [stride] * 2
    sides = {"kernel_size": kernel, "stride": strides, "pad": pad, "dilation": [dilation] * 2}
    return Geometry(caffe_pb2.ConvolutionParameter(**sides), 2, "layer")


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


FIRST = geometry((11, 11), 4, (0, 0)), 1, 80 * 54 * 54, (96, 3, 11, 11)
CONV3 = geometry((3, 3), 1, (1, 1)), 20, 4 * 13 * 13, (20 * 384, 256, 3, 3)
NARROW = geometry((3, 3), 1, (1, 1)), 20, 16 * 13 * 13, (20 * 48, 32, 3, 3)
UNEVEN = geometry((11, 11), [4, 2], (0, 0)), 1, 80 * 54 * 54, (96, 3, 11, 11)


@pytest.mark.parametrize(
    "unit, low, full",
    [  # algorithms of these layers in bfloat16 and in float32, as measured (docs/benchmarks.md)
        ("GPU", [Packed, Native, Native, Native], [Packed, Native, Native, Native]),
        ("AMX", [Packed, Separate, Separate, Native], [Native] * 4),
        ("AVX512", [Packed, Native, Native, Native], [Native] * 4),
        ("AVX2", [Packed, Native, Native, Native], [Native, Gathered, Native, Native]),
    ],
)
def test_the_fastest_algorithm_is_chosen(unit, low, full):
    for kind, expected in ((torch.bfloat16, low), (torch.float32, full)):
        for shape, algorithm in zip((FIRST, CONV3, NARROW, UNEVEN), expected, strict=True):
            assert type(choose(*shape, kind, unit)) is algorithm, shape
