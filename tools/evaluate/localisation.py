"""Regions of raw and revised responses, measured against the true boxes of attributes, and a picture of them."""

import pathlib

import numpy as np

from data_prep import files
from data_prep.geometry import PATCH_SIZE
from data_prep.pictures import COLOURS, PAPER, rectangle, shortened, text
from python_layers import regions
from tools import networks
from tools.evaluate import metrics, results

MEASURES = {"iou": metrics.iou, "coverage": metrics.coverage, "pointing_game": metrics.pointing_game}
FACES = 6  # in a row of the picture


def mapper(net, model):
    """What the RegionMapper of a loaded deploy net maps with, as results.read_arrays has it: dict. Raises ToolError."""
    average, rectangles = (blob.data.copy() for blob in net.params["region_mapper"])
    parameters = networks.region_mapper_parameters(model)
    numbers = {name: parameters[name] for name in ("threshold", "average_weight")}
    return {"average": average, "rectangles": rectangles, **numbers}


def regions_of(arrays, response, revise=True):
    """Regions (N, A, 4), in pixels of the patch, of responses (N, A, 4, 4), revised or raw; arrays: hold a `mapper`."""
    weight = float(arrays["average_weight"]) if revise else 0
    return regions.regions(
        response, arrays["average"], arrays["rectangles"], float(arrays["threshold"]), weight, "image"
    )


def revised(arrays, response):
    """Responses (N, A, 4, 4) revised by the average response; arrays: hold a `mapper`."""
    return regions.revise(response, arrays["average"], float(arrays["average_weight"]))


def read_boxes(folder, split):
    """True boxes of the faces of a split: for each a dict attribute -> x1 y1 x2 y2 in pixels of the patch.

    Returns None if the LMDB folder has no boxes. Raises DataError, OSError.
    """
    path = pathlib.Path(folder) / f"{split}_boxes.json"
    return files.read_json(path, list) if path.exists() else None


def rows(arrays, boxes, attributes):
    """The rows of a network's regions in evaluation.json: one per attribute and kind of response, then their means.

    arrays: as of results.read_arrays, of N faces; boxes: as of read_boxes, only positives have one. None where the
    network maps no regions, or no boxes are known.
    """
    if boxes is None or "average" not in arrays:
        return None
    raw, measured = regions_of(arrays, arrays["response"], revise=False), []
    for response, rois in ((results.RAW, raw), (results.REVISED, arrays["rois_image"])):
        of_response = []
        for index, attribute in enumerate(attributes):
            true = np.array([boxes[i].get(attribute, [0] * 4) for i in range(len(rois))])
            visible = metrics.area(true) > 0
            if visible.any():
                found, true = rois[visible, index], true[visible]
                measures = {name: float(measure(found, true).mean()) for name, measure in MEASURES.items()}
                measures["area"] = float(metrics.area(found).mean() / PATCH_SIZE**2)
                row = results.Entry(attribute=attribute, response=response, faces=len(true), **measures)
                of_response.append(row)
        if of_response:
            means = {name: float(np.mean([row[name] for row in of_response])) for name in measures}
            means["faces"] = sum(row.faces for row in of_response)
            measured += [*of_response, results.Entry({**row, **means, "attribute": results.MEAN})]
    return measured


def sheet(run, split, arrays, boxes):
    """Found regions (orange) and true boxes (white) of each attribute's first positive faces: a picture B G R.

    arrays: dict of a network that maps regions to what results.read_arrays gives; boxes: as of `read_boxes`
    """
    rows = []
    for index, attribute in enumerate(run.attributes):
        for name, of_network in arrays.items():
            places, tiles = np.flatnonzero(of_network["labels"][:, index])[:FACES], []
            for place, image in zip(places, networks.patches(run.lmdb, split, places)):
                tiles.append(image.copy())
                if boxes and attribute in boxes[place]:
                    rectangle(tiles[-1], boxes[place][attribute], PAPER)
                rectangle(tiles[-1], of_network["rois_image"][place, index], COLOURS[1])
            tiles += [np.full((PATCH_SIZE, PATCH_SIZE, 3), 255, np.uint8)] * (FACES - len(tiles))
            title = np.full((28, FACES * PATCH_SIZE, 3), 255, np.uint8)
            text(title, shortened(f"{attribute}: {name}", title.shape[1] - 12, 18), 6, 20, 18)
            rows += [title, np.hstack(tiles)]
    return np.vstack(rows)
