"""Pictures of an evaluation: found regions of many faces, and the paper's figure 4."""

import numpy as np

from tools import drawing, networks

FACES = 6


def sheet(evaluations, folder, split, boxes):
    """Found regions of each attribute's first positive faces, one row of pictures per network. Raises ToolError.

    evaluations: dict name -> Evaluation that maps regions; boxes: as localisation.read_boxes gives them
    """
    rows = []
    for index, attribute in enumerate(next(iter(evaluations.values())).attributes):
        for name, evaluation in evaluations.items():
            places = np.flatnonzero(evaluation.labels[:, index])[:FACES]
            tiles = []
            for place, image in zip(places, networks.chosen_patches(folder, split, places)):
                true = boxes[place].get(attribute) if boxes else None
                tiles.append(drawing.region(image, evaluation.blobs["rois_image"][place, index], true))
            tiles += [drawing.blank()] * (FACES - len(tiles))
            rows.append(drawing.titled(np.hstack(tiles), f"{attribute}: {name}"))
    return np.vstack(rows)


def figure4(mapper, response, labels, attributes, folder, split, boxes=None):
    """Figure 4 of the paper for each attribute's first positive face: one row of five panels each. Raises ToolError.

    mapper: localisation.Mapper; response: (N, A, 4, 4); labels: (N, A) bool; boxes: as localisation.read_boxes gives
    them. None where no attribute has a positive face.
    """
    rows = []
    for index, attribute in enumerate(attributes):
        places = np.flatnonzero(labels[:, index])[:1]
        for place, image in zip(places, networks.chosen_patches(folder, split, places)):
            one = response[place : place + 1]
            raw = one[0, index], mapper.regions(one, revise=False)[0, index]
            revised = mapper.revised(one)[0, index], mapper.regions(one)[0, index]
            true = boxes[place].get(attribute) if boxes else None
            rows.append(drawing.figure4(image, attribute, raw, revised, true))
    return np.vstack(rows) if rows else None
