"""Databases of noise in the stream form: positives are brighter than negatives."""

import numpy as np

from data_prep.store import databases


def write_noise(folder, attributes, images, rows):
    """Write `train`, whose images are absent and present in turn, so many per attribute, and `val` and `test`, whose
    labels are the rows; as PNG, which every decoder reads identically."""
    rng = np.random.default_rng(0)

    def image(label):
        return (rng.uniform(0, 160, (224, 224, 3)) + 80 * label).astype(np.uint8)

    labels = [record // attributes % 2 for record in range(images * attributes)]
    train = [databases.image_datum(image(label), "png", label) for label in labels]
    databases.write_lmdb(folder / "train", train, len(train), "train")
    for split in ("val", "test"):
        images = [databases.image_datum(image(np.mean(row)), "png") for row in rows]
        databases.write_lmdb(folder / f"{split}_images", images, len(rows), split)
        databases.write_lmdb(folder / f"{split}_labels", map(databases.label_datum, rows), len(rows), split)
