"""Pictures of an evaluation (B G R arrays): found regions of many faces, and the paper's figure 4."""

import cv2
import numpy as np

from data_prep.geometry import PATCH_SIZE
from data_prep.pictures import COLOURS, INK, PAPER, rectangle, shortened, text, text_width
from tools import networks

FACES = 6
FOUND, TRUE = COLOURS[1], PAPER  # found regions are orange, true boxes white


def sheet(evaluations, split, boxes):
    """Found regions of each attribute's first positive faces, one row of pictures per network.

    evaluations: dict name -> Evaluation that maps regions; boxes: as localisation.read_boxes gives them
    """
    rows, blank = [], np.full((PATCH_SIZE, PATCH_SIZE, 3), 255, dtype=np.uint8)
    for index, attribute in enumerate(next(iter(evaluations.values())).run.attributes):
        for name, evaluation in evaluations.items():
            tiles = [
                region(image, evaluation.arrays["rois_image"][place, index], true)
                for place, image, true in positives(evaluation, index, split, boxes, FACES)
            ]
            tiles += [blank] * (FACES - len(tiles))
            rows.append(titled(np.hstack(tiles), f"{attribute}: {name}"))
    return np.vstack(rows)


def figure4(evaluation, split, boxes):
    """Figure 4 of the paper for each attribute's first positive face: one row of five panels each.

    They are the face, and responses and region without and with the average region. None where no attribute has a
    positive face.
    """
    rows, mapper = [], evaluation.mapper
    for index, attribute in enumerate(evaluation.run.attributes):
        for place, image, true in positives(evaluation, index, split, boxes, 1):
            response = evaluation.arrays["response"][[place]]
            panels = [titled(image, attribute)]
            for maps, revise, words in ((response, False, ""), (mapper.revised(response), True, " with average")):
                panels.append(titled(heat(maps[0, index]), f"response{words}"))
                found = mapper.regions(response, revise)[0, index]
                panels.append(titled(region(image, found, true), f"region{words}"))
            gap = np.full((panels[0].shape[0], 6, 3), 255, dtype=np.uint8)
            rows.append(np.hstack([part for panel in panels for part in (panel, gap)][:-1]))
    return np.vstack(rows) if rows else None


def positives(evaluation, index, split, boxes, number):
    """The first faces that have an attribute: list of (number of the face, patch, true box or None)."""
    places = np.flatnonzero(evaluation.arrays["labels"][:, index])[:number]
    images = networks.patches(evaluation.run.lmdb, split, places)
    true = [boxes[place].get(evaluation.run.attributes[index]) if boxes else None for place in places]
    return list(zip(places, images, true))


def region(image, found, true=None):
    """A copy of a face with its found region (orange) and, where known, the true box (white)."""
    image = image.copy()
    if true is not None:
        rectangle(image, true, TRUE)
    rectangle(image, found, FOUND)
    return image


def titled(image, words):
    """A picture under a line of text."""
    strip = np.full((28, image.shape[1], 3), 255, dtype=np.uint8)
    text(strip, shortened(words, image.shape[1] - 12, 18), 6, 20, 18)
    return np.vstack([strip, image])


def heat(response):
    """Responses (4, 4) in [0, 1] as a picture, dark to bright, each with its number."""
    shades = cv2.applyColorMap(np.uint8(255 * np.clip(response, 0, 1)), cv2.COLORMAP_VIRIDIS)
    picture = cv2.resize(shades, (PATCH_SIZE, PATCH_SIZE), interpolation=cv2.INTER_NEAREST)
    step = PATCH_SIZE / len(response)
    for (y, x), value in np.ndenumerate(response):
        ink = INK if value > 0.6 else (255, 255, 255)
        words = f"{value:.2f}"
        text(picture, words, (x + 0.5) * step - text_width(words) / 2, (y + 0.5) * step + 5, ink=ink)
    return picture
