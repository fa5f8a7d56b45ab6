"""Contact sheets: some training patches of every attribute, and how one face is augmented, to be looked at."""

import cv2
import numpy as np

from data_prep.geometry import FACE_SIZE, MARGIN, PATCH_SIZE
from data_prep.pictures import COLOURS, padded, stacked, text, write_image

FOLDER = "sheets"  # in a folder of LMDBs
COLUMNS, SHOWN, LOOKED_AT = 6, 12, 2000
SIDE, GAP, LINE = 112, 6, 22


def write_sheets(job, out):
    """Write the contact sheets of a Job to folder `out`: ATTRIBUTE.jpg and augmentation.png. Raises DataError, OSError.

    augmentation.png is left out if no patch is shifted.
    """
    out.mkdir(exist_ok=True)
    samples = job.plan.rounds(0, min(job.plan.largest, LOOKED_AT))  # (n, 2, A)
    for number, name in enumerate(job.attributes):
        own = samples[:, :, number].ravel()
        sides = [[job.train_patch(sample) for sample in own[own["label"] == label][:COLUMNS]] for label in (1, 0)]
        write_image(out / f"{name}.jpg", attribute(name, *sides))
    moved = samples[(samples["dx"] != 0) | (samples["dy"] != 0)]
    if len(moved):
        image = np.bincount(moved["image"]).argmax()  # the face that is cut most often
        _, first = np.unique(own := moved[moved["image"] == image], return_index=True)
        cuts = [(sample, job.train_patch(sample)) for sample in own[np.sort(first)][:SHOWN]]
        write_image(out / "augmentation.png", augmentation(job.train_name(image), job.train_face(image), cuts))


def attribute(name, present, absent):
    """Training patches of one attribute: faces with it above faces without it."""
    rows = []
    for words, images in ((f"{name}: present", present), (f"{name}: absent", absent)):
        if images:
            rows += [heading(words), grid([tile(image) for image in images], COLUMNS)]
    return stacked(rows)


def augmentation(name, face, cuts):
    """How one face is augmented: the 256 x 256 face with the outlines of its patches, and the patches.

    name: name of the face; cuts: list of (sample of balance.SAMPLE, patch (224, 224, 3))
    """
    scale, tiles = 2, []
    whole = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    for number, (sample, patch) in enumerate(cuts):
        colour = COLOURS[number % len(COLOURS)]
        x, y = scale * (MARGIN + int(sample["dx"])), scale * (MARGIN + int(sample["dy"]))
        cv2.rectangle(whole, (x, y), (x + scale * PATCH_SIZE - 1, y + scale * PATCH_SIZE - 1), colour, 2)
        words = f"{int(sample['dx']):+d} {int(sample['dy']):+d}{' mirrored' if sample['mirror'] else ''}"
        picture = tile(patch, words)
        cv2.rectangle(picture, (0, 0), (SIDE - 1, SIDE - 1), colour, 3)
        tiles.append(picture)
    patches = grid(tiles, 4)
    beside = np.hstack([padded(whole, height=len(patches)), padded(patches, height=len(whole))])
    return stacked([heading(f"{name}: patches of {PATCH_SIZE} pixels from a face of {FACE_SIZE}, by shift"), beside])


def tile(image, caption=""):
    """An image resized to a square of SIDE pixels, with a caption below it if one is given."""
    picture = padded(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), height=SIDE + LINE * bool(caption))
    text(picture, caption, 2, SIDE + 15, 14)
    return picture


def grid(tiles, columns):
    """Tiles of one size arranged in rows, with gaps between them."""
    height, width = tiles[0].shape[:2]
    rows, columns = -(-len(tiles) // columns), min(columns, len(tiles))
    picture = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for number, image in enumerate(tiles):
        y, x = GAP + number // columns * (height + GAP), GAP + number % columns * (width + GAP)
        picture[y : y + height, x : x + width] = image
    return picture


def heading(words):
    """A line of text as a picture."""
    picture = np.full((30, 680, 3), 255, np.uint8)
    text(picture, words, GAP, 21, 19)
    return picture
