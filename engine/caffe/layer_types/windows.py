"""Kernel, stride, padding and dilation of a convolution, read from its ConvolutionParameter."""

from ..errors import check

MAX_AXES = 3


def spatial(param, field, axes, default, where):
    """The values of a field (kernel_size, stride, pad or dilation) of a convolution or pooling, one per spatial axis.

    param: ConvolutionParameter or PoolingParameter; axes: number of spatial axes; where: the layer, for errors
    The field can have no value (the default), one for all axes, or in convolutions one per axis. Instead of
    kernel_size, stride and pad there can be fields that end in _h and _w. Raises CaffeError for other combinations.
    """
    value, pair = getattr(param, field), [f"{field.removesuffix('_size')}_{end}" for end in "hw"]
    given = list(value) if hasattr(value, "append") else [value] * param.HasField(field)
    if field != "dilation" and any(param.HasField(name) for name in pair):
        check(axes == 2 and not given, f"{where}: {pair[0]} and {pair[1]} are for 2 spatial axes, without {field}")
        return [getattr(param, name) for name in pair]
    check(len(given) in (0, 1, axes), f"{where}: give {field} once or once per spatial axis ({axes}), not {given}")
    values = given or [default]
    return values * axes if len(values) == 1 else values


class Geometry:
    """The windows of a convolution: lists kernel, stride, pad and dilation, with a value per spatial axis.

    param: ConvolutionParameter; axes: number of spatial axes; where: the layer, for errors
    Raises CaffeError for invalid values.
    """

    def __init__(self, param, axes, where):
        check(1 <= axes <= MAX_AXES, f"{where}: needs 1 to {MAX_AXES} spatial axes, not {axes}")
        self.kernel = spatial(param, "kernel_size", axes, 0, where)
        self.stride = spatial(param, "stride", axes, 1, where)
        self.pad = spatial(param, "pad", axes, 0, where)
        self.dilation = spatial(param, "dilation", axes, 1, where)
        check(all(self.kernel), f"{where}: kernel_size must be at least 1, not {self.kernel}")
        check(all(self.stride) and all(self.dilation), f"{where}: stride and dilation must be at least 1")

    def extents(self):
        """The size of a window, dilation included, per axis."""
        return [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation)]

    def output(self, sizes, padded=False):
        """The spatial sizes of a convolution's output for those of its input, which may be `padded` already."""
        return [
            (size + 2 * pad * (not padded) - extent) // stride + 1
            for size, pad, extent, stride in zip(sizes, self.pad, self.extents(), self.stride)
        ]

    def deconvolved(self, sizes):
        """The spatial sizes of a deconvolution's output for those of its input."""
        return [
            stride * (size - 1) + extent - 2 * pad
            for size, pad, extent, stride in zip(sizes, self.pad, self.extents(), self.stride)
        ]
