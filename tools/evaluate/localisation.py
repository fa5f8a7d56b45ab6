"""Where attributes are found: regions of raw and revised responses, measured against true boxes."""

import json

import numpy as np
from google.protobuf import text_format

from python_layers import region_mapper
from tools import networks
from tools.errors import ToolError
from tools.evaluate import metrics

MEASURES = {"overlap": metrics.overlap, "covered": metrics.coverage, "hit": metrics.hits}


def settings(model):
    """Parameters of a deploy prototxt's RegionMapper, defaults filled in: a dict. Raises ToolError."""
    net = networks.caffe_pb2.NetParameter()
    try:
        text_format.Merge(open(model).read(), net)
    except (OSError, text_format.ParseError) as error:
        raise ToolError(f"{model}: {error}")
    for layer in net.layer:
        if layer.python_param.layer == "RegionMapper":
            return {**region_mapper.DEFAULTS, **json.loads(layer.python_param.param_str or "{}")}
    raise ToolError(f"{model}: no layer RegionMapper in it")


class Mapper:
    """A net's way from responses to regions, outside Caffe.

    average: (A, 4, 4); rectangles: (A, 4, 4, 4) in conv3 cells; threshold, average_weight: see RegionMapper
    """

    def __init__(self, average, rectangles, threshold, average_weight):
        self.average, self.rectangles = np.asarray(average), np.asarray(rectangles)
        self.threshold, self.weight = threshold, average_weight

    @classmethod
    def of(cls, net, model):
        """That of a loaded deploy net. Raises ToolError."""
        average, rectangles = (blob.data.copy() for blob in net.params["region_mapper"])
        known = settings(model)
        return cls(average, rectangles, known["threshold"], known["average_weight"])

    def revised(self, response):
        """Responses (N, A, 4, 4) revised by the average response."""
        return region_mapper.revise(response, self.average, self.weight)

    def regions(self, response, revise=True):
        """Regions (N, A, 4) in pixels of the patch, of responses (N, A, 4, 4), revised or raw."""
        response = self.revised(response) if revise else response
        points = region_mapper.region_points(response, self.average, self.threshold)
        return region_mapper.bounding_rectangles(points, region_mapper.point_rectangles_in_image(self.rectangles))

    def average_regions(self):
        """The region of the average response itself (figure 4), (A, 4) in pixels of the patch."""
        points = region_mapper.region_points(self.average[np.newaxis], self.average, self.threshold)
        rectangles = region_mapper.point_rectangles_in_image(self.rectangles)
        return region_mapper.bounding_rectangles(points, rectangles)[0]


def table(found, boxes, attributes):
    """Rows of found regions against true boxes: one per attribute and kind of response, then their means.

    found: dict kind ("raw", "revised") -> (N, A, 4) in pixels of the patch; boxes: for each image a dict
    attribute -> true box, as positives have. Columns: overlap (intersection over union), covered (share of the true
    box inside the region), hit (share of regions whose centre lies in the true box), region (share of the picture).
    """
    rows = []
    for kind, rois in found.items():
        rows += _rows(kind, rois, boxes, attributes)
    return rows


def _rows(kind, rois, boxes, attributes):
    rows = []
    for index, attribute in enumerate(attributes):
        images = [i for i, known in enumerate(boxes) if attribute in known]
        true = np.array([boxes[i][attribute] for i in images]).reshape(-1, 4)
        seen = metrics.area(true) > 0
        if not seen.any():
            continue
        true, region = true[seen], rois[images, index][seen]
        row = {name: float(measure(region, true).mean()) for name, measure in MEASURES.items()}
        row["region"] = float(metrics.area(region).mean() / networks.PATCH_AREA)
        rows.append({"attribute": attribute, "response": kind, "faces": len(true), **row})
    if rows:
        mean = {key: float(np.mean([row[key] for row in rows])) for key in (*MEASURES, "region")}
        rows.append({"attribute": "mean", "response": kind, "faces": sum(row["faces"] for row in rows), **mean})
    return rows
