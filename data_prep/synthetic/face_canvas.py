"""Drawing tools for synthetic faces: colours, curves, the posed canvas and the measures of the head.

Coordinates are pixels of the final 178 x 218 image of an upright, frontal face whose eyes are where CelebA's alignment
puts them. `Canvas` applies the pose (yaw, rotation, scale, shift) and draws on a canvas twice as large.
"""

import cv2
import numpy as np

from data_prep.geometry import ALIGNED_EYES, ALIGNED_HEIGHT, ALIGNED_WIDTH

WIDTH, HEIGHT = ALIGNED_WIDTH, ALIGNED_HEIGHT
SCALE = 2  # the canvas is this many times larger than the image
COARSE = 4  # soft masks are blurred on a grid this many times coarser than the canvas; divides its sides
CENTRE = ALIGNED_EYES[:, 0].mean()  # x of the axis of the face
EYE_Y, NOSE_Y, MOUTH_Y = ALIGNED_EYES[0, 1], 135.0, 152.0
EYE_X = CENTRE - ALIGNED_EYES[0, 0]  # distance of either eye from the axis
SHIFT = 4  # fractional bits of the coordinates handed to OpenCV


def rgb(red, green, blue):
    """A colour given as red, green, blue, in OpenCV's order blue, green, red (float array of 3)."""
    return np.array((blue, green, red), np.float64)


def mix(first, second, share):
    """The colour that lies `share` of the way from the first colour to the second."""
    return first + (second - first) * share


def deeper(colour, share):
    """The colour in shade: darker and, where it has a hue, more saturated."""
    return 255 * (np.asarray(colour) / 255) ** 1.35 * share


SKIN_TONES = np.array([rgb(238, 203, 176), rgb(226, 178, 143), rgb(201, 148, 110), rgb(158, 107, 76), rgb(104, 70, 53)])
PALE = rgb(243, 232, 227)
HAIR = {
    "Black_Hair": rgb(30, 27, 30),
    "Blond_Hair": rgb(228, 193, 118),
    "Brown_Hair": rgb(104, 67, 41),
    "Gray_Hair": rgb(172, 172, 176),
}
OTHER_HAIR = (rgb(214, 88, 28), rgb(136, 22, 52), rgb(120, 66, 156), rgb(26, 122, 128))
BRIGHT = (
    *(rgb(200, 44, 52), rgb(36, 92, 168), rgb(40, 130, 84), rgb(232, 178, 48), rgb(122, 70, 148)),
    *(rgb(226, 116, 52), rgb(60, 66, 84), rgb(232, 228, 218), rgb(46, 150, 160), rgb(214, 120, 150)),
)
WHITE = rgb(252, 250, 246)
METALS = GOLD, SILVER = rgb(232, 186, 70), rgb(214, 220, 228)


def plain(colour, height, width):
    """A picture of one colour, filled by OpenCV because NumPy is much slower."""
    return cv2.rectangle(np.empty((height, width, 3), np.uint8), (0, 0), (width, height), colour.tolist(), -1)


def ellipse(x, y, half_width, half_height, count=28):
    """Points (count, 2) of an ellipse; x is measured from the axis of the face."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack((x + half_width * np.cos(angle), y + half_height * np.sin(angle)))


def rectangle(left, top, right, bottom):
    """Corners (4, 2) of an upright rectangle; x is measured from the axis of the face."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def smooth(points, closed=True, steps=6):
    """A Catmull-Rom curve through points (n, 2), with `steps` samples per segment."""
    points = np.asarray(points, np.float64)
    if closed:
        padded = np.concatenate((points[-1:], points, points[:2]))
    else:
        padded = np.concatenate((points[:1], points, points[-1:]))
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate((curve, points[-1:]))


def bend(*points):
    """The open curve through the points."""
    return smooth(points, closed=False)


def pair(points):
    """The points of a part to the right of the axis, and their mirror images."""
    return [np.asarray(points, np.float64), np.asarray(points) * (-1.0, 1.0)]


def mirrored(points):
    """The closed outline (2n, 2) made of a right-hand side, top to bottom, and its mirror image."""
    points = np.asarray(points, np.float64)
    return np.concatenate((points, points[::-1] * (-1, 1)))


class Canvas:
    """The picture being drawn, with its pose, its labels and the boxes noted so far.

    Points are (n, 2) arrays, x measured from the axis of the face. Masks are uint8 (436, 356), 255 inside.
    """

    def __init__(self, labels, rng):
        self.labels = labels
        self.boxes = {}
        self.image = np.empty((HEIGHT * SCALE, WIDTH * SCALE, 3), np.uint8)
        angle, self.yaw = np.deg2rad(rng.uniform(-4, 4)), rng.uniform(-5, 5)
        size = rng.uniform(0.96, 1.04)
        # The eyes stay where the alignment puts them: the outline of the head moves instead.
        self.shift = rng.uniform(-2.5, 2.5, 2) - (0.87 * self.yaw, 0)
        self.turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def __getitem__(self, name):
        return self.labels[name]

    def posed(self, points):
        """Points (..., 2) after the pose, in pixels of the final image."""
        points = np.array(points, np.float64)
        points[..., 0] += self.yaw * np.maximum(0, 1 - (points[..., 0] / 55) ** 2)
        return (points - (0, EYE_Y)) @ self.turn.T + (CENTRE, EYE_Y) + self.shift

    def fixed(self, points, scale=SCALE):
        """Posed points in OpenCV's fixed-point coordinates, on a grid `scale` times as large as the final image."""
        # The half-pixel terms: the centre of pixel 0 has coordinate 0 in OpenCV, and 0.5 here.
        return np.round((self.posed(points) + 0.5) * (scale * 2**SHIFT) - 2 ** (SHIFT - 1)).astype(np.int32)

    def blank(self):
        return np.zeros(self.image.shape[:2], np.uint8)

    def area(self, *outlines):
        """Antialiased mask of the union of closed outlines."""
        mask = self.blank()
        for outline in outlines:
            cv2.fillPoly(mask, [self.fixed(outline)], 255, cv2.LINE_AA, SHIFT)
        return mask

    def lines(self, lines, width, closed=False):
        """Antialiased mask of open (or closed) lines of a width in pixels of the final image."""
        mask = self.blank()
        lines = [self.fixed(line) for line in lines]
        cv2.polylines(mask, lines, closed, 255, max(1, round(width * SCALE)), cv2.LINE_AA, SHIFT)
        return mask

    def soft(self, sigma, *outlines):
        """Mask of the union of outlines, blurred by sigma pixels of the final image."""
        mask = self.blank()
        coarse = mask[::COARSE, ::COARSE].copy()
        for outline in outlines:
            cv2.fillPoly(coarse, [self.fixed(outline, SCALE / COARSE)], 255, cv2.LINE_AA, SHIFT)
        sigma = max(0.4, sigma * SCALE / COARSE)
        margin = int(3 * sigma) + 1
        x, y, width, height = cv2.boundingRect(coarse)
        left, right = max(0, x - margin), min(coarse.shape[1], x + width + margin)
        top, bottom = max(0, y - margin), min(coarse.shape[0], y + height + margin)
        blurred = cv2.GaussianBlur(coarse[top:bottom, left:right], (0, 0), sigma)
        size = (right - left) * COARSE, (bottom - top) * COARSE
        window = np.s_[top * COARSE : bottom * COARSE, left * COARSE : right * COARSE]
        mask[window] = cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR)
        return mask

    def paint(self, mask, colour, opacity=1.0):
        """Paint a colour (3 numbers), or another canvas-sized picture, over the image through a mask."""
        x, y, width, height = cv2.boundingRect(mask)
        if not width:
            return mask
        window = np.s_[y : y + height, x : x + width]
        below = self.image[window]
        if np.ndim(colour) == 1:
            above = plain(colour, height, width)
        else:
            above = colour[window]
        weight = np.multiply(mask[window], np.float32(opacity / 255), dtype=np.float32)
        self.image[window] = cv2.blendLinear(above, below, weight, 1 - weight)
        return mask

    def place(self, mask, *names):
        """Record the bounding box of a mask, in pixels of the final image, for the names that are present."""
        names = [name for name in names if self.labels[name]]
        if not names:
            return
        x, y, width, height = cv2.boundingRect((mask > 127).view(np.uint8))
        box = (x // SCALE, y // SCALE, -(-(x + width) // SCALE), -(-(y + height) // SCALE))
        self.boxes.update(dict.fromkeys(names, box))


class Shape:
    """Measures of the head, in pixels of the final image, and its outlines."""

    def __init__(self, face, rng):
        jitter = rng.uniform(-1, 1, 8)
        self.cheek, self.jaw, self.chin, self.bottom = 48.5, 43.0, 24.5, 177.0
        if face["Oval_Face"]:
            self.cheek, self.jaw, self.chin, self.bottom = 44.5, 35.5, 19.5, 183.0
        if face["Chubby"]:
            self.cheek, self.jaw, self.chin, self.bottom = 52.0, 50.5, 34.0, 179.5
        self.jaw += 2.5 * face["Male"]
        self.chin += 6 * face["Male"]
        self.cheek += jitter[0]
        self.jaw += jitter[1]
        self.chin += jitter[2]
        self.bottom += 1.2 * jitter[3]
        self.neck = (35 if face["Male"] else 21.5) + 1.5 * jitter[4]
        self.top = 41 + 2 * jitter[5]
        # Attractive is rendered as symmetric features; otherwise the sign says to which side they are skewed.
        self.lean = 0.0 if face["Attractive"] else (1 if jitter[6] > 0 else -1) * (0.8 + 0.2 * abs(jitter[7]))
        cheek, jaw, chin, bottom = self.cheek, self.jaw, self.chin, self.bottom
        flat = 0.62 if face["Male"] else 0.5
        side = [(0, self.top), (22, self.top + 4), (38, 57), (cheek - 2, 79), (cheek, 106), (cheek - 1, 130)]
        side += [(jaw, 152), (chin, bottom - 8), (flat * chin, bottom - 1.5), (0, bottom)]
        self.outline = smooth(mirrored(side), steps=4)

    def eye(self, side):
        """Centre of the eye on a side (-1 left, 1 right, as seen in the image)."""
        return side * EYE_X, EYE_Y + 2.2 * self.lean * side

    def at_eyes(self, points):
        """A part given relative to the right eye, its outer side at positive x, placed at both eyes."""
        return [np.asarray(points) * (side, 1) + self.eye(side) for side in (-1, 1)]
