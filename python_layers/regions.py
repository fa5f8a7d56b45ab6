"""The arithmetic from response maps to regions (section 3.2), for NumPy arrays or PyTorch tensors, without Caffe."""

import dataclasses

import numpy as np

from data_prep.settings import like
from models import table1
from models.options import NetworkOptions
from python_layers import arrays, receptive_field

ROWS_TO_CONV3 = table1.TASK_ONE
ROWS_TO_IMAGE = table1.SHARED + (table1.CONV3,) + table1.TASK_ONE


@dataclasses.dataclass
class Parameters:
    """The parameters of RegionMapper; the paper's values are the defaults."""

    threshold: float = like(NetworkOptions, "threshold")
    average_weight: float = like(NetworkOptions, "average_weight")
    gradient: str = like(NetworkOptions, "roi_gradient")


def theoretical_rectangles(rows=ROWS_TO_CONV3, extent=table1.MAP_SIZE):
    """Receptive fields of the response points, (4, 4, 4) as x1 y1 x2 y2, by the paper's formula.

    rows: rows of table 1 from the map whose cells are the unit to the response map; extent: side of that map in cells
    """
    return receptive_field.rectangles(rows, table1.RESPONSE_SIZE, extent)


def cells_to_image(rectangles):
    """Rectangles in conv3 cells as rectangles in image pixels, clipped to the image.

    A cell represents the step x step pixels around the centre of its receptive field.
    """
    size, step, start = receptive_field.field((*table1.SHARED, table1.CONV3))
    first_edge = start + size // 2 - step // 2
    return (step * rectangles + first_edge).clip(0, table1.INPUT_SIZE)


def point_rectangles_in_image(rectangles):
    """Rectangles (A, 4, 4, 4) of response points as image pixels, for drawing.

    A point that has its theoretical rectangle stands for its whole receptive field in the image, another
    (measured) one for the pixels of its cells.
    """
    theoretical = arrays.like(theoretical_rectangles(), rectangles)
    is_theoretical = (rectangles == theoretical).all(axis=-1, keepdims=True)
    fields = arrays.like(theoretical_rectangles(ROWS_TO_IMAGE, table1.INPUT_SIZE), rectangles)
    return arrays.library(rectangles).where(is_theoretical, fields, cells_to_image(rectangles))


def revise(response, average, weight):
    """Responses (b, A, 4, 4) revised by the average response (A, 4, 4): (1 - weight) r + weight average."""
    return (1 - weight) * response + weight * average


def region_points(revised, average, threshold):
    """Which points belong to the region, (b, A, 16) bool, at least one everywhere.

    revised: (b, A, 4, 4); average: (A, 4, 4). Points above the threshold; where there is none, those of the
    average response above it; where there is none either, the largest point.
    """
    xp = arrays.library(revised)
    revised = revised.reshape(revised.shape[0], revised.shape[1], -1)
    points = revised > threshold
    usual = xp.broadcast_to(average.reshape(1, average.shape[0], -1) > threshold, points.shape)
    largest = arrays.places(revised) == xp.nan_to_num(revised).argmax(axis=-1)[..., None]
    points = points | (usual & ~points.any(axis=-1, keepdims=True))
    return points | (largest & ~points.any(axis=-1, keepdims=True))


def bounding_rectangles(points, rectangles):
    """Smallest rectangles (b, A, 4) that hold those of all points: points (b, A, 16), rectangles (A, 4, 4, 4)."""
    xp = arrays.library(rectangles)
    rectangles = rectangles.reshape(rectangles.shape[0], -1, 4)
    points = points[..., None]
    low = xp.amin(xp.where(points, rectangles[..., :2], np.inf), 2)
    high = xp.amax(xp.where(points, rectangles[..., 2:], -np.inf), 2)
    return xp.concatenate([low, high], axis=-1)


SPACES = ("cells", "image")


def regions(response, average, rectangles, threshold, weight, space="cells"):
    """The regions of responses (section 3.2), (b, A, 4) as x1 y1 x2 y2, half-open: what RegionMapper computes.

    response: (b, A, 4, 4) in [0, 1]; average: (A, 4, 4), the average response
    rectangles: (A, 4, 4, 4), the rectangle of each response point in conv3 cells
    threshold: response above which a point belongs to the region; weight: share of the average response, 0 for none
    space: "cells" of conv3, inside its 13 x 13 map, or "image", pixels of the 224 x 224 image
    Arrays of NumPy or tensors of PyTorch. Raises ValueError for another space.
    """
    if space not in SPACES:
        raise ValueError(f"space must be {' or '.join(SPACES)}, not {space!r}")
    points = region_points(revise(response, average, weight), average, threshold)
    if space == "image":
        return bounding_rectangles(points, point_rectangles_in_image(rectangles))
    return bounding_rectangles(points, rectangles).clip(0, table1.MAP_SIZE)


def soft_extents(revised, rectangles):
    """Response-weighted mean of the points' rectangles, (b, A, 4): what the soft gradient differentiates."""
    weights = revised.reshape(revised.shape[0], revised.shape[1], -1, 1)
    return (weights * rectangles.reshape(rectangles.shape[0], -1, 4)).sum(axis=2) / weights.sum(axis=2)


def soft_gradient(revised, rectangles, top_diff):
    """Gradient with respect to the revised responses, (b, A, 4, 4), for the gradient top_diff of soft_extents."""
    weights = revised.reshape(revised.shape[0], revised.shape[1], -1, 1)
    offset = rectangles.reshape(rectangles.shape[0], -1, 4) - soft_extents(revised, rectangles)[:, :, None]
    gradient = (offset * top_diff[:, :, None]).sum(axis=-1) / weights.sum(axis=2)
    return gradient.reshape(revised.shape)
