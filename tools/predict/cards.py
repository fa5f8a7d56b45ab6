"""Overlays of predictions: the photo with its faces numbered, and beside it a card per face, and a legend.

Answers stand on the cards, beside an enlarged face, never on the photo: they cannot collide, however small the faces.
"""

import collections

import cv2
import numpy as np

from data_prep.geometry import ALIGNED_HEIGHT, ALIGNED_WIDTH, resized
from data_prep.pictures import COLOURS, INK, PAPER, dashed, padded, rectangle, shortened, text, text_width, wrapped

# Pixels along the longer side of the photo as drawn; a row of cards is at most as wide as that or WIDEST. Height of a
# card's face, and where there are more than FEW; cards of one overlay at most.
LONGEST, WIDEST, FACE, SMALL_FACE, FEW, CARDS = 1200, 1280, 210, 110, 6, 36
# Of a line of a card, the bar of a probability, the column of its number, the sign of a legend, and between all.
LINE, BAR, NUMBER, SIGN, GAP = 20, 48, 44, 32, 10
GREY, DIM, PALE, EDGE, WARNING = (95, 95, 95), (120, 120, 120), (180, 180, 180), (228, 228, 228), COLOURS[5]
# Faces less than this many pixels wide, as drawn, get a small number.
NARROW = 60

# How answers are drawn. names: the attributes; min_confidence: share of right answers below which one is uncertain, and
# notes: list of sentences on all answers, for the legend; all_regions: whether regions of absent and uncertain answers
# are drawn, too
Style = collections.namedtuple("Style", "names min_confidence notes all_regions", defaults=(False,))


def view(image):
    """A photo at most LONGEST pixels long; small ones are enlarged to half of that."""
    return resized(image, min(LONGEST, max(LONGEST // 2, *image.shape[:2])), cv2.INTER_CUBIC)


def numbered(picture, scale, faces, numbers):
    """Draw the faces' boxes and numbers, in place. The numbers keep clear of each other where there is room.

    scale: pixels of the picture per pixel of the photo
    """
    boxes, taken = [np.array(face.box) * scale for face in faces], []
    for box in boxes:
        rectangle(picture, box, PAPER, 2 if box[2] - box[0] >= NARROW else 1)
    for box, number in zip(boxes, numbers):
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
        self.column = BAR + NUMBER + 8 + max(text_width(f"{name} ?", bold=True) for name in self.names) + GAP
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
                (rectangle if name in present else dashed)(enlarged, box, colours[name])
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
        present, uncertain = answer.answer == "present", answer.answer == "uncertain"
        shown = colour if present or self.style.all_regions else PALE
        bar(picture, x, y, answer.probability, shown)
        ink = INK if present else GREY if uncertain else DIM
        share = f"{100 * answer.probability:.0f} %"
        text(picture, share, x + BAR + NUMBER - text_width(share), y, ink=ink)
        text(picture, name, x + BAR + NUMBER + 8, y, ink=ink, bold=present)
        if uncertain:
            text(picture, "?", x + BAR + NUMBER + 8 + text_width(f"{name} "), y, ink=WARNING, bold=True)


def bar(picture, x, y, share, colour, width=BAR):
    """Draw a bar filled to a share in [0, 1], its lower edge at y, in place."""
    cv2.rectangle(picture, (x, y - 9), (x + width - 1, y), EDGE, -1)
    if round(width * share):
        cv2.rectangle(picture, (x, y - 9), (x + round(width * share) - 1, y), colour, -1)


def legend(style, width):
    """What the signs on cards mean, as a picture of a width."""
    own = COLOURS[: len(style.names)]
    entries = [("bar", own, "present, its region on the face in the same colour")]
    if style.all_regions:
        entries.append(("dashes", own, "absent or uncertain, its region"))
    else:
        entries.append(("bar", [PALE], "absent"))
    doubt = f"uncertain: probability of being right below {100 * style.min_confidence:.0f}\u00a0%"
    entries.append(("?", [WARNING], doubt))
    entries += [("!", [WARNING], note) for note in style.notes]
    lines = [
        (sign if number == 0 else "", colours, words)
        for sign, colours, text_of in entries
        for number, words in enumerate(wrapped(text_of, width - GAP - SIGN))
    ]
    picture = np.full((LINE * len(lines) + GAP, width, 3), 255, np.uint8)
    for number, (sign, colours, words) in enumerate(lines):
        y = LINE * number + GAP // 2 + 13
        text(picture, words, GAP + SIGN, y, ink=GREY)
        for place, colour in enumerate(colours):  # every attribute has a colour of its own: a piece of each
            left, right = (GAP + round(24 * end / len(colours)) for end in (place, place + 1))
            if sign == "bar":
                bar(picture, left, y, 1, colour, right - left)
            elif sign == "dashes":
                dashed(picture, (left, y - 5, right, y - 4), colour, dash=max(2, (right - left) // 2))
            else:
                text(picture, sign, GAP + 8, y, 17, colour, True)
    return picture


def overlay(photo, style):
    """The overlay of a Photo with answers for its faces, at least one."""
    picture, faces = photo.view.copy(), photo.faces
    numbered(picture, picture.shape[0] / photo.shape[0], faces, range(1, len(faces) + 1))
    card = Card(style, FACE if len(faces) <= FEW else SMALL_FACE)
    drawn = [card.draw(number, face) for number, face in enumerate(faces[:CARDS], 1)]
    columns = max(1, min(len(drawn), max(WIDEST, picture.shape[1]) // card.shape[1]))
    width = max(picture.shape[1], columns * card.shape[1])
    rows = [padded(picture, width), np.full((GAP, width, 3), 255, np.uint8)]
    rows += [padded(np.hstack(drawn[start : start + columns]), width) for start in range(0, len(drawn), columns)]
    if len(faces) > len(drawn):
        line = np.full((30, width, 3), 255, np.uint8)
        text(line, f"and {len(faces) - len(drawn)} more faces: see predictions.jsonl", GAP, 20)
        rows.append(line)
    return np.vstack([*rows, legend(style, width)])
