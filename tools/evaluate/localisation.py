"""Regions of raw and revised responses, measured against the true boxes of attributes."""

import math
import pathlib

import numpy as np

from data_prep import files
from python_layers import regions
from tools import networks
from tools.errors import ToolError
from tools.evaluate import metrics, results

MEASURES = {"iou": metrics.iou, "coverage": metrics.coverage, "pointing_game": metrics.pointing_game}


class Mapper:
    """The computation of a net's RegionMapper, outside of Caffe.

    average: (A, 4, 4); rectangles: (A, 4, 4, 4) in conv3 cells; threshold, average_weight: see RegionMapper
    """

    def __init__(self, average, rectangles, threshold, average_weight):
        self.average, self.rectangles = np.asarray(average), np.asarray(rectangles)
        self.threshold, self.weight = threshold, average_weight

    @classmethod
    def of(cls, net, model):
        """The mapper of a loaded deploy net. Raises ToolError."""
        average, rectangles = (blob.data.copy() for blob in net.params["region_mapper"])
        parameters = networks.region_mapper_parameters(model)
        return cls(average, rectangles, parameters["threshold"], parameters["average_weight"])

    def revised(self, response):
        """Responses (N, A, 4, 4) revised by the average response."""
        return regions.revise(response, self.average, self.weight)

    def regions(self, response, revise=True):
        """Regions (N, A, 4), in pixels of the patch, of responses (N, A, 4, 4), revised or raw."""
        weight = self.weight if revise else 0
        return regions.regions(response, self.average, self.rectangles, self.threshold, weight, "image")

    def average_regions(self):
        """The region of the average response itself (figure 4), (A, 4) in pixels of the patch."""
        return self.regions(self.average[np.newaxis], revise=False)[0]


def read_boxes(folder, split, faces):
    """True boxes of the first faces of a split: for each a dict attribute -> x1 y1 x2 y2 in pixels of the patch.

    Returns None if the LMDB folder has no boxes. Raises ToolError, OSError.
    """
    path = pathlib.Path(folder) / f"{split}_boxes.json"
    try:
        boxes = files.read_json(path, list)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ToolError(str(error))
    if len(boxes) < faces:
        raise ToolError(f"{path}: damaged, holds boxes of {len(boxes)} faces, not of {faces}; build the LMDBs again")
    for number, of_image in enumerate(boxes):
        if not isinstance(of_image, dict) or not all(map(is_box, of_image.values())):
            raise ToolError(f"{path}: damaged, entry {number} is not an object of boxes [x1, y1, x2, y2]")
    return boxes[:faces]


def is_box(value):
    """Whether a JSON value is a list of four finite numbers, left before right and top before bottom."""
    numbers = isinstance(value, list) and all(type(side) in (int, float) and math.isfinite(side) for side in value)
    return numbers and len(value) == 4 and value[0] <= value[2] and value[1] <= value[3]


def rows(regions, boxes, attributes):
    """RegionRows: one per attribute and kind of response, each kind followed by its means.

    regions: dict results.RAW or REVISED -> (N, A, 4) in pixels of the patch; boxes: for each image a dict attribute
    -> true box, which only positives have
    """
    return [row for response, rois in regions.items() for row in _rows(response, rois, boxes, attributes)]


def _rows(response, rois, boxes, attributes):
    measured = []
    for index, attribute in enumerate(attributes):
        images = [i for i, of_image in enumerate(boxes) if attribute in of_image]
        true = np.array([boxes[i][attribute] for i in images]).reshape(-1, 4)
        visible = metrics.area(true) > 0
        if not visible.any():
            continue
        true, region = true[visible], rois[images, index][visible]
        measures = {name: float(measure(region, true).mean()) for name, measure in MEASURES.items()}
        area = float(metrics.area(region).mean() / networks.PATCH_AREA)
        measured.append(results.RegionRow(attribute, response, len(true), **measures, area=area))
    if measured:
        means = {name: float(np.mean([getattr(row, name) for row in measured])) for name in (*MEASURES, "area")}
        measured.append(results.RegionRow(results.MEAN, response, sum(row.faces for row in measured), **means))
    return measured
