"""Contact sheets of a prepared folder: some training patches of every attribute, and how one face was augmented."""

import pathlib

import numpy as np

from data_prep.build import contact_sheet
from data_prep.pictures import write_image

FOLDER = "sheets"  # in a folder of LMDBs
COLUMNS = 6


def write_sheets(data, samples, out):
    """Write the contact sheets of a Prepared folder to folder `out`: ATTRIBUTE.jpg and augmentation.png.

    samples: (M,) of balance.SAMPLE, the training samples
    augmentation.png is left out if no patch was shifted or the whole faces are not available. Raises OSError.
    """
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    column = data.columns(len(samples))
    for number, name in enumerate(data.attributes):
        rows = np.flatnonzero(column == number)
        sides = [rows[samples["label"][rows] == label][:COLUMNS] for label in (1, 0)]
        pictures = [data.training_patches(samples, side) for side in sides]
        write_image(out / f"{name}.jpg", contact_sheet.attribute(name, *pictures, COLUMNS))
    moved = np.flatnonzero((samples["dx"] != 0) | (samples["dy"] != 0))
    if not len(moved) or (data.stream and not data.source):
        return
    image = np.bincount(samples["image"][moved]).argmax()  # the face that was cut most often
    own = moved[samples["image"][moved] == image]
    _, first = np.unique(samples[own], return_index=True)
    shown = own[np.sort(first)][:12]
    cuts = list(zip(samples[shown], data.training_patches(samples, shown)))
    (face,) = data.whole_faces([image])
    write_image(out / "augmentation.png", contact_sheet.augmentation(data.train_name(image), face, cuts))
