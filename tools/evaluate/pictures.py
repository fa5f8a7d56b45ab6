"""Pictures of an evaluation: found regions of many faces, and the paper's figure 4."""

import numpy as np

from tools import drawing, networks

FACES = 6


def sheet(evaluations, split, boxes):
    """Found regions of each attribute's first positive faces, one row of pictures per network. Raises ToolError.

    evaluations: dict name -> Evaluation that maps regions; boxes: as localisation.read_boxes gives them
    """
    rows = []
    for index, attribute in enumerate(next(iter(evaluations.values())).data.attributes):
        for name, evaluation in evaluations.items():
            tiles = [
                drawing.region(image, evaluation.arrays["rois_image"][place, index], true)
                for place, image, true in positives(evaluation, index, split, boxes, FACES)
            ]
            tiles += [drawing.blank()] * (FACES - len(tiles))
            rows.append(drawing.titled(np.hstack(tiles), f"{attribute}: {name}"))
    return np.vstack(rows)


def figure4(evaluation, split, boxes):
    """Figure 4 of the paper for each attribute's first positive face: one row of five panels each. Raises ToolError.

    None where no attribute has a positive face.
    """
    rows, mapper = [], evaluation.mapper
    for index, attribute in enumerate(evaluation.data.attributes):
        for place, image, true in positives(evaluation, index, split, boxes, 1):
            response = evaluation.arrays["response"][[place]]
            raw = response[0, index], mapper.regions(response, revise=False)[0, index]
            revised = mapper.revised(response)[0, index], mapper.regions(response)[0, index]
            rows.append(drawing.figure4(image, attribute, raw, revised, true))
    return np.vstack(rows) if rows else None


def positives(evaluation, index, split, boxes, number):
    """The first faces that have an attribute: list of (number of the face, patch, true box or None)."""
    places = np.flatnonzero(evaluation.labels[:, index])[:number]
    images = networks.patches(evaluation.data.lmdb, split, places)
    true = [boxes[place].get(evaluation.data.attributes[index]) if boxes else None for place in places]
    return list(zip(places, images, true))
