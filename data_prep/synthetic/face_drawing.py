"""Drawing of one synthetic face: labels in, picture, boxes and landmarks out.

Geometry is written in pixels of the final 178x218 image for an upright, frontal face whose eyes stand where
CelebA's alignment puts them. `Canvas` carries it through the pose (yaw, rotation, scale, shift) onto a canvas
twice as large. Every part has a random stream of its own, so a label switched on or off changes no draw of
another part.

What is drawn where the label's name leaves it open:
  Attractive    regular features and clear skin; without it eyes, brows, nose and mouth stand askew, and there
                are red spots and moles
  Male          broad neck with Adam's apple, high shoulders, broad chin; without it a slender neck
  Young         without it lines on the forehead, at the eyes and beside the mouth
  Oval_Face     long face that tapers to the chin; without it a shorter, squarer one
  Heavy_Makeup  eye shadow, lashes, foundation and blusher (lips belong to Wearing_Lipstick)
  hair          straight or wavy hair falls past the ears, with neither label it is cropped; with none of the
                four colours it is copper, wine red, violet or teal
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
_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV
_PARTS = (
    "pose shape skin background body hair eyes brows nose mouth beard marks glasses hat necklace earrings "
    "occluder light"
).split()
_GRAIN = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)  # for stubble and cropped hair
_GRAIN = cv2.normalize(cv2.GaussianBlur(_GRAIN, (0, 0), 0.9), None, 0, 255, cv2.NORM_MINMAX)


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
FRAMES = rgb(24, 22, 26), rgb(70, 40, 24), rgb(150, 24, 36), GOLD * 0.8, rgb(40, 52, 96)
IRISES = rgb(74, 48, 32), rgb(60, 96, 140), rgb(66, 112, 78), rgb(110, 84, 50)
SHADOWS = rgb(118, 64, 150), rgb(44, 92, 178), rgb(30, 130, 120), rgb(186, 84, 40), rgb(190, 60, 120)
LIPSTICKS = rgb(190, 20, 44), rgb(146, 16, 66), rgb(222, 44, 110), rgb(204, 52, 30)


def plain(colour, height, width):
    """A picture of one colour (OpenCV fills it much faster than NumPy does)."""
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
    """The points of a part on the right of the axis, and their mirror images."""
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
        """Points (..., 2) in pixels of the final image."""
        points = np.array(points, np.float64)
        points[..., 0] += self.yaw * np.maximum(0, 1 - (points[..., 0] / 55) ** 2)
        return (points - (0, EYE_Y)) @ self.turn.T + (CENTRE, EYE_Y) + self.shift

    def fixed(self, points, scale=SCALE):
        """Points in the fixed-point coordinates OpenCV takes, on a grid `scale` times the final image."""
        # The half-pixel terms: the centre of pixel 0 is coordinate 0 for OpenCV, here it is 0.5.
        return np.round((self.posed(points) + 0.5) * (scale * 2**_SHIFT) - 2 ** (_SHIFT - 1)).astype(np.int32)

    def blank(self):
        return np.zeros(self.image.shape[:2], np.uint8)

    def area(self, *outlines):
        """Antialiased mask of the union of closed outlines."""
        mask = self.blank()
        for outline in outlines:
            cv2.fillPoly(mask, [self.fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
        return mask

    def lines(self, lines, width, closed=False):
        """Antialiased mask of open (or closed) lines of a width in pixels of the final image."""
        mask = self.blank()
        lines = [self.fixed(line) for line in lines]
        cv2.polylines(mask, lines, closed, 255, max(1, round(width * SCALE)), cv2.LINE_AA, _SHIFT)
        return mask

    def soft(self, sigma, *outlines):
        """Mask of the union of outlines, blurred by sigma pixels of the final image."""
        mask = self.blank()
        coarse = mask[::COARSE, ::COARSE].copy()
        for outline in outlines:
            cv2.fillPoly(coarse, [self.fixed(outline, SCALE / COARSE)], 255, cv2.LINE_AA, _SHIFT)
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
        """Lays a colour (3 numbers), or another canvas-sized picture, over the image where the mask is."""
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
        """Notes the bounding box of a mask, in pixels of the final image, for the names that are present."""
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
        # Regular features are the drawable rule for Attractive; the sign says to which side the others lean.
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
        """A part drawn about the right eye, its outer side at positive x, placed at both eyes."""
        return [np.asarray(points) * (side, 1) + self.eye(side) for side in (-1, 1)]


def draw_background(face, rng):
    """A blurred backdrop: a gradient between two colours with a few blobs."""
    colours = rng.uniform(15, 245, (5, 3))
    colours = mix(colours, colours.mean(axis=1, keepdims=True), rng.uniform(0.2, 0.9))
    across, down = rng.uniform(-1, 1, 2)
    slope = np.add.outer(np.linspace(-down, down, 28), np.linspace(-across, across, 23))
    small = mix(colours[0], colours[1], np.clip(0.5 + slope, 0, 1)[..., None]).astype(np.float32)
    for colour, (x, y, size) in zip(colours[2:], rng.uniform((-3, -3, 2), (26, 30, 8), (3, 3))):
        cv2.circle(small, (round(x), round(y)), round(size), colour.tolist(), -1)
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.6, 3))
    small += rng.normal(0, rng.uniform(0, 5), small.shape)
    size = face.image.shape[1::-1]
    face.image = cv2.resize(np.clip(small, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)


def skin_colour(face, rng):
    """Base colour of the skin; the palest tone is kept for Pale_Skin."""
    tone = rng.beta(1.1, 1.6) * (len(SKIN_TONES) - 1)
    tint = rng.uniform(-4, 4, 3)
    low = min(int(tone), len(SKIN_TONES) - 2)
    base = PALE if face["Pale_Skin"] else mix(SKIN_TONES[low], SKIN_TONES[low + 1], tone - low)
    return np.clip(base + tint * (0.3 if face["Pale_Skin"] else 1), 0, 255)


def hair_colour(face, rng):
    """Base colour of the hair: the natural one a label names, otherwise copper, wine, violet or teal."""
    tint, other = rng.uniform(0.94, 1.06, 3) * rng.uniform(0.88, 1.08), OTHER_HAIR[rng.integers(4)]
    if face["Gray_Hair"]:
        tint = tint.mean()
    named = [HAIR[name] for name in HAIR if face[name]]
    return np.clip((named[0] if named else other) * tint, 0, 255)


def draw_body(face, shape, skin, rng):
    """Neck, shoulders, clothes and, if asked for, the necktie; returns the mask of neck and shoulders."""
    cloth, tie = (BRIGHT[i] * rng.uniform(0.75, 1) for i in rng.permutation(len(BRIGHT))[:2])
    spread = rng.uniform(-3, 3)
    male, neck = face["Male"], shape.neck
    slope, end = (202 if male else 211), 112 + spread
    base, bulk = (neck + 14, slope), (4 if male else 1)
    side = bend((neck, 150), (neck, 188), (neck + bulk, 198), base, (end, slope + 12))
    neck_mask = face.area(mirrored(np.concatenate((side, [(end, 250)]))))
    face.paint(neck_mask, deeper(skin, 0.97))
    face.paint(face.soft(3, shape.outline * (0.92, 1) + (0, 7)) & neck_mask, deeper(skin, 0.6), 0.75)
    if male:  # Adam's apple
        face.paint(face.soft(1.8, ellipse(2, 196, 5, 4)), deeper(skin, 0.65), 0.6)
        face.paint(face.soft(1.2, ellipse(-1, 191, 2, 3)), mix(skin, WHITE, 0.15), 0.5)
    low = 206 if face["Wearing_Necktie"] else 213 + spread
    inner = bend((0, low), (0.62 * neck, slope + 0.6 * (low - slope)), (neck + 5, slope - 3))
    cut = np.concatenate((inner, [(neck + 16, slope), (end, slope + 12), (end, 250)]))
    face.paint(face.area(mirrored(cut)), cloth)
    face.paint(face.lines(pair(inner), 1.4), cloth * 0.6)
    if face["Wearing_Necktie"]:
        draw_necktie(face, tie)
    return neck_mask


def draw_necktie(face, colour):
    """A white collar with a knotted tie."""
    collar = pair([(3, 207), (24, 198), (30, 212), (12, 222)])
    mask = face.paint(face.area(*collar), WHITE)
    face.paint(face.lines(collar, 0.8, closed=True), rgb(150, 150, 160), 0.7)
    tie = [mirrored([(7, 203), (4, 211)]), mirrored([(4, 211), (11, 240)])]
    tie_mask = face.paint(face.area(*tie), colour)
    stripes = face.lines([[(-14, y + 6), (14, y - 3)] for y in (208, 214, 220)], 1.6)
    face.paint(stripes & tie_mask, mix(colour, WHITE, 0.7))
    face.paint(face.lines(tie, 0.7, closed=True), colour * 0.5)
    face.place(mask | tie_mask, "Wearing_Necktie")


def draw_head(face, shape, skin):
    """Ears and the shaded oval of the face; returns the mask of the oval."""
    face.paint(face.area(*pair(ellipse(shape.cheek + 2.5, 118, 7, 14))), deeper(skin, 0.95))
    inside = pair(ellipse(shape.cheek + 3.5, 117, 3.5, 8))
    face.paint(face.lines(inside, 1.2, closed=True), deeper(skin, 0.7), 0.7)
    mask = face.area(shape.outline)
    face.paint(mask, deeper(skin, 0.9))
    face.paint(face.soft(9, shape.outline * (0.8, 1) - (0, 3)) & mask, skin)
    light = mix(skin, WHITE, 0.28)
    face.paint(face.soft(7, ellipse(0, 82, 22, 9)) & mask, light, 0.55)
    face.paint(face.soft(5, ellipse(0, shape.bottom - 8, 8, 4)) & mask, light, 0.45)
    face.place(mask, "Attractive", "Young", "Oval_Face", "Chubby", "Pale_Skin", "Heavy_Makeup")
    return mask


def draw_cheeks(face, shape, skin, mask):
    """Foundation and blusher, rosy cheeks, chubby cheeks, cheekbones."""
    light = mix(skin, WHITE, 0.4)
    if face["Heavy_Makeup"]:
        foundation = face.soft(8, shape.outline * (0.86, 0.94) + (0, 6))
        face.paint(foundation & mask, mix(skin, rgb(255, 190, 160), 0.5), 0.4)
        blusher = pair(smooth([(26, 137), (36, 131), (44, 121), (39, 135)]))
        face.paint(face.soft(2.5, *blusher) & mask, rgb(206, 74, 96), 0.5)
    if face["Rosy_Cheeks"]:
        cheeks = pair(ellipse(29, 136, 9.5, 8))
        face.paint(face.soft(2.8, *cheeks) & mask, rgb(238, 84, 98), 0.62)
        face.place(face.area(*pair(ellipse(29, 136, 11, 9.5))) & mask, "Rosy_Cheeks")
    if face["Chubby"]:
        face.paint(face.soft(4, *pair(ellipse(34, 143, 8, 9))) & mask, light, 0.5)
        folds = pair(bend((25, 143), (33, 152), (31, 163)))
        face.paint(face.lines(folds, 1.8) & mask, deeper(skin, 0.62), 0.6)
    if face["High_Cheekbones"]:
        bones = pair(smooth([(24, 131), (33, 126), (41, 118), (36, 129)]))
        hollows = pair(smooth([(24, 142), (34, 136), (42, 127), (36, 144)]))
        face.paint(face.soft(2.2, *bones) & mask, light, 0.85)
        face.paint(face.soft(2.2, *hollows) & mask, deeper(skin, 0.56), 0.75)
        face.place(face.area(*bones, *hollows) & mask, "High_Cheekbones")


def draw_marks(face, shape, skin, mask, rng):
    """Spots and moles (where Attractive is absent), bags under the eyes, a double chin, wrinkles."""
    spots, sizes = rng.uniform((-36, 88), (36, 168), (9, 2)), rng.uniform(1.2, 2.3, 9)
    if face["Bags_Under_Eyes"]:
        bags = shape.at_eyes(ellipse(0, 8.5, 9, 3.4))
        face.paint(face.soft(0.9, *bags), mix(deeper(skin, 0.55), rgb(84, 60, 110), 0.3), 0.75)
        face.place(face.area(*bags), "Bags_Under_Eyes")
    if face["Double_Chin"]:
        wide, low = shape.chin + 4, shape.bottom
        half = np.array([(0, low + 9), (0.6 * wide, low + 5), (wide, low - 6)])
        fold = bend(*(half[:0:-1] * (-1, 1)), *half)
        chin = bend((-0.7 * wide, low - 3), (0, low + 1), (0.7 * wide, low - 3))
        fold_mask = face.paint(face.area(fold) & ~mask, skin)
        edge_mask = face.paint(face.lines([fold, chin], 1.5), deeper(skin, 0.6), 0.85)
        face.place(fold_mask | edge_mask, "Double_Chin")
    if not face["Attractive"]:
        red = [ellipse(x, y, size, size, 12) for (x, y), size in zip(spots[:6], sizes)]
        halos = [ellipse(x, y, 3, 3, 12) for x, y in spots[:6]]
        face.paint(face.soft(0.5, *halos) & mask, rgb(196, 70, 62), 0.4)
        face.paint(face.area(*red) & mask, rgb(166, 44, 42), 0.75)
        moles = [ellipse(x, y, 1.3, 1.3, 12) for x, y in spots[6:]]
        face.paint(face.area(*moles) & mask, rgb(62, 36, 30), 0.9)
    if not face["Young"]:
        draw_wrinkles(face, shape, skin, mask)


def draw_wrinkles(face, shape, skin, mask):
    """Lines on the forehead, beside the eyes and the mouth, each with a lit lower edge."""
    forehead = bend((-24, 1.5), (-11, -1), (0, 0.8), (12, -1), (24, 1.5))
    lines = [forehead + (0, y) for y in (78, 83.5, 89)]
    lines += pair(bend((12, 137), (20, 144), (24, 153), (23, 160)))
    for y in (-2.5, 1, 4):
        lines += shape.at_eyes([(12.5, y), (20, 2.4 * y)])
    face.paint(face.lines([line + (0, 1.2) for line in lines], 1) & mask, mix(skin, WHITE, 0.4), 0.5)
    face.paint(face.lines(lines, 1.1) & mask, deeper(skin, 0.52), 0.8)


def draw_eyes(face, shape, skin, rng):
    """Eyes with lids and catch-lights, and the eye make-up; narrow ones open half as far."""
    iris, shadow = IRISES[rng.integers(len(IRISES))], SHADOWS[rng.integers(len(SHADOWS))]
    gaze, wide, high = rng.uniform((-1.6, 9, 4.6), (1.6, 10.2, 5.4))
    if face["Narrow_Eyes"]:
        high = 2.1
    upper = bend((-wide, 1), (-4, -high), (4, -high), (wide, 1))
    lids, made_up = shape.at_eyes(upper), face["Heavy_Makeup"]
    whites = shape.at_eyes(np.concatenate((upper, bend((wide, 1), (0, high), (-wide, 1)))))
    face.paint(face.soft(3, *shape.at_eyes(ellipse(0, 0, 13, 8))), deeper(skin, 0.8), 0.5)
    if made_up:
        shade = smooth([(-10, 0), (-3, -high - 5.5), (8, -high - 6.5), (14, -4), (9, 1)])
        face.paint(face.soft(0.9, *shape.at_eyes(shade)), shadow, 0.85)
    white_mask = face.paint(face.area(*whites), rgb(246, 243, 240))
    # Both eyes look the same way: what lies in the iris is shifted, not mirrored.
    for x, y, radius, colour in (
        (0, -0.3, 4.5, iris * 0.55),
        (0, -0.2, 3.7, iris),
        (0, -0.3, 2.1, rgb(14, 12, 14)),
        (-1.4, -1.8, 1.1, WHITE),
    ):
        discs = [ellipse(x + gaze, y, radius, radius, 20) + shape.eye(side) for side in (-1, 1)]
        face.paint(face.area(*discs) & white_mask, colour)
    lid_mask = face.lines(lids, 2.2 if made_up else 1.2)
    face.paint(lid_mask, rgb(20, 15, 17) if made_up else deeper(skin, 0.32))
    if made_up:
        lashes = [[(x, y - 0.7 * high), (x + 4, y - high - 3.5)] for x, y in ((4, 0), (7, 1), (9.5, 3.5))]
        lashes = [lash for line in lashes for lash in shape.at_eyes(line)]
        face.paint(face.lines(lashes, 1.0), rgb(16, 12, 14))
    face.place(white_mask | lid_mask, "Narrow_Eyes")


def draw_brows(face, shape, colour, rng):
    """Eyebrows: flat or arched, thin or bushy."""
    lift, length = rng.uniform(-1, 1, 2)
    along, across = rng.uniform((9, -2.5), (29, 2.5), (2, 22, 2)).transpose(2, 0, 1)
    arch, thick = (6.5 if face["Arched_Eyebrows"] else 0.8), (3.9 if face["Bushy_Eyebrows"] else 1.35)
    middle = np.array([(9.5, 0), (17, -0.7 * arch), (24, -arch), (31.5 + length, 0.5)]) + (0, 98 + lift)
    edge = np.array([(0, thick), (0, thick), (0, 0.8 * thick), (0, 0.15 * thick)])
    brow = smooth(np.concatenate((middle - edge, (middle + edge)[::-1])), steps=4)
    brows, hairs = [], []
    for index, side in enumerate((-1, 1)):
        place = (0, 2.2 * shape.lean * side)
        brows.append(brow * (side, 1) + place)
        roots = np.column_stack((along[index], across[index] + np.interp(along[index], *middle.T)))
        hairs += [np.array([root, root + (2.6, -3.6)]) * (side, 1) + place for root in roots]
    mask = face.paint(face.area(*brows), colour, 0.92)
    if face["Bushy_Eyebrows"]:
        mask = mask | face.paint(face.lines(hairs, 0.6), colour * 0.8, 0.9)
    face.place(mask, "Bushy_Eyebrows", "Arched_Eyebrows")


def draw_nose(face, shape, skin, rng):
    """The nose: broad or not, with a round tip or a pointed one; returns the position of its tip."""
    wide = (13.5 if face["Big_Nose"] else 8) * (0.85 if face["Pointy_Nose"] else 1) + rng.uniform(-0.5, 0.5)
    y, lean = NOSE_Y + 2 * face["Big_Nose"], (2.2 * shape.lean, 0)
    body = smooth(mirrored([(3.5, 112), (0.6 * wide, y - 6), (wide, y + 3), (0, y + 7)])) + lean
    ridge = mirrored([(2, 108), (3.2, y)]) + lean
    face.paint(face.soft(2, body + (1.5, 1)), deeper(skin, 0.68), 0.45)
    face.paint(face.soft(1.5, ridge), mix(skin, WHITE, 0.42), 0.7)
    if face["Pointy_Nose"]:
        side = np.array([(0, y + 9), (0.45 * wide, y + 3), (wide, y + 1)])
    else:
        side = bend((0, y + 6), (0.5 * wide, y + 4), (wide, y + 3.5), (wide, y - 3))
    tip_mask = face.paint(face.lines([line + lean for line in pair(side)], 1.3), deeper(skin, 0.5), 0.85)
    holes = [hole + lean for hole in pair(ellipse(0.48 * wide, y + 3, 0.24 * wide, 1.5, 14))]
    face.paint(face.area(*holes), deeper(skin, 0.28), 0.85)
    face.paint(face.soft(1, ellipse(-0.5, y - 1, 0.3 * wide, 2.6) + lean), mix(skin, WHITE, 0.42), 0.8)
    face.place(face.area(body) | tip_mask, "Big_Nose", "Pointy_Nose")
    return lean[0], y


def draw_mouth(face, shape, skin, rng):
    """Lips, teeth and corners of the mouth; returns its two corners."""
    stick = LIPSTICKS[rng.integers(len(LIPSTICKS))]
    half, gap, thick = rng.uniform((15.5, 6.5, 0.9), (17.5, 9, 1.1))
    smiling, wide = face["Smiling"], face["Mouth_Slightly_Open"]
    half += 4.5 * smiling
    thick *= 2 if face["Big_Lips"] else 1
    t = np.linspace(-1, 1, 17)
    x, bulge = half * t + 0.8 * shape.lean, np.sqrt(1 - t**2)
    line = MOUTH_Y - 1 + 2.2 * shape.lean * t + (3.0 - 9.5 * t**2 if smiling else 1.6 * t**2)
    low = line + gap * wide * bulge**1.5
    top = line - 2.7 * thick * bulge * (1 - 0.35 * np.exp(-((t / 0.2) ** 2)))
    bottom = low + 3.6 * thick * bulge

    def between(above, below):
        return np.concatenate((np.column_stack((x, above)), np.column_stack((x, below))[::-1]))

    lip = stick if face["Wearing_Lipstick"] else mix(deeper(skin, 0.9), rgb(170, 84, 80), 0.42)
    lips = face.paint(face.area(between(top, bottom)), lip)
    gloss = ellipse(0, low[8] + 1.9 * thick, 0.38 * half, 0.9 * thick)
    face.paint(face.soft(0.7, gloss) & lips, mix(lip, WHITE, 0.5), 0.6)
    if wide:
        face.paint(face.area(between(line, low)), rgb(64, 16, 22))
        face.paint(face.area(between(line + 0.3, line + 0.55 * (low - line))), rgb(248, 246, 240))
    mouth = lips | face.paint(face.lines([np.column_stack((x, line))], 1.0), deeper(lip, 0.5), 0.9)
    if smiling:
        corner = line.min()
        dimples = pair(bend((half + 2, corner - 5), (half + 5.5, corner + 1), (half + 3, corner + 7)))
        mouth = mouth | face.paint(face.lines(dimples, 1.3), deeper(skin, 0.6), 0.75)
    face.place(mouth, "Smiling")
    face.place(lips, "Mouth_Slightly_Open", "Wearing_Lipstick", "Big_Lips")
    return (x[0], line[0]), (x[-1], line[-1])


def short_hair(face, colour, corner, strength=0.55):
    """A canvas-sized picture of short hair, the colour with grain, for painting through a mask."""
    height, width = face.image.shape[:2]
    grain = _GRAIN[corner[0] : corner[0] + height, corner[1] : corner[1] + width]
    dark, light = deeper(colour, 1 - 0.7 * strength), mix(colour, WHITE, 0.22 * strength)
    tones = mix(dark, light, np.linspace(-0.2, 1.2, 256)[:, None])
    table = np.clip(tones, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    return cv2.LUT(cv2.merge((grain, grain, grain)), table)


def draw_beard(face, shape, colour, mask, rng):
    """Stubble, goatee, moustache and sideburns, under the mouth and over the skin."""
    low, edge, corners = shape.bottom, shape.cheek, rng.integers(0, 64, (4, 2))
    if face["5_o_Clock_Shadow"]:
        shadow = face.soft(2.5, mirrored([(17, 141), (24, 148), (60, 143), (60, 200)])) & mask
        face.paint(shadow, short_hair(face, rgb(84, 84, 94), corners[0], 0.9), 0.5)
        face.place(shadow, "5_o_Clock_Shadow")
    if face["Goatee"]:
        side = [(5, 160), (9, 165), (15, 168), (15, low - 3), (9, low + 3), (0, low + 4)]
        goatee = face.area(smooth(mirrored(side), steps=4))
        face.place(face.paint(goatee, short_hair(face, colour, corners[1])), "Goatee")
    if face["Mustache"]:
        side = [(0, 142), (9, 142.5), (17, 147), (21, 152), (14, 151), (6, 148.5), (0, 147.5)]
        mustache = face.area(smooth(mirrored(side), steps=4))
        face.place(face.paint(mustache, short_hair(face, colour, corners[2])), "Mustache")
    if face["Sideburns"]:
        strip = np.array([(1, 98), (1, 130), (-3, 145), (-9, 142), (-8, 120), (-7, 98)]) + (edge, 0)
        sideburns = face.area(*pair(strip)) & mask
        face.place(face.paint(sideburns, short_hair(face, colour, corners[3])), "Sideburns")


class Hair:
    """Shape of the hair: straight or wavy it falls past the ears, with neither label it is cropped short."""

    def __init__(self, face, shape, colour, rng):
        self.face, self.colour, self.cheek = face, colour, shape.cheek
        self.falls = face["Straight_Hair"] or face["Wavy_Hair"]
        volume, length, spread, part, self.phase, height = rng.uniform(0, 1, 6)
        offsets, self.corner = rng.uniform(-1, 1, (64, 1)), rng.integers(0, 64, 2)
        self.half = shape.cheek + (8 + 3 * volume if self.falls else 3 + 1.5 * volume)
        self.top = shape.top - (8 + 3 * volume if self.falls else 4 + 2 * volume)
        self.end = 145 + 62 * length if self.falls else 106
        self.spread = 3 + 9 * spread if self.falls else 0
        self.wave = 3.6 if face["Wavy_Hair"] else 0.0
        self.line = 66 + 5 * height
        self.strands = self.falls and self.comb(offsets, 30 * (part - 0.5))

    def ripple(self, y):
        """Sideways swing of wavy hair at heights y."""
        return self.wave * np.clip((y - 62) / 20, 0, 1) * np.sin(2 * np.pi * (y / 19 + self.phase))

    def outer(self, y):
        """Half width of the hair at heights y, without its waves."""
        dome = self.half * np.sqrt(np.maximum(0, 1 - np.maximum(0, (78 - y) / (78 - self.top)) ** 2))
        return dome + self.spread * np.clip((y - 78) / 90, 0, 1)

    def comb(self, offsets, part):
        """The course of strands of hair from the parting down, as OpenCV takes it."""
        y = np.linspace(self.top - 2, self.end, 48)
        fall = np.clip((y - self.top) / (86 - self.top), 0, 1) ** 0.55
        x = part * (1 - fall) + offsets * (8 + fall * (np.maximum(self.outer(y), 8) - 8))
        x = x + self.ripple(y) * np.sign(offsets)
        return self.face.fixed(np.stack((x, np.broadcast_to(y, x.shape)), axis=-1))

    def fringe(self):
        """The hairline from the left temple to the right one."""
        side = self.cheek - (3 if self.falls else 6)
        if self.face["Bangs"]:
            x = np.linspace(2 - side, side - 2, 15)
            tips = np.column_stack((x, 90 + 2.2 * (np.arange(15) % 2)))
            return np.concatenate(([(-side, 104)], tips, [(side, 104)]))
        if self.face["Receding_Hairline"]:
            half = [(0, self.line - 7), (9, self.line - 8), (20, 48), (30, 50), (side + 1, 80), (side, 104)]
        else:
            half = [(0, self.line + 1), (14, self.line), (31, self.line + 4), (side - 1, 86), (side, 104)]
        half = bend(*half)
        return np.concatenate((half[::-1] * (-1, 1), half))

    def draw_back(self):
        """What hangs behind the neck; returns its mask."""
        if not self.falls:
            return self.face.blank()
        y = np.linspace(self.top, self.end, 40)
        return self.fill(self.face.area(mirrored(np.column_stack((self.outer(y) + self.ripple(y), y)))), 0.72)

    def draw_front(self):
        """The cap on the skull and the locks beside the face; returns their mask."""
        y = np.linspace(self.top, 106, 26)
        side = np.column_stack((self.outer(y) + self.ripple(y), y))
        outlines = [np.concatenate((side[::-1] * (-1, 1), side, self.fringe()[::-1]))]
        if self.falls:
            y = np.linspace(84, self.end, 36)
            inner, outer = self.cheek - 1.5 + 0.5 * self.ripple(y), self.outer(y) + self.ripple(y)
            outlines += pair(np.concatenate((np.column_stack((outer, y)), np.column_stack((inner, y))[::-1])))
        return self.fill(self.face.area(*outlines), 1.0)

    def fill(self, mask, brightness):
        """Fills a mask with hair: strands where it falls, grain where it is cropped."""
        colour = self.colour * brightness
        if not self.falls:
            return self.face.paint(mask, short_hair(self.face, colour, self.corner, 0.7))
        picture = plain(colour, *mask.shape)
        tones = deeper(colour, 0.78), mix(colour, WHITE, 0.08), deeper(colour, 0.62), mix(colour, WHITE, 0.2)
        for tone, strands in zip(tones, np.split(self.strands, 4)):
            cv2.polylines(picture, list(strands), False, tone.tolist(), 2, cv2.LINE_8, _SHIFT)
        self.face.paint(mask, picture)
        shine = self.face.soft(5, ellipse(-16, 54, 20, 6), ellipse(20, 56, 12, 5)) & mask
        self.face.paint(shine, mix(colour, WHITE, 0.5), 0.35)
        return mask


def draw_glasses(face, shape, rng):
    """Spectacles: two rims, a bridge, the sides, and a glint on either lens."""
    colour = FRAMES[rng.integers(len(FRAMES))]
    width, height, corner, thick = rng.uniform((14, 10.5, 2, 1.8), (16, 13, 4, 3))
    if not face["Eyeglasses"]:
        return
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
    """A knitted hat, a brimmed hat or a cap; the hair beside the face stays in sight. Returns its mask."""
    kind, (colour, band) = rng.integers(3), (BRIGHT[i] for i in rng.permutation(len(BRIGHT))[:2])
    half, top = shape.cheek + 11, rng.uniform(10, 16)
    if not face["Wearing_Hat"]:
        return face.blank()
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
        trim = rectangle(-half - 1, 62, half + 1, 77)
    elif kind == 1:
        face.paint(face.area(rectangle(-70, 56, 70, 67)) & crown, band)
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
    if not face["Wearing_Necklace"]:
        return
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
    if not face["Wearing_Earrings"]:
        return
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


# What must stay in sight for the labels to be decidable: x1, y1, x2, y2 in pixels of the image.
_KEEP_VISIBLE = np.array(
    [
        *(
            (54, 90, 86, 122),
            (91, 90, 123, 122),
            (70, 124, 107, 144),
            (66, 142, 111, 166),
            (70, 162, 107, 186),
        ),
        *(
            (55, 62, 122, 92),
            (28, 70, 44, 120),
            (133, 70, 149, 120),
            (28, 125, 46, 152),
            (131, 125, 149, 152),
        ),
        *((55, 186, 122, 218), (60, 25, 117, 60)),
    ]
)


def draw_occluder(image, rng):
    """Lays a bar, a ball or a hand over a few percent of the images, where it hides no feature altogether."""
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


def photograph(face, rng):
    """The final image (218, 178, 3): reduced, lit from one side, blurred if Blurry, with sensor noise."""
    image = cv2.resize(face.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    across, down = rng.uniform(-0.16, 0.16, 2)
    gain, contrast, warmth = rng.uniform((0.84, 0.88, -0.03), (1.1, 1.1, 0.03))
    blur, grain = rng.uniform((2.2, 0.8), (3.0, 4))
    light = 1 + np.add.outer(np.linspace(-down, down, HEIGHT), np.linspace(-across, across, WIDTH))
    light = (gain * contrast * light).astype(np.float32)[..., None]
    image = image * (light * np.array((1 - warmth, 1, 1 + warmth), np.float32))
    if face["Blurry"]:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32)
    image += noise * np.float32(grain) + np.float32(120 * (1 - contrast) + 0.5)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)


def draw(labels, rng):
    """Draws one face.

    labels: dict of all forty names to bool, free of contradictions. rng: numpy Generator.
    Returns image (218, 178, 3) uint8 BGR; boxes {attribute: (x1, y1, x2, y2)} in pixels, half-open, for the
    present attributes that have a place; landmarks (5, 2) float: left eye, right eye, nose, left and right
    corner of the mouth.
    """
    stream = dict(zip(_PARTS, rng.spawn(len(_PARTS))))
    face = Canvas(labels, stream["pose"])
    shape = Shape(face, stream["shape"])
    skin, colour = skin_colour(face, stream["skin"]), hair_colour(face, stream["skin"])
    dark_hair = mix(colour * 0.5, rgb(34, 26, 24), 0.55)
    hair = Hair(face, shape, colour, stream["hair"])
    draw_background(face, stream["background"])
    back = front = face.blank()
    if not face["Bald"]:
        back = hair.draw_back()
    neck = draw_body(face, shape, skin, stream["body"])
    oval = draw_head(face, shape, skin)
    face.place(oval | neck & face.area(rectangle(-99, 150, 99, 204)), "Male")
    draw_cheeks(face, shape, skin, oval)
    draw_marks(face, shape, skin, oval, stream["marks"])
    nose = draw_nose(face, shape, skin, stream["nose"])
    draw_beard(face, shape, dark_hair, oval, stream["beard"])
    corners = draw_mouth(face, shape, skin, stream["mouth"])
    draw_eyes(face, shape, skin, stream["eyes"])
    draw_brows(face, shape, dark_hair, stream["brows"])
    scalp = oval & face.area(rectangle(-99, 0, 99, 84))
    if face["Bald"]:
        face.paint(face.soft(3, ellipse(-10, 56, 14, 6)), mix(skin, WHITE, 0.6), 0.7)
        face.place(scalp, "Bald")
    else:
        front = hair.draw_front()
    draw_glasses(face, shape, stream["glasses"])
    uncovered = ~draw_hat(face, shape, stream["hat"])
    forehead = face.area(rectangle(-34, 40, 34, 94)) & uncovered
    face.place((back & ~(oval | neck) | front) & uncovered, *HAIR, "Straight_Hair", "Wavy_Hair")
    face.place(front & forehead, "Bangs")
    face.place(scalp & forehead & ~front, "Receding_Hairline")
    draw_necklace(face, shape, stream["necklace"])
    draw_earrings(face, shape, stream["earrings"])
    draw_occluder(face.image, stream["occluder"])
    landmarks = face.posed([shape.eye(-1), shape.eye(1), nose, *corners])
    return photograph(face, stream["light"]), face.boxes, landmarks
