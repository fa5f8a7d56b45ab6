"""Pictures of regions: boxes and labels on faces (B G R arrays)."""

import cv2
import numpy as np

from data_prep.geometry import PATCH_SIZE
from data_prep.pictures import COLOURS, INK, PAPER, rectangle, shortened, text, text_width

FOUND, TRUE = COLOURS[1], PAPER  # found regions are orange, true boxes white


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


def blank():
    """An empty place among patches."""
    return np.full((PATCH_SIZE, PATCH_SIZE, 3), 255, dtype=np.uint8)


def small(image, side=PATCH_SIZE // 2):
    """A patch at half its size."""
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def heat(response, side=PATCH_SIZE):
    """Responses (4, 4) in [0, 1] as a picture, dark to bright, each with its number."""
    shades = cv2.applyColorMap(np.uint8(255 * np.clip(response, 0, 1)), cv2.COLORMAP_VIRIDIS)
    picture = cv2.resize(shades, (side, side), interpolation=cv2.INTER_NEAREST)
    step = side / len(response)
    for (y, x), value in np.ndenumerate(response):
        ink = INK if value > 0.6 else (255, 255, 255)
        words = f"{value:.2f}"
        text(picture, words, (x + 0.5) * step - text_width(words) / 2, (y + 0.5) * step + 5, ink=ink)
    return picture


PANELS = ("response", "region", "response with average", "region with average")


def figure4(image, title, raw, revised, true=None):
    """The five panels of the paper's figure 4: face, and responses and region without and with the average region.

    image: patch; raw, revised: (responses (4, 4), box) each; true: box, drawn white, or None
    """
    panels = [titled(image, title)]
    pictures = [picture for response, box in (raw, revised) for picture in (heat(response), region(image, box, true))]
    panels += [titled(picture, name) for name, picture in zip(PANELS, pictures)]
    gap = np.full((panels[0].shape[0], 6, 3), 255, dtype=np.uint8)
    return np.hstack([part for panel in panels for part in (panel, gap)][:-1])
