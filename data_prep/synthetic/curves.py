"""Outlines and lines of synthetic faces: points (n, 2), x measured from the axis of the face."""

import numpy as np


def ellipse(x, y, half_width, half_height, count=28):
    """Points (count, 2) of an ellipse; x is measured from the axis of the face."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack((x + half_width * np.cos(angle), y + half_height * np.sin(angle)))


def smooth(points, closed=True, steps=6):
    """A Catmull-Rom curve through points (n, 2), with `steps` samples per segment."""
    points = np.asarray(points, np.float64)
    before, after = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    padded = np.concatenate((before, points, after))
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate((curve, points[-1:]))


def bend(*points):
    """The open curve through the points."""
    return smooth(points, closed=False)


def pair(points):
    """The points of a part to the right of the axis, and their mirror images."""
    return [np.asarray(points, np.float64), np.asarray(points) * (-1.0, 1.0)]


def mirrored(points):
    """The closed outline (2n, 2) made of a right-hand side, top to bottom, and its mirror image."""
    points = np.asarray(points, np.float64)
    return np.concatenate((points, points[::-1] * (-1, 1)))
