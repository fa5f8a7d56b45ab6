"""Receptive fields: the inputs that a point of a later layer depends on (section 3.2 of the paper).

Layers are rows of table 1 from the first to the last; sizes are in cells of the first one's input.
"""

import numpy as np


def field(layers):
    """Size, step and start of the receptive fields of the last layer's points.

    layers: rows of table 1 with kernel, stride and padding, first to last
    Returns (size, step, start): point i sees the cells [start + step * i, start + step * i + size), which may extend
    beyond the input. From the last layer backwards, r_i = s_i (r_(i+1) - 1) + k_i, the paper's formula, and
    start_i = s_i start_(i+1) - p_i.
    """
    size, step, start = 1, 1, 0
    for row in reversed(layers):
        size = row.stride * (size - 1) + row.kernel
        start = row.stride * start - row.padding
        step *= row.stride
    return size, step, start


def rectangles(layers, points, extent):
    """The receptive fields of a square map of points, clipped to the input.

    points: points along each side of the map; extent: cells along each side of the input
    Returns (points, points, 4) float32: x1 y1 x2 y2 of the point in row y, column x, half-open.
    """
    size, step, start = field(layers)
    low = start + step * np.arange(points)
    low, high = np.clip(low, 0, extent), np.clip(low + size, 0, extent)
    y1, x1 = np.meshgrid(low, low, indexing="ij")
    y2, x2 = np.meshgrid(high, high, indexing="ij")
    return np.stack([x1, y1, x2, y2], axis=-1).astype(np.float32)
