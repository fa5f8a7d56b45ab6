"""Regions of raw and revised responses, measured against the true boxes of attributes."""

import dataclasses
import pathlib

import numpy as np

from data_prep import files
from data_prep.geometry import PATCH_SIZE
from python_layers import regions
from tools import networks
from tools.evaluate import metrics, results

MEASURES = {"iou": metrics.iou, "coverage": metrics.coverage, "pointing_game": metrics.pointing_game}


@dataclasses.dataclass
class Mapper:
    """The computation of a net's RegionMapper, outside of Caffe.

    average: (A, 4, 4); rectangles: (A, 4, 4, 4) in conv3 cells; threshold, average_weight: see RegionMapper
    """

    average: np.ndarray
    rectangles: np.ndarray
    threshold: float
    average_weight: float

    @classmethod
    def of(cls, net, model):
        """The mapper of a loaded deploy net. Raises ToolError."""
        average, rectangles = (blob.data.copy() for blob in net.params["region_mapper"])
        parameters = networks.region_mapper_parameters(model)
        return cls(average, rectangles, parameters["threshold"], parameters["average_weight"])

    @classmethod
    def of_arrays(cls, arrays):
        """The mapper that results.read_arrays gives, None where the network maps no regions."""
        if "average" not in arrays:
            return None
        numbers = float(arrays["threshold"]), float(arrays["average_weight"])
        return cls(arrays["average"], arrays["rectangles"], *numbers)

    def revised(self, response):
        """Responses (N, A, 4, 4) revised by the average response."""
        return regions.revise(response, self.average, self.average_weight)

    def regions(self, response, revise=True):
        """Regions (N, A, 4), in pixels of the patch, of responses (N, A, 4, 4), revised or raw."""
        weight = self.average_weight if revise else 0
        return regions.regions(response, self.average, self.rectangles, self.threshold, weight, "image")


def read_boxes(folder, split, faces):
    """True boxes of the first faces of a split: for each a dict attribute -> x1 y1 x2 y2 in pixels of the patch.

    Returns None if the LMDB folder has no boxes. Raises DataError, OSError.
    """
    path = pathlib.Path(folder) / f"{split}_boxes.json"
    return files.read_json(path, list)[:faces] if path.exists() else None


def rows(regions, boxes, attributes):
    """RegionRows: one per attribute and kind of response, each kind followed by its means.

    regions: dict results.RAW or REVISED -> (N, A, 4) in pixels of the patch; boxes: for each image a dict attribute
    -> true box, which only positives have
    """
    measured = []
    for response, rois in regions.items():
        of_response = []
        for index, attribute in enumerate(attributes):
            true = np.array([boxes[i].get(attribute, [0] * 4) for i in range(len(rois))])
            visible = metrics.area(true) > 0
            if visible.any():
                found, true = rois[visible, index], true[visible]
                measures = {name: float(measure(found, true).mean()) for name, measure in MEASURES.items()}
                measures["area"] = float(metrics.area(found).mean() / PATCH_SIZE**2)
                of_response.append(results.RegionRow(attribute, response, len(true), **measures))
        if of_response:
            means = {name: float(np.mean([getattr(row, name) for row in of_response])) for name in measures}
            faces = sum(row.faces for row in of_response)
            measured += [*of_response, results.RegionRow(results.MEAN, response, faces, **means)]
    return measured
