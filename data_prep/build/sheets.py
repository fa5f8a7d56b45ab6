"""Contact sheets: some training patches of every attribute, to be looked at."""

import cv2
import numpy as np

from data_prep.pictures import PAPER, padded, text, write_image

FOLDER = "sheets"  # in a folder of LMDBs
COLUMNS, SIDE, GAP = 6, 112, 6


def write_sheets(job, out):
    """Write the contact sheet of each attribute of a Job, ATTRIBUTE.jpg in folder `out`. Raises DataError, OSError."""
    out.mkdir()
    samples = job.plan.rounds(0, min(job.plan.largest, 2000))  # (n, 2, A)
    for number, name in enumerate(job.attributes):
        own = samples[:, :, number].ravel()
        sides = [[job.train_patch(sample) for sample in own[own["label"] == label][:COLUMNS]] for label in (1, 0)]
        write_image(out / f"{name}.jpg", sheet(name, *sides))


def sheet(name, present, absent):
    """Training patches of one attribute: faces with it above faces without it."""
    rows = []
    for words, images in ((f"{name}: present", present), (f"{name}: absent", absent)):
        heading = np.full((30, COLUMNS * (SIDE + GAP) + GAP, 3), 255, np.uint8)
        text(heading, words, GAP, 21, 19)
        tiles = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in images]
        tiles = [cv2.copyMakeBorder(one, GAP, 0, GAP, 0, cv2.BORDER_CONSTANT, value=PAPER) for one in tiles]
        rows += [heading, *([padded(np.hstack(tiles), heading.shape[1])] if tiles else [])]
    return np.vstack(rows)
