"""Kernel, stride, padding and dilation of convolutions and poolings, as their messages give them."""

from ..errors import check

MAX_AXES = 3


def spatial(param, field, axes, default, where):
    """One value per spatial axis of a ConvolutionParameter's field (kernel_size, stride, pad or dilation).

    The field has none (the default), one for all or one per axis; kernel, stride and pad may come as _h and _w.
    """
    short = {"kernel_size": "kernel"}.get(field, field)
    pair = [f"{short}_h", f"{short}_w"]
    given = list(getattr(param, field))
    if field != "dilation" and any(param.HasField(name) for name in pair):
        check(axes == 2 and not given, f"{where}: {pair[0]} and {pair[1]} are for 2 spatial axes, without {field}")
        return [getattr(param, name) for name in pair]
    check(len(given) in (0, 1, axes), f"{where}: give {field} once or once per spatial axis ({axes}), not {given}")
    values = given or [default]
    return values * axes if len(values) == 1 else values


class Geometry:
    """How a convolution's windows lie: lists kernel, stride, pad, dilation, and the first spatial axis's number - 1.

    Raises CaffeError for windows that cannot be.
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
        """Cells a window spans, dilation included, per axis."""
        return [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation)]

    def output(self, sizes):
        """Sizes of a convolution's output, rounded down."""
        return [
            (size + 2 * pad - extent) // stride + 1
            for size, pad, extent, stride in zip(sizes, self.pad, self.extents(), self.stride)
        ]

    def deconvolved(self, sizes):
        """Sizes of a deconvolution's output."""
        return [
            stride * (size - 1) + extent - 2 * pad
            for size, pad, extent, stride in zip(sizes, self.pad, self.extents(), self.stride)
        ]
