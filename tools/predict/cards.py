"""Overlays of predictions: the photo with its faces numbered, below it a card per face, and a legend.

Answers stand on the cards, beside an enlarged face, never on the photo: they cannot collide, however small the faces.
"""

import collections

import cv2
import numpy as np

from data_prep.geometry import ALIGNED_HEIGHT, ALIGNED_WIDTH, resized
from data_prep.pictures import COLOURS, INK, PAPER, padded, rectangle, shortened, text, text_width, wrapped

# Pixels along the longer side of the photo as drawn; a row of cards is at most as wide as that or WIDEST. Height of a
# card's face, and where there are more than FEW; cards of one overlay at most.
LONGEST, WIDEST, FACE, SMALL_FACE, FEW, CARDS = 1200, 1280, 210, 110, 6, 36
# Of a line of a card, its square of colour, the column of its probability, and between all.
LINE, SQUARE, NUMBER, GAP = 20, 12, 44, 10
DIM, EDGE, WARNING = (120, 120, 120), (228, 228, 228), COLOURS[5]
# Faces less than this many pixels wide, as drawn, get a small number.
NARROW = 60

# How answers are drawn. names: the attributes; min_confidence: share of right answers below which one is uncertain, and
# notes: list of sentences on all answers, for the legend; all_regions: whether regions of absent and uncertain answers
# are drawn, too
Style = collections.namedtuple("Style", "names min_confidence notes all_regions", defaults=(False,))


def view(image):
    """A photo at most LONGEST pixels long; small ones are enlarged to half of that."""
    return resized(image, min(LONGEST, max(LONGEST // 2, *image.shape[:2])), cv2.INTER_CUBIC)


def numbered(picture, scale, faces):
    """Draw the boxes and numbers of faces, pairs (number, Face), in place. Numbers keep clear of each other where there
    is room.

    scale: pixels of the picture per pixel of the photo
    """
    boxes, taken = [np.array(face.box) * scale for _, face in faces], []
    for box in boxes:
        rectangle(picture, box, PAPER, 2 if box[2] - box[0] >= NARROW else 1)
    for box, (number, _) in zip(boxes, faces):
        size = 17 if box[2] - box[0] >= NARROW else 13
        tag = np.array([text_width(str(number), size, True) + 8, size + 3])
        x1, y1, x2, y2 = box.round().astype(int)
        corners = [(x1, y1 - tag[1] - 2), (x1, y1), (x2 - tag[0], y1 - tag[1] - 2), (x1, y2 + 2), (x2 + 2, y1)]
        corners = np.clip(corners, 0, np.maximum(picture.shape[1::-1] - tag, 0))
        free = (corner for corner in corners if not any(np.all(np.abs(corner - other) < tag) for other in taken))
        x, y = next(free, corners[1])
        taken.append((x, y))
        cv2.rectangle(picture, (x, y), (x + tag[0] - 1, y + tag[1] - 1), INK, -1)
        text(picture, str(number), x + 4, y + round(0.87 * size), size, PAPER, True)


class Card:
    """Draws the cards of faces, all of one size.

    face: height of the enlarged face in pixels; columns: of answers at most
    """

    def __init__(self, style, face=FACE, columns=3):
        self.names, self.style, self.height = list(style.names), style, face
        self.width = round(face * ALIGNED_WIDTH / ALIGNED_HEIGHT)
        lines = max(1, (face - LINE - 6) // LINE)
        columns = min(columns, -(-len(self.names) // lines))
        self.lines = -(-len(self.names) // columns)
        self.column = SQUARE + NUMBER + 8 + max(text_width(f"{name} ?", bold=True) for name in self.names) + GAP
        self.left = self.width + 3 * GAP
        self.shape = (
            max(face, LINE * (self.lines + 1) + 6) + 2 * GAP + 2,
            self.left + max(columns * self.column, 150) + GAP,
            3,
        )

    def draw(self, number, face):
        """The card of a Face: enlarged, with the regions of its answers, and its attributes with probabilities."""
        picture = np.full(self.shape, 255, np.uint8)
        cv2.rectangle(picture, (1, 1), (self.shape[1] - 3, self.shape[0] - 3), EDGE, 1)
        enlarged = cv2.resize(face.aligned, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        present = [name for name in self.names if face.attributes[name].answer == "present"]
        colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(self.names)}
        for name in sorted(self.names, key=present.__contains__):  # those of what is present on top
            share = face.attributes[name].share
            if share is not None and (name in present or self.style.all_regions):
                box = share * np.tile(enlarged.shape[1::-1], 2)
                rectangle(enlarged, box, colours[name], 2 if name in present else 1)
        top = GAP + 1
        picture[top : top + self.height, top : top + self.width] = enlarged
        words = f"Face {number}"
        text(picture, words, self.left, top + 13, 17, bold=True)
        x = self.left + text_width(words, 17, True) + GAP
        # The complete warning is in predictions.jsonl.
        warning = face.warning and "; ".join(part.partition(":")[0] for part in face.warning.split("; "))
        score = "" if face.score is None else f"score {face.score:.2f}"
        words = shortened(warning or score, self.shape[1] - x - GAP, 15)
        text(picture, words, x, top + 13, 15, WARNING if warning else DIM)
        for place, name in enumerate(self.names):
            x, y = self.left + place // self.lines * self.column, top + LINE * (place % self.lines + 2) - 3
            self._answer(picture, x, y, name, face.attributes[name], colours[name])
        return picture

    def _answer(self, picture, x, y, name, answer, colour):
        """Draw a line of the card with its baseline at (x, y), in place."""
        present = answer.answer == "present"
        ink = INK if present else DIM
        if present or self.style.all_regions:
            cv2.rectangle(picture, (x, y - 9), (x + SQUARE - 3, y), colour, -1)
        share = f"{100 * answer.probability:.0f} %"
        text(picture, share, x + SQUARE + NUMBER - text_width(share), y, ink=ink)
        text(picture, name, x + SQUARE + NUMBER + 8, y, ink=ink, bold=present)
        if answer.answer == "uncertain":
            text(picture, "?", x + SQUARE + NUMBER + 8 + text_width(f"{name} "), y, ink=WARNING, bold=True)


def legend(style, width):
    """What cards show, in words, as a picture of a width."""
    entries = [("bold: present, its region on the face in the colour of its square; grey: absent", DIM)]
    if style.all_regions:
        entries.append(("thin: the region of an absent or uncertain attribute", DIM))
    doubt = f"?: uncertain, the probability of being right is below {100 * style.min_confidence:.0f}\u00a0%"
    entries += [(doubt, DIM), *((f"note: {note}", WARNING) for note in style.notes)]
    lines = [(line, ink) for words, ink in entries for line in wrapped(words, width - 2 * GAP)]
    picture = np.full((LINE * len(lines) + GAP, width, 3), 255, np.uint8)
    for number, (line, ink) in enumerate(lines):
        text(picture, line, GAP, LINE * number + GAP // 2 + 13, ink=ink)
    return picture


def overlay(photo, style):
    """The overlay of a Photo with answers for its faces, at least one."""
    faces = list(enumerate(photo.faces, 1))
    return sheet(photo, faces, faces[:CARDS], Card(style, FACE if len(faces) <= FEW else SMALL_FACE))


def sheet(photo, faces, shown, card, has_line=False):
    """A Photo with its faces numbered, below it cards in rows, and a legend.

    faces: pairs (number, Face); shown: those of them that get a card, or None for a place that stays empty; card: the
    Card that draws them; has_line: whether there is a line for faces without a card even if all have one
    """
    picture = photo.view.copy()
    numbered(picture, picture.shape[0] / photo.shape[0], faces)
    drawn = [np.full(card.shape, 255, np.uint8) if pair is None else card.draw(*pair) for pair in shown]
    columns = max(1, min(len(drawn), max(WIDEST, picture.shape[1]) // card.shape[1]))
    width = max(picture.shape[1], columns * card.shape[1])
    rows = [padded(picture, width), np.full((GAP, width, 3), 255, np.uint8)]
    rows += [padded(np.hstack(drawn[start : start + columns]), width) for start in range(0, len(drawn), columns)]
    more = len(faces) - sum(pair is not None for pair in shown)
    if more or has_line:
        line = np.full((30, width, 3), 255, np.uint8)
        words = f"and {more} more face{'' if more == 1 else 's'}: see predictions.jsonl" if more else ""
        text(line, words, GAP, 20)
        rows.append(line)
    return np.vstack([*rows, legend(card.style, width)])
