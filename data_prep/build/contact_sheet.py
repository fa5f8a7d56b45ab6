"""Contact sheets: pictures (B G R) of what a network is given, to be looked at."""

import cv2
import numpy as np

from data_prep.geometry import FACE_SIZE, MARGIN, PATCH_SIZE
from data_prep.pictures import COLOURS, PAPER, stacked, text, text_width

SIDE, GAP, LINE = 112, 6, 22


def tile(image, caption="", side=SIDE):
    """An image resized to a square of `side` pixels, with a caption below it if one is given."""
    picture = np.full((side + (LINE if caption else 0), side, 3), 255, np.uint8)
    picture[:side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    text(picture, caption, 2, side + 15, 14)
    return picture


def grid(tiles, columns):
    """Tiles of one size arranged in rows, with gaps between them."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    columns = min(columns, len(tiles))
    picture = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for number, one in enumerate(tiles):
        y, x = GAP + number // columns * (height + GAP), GAP + number % columns * (width + GAP)
        picture[y : y + height, x : x + width] = one
    return picture


def heading(words, width, size=19):
    """A line of text as a picture."""
    picture = np.full((30, max(width, 2 * GAP + text_width(words, size)), 3), 255, np.uint8)
    text(picture, words, GAP, 21, size)
    return picture


def attribute(name, present, absent, columns=8):
    """Training patches of one attribute: faces with it above faces without it."""
    rows = []
    for words, images in ((f"{name}: present", present), (f"{name}: absent", absent)):
        if not images:
            continue
        picture = grid([tile(image) for image in images], columns)
        rows += [heading(words, picture.shape[1]), picture]
    return stacked(rows)


def augmentation(name, face, cuts, columns=4):
    """How one face was augmented: the 256 x 256 face with the outlines of its patches, and the patches.

    name: name of the face; cuts: list of (sample of balance.SAMPLE, patch (224, 224, 3))
    """
    scale = 2
    whole = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    tiles = []
    for number, (sample, patch) in enumerate(cuts):
        colour = COLOURS[number % len(COLOURS)]
        x, y = scale * (MARGIN + int(sample["dx"])), scale * (MARGIN + int(sample["dy"]))
        cv2.rectangle(whole, (x, y), (x + scale * PATCH_SIZE - 1, y + scale * PATCH_SIZE - 1), colour, 2)
        words = f"{int(sample['dx']):+d} {int(sample['dy']):+d}{' mirrored' if sample['mirror'] else ''}"
        one = tile(patch, words)
        cv2.rectangle(one, (0, 0), (SIDE - 1, SIDE - 1), colour, 3)
        tiles.append(one)
    patches = grid(tiles, columns)
    whole = cv2.copyMakeBorder(whole, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=PAPER)
    height = max(whole.shape[0], patches.shape[0])
    side_by_side = np.full((height, whole.shape[1] + patches.shape[1], 3), 255, np.uint8)
    side_by_side[: whole.shape[0], : whole.shape[1]] = whole
    side_by_side[: patches.shape[0], whole.shape[1] :] = patches
    title = f"{name}: {FACE_SIZE} x {FACE_SIZE} pixels, patches of {PATCH_SIZE} x {PATCH_SIZE} (shifted right, down)"
    return stacked([heading(title, side_by_side.shape[1], 17), side_by_side])
