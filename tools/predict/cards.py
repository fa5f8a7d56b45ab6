"""Overlays of predictions: the photo with its faces numbered, and under it a card per face.

Labels stand on the cards, beside an enlarged face, never on the photo: they cannot collide, however small the faces.
"""

import cv2
import numpy as np

from data_prep.pictures import COLOURS, FONT, INK, padded, rectangle, text

# Pixels along the longer side of the photo as drawn; of a card's face; cards of one overlay at most.
LONGEST, FACE, CARDS = 1200, 210, 24
LINE, TEXT, GAP = 18, 196, 10
PALE = (200, 200, 200)


def view(image):
    """A photo at most LONGEST pixels long; small ones are enlarged to half of that."""
    longest = max(image.shape[:2])
    scale = LONGEST / longest if longest > LONGEST else max(1, LONGEST / 2 / longest)
    if scale == 1:
        return image
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def numbered(picture, scale, faces):
    """The photo with the faces' boxes and numbers, in place."""
    for number, face in enumerate(faces, 1):
        box = np.array(face.box) * scale
        colour = COLOURS[(number - 1) % len(COLOURS)]
        rectangle(picture, box, colour)
        (width, height), _ = cv2.getTextSize(str(number), FONT, 0.5, 1)
        x, y = np.clip(box[:2], 0, None).astype(int)
        cv2.rectangle(picture, (x, y), (x + width + 6, y + height + 7), INK, -1)
        text(picture, str(number), x + 3, y + height + 3, 0.5, (255, 255, 255))


def card(aligned, number, face, regions):
    """A face enlarged, with the regions of what is present, and its attributes with probabilities beside it.

    aligned: its picture; face: a predictor.Face; regions: dict of names to boxes in shares of the aligned picture
    """
    rows = list(face.attributes.items())
    enlarged = cv2.resize(
        aligned, (round(FACE * aligned.shape[1] / aligned.shape[0]), FACE), interpolation=cv2.INTER_CUBIC
    )
    height = max(FACE, LINE * (len(rows) + 1)) + 2 * GAP
    picture = np.full((height, enlarged.shape[1] + TEXT + 3 * GAP, 3), 255, np.uint8)
    present = [name for name, answer in rows if answer.answer == "present"]
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(present)}
    for name in present:
        if name in regions:
            rectangle(enlarged, np.array(regions[name]) * np.tile(enlarged.shape[1::-1], 2), colours[name], 1)
    picture[GAP : GAP + FACE, GAP : GAP + enlarged.shape[1]] = enlarged
    left = enlarged.shape[1] + 2 * GAP
    text(picture, f"face {number}", left, GAP + 12, 0.5, thickness=1)
    for place, (name, answer) in enumerate(rows, 1):
        y = GAP + LINE * place + 13
        certain, p = answer.answer != "uncertain", answer.probability
        cv2.rectangle(picture, (left, y - 10), (left + round(40 * p), y), colours.get(name, PALE), -1)
        cv2.rectangle(picture, (left, y - 10), (left + 40, y), (150, 150, 150), 1)
        words = f"{100 * p:3.0f} % {name}" + ("" if certain else " ?")
        text(picture, words, left + 46, y, 0.42, INK if name in colours else (110, 110, 110))
    return picture


def overlay(photo, shape, faces, aligned, shares):
    """A photo's overlay.

    photo: its `view`; shape: of the photo itself; faces: list of predictor.Face; aligned: their pictures; shares: their
    regions, dicts of names to boxes in shares of the aligned picture
    """
    picture = photo.copy()
    numbered(picture, picture.shape[0] / shape[0], faces)
    chosen = list(zip(aligned, range(1, CARDS + 1), faces, shares))
    drawn = [card(*one) for one in chosen]
    columns = max(1, min(len(drawn), max(LONGEST, picture.shape[1]) // drawn[0].shape[1]))
    width = max(picture.shape[1], columns * max(one.shape[1] for one in drawn))
    rows = [padded(picture, width)]
    for start in range(0, len(drawn), columns):
        row = drawn[start : start + columns]
        height = max(one.shape[0] for one in row)
        rows.append(padded(np.hstack([padded(one, height=height) for one in row]), width))
    if len(faces) > len(drawn):
        line = np.full((30, width, 3), 255, np.uint8)
        text(line, f"and {len(faces) - len(drawn)} more faces: see predictions.jsonl", GAP, 20, 0.5)
        rows.append(line)
    return np.vstack(rows)
