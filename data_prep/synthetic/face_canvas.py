"""The posed canvas on which a synthetic face is drawn, and the measures of the head.

Coordinates are pixels of the final 178 x 218 image of an upright, frontal face whose eyes are where CelebA's alignment
puts them. `Canvas` applies the pose (yaw, rotation, scale, shift) and draws on a canvas twice as large.
"""

import cv2
import numpy as np

from data_prep.geometry import ALIGNED_EYES, ALIGNED_HEIGHT, ALIGNED_WIDTH
from data_prep.synthetic.colours import plain
from data_prep.synthetic.curves import mirrored, smooth

WIDTH, HEIGHT = ALIGNED_WIDTH, ALIGNED_HEIGHT
SCALE = 2  # the canvas is this many times larger than the image
CENTRE = ALIGNED_EYES[:, 0].mean()  # x of the axis of the face
EYE_Y, EYE_X = ALIGNED_EYES[0, 1], CENTRE - ALIGNED_EYES[0, 0]  # EYE_X: distance of either eye from the axis
SHIFT = 4  # fractional bits of the coordinates handed to OpenCV


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
        """Mask of the union of outlines, blurred by sigma pixels of the final image, on a grid of half its size."""
        coarse = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
        for outline in outlines:
            cv2.fillPoly(coarse, [self.fixed(outline, 0.5)], 255, cv2.LINE_AA, SHIFT)
        # Only the part round the outlines is blurred: its edges are part of the pictures that seeds stand for.
        mask, sigma = self.blank(), max(0.4, sigma / 2)
        low, size = np.array(cv2.boundingRect(coarse)).reshape(2, 2)
        low, high = np.maximum(low - int(3 * sigma) - 1, 0), low + size + int(3 * sigma) + 1
        (left, top), (right, bottom) = low, np.minimum(high, coarse.shape[::-1])
        blurred = cv2.GaussianBlur(coarse[top:bottom, left:right], (0, 0), sigma)
        mask[4 * top : 4 * bottom, 4 * left : 4 * right] = cv2.resize(blurred, None, fx=4, fy=4)
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
        x, y, width, height = cv2.boundingRect((mask > 127).view(np.uint8))
        box = (x // SCALE, y // SCALE, -(-(x + width) // SCALE), -(-(y + height) // SCALE))
        self.boxes.update({name: box for name in names if self.labels[name]})


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
