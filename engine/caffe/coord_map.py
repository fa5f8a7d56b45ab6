"""Coordinate maps between the blobs of a NetSpec, from which `crop` computes the offset of a Crop layer.

Same interface as pycaffe's coord_map. A map is (axis, scale, shift): along the axes after `axis` (1, the channels, for
a convolution), coordinate x of the first blob is coordinate scale * x + shift of the second. The map of layers that do
not change coordinates has axis None, which fits every axis.
"""

import numpy as np

from .net_spec import layers as L

# Layer types whose tops have the same coordinates as their bottoms.
PASS_THROUGH_LAYERS = (
    "AbsVal BatchNorm Bias BNLL Dropout Eltwise ELU Log LRN Exp MVN Power ReLU PReLU Scale Sigmoid Split TanH Threshold"
).split()


class UndefinedMapException(Exception):
    """The layer's type has no coordinate map from bottom to top."""


class AxisMismatchException(Exception):
    """Two maps cannot be composed, because they begin at different axes."""


def conv_params(fn):
    """Axis, and as arrays stride, extent of the kernel (dilation included) and pad, of a (de)convolution or pooling.

    Raises AssertionError for the fields that end in _h and _w.
    """
    params = fn.params.get("convolution_param", fn.params.get("pooling_param", fn.params))
    axis = params.get("axis", 1)
    kernel = np.array(params["kernel_size"], ndmin=1)
    dilation = np.array(params.get("dilation", 1), ndmin=1)
    unsupported = {"pad_h", "pad_w", "kernel_h", "kernel_w", "stride_h", "stride_w"} & set(fn.params)
    assert not unsupported, f"cannot handle {', '.join(sorted(unsupported))}; use the fields without _h and _w"
    stride, pad = (np.array(params.get(name, default), ndmin=1) for name, default in (("stride", 1), ("pad", 0)))
    return axis, stride, (kernel - 1) * dilation + 1, pad


def crop_params(fn):
    """Axis and offset (an array) of a Crop."""
    params = fn.params.get("crop_param", fn.params)
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def coord_map(fn):
    """The map from the first bottom of a layer to its top. Raises UndefinedMapException for other layer types."""
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, kernel, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (kernel - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, kernel, pad = conv_params(fn)
        return axis, stride, (kernel - 1) / 2 - pad
    if fn.type_name in PASS_THROUGH_LAYERS:
        return None, 1, 0
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        # The axis of a Crop is the first one that it crops; that of a map is the one before.
        return axis - 1, 1, -offset
    raise UndefinedMapException


def compose(base_map, next_map):
    """The map that applies next_map, then base_map. Raises AxisMismatchException."""
    (axis, scale, shift), (next_axis, next_scale, next_shift) = base_map, next_map
    if axis is None:
        axis = next_axis
    elif next_axis is not None and next_axis != axis:
        raise AxisMismatchException
    return axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map):
    """The inverse of a map."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def maps_to(start):
    """The tops from which `start` is computed through layers with a coordinate map: dict of top -> map to `start`."""
    maps, frontier = {start: (None, 1, 0)}, [start]
    while frontier:
        top = frontier.pop()
        # The second input of a Crop determines only the size.
        for source in top.fn.inputs[:1] if top.fn.type_name == "Crop" else top.fn.inputs:
            try:
                composed = compose(maps[top], coord_map(top.fn))
            except UndefinedMapException:
                continue
            if source not in maps:
                maps[source] = composed
                frontier.append(source)
    return maps


def coord_map_from_to(top_from, top_to):
    """The map from top_from to top_to, through a blob from which both are computed.

    Raises RuntimeError if there is no such blob, or only through layers without a coordinate map.
    """
    from_maps, to_maps = maps_to(top_from), maps_to(top_to)
    for top, to_map in to_maps.items():
        if top in from_maps:
            return compose(to_map, inverse(from_maps[top]))
    raise RuntimeError("Could not compute map between tops; are they connected by spatial layers?")


def crop(top_from, top_to):
    """A Crop layer that crops top_from to the part that corresponds to top_to.

    Raises AssertionError if their scales differ or the offset is negative or no integer, RuntimeError as above.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    assert (np.asarray(scale) == 1).all(), f"scale mismatch on crop (a = {scale})"
    assert (np.asarray(shift) <= 0).all(), f"cannot crop negative offset (b = {shift})"
    assert (np.round(shift) == shift).all(), f"cannot crop noninteger offset (b = {shift})"
    offset = [int(number) for number in -np.round(np.atleast_1d(shift))]
    return L.Crop(top_from, top_to, crop_param={"axis": axis + 1, "offset": offset})
