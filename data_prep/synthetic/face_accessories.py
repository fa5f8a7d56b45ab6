"""The accessories of a synthetic face, and objects that cover a part of it."""

import cv2
import numpy as np

from data_prep.geometry import corners
from data_prep.synthetic.colours import BRIGHT, SKIN_TONES, WHITE, deeper, mix, rgb
from data_prep.synthetic.curves import bend, ellipse, mirrored, pair, smooth
from data_prep.synthetic.face_canvas import EYE_X, EYE_Y, HEIGHT, SCALE, WIDTH

METALS = GOLD, SILVER = rgb(232, 186, 70), rgb(214, 220, 228)
FRAMES = rgb(24, 22, 26), rgb(70, 40, 24), rgb(150, 24, 36), GOLD * 0.8, rgb(40, 52, 96)
# Parts that must stay visible for the labels to be decidable: x1, y1, x2, y2 in pixels of the image.
_KEEP_VISIBLE = np.array(
    """
    54 90 86 122  91 90 123 122  70 124 107 144  66 142 111 166  70 162 107 186  55 62 122 92  28 70 44 120
    133 70 149 120  28 125 46 152  131 125 149 152  55 186 122 218  60 25 117 60
    """.split(),
    int,
).reshape(-1, 4)


def draw_glasses(face, shape, rng):
    """Spectacles: two rims, a bridge, the sides, and a glint on either lens."""
    colour = FRAMES[rng.integers(len(FRAMES))]
    width, height, corner, thick = rng.uniform((14, 10.5, 2, 1.8), (16, 13, 4, 3))
    unit = ellipse(0, 0, 1, 1, 40)
    rim = np.sign(unit) * abs(unit) ** (2 / corner) * (width, height) + (EYE_X + 0.5, EYE_Y + 0.5)
    glint = np.array([(-8, 5), (-3, -6), (0, -6), (-5, 5)])
    rims, glints = pair(rim), [glint + (side * EYE_X, EYE_Y) for side in (-1, 1)]
    bridge = bend((width - EYE_X, EYE_Y - 2), (0, EYE_Y - 5), (EYE_X - width, EYE_Y - 2))
    lines = [bridge, *pair([(EYE_X + width, EYE_Y - 4), (shape.cheek + 1, EYE_Y - 6)])]
    face.paint(face.area(*rims), rgb(226, 238, 246), 0.16)
    face.paint(face.area(*glints), WHITE, 0.3)
    mask = face.paint(face.lines(rims, thick, closed=True) | face.lines(lines, thick), colour)
    face.place(mask | face.area(*rims), "Eyeglasses")


def draw_hat(face, shape, rng):
    """A knitted hat, a brimmed hat or a cap; the hair beside the face stays visible. Returns its mask."""
    kind, (colour, band) = rng.integers(3), (BRIGHT[i] for i in rng.permutation(len(BRIGHT))[:2])
    half, top = shape.cheek + 11, rng.uniform(10, 16)
    side = (
        [(0, top), (26, top + 4), (half - 6, 38), (half, 62), (half - 1, 75), (0, 77)],
        [(0, top + 6), (20, top + 3), (half - 14, 22), (half - 8, 62), (half - 8, 72), (0, 74)],
        [(0, top + 4), (24, top + 8), (half - 8, 40), (half - 3, 66), (0, 70)],
    )[kind]
    crown = face.paint(face.area(smooth(mirrored(side), steps=4)), colour)
    face.paint(face.soft(7, ellipse(-16, 38, 16, 14)) & crown, mix(colour, WHITE, 0.5), 0.6)
    if kind == 0:
        ribs = [[(x, top), (1.15 * x, 66)] for x in range(-48, 49, 8)]
        face.paint(face.lines(ribs, 1.2) & crown, colour * 0.7, 0.7)
        trim = corners((-half - 1, 62, half + 1, 77))
    elif kind == 1:
        face.paint(face.area(corners((-70, 56, 70, 67))) & crown, band)
        trim = ellipse(0, 71, half + 20, 7)
    else:
        seams = [bend((0, top + 4), (x, 40), (1.3 * x, 66)) for x in (-26, 0, 26)]
        face.paint(face.lines(seams, 1) & crown, colour * 0.6, 0.8)
        trim = smooth([(6 - half, 64), (0, 58), (half - 6, 64), (half - 12, 77), (0, 80), (12 - half, 77)])
    colour = (band if kind == 2 else colour) * 0.86
    trim_mask = face.paint(face.area(trim), colour)
    face.paint(face.soft(1.5, trim - (0, 4)) & trim_mask, mix(colour, WHITE, 0.25), 0.5)
    face.place(crown | trim_mask, "Wearing_Hat")
    return crown | trim_mask


def draw_necklace(face, shape, rng):
    """Beads, or a chain with a pendant."""
    metal, stone, beads = METALS[rng.integers(2)], BRIGHT[rng.integers(6)], rng.integers(2)
    low = rng.uniform(200, 204)
    x = np.linspace(-1, 1, 19)
    arc = np.column_stack((x * shape.neck * 0.98, 188 + (low - 188) * (1 - x**2)))
    if beads:
        mask = face.paint(face.area(*[ellipse(*bead, 2.5, 2.5, 14) for bead in arc]), mix(stone, WHITE, 0.15))
        face.paint(face.area(*[ellipse(*bead, 0.9, 0.9, 8) for bead in arc - (0.7, 0.8)]), WHITE, 0.9)
    else:
        mask = face.paint(face.lines([arc], 2) | face.area(ellipse(0, low + 4, 4, 5)), metal)
        face.paint(face.area(ellipse(0, low + 4, 2.4, 3)), stone)
        face.paint(face.lines([arc + (0, 1)], 0.6), metal * 0.5, 0.8)
    face.place(mask, "Wearing_Necklace")


def draw_earrings(face, shape, rng):
    """Hoops, drops or studs on both ears, over the hair."""
    metal, stone, kind = METALS[rng.integers(2)], BRIGHT[rng.integers(6)], rng.integers(3)
    size = rng.uniform(4.6, 6)
    x, y = shape.cheek + 4.5, 133
    if kind == 0:
        mask = face.paint(face.lines(pair(ellipse(x, y + size, size, size + 1)), 2, closed=True), metal)
    elif kind == 1:
        drop = smooth([(0, 4), (4.2, 11), (2.5, 15), (-2.5, 15), (-4.2, 11)]) + (x, y)
        mask = face.paint(face.lines(pair([(x, y), (x, y + 6)]), 1.4), metal)
        mask |= face.paint(face.area(*pair(drop)), stone)
    else:
        mask = face.paint(face.area(*pair(ellipse(x, y + 2, 4.4, 4.4))), metal)
        face.paint(face.area(*pair(ellipse(x, y + 2, 2.4, 2.4))), stone)
    face.paint(face.area(*pair(ellipse(x - 1, y + 2, 0.9, 0.9, 8))), WHITE, 0.9)
    face.place(mask, "Wearing_Earrings")


def draw_occluder(image, rng):
    """Cover a part of a few percent of the images with a bar, a ball or a hand, which hides no feature completely."""
    wanted, kind = rng.random() < 0.05, rng.integers(3)
    colour = BRIGHT[rng.integers(len(BRIGHT))] if kind else SKIN_TONES[rng.integers(len(SKIN_TONES))]
    starts, sizes = rng.uniform((0, 0), (WIDTH - 15, HEIGHT - 15), (12, 2)), rng.uniform(16, 38, (12, 2))
    low, high = _KEEP_VISIBLE[:, :2], _KEEP_VISIBLE[:, 2:]
    for start, size in zip(starts, sizes) if wanted else ():
        overlap = np.maximum(np.minimum(high, start + size) - np.maximum(low, start), 0)
        if (overlap.prod(axis=1) / (high - low).prod(axis=1)).max() > 0.35:
            continue
        (x, y), (w, h) = (start * SCALE).astype(int).tolist(), (size * SCALE).astype(int).tolist()
        if kind == 0:
            draw_hand(image, x, y, w, h, colour)
        elif kind == 1:
            cv2.rectangle(image, (x, y), (x + w, y + h), colour.tolist(), -1, cv2.LINE_AA)
        else:
            cv2.ellipse(image, ((x + w / 2, y + h / 2), (w, h), 0), colour.tolist(), -1, cv2.LINE_AA)
        return


def draw_hand(image, x, y, width, height, colour):
    """Four fingers side by side, in pixels of the canvas."""
    thick = width // 4
    for finger, shorter in enumerate((height // 5, 0, height // 12, height // 4)):
        start = (x + thick // 2 + finger * thick, y + thick // 2 + shorter)
        end = (start[0], y + height - thick // 2)
        cv2.line(image, start, end, deeper(colour, 0.7).tolist(), thick, cv2.LINE_AA)
        cv2.line(image, start, end, colour.tolist(), max(1, thick - 3), cv2.LINE_AA)
