"""Drawing of one synthetic face: labels in, picture, boxes and landmarks out.

Geometry is written in pixels of the final 178x218 image for an upright, frontal face whose eyes stand where CelebA's
alignment puts them. `Canvas` carries it through the pose (yaw, rotation, scale, shift) onto a canvas twice as large.
Every part has a random stream of its own, so a label switched on or off changes no draw of another part.
"""

import cv2
import numpy as np

WIDTH, HEIGHT = 178, 218
SCALE = 2  # the canvas is this many times larger than the image
COARSE = 4  # soft masks are blurred on a grid this many times coarser than the canvas
CENTRE = 88.5  # x of the axis of the face
EYE_Y, NOSE_Y, MOUTH_Y = 111.0, 135.0, 152.0
EYE_X = 19.5  # distance of either eye from the axis
HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
_SHIFT = 4  # fractional bits of the coordinates handed to OpenCV
_PARTS = "pose shape skin background body hair eyes brows nose mouth beard marks glasses hat jewels light occluder"
_GRAIN = np.random.default_rng(0).integers(0, 256, (1024, 1024), np.uint8)  # stubble and cropped hair
_GRAIN = cv2.normalize(cv2.GaussianBlur(_GRAIN, (0, 0), 0.9), None, 0, 255, cv2.NORM_MINMAX)


def rgb(red, green, blue):
    """A colour given as red, green, blue, in OpenCV's order blue, green, red (float array of 3)."""
    return np.array((blue, green, red), np.float64)


def mix(first, second, share):
    """The colour that lies `share` of the way from the first colour to the second."""
    return first + (second - first) * share


SKIN_TONES = np.array(
    [rgb(238, 203, 176), rgb(226, 178, 143), rgb(201, 148, 110), rgb(158, 107, 76), rgb(104, 70, 53)]
)
PALE = rgb(249, 240, 236)
HAIR = {
    "Black_Hair": rgb(30, 27, 30),
    "Blond_Hair": rgb(228, 193, 118),
    "Brown_Hair": rgb(104, 67, 41),
    "Gray_Hair": rgb(172, 172, 176),
}
OTHER_HAIR = (rgb(214, 88, 28), rgb(136, 22, 52), rgb(120, 66, 156), rgb(26, 122, 128))
BRIGHT = (
    rgb(200, 44, 52), rgb(36, 92, 168), rgb(40, 130, 84), rgb(232, 178, 48), rgb(122, 70, 148), rgb(226, 116, 52),
    rgb(60, 66, 84), rgb(232, 228, 218), rgb(46, 150, 160), rgb(214, 120, 150),
)  # fmt: skip
GOLD, SILVER, WHITE = rgb(232, 186, 70), rgb(214, 220, 228), rgb(252, 250, 246)


def ellipse(x, y, half_width, half_height, count=28):
    """Points (count, 2) of an ellipse; x is measured from the axis of the face."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack((x + half_width * np.cos(angle), y + half_height * np.sin(angle)))


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


def mirrored(points):
    """The closed outline (2n, 2) made of a right-hand side, top to bottom, and its mirror image."""
    points = np.asarray(points, np.float64)
    return np.concatenate((points, points[::-1] * (-1, 1)))


class Canvas:
    """The picture being drawn, with its pose, its labels and the boxes noted so far.

    Points are (n, 2) arrays with x measured from the axis of the face. Masks are uint8 (436, 356), 255 inside.
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
        """Points in pixels of the final image."""
        points = np.array(points, np.float64)
        points[:, 0] += self.yaw * np.maximum(0, 1 - (points[:, 0] / 55) ** 2)
        return (points - (0, EYE_Y)) @ self.turn.T + (CENTRE, EYE_Y) + self.shift

    def _fixed(self, points, scale):
        # The half-pixel terms: the centre of pixel 0 is coordinate 0 for OpenCV, here it is 0.5.
        return np.round((self.posed(points) + 0.5) * (scale * 2**_SHIFT) - 2 ** (_SHIFT - 1)).astype(np.int32)

    def blank(self):
        return np.zeros(self.image.shape[:2], np.uint8)

    def area(self, *outlines):
        """Antialiased mask of the union of closed outlines."""
        mask = self.blank()
        for outline in outlines:
            cv2.fillPoly(mask, [self._fixed(outline, SCALE)], 255, cv2.LINE_AA, _SHIFT)
        return mask

    def lines(self, lines, width, closed=False):
        """Antialiased mask of open (or closed) lines of a width in pixels of the final image."""
        mask = self.blank()
        lines = [self._fixed(line, SCALE) for line in lines]
        cv2.polylines(mask, lines, closed, 255, max(1, round(width * SCALE)), cv2.LINE_AA, _SHIFT)
        return mask

    def soft(self, sigma, *outlines):
        """Mask of the union of outlines, blurred by sigma pixels of the final image."""
        height, width = self.image.shape[:2]
        mask = np.zeros((-(-height // COARSE), -(-width // COARSE)), np.uint8)
        for outline in outlines:
            cv2.fillPoly(mask, [self._fixed(outline, SCALE / COARSE)], 255, cv2.LINE_AA, _SHIFT)
        mask = cv2.GaussianBlur(mask, (0, 0), max(0.4, sigma * SCALE / COARSE))
        return cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)

    def paint(self, mask, colour, opacity=1.0):
        """Lays a colour (3 numbers), or another canvas-sized picture, over the image where the mask is."""
        x, y, width, height = cv2.boundingRect(mask)
        if not width:
            return mask
        window = np.s_[y : y + height, x : x + width]
        below = self.image[window]
        if np.ndim(colour) == 1:
            above = np.empty_like(below)
            above[:] = np.clip(colour, 0, 255)
        else:
            above = colour[window]
        weight = mask[window].astype(np.float32) * np.float32(opacity / 255)
        self.image[window] = cv2.blendLinear(above, below, weight, 1 - weight)
        return mask

    def place(self, mask, *names):
        """Notes the bounding box of a mask, in pixels of the final image, for those names that are present."""
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
        self.cheek, self.jaw, self.chin, self.bottom = 48.5, 44.0, 27.0, 176.5
        if face["Oval_Face"]:
            self.cheek, self.jaw, self.chin, self.bottom = 44.5, 35.5, 19.5, 183.0
        if face["Chubby"]:
            self.cheek, self.jaw, self.chin, self.bottom = 52.0, 50.5, 34.0, 179.5
        self.jaw += 1.5 * face["Male"]
        self.chin += 4 * face["Male"]
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


def draw_background(face, rng):
    """A blurred backdrop: a gradient between two colours with a few blobs."""
    colours = rng.uniform(20, 245, (5, 3))
    small = np.empty((28, 23, 3), np.float32)
    slope = np.add.outer(np.linspace(-1, 1, 28) * rng.uniform(-1, 1), np.linspace(-1, 1, 23) * rng.uniform(-1, 1))
    small[:] = mix(colours[0], colours[1], np.clip(0.5 + slope, 0, 1)[..., None])
    for colour, x, y, size in zip(colours[2:], *rng.uniform((-3, -3, 2), (26, 30, 8), (3, 3)).T, strict=True):
        cv2.circle(small, (round(x), round(y)), round(size), colour.tolist(), -1)
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.6, 3)) + rng.normal(0, rng.uniform(0, 7), small.shape)
    size = face.image.shape[1::-1]
    face.image = cv2.resize(np.clip(small, 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)


def skin_colour(face, rng):
    """Base colour of the skin; the palest tone is kept for Pale_Skin."""
    tone = rng.beta(1.1, 1.6) * (len(SKIN_TONES) - 1)
    tint = rng.uniform(-7, 7, 3)
    low = min(int(tone), len(SKIN_TONES) - 2)
    base = PALE if face["Pale_Skin"] else mix(SKIN_TONES[low], SKIN_TONES[low + 1], tone - low)
    return np.clip(base + tint * (0.3 if face["Pale_Skin"] else 1), 0, 255)


def hair_colour(face, rng):
    """Base colour of the hair: a natural colour where a label names one, otherwise copper, wine, violet or teal."""
    tint, other = rng.uniform(0.92, 1.08, 3) * rng.uniform(0.88, 1.08), OTHER_HAIR[rng.integers(4)]
    named = [HAIR[name] for name in HAIR_COLOURS if face[name]]
    if face["Gray_Hair"]:
        tint = tint.mean()
    return np.clip((named[0] if named else other) * tint, 0, 255)


def draw_body(face, shape, skin, rng):
    """Neck, shoulders, clothes and, if asked for, the necktie; returns the mask of the neck."""
    male, neck = face["Male"], shape.neck
    cloth, tie = (BRIGHT[i] * rng.uniform(0.75, 1) for i in rng.permutation(len(BRIGHT))[:2])
    spread = rng.uniform(-3, 3)
    slope = 202 if male else 211
    side = [(neck, 150), (neck, 188), (neck + (4 if male else 1), 198), (neck + 14, slope), (112 + spread, slope + 12)]
    side = np.concatenate((smooth(side, closed=False), [(112, 250)]))
    neck_mask = face.area(mirrored(side))
    face.paint(neck_mask, skin * 0.9)
    face.paint(face.soft(3, shape.outline * (0.92, 1) + (0, 7)) & neck_mask, skin * 0.55, 0.75)
    if male:  # Adam's apple
        face.paint(face.soft(1.6, ellipse(1.5, 194, 4.5, 5)), skin * 0.6, 0.7)
        face.paint(face.soft(1.0, ellipse(-0.5, 193, 2.5, 3)), mix(skin, WHITE, 0.3), 0.6)
    low = 206 if face["Wearing_Necktie"] else 213 + spread
    cut = [(neck + 5, slope - 3), (neck + 16, slope), (112, slope + 12), (112, 250)]
    inner = smooth([(neck + 5, slope - 3), (0.62 * neck, slope + 0.6 * (low - slope)), (0, low)], closed=False)
    cloth_mask = face.area(np.concatenate((mirrored(cut)[:8], inner * (-1, 1), inner[::-1])))
    face.paint(cloth_mask, cloth)
    face.paint(face.lines([np.concatenate((inner * (-1, 1), inner[::-1]))], 1.4), cloth * 0.6)
    if face["Wearing_Necktie"]:
        draw_necktie(face, tie)
    return neck_mask


def draw_necktie(face, colour):
    """A white collar with a knotted tie."""
    collar = [np.array([(s * 3, 207), (s * 24, 198), (s * 30, 212), (s * 12, 222)]) for s in (-1, 1)]
    mask = face.paint(face.area(*collar), WHITE)
    face.paint(face.lines(collar, 0.8, closed=True), rgb(150, 150, 160), 0.7)
    tie = [np.array([(-7, 203), (7, 203), (4, 211), (-4, 211)]), np.array([(-4, 211), (4, 211), (11, 240), (-11, 240)])]
    tie_mask = face.paint(face.area(*tie), colour)
    stripes = face.lines([[(-14, y + 6), (14, y - 3)] for y in (208, 214, 220)], 1.6)
    face.paint(stripes & tie_mask, mix(colour, WHITE, 0.7))
    face.paint(face.lines(tie, 0.7, closed=True), colour * 0.5)
    face.place(mask | tie_mask, "Wearing_Necktie")


def draw_head(face, shape, skin):
    """Ears and the shaded oval of the face; returns the mask of the oval."""
    for side in (-1, 1):
        face.paint(face.area(ellipse(side * (shape.cheek + 2.5), 118, 7, 14)), skin * 0.88)
        face.paint(face.lines([ellipse(side * (shape.cheek + 3.5), 117, 3.5, 8)], 1.2, closed=True), skin * 0.62, 0.7)
    mask = face.area(shape.outline)
    face.paint(mask, skin * 0.84)
    face.paint(face.soft(9, shape.outline * (0.8, 1) - (0, 3)) & mask, skin)
    light = mix(skin, WHITE, 0.28)
    face.paint(face.soft(7, ellipse(0, 82, 22, 9)) & mask, light, 0.55)
    face.paint(face.soft(5, ellipse(0, shape.bottom - 8, 8, 4)) & mask, light, 0.45)
    face.place(mask, "Attractive", "Young", "Oval_Face", "Chubby", "Pale_Skin", "Heavy_Makeup")
    return mask


def draw_marks(face, shape, skin, mask, rng):
    """What age, weight and complexion leave on the skin: wrinkles, spots, cheeks, bags, chin."""
    dark, light = skin * 0.56, mix(skin, WHITE, 0.4)
    spots = rng.uniform(-1, 1, (9, 2))
    spot_sizes = rng.uniform(1.2, 2.3, 9)
    sides = (-1, 1)
    if face["High_Cheekbones"]:
        bones = [smooth([(s * 24, 131), (s * 33, 126), (s * 41, 118), (s * 36, 129)]) for s in sides]
        face.place(face.paint(face.soft(2.2, *bones) & mask, light, 0.85), "High_Cheekbones")
        hollows = [smooth([(s * 25, 141), (s * 34, 136), (s * 41, 128), (s * 36, 141)]) for s in sides]
        face.paint(face.soft(2.5, *hollows) & mask, skin * 0.6, 0.7)
        face.place(face.area(*bones, *hollows) & mask, "High_Cheekbones")
    if face["Heavy_Makeup"]:
        face.paint(face.soft(8, shape.outline * (0.86, 0.94) + (0, 6)) & mask, mix(skin, rgb(255, 190, 160), 0.5), 0.4)
        blush = [smooth([(s * 26, 137), (s * 36, 131), (s * 44, 121), (s * 39, 135)]) for s in sides]
        face.paint(face.soft(2.5, *blush) & mask, rgb(206, 74, 96), 0.5)
    if face["Rosy_Cheeks"]:
        cheeks = [ellipse(s * 29, 136, 9.5, 8) for s in sides]
        face.paint(face.soft(2.8, *cheeks) & mask, rgb(238, 84, 98), 0.62)
        face.place(face.area(*cheeks) & mask, "Rosy_Cheeks")
    if face["Chubby"]:
        folds = [smooth([(s * 25, 143), (s * 33, 152), (s * 31, 163)], closed=False) for s in sides]
        face.paint(face.lines(folds, 1.8) & mask, dark, 0.6)
        face.paint(face.soft(4, *[ellipse(s * 34, 143, 8, 9) for s in sides]) & mask, light, 0.5)
    if face["Double_Chin"]:
        width, low = shape.chin + 4, shape.bottom
        fold = smooth([(-width, low - 6), (-0.6 * width, low + 5), (0, low + 9), (0.6 * width, low + 5), (width, low - 6)])
        fold_mask = face.area(fold) & ~mask
        face.paint(fold_mask, skin * 0.95)
        edges = [smooth(edge, closed=False) for edge in (fold[:24:6], [(-0.7 * width, low - 3), (0, low + 1), (0.7 * width, low - 3)])]
        edges[0] = smooth([(-width, low - 6), (-0.6 * width, low + 5), (0, low + 9), (0.6 * width, low + 5), (width, low - 6)], closed=False)
        face.paint(face.lines(edges, 1.5), dark, 0.85)
        face.place(fold_mask | face.lines(edges, 1.5), "Double_Chin")
    if face["Bags_Under_Eyes"]:
        bags = [ellipse(shape.eye(s)[0], shape.eye(s)[1] + 8.5, 9, 3.4) for s in sides]
        face.paint(face.soft(0.9, *bags), mix(skin * 0.52, rgb(84, 60, 110), 0.3), 0.75)
        face.place(face.area(*bags), "Bags_Under_Eyes")
    if not face["Attractive"]:
        centres = spots * (36, 40) + (0, 128)
        red = [ellipse(x, y, r, r, 12) for (x, y), r in zip(centres[:6], spot_sizes[:6], strict=True)]
        face.paint(face.soft(0.5, *[ellipse(*p.mean(0), 3, 3, 12) for p in red]) & mask, rgb(196, 70, 62), 0.4)
        face.paint(face.area(*red) & mask, rgb(166, 44, 42), 0.75)
        moles = [ellipse(x, y, 1.3, 1.3, 12) for x, y in centres[6:]]
        face.paint(face.area(*moles) & mask, rgb(62, 36, 30), 0.9)
    if not face["Young"]:
        draw_wrinkles(face, shape, skin, mask)


def draw_wrinkles(face, shape, skin, mask):
    """Lines on the forehead, at the corners of the eyes and beside the mouth, each with a lit lower edge."""
    lines = [smooth([(-24, y + 1.5), (-11, y - 1), (0, y + 0.8), (12, y - 1), (24, y + 1.5)], closed=False) for y in (78, 83.5, 89)]
    for s in (-1, 1):
        x, y = shape.eye(s)
        lines += [np.array([(x + s * 12.5, y + dy), (x + s * 20, y + 2.4 * dy)]) for dy in (-2.5, 1, 4)]
        lines.append(smooth([(s * 12, 137), (s * 20, 144), (s * 24, 153), (s * 23, 160)], closed=False))
        lines.append(smooth([(x - s * 7, y + 9), (x, y + 11), (x + s * 8, y + 9)], closed=False))
    face.paint(face.lines([line + (0, 1.2) for line in lines], 1) & mask, mix(skin, WHITE, 0.4), 0.5)
    face.paint(face.lines(lines, 1.1) & mask, skin * 0.5, 0.8)


def draw_eyes(face, shape, skin, rng):
    """Eyes with lids and catch-lights, and the eye make-up; narrow ones open half as far."""
    iris = (rgb(74, 48, 32), rgb(60, 96, 140), rgb(66, 112, 78), rgb(110, 84, 50))[rng.integers(4)]
    shadow = (rgb(118, 64, 150), rgb(44, 92, 178), rgb(30, 130, 120), rgb(186, 84, 40), rgb(190, 60, 120))[rng.integers(5)]
    gaze, half_width, half_height = rng.uniform(-1.6, 1.6), rng.uniform(9, 10.2), rng.uniform(4.6, 5.4)
    if face["Narrow_Eyes"]:
        half_height = 2.1
    whites, lids, wings, irises, pupils, lights, shades = [], [], [], [], [], [], []
    for s in (-1, 1):
        x, y = shape.eye(s)
        upper = smooth([(x - half_width, y + 1), (x - 4, y - half_height), (x + 4, y - half_height), (x + half_width, y + 1)], False)
        whites.append(np.concatenate((upper, smooth([(x + half_width, y + 1), (x, y + half_height), (x - half_width, y + 1)], False))))
        lids.append(upper)
        irises.append(ellipse(x + gaze, y - 0.3, 4.4, 4.4, 20))
        pupils.append(ellipse(x + gaze, y - 0.3, 2.1, 2.1, 14))
        lights.append(ellipse(x + gaze - 1.4, y - 1.8, 1.1, 1.1, 10))
        wings += [np.array([(x + s * dx, y - half_height * 0.7 + dy), (x + s * (dx + 4), y - half_height - 3.5 + dy)]) for dx, dy in ((4, 0), (7, 1), (9.5, 3.5))]
        shades.append(smooth([(x - s * 10, y), (x - s * 3, y - half_height - 5.5), (x + s * 8, y - half_height - 6.5), (x + s * 14, y - 4), (x + s * 9, y + 1)]))
    face.paint(face.soft(3, *[ellipse(*shape.eye(s), 13, 8) for s in (-1, 1)]), skin * 0.72, 0.5)
    if face["Heavy_Makeup"]:
        face.paint(face.soft(0.9, *shades), shadow, 0.85)
    white_mask = face.paint(face.area(*whites), rgb(246, 243, 240))
    face.paint(face.area(*irises) & white_mask, iris)
    face.paint(face.area(*pupils) & white_mask, rgb(14, 12, 14))
    face.paint(face.area(*lights) & white_mask, WHITE)
    face.paint(face.lines(lids, 2.2 if face["Heavy_Makeup"] else 1.2), rgb(22, 16, 18) if face["Heavy_Makeup"] else skin * 0.3)
    if face["Heavy_Makeup"]:
        face.paint(face.lines(wings, 1.0), rgb(16, 12, 14))
    face.place(white_mask | face.lines(lids, 1.2), "Narrow_Eyes")


def draw_brows(face, shape, colour, rng):
    """Eyebrows: flat or arched, thin or bushy."""
    lift, length = rng.uniform(-1, 1), rng.uniform(-1, 1)
    bristles = rng.uniform(-1, 1, (2, 22, 2))
    arch, thick = (6.5 if face["Arched_Eyebrows"] else 0.8), (3.9 if face["Bushy_Eyebrows"] else 1.35)
    brows, hairs = [], []
    for s in (-1, 1):
        y = 98 + lift + 2.2 * shape.lean * s
        mid = np.array([(9.5, y), (17, y - 0.7 * arch), (24, y - arch), (31.5 + length, y + 0.5)])
        edge = np.array([1, 1, 0.8, 0.15])[:, None] * (0, thick)
        brows.append(smooth(np.concatenate((mid - edge, (mid + edge)[::-1])), steps=4) * (s, 1))
        if face["Bushy_Eyebrows"]:
            along = (bristles[int(s > 0), :, 0] + 1) / 2
            x = 9 + along * 20
            root = np.column_stack((x, np.interp(x, mid[:, 0], mid[:, 1]) + 2.5 * bristles[int(s > 0), :, 1]))
            hairs += [np.array([p, p + (2.6, -3.6)]) * (s, 1) for p in root]
    mask = face.paint(face.area(*brows), colour, 0.92)
    if hairs:
        mask = mask | face.paint(face.lines(hairs, 0.6), colour * 0.8, 0.9)
    face.place(mask, "Bushy_Eyebrows", "Arched_Eyebrows")


def draw_nose(face, shape, skin, rng):
    """The nose: broad or not, with a round tip or a pointed one; returns the position of its tip."""
    wide = (13.5 if face["Big_Nose"] else 8) * (0.85 if face["Pointy_Nose"] else 1) + rng.uniform(-0.5, 0.5)
    lean, y = 2.2 * shape.lean, NOSE_Y + 2 * face["Big_Nose"]
    dark, light = skin * 0.6, mix(skin, WHITE, 0.42)
    body = smooth([(-3.5, 112), (3.5, 112), (0.6 * wide, y - 6), (wide, y + 3), (0, y + 7), (-wide, y + 3), (-0.6 * wide, y - 6)]) + (lean, 0)
    face.paint(face.soft(2, body + (1.5, 1)), dark, 0.45)
    face.paint(face.soft(1.5, smooth([(-2, 108), (2, 108), (3.2 + lean, y), (lean - 3.2, y)])), light, 0.7)
    if face["Pointy_Nose"]:
        tip = np.array([(-wide, y + 1), (-0.45 * wide, y + 3), (0, y + 9), (0.45 * wide, y + 3), (wide, y + 1)])
    else:
        tip = smooth([(-wide, y - 3), (-wide, y + 3.5), (-0.5 * wide, y + 4), (0, y + 6), (0.5 * wide, y + 4), (wide, y + 3.5), (wide, y - 3)], False)
    tip = tip + (lean, 0)
    tip_mask = face.paint(face.lines([tip], 1.3), skin * 0.45, 0.85)
    holes = [ellipse(lean + s * 0.48 * wide, y + 3, 0.24 * wide, 1.5, 14) for s in (-1, 1)]
    face.paint(face.area(*holes), skin * 0.25, 0.85)
    face.paint(face.soft(1, ellipse(lean - 0.5, y - 1, 0.3 * wide, 2.6)), light, 0.8)
    face.place(face.area(body) | tip_mask, "Big_Nose", "Pointy_Nose")
    return lean, y


def draw_mouth(face, shape, skin, rng):
    """Lips, teeth and corners of the mouth; returns the two corners."""
    stick = (rgb(190, 20, 44), rgb(146, 16, 66), rgb(222, 44, 110), rgb(204, 52, 30))[rng.integers(4)]
    half, gap, thick = 16.5 + rng.uniform(-1, 1), rng.uniform(6.5, 9), rng.uniform(0.9, 1.1)
    smiling, wide = face["Smiling"], face["Mouth_Slightly_Open"]
    half += 4.5 * smiling
    thick *= 2.0 if face["Big_Lips"] else 1.0
    x = np.linspace(-1, 1, 17)
    bulge = np.sqrt(1 - x**2)
    line = MOUTH_Y - 1.5 * wide + 2.2 * shape.lean * x + (3.0 - 9.5 * x**2 if smiling else 1.6 * x**2)
    low = line + gap * wide * bulge**1.5
    top = line - 2.7 * thick * bulge * (1 - 0.35 * np.exp(-((x / 0.2) ** 2)))
    bottom = low + 3.6 * thick * bulge
    x = half * x + 0.8 * shape.lean

    def between(above, below):
        return np.concatenate((np.column_stack((x, above)), np.column_stack((x, below))[::-1]))

    lip = stick if face["Wearing_Lipstick"] else mix(skin * 0.78, rgb(170, 84, 80), 0.42)
    lips = face.paint(face.area(between(top, bottom)), lip)
    face.paint(face.soft(0.7, ellipse(0, (low + 1.9 * thick * bulge)[8], 0.38 * half, 0.9 * thick)) & lips, mix(lip, WHITE, 0.5), 0.6)
    if wide:
        face.paint(face.area(between(line, low)), rgb(64, 16, 22))
        face.paint(face.area(between(line + 0.3, line + 0.55 * (low - line))), rgb(248, 246, 240))
    face.paint(face.lines([np.column_stack((x, line))], 1.0), lip * 0.42, 0.9)
    mouth = lips | face.lines([np.column_stack((x, line))], 1.0)
    if smiling:
        dimples = [smooth([(s * (half + 2), line[0] - 5), (s * (half + 5.5), line[0] + 1), (s * (half + 3), line[0] + 7)], False) for s in (-1, 1)]
        mouth = mouth | face.paint(face.lines(dimples, 1.3), skin * 0.55, 0.75)
    face.place(mouth, "Smiling")
    face.place(lips, "Mouth_Slightly_Open", "Wearing_Lipstick", "Big_Lips")
    return (x[0], line[0]), (x[-1], line[-1])


def textured(face, mask, colour, rng, strength=0.55):
    """A canvas-sized picture of short hair: the colour with grain, for `Canvas.paint`."""
    height, width = mask.shape
    y, x = rng.integers(0, 1024 - np.array(mask.shape))
    grain = _GRAIN[y : y + height, x : x + width]
    dark, light = colour * (1 - strength), mix(colour, WHITE, 0.22 * strength)
    table = np.clip(mix(dark, light, np.linspace(-0.2, 1.2, 256)[:, None]), 0, 255).astype(np.uint8)
    return cv2.LUT(cv2.merge((grain, grain, grain)), table.reshape(1, 256, 3))


def draw_beard(face, shape, skin, colour, mask, rng):
    """Stubble, goatee, moustache and sideburns, under the mouth and over the skin."""
    low = shape.bottom
    if face["5_o_Clock_Shadow"]:
        area = np.array([(-60, 143), (-24, 148), (-17, 141), (17, 141), (24, 148), (60, 143), (60, 200), (-60, 200)])
        shadow = face.soft(2.5, area) & mask
        face.paint(shadow, textured(face, mask, rgb(84, 84, 94), rng, 0.8), 0.5)
        face.place(shadow, "5_o_Clock_Shadow")
    if face["Goatee"]:
        chin = smooth(mirrored([(5, 160), (9, 165), (15, 168), (15, low - 3), (9, low + 3), (0, low + 4)]), steps=4)
        goatee = face.paint(face.area(chin), textured(face, mask, colour, rng))
        face.place(goatee, "Goatee")
    if face["Mustache"]:
        side = [(0, 142), (9, 142.5), (17, 147), (21, 152), (14, 151), (6, 148.5), (0, 147.5)]
        hair = face.paint(face.area(smooth(mirrored(side), steps=4)), textured(face, mask, colour, rng))
        face.place(hair, "Mustache")
    if face["Sideburns"]:
        edge = shape.cheek
        strips = [np.array([(s * (edge + 1), 98), (s * (edge - 7), 98), (s * (edge - 10), 143), (s * (edge - 3), 145)]) for s in (-1, 1)]
        burns = face.paint(face.area(*strips) & mask, textured(face, mask, colour, rng))
        face.place(burns, "Sideburns")


class Hair:
    """Shape of the hair: straight or wavy falls past the ears, with neither label it is cropped short."""

    def __init__(self, face, shape, colour, rng):
        self.face, self.colour = face, colour
        self.falls = face["Straight_Hair"] or face["Wavy_Hair"]
        volume, length, spread, self.part, self.phase, height = rng.uniform(0, 1, 6)
        self.rng = rng
        self.half = shape.cheek + (8 + 3 * volume if self.falls else 3 + 1.5 * volume)
        self.top = shape.top - (8 + 3 * volume if self.falls else 4 + 2 * volume)
        self.end = 145 + 62 * length if self.falls else 106
        self.spread = 3 + 9 * spread if self.falls else 0
        self.line = 66 + 5 * height
        self.cheek = shape.cheek
        self.wave = 3.6 if face["Wavy_Hair"] else 0.0

    def ripple(self, y):
        """Sideways swing of wavy hair at height y."""
        return self.wave * np.clip((y - 62) / 20, 0, 1) * np.sin(2 * np.pi * (y / 19 + self.phase))

    def outer(self, y):
        """Half width of the hair at heights y."""
        dome = self.half * np.sqrt(np.maximum(0, 1 - np.maximum(0, (78 - y) / (78 - self.top)) ** 2))
        return dome + self.spread * np.clip((y - 78) / 90, 0, 1) + self.ripple(y)

    def fringe(self):
        """The hairline from the left temple to the right one."""
        side = self.cheek - (3 if self.falls else 6)
        if self.face["Receding_Hairline"]:
            half = [(side, 104), (side + 1, 80), (30, 50), (20, 48), (9, self.line - 8)]
        else:
            half = [(side, 104), (side - 1, 86), (31, self.line + 4), (14, self.line)]
        half = np.array(half)
        points = np.concatenate((half * (-1, 1), [(0, half[-1][1] + 1)], half[::-1]))
        if self.face["Bangs"]:
            x = np.linspace(-side + 2, side - 2, 15)
            tips = 90 + 2.2 * (np.arange(15) % 2)
            points = np.concatenate((half[:1] * (-1, 1), np.column_stack((x, tips)), half[:1]))
            return points
        return smooth(points, closed=False, steps=4)

    def back(self):
        """What hangs behind the neck."""
        if not self.falls:
            return self.face.blank()
        y = np.linspace(self.top, self.end, 40)
        return self.paint(self.face.area(mirrored(np.column_stack((self.outer(y), y)))), 0.72)

    def front(self):
        """Cap on the skull and the locks beside the face."""
        y = np.linspace(self.top, 106, 26)
        side = np.column_stack((self.outer(y), y))
        cap = np.concatenate((side[::-1] * (-1, 1), side, self.fringe()[::-1]))
        outlines = [cap]
        if self.falls:
            y = np.linspace(84, self.end, 36)
            inner = np.maximum(self.cheek - 1.5 + 0.5 * self.ripple(y), 0)
            lock = np.concatenate((np.column_stack((self.outer(y), y)), np.column_stack((inner, y))[::-1]))
            outlines += [lock, lock * (-1, 1)]
        return self.paint(self.face.area(*outlines), 1.0)

    def paint(self, mask, brightness):
        """Fills a mask with hair: strands where it falls, grain where it is cropped."""
        colour = self.colour * brightness
        if self.falls:
            self.face.paint(mask, colour)
            self.face.paint(mask, self.strands(colour))
        else:
            self.face.paint(mask, textured(self.face, mask, colour, self.rng, 0.7))
        return mask

    def strands(self, colour):
        """A copy of the canvas with strands of hair drawn all over it, for painting through a mask."""
        picture = self.face.image.copy()
        offsets = self.rng.uniform(-1, 1, 64)
        y = np.linspace(self.top - 2, self.end, 22)
        part = 30 * (self.part - 0.5)
        for share, tone in ((slice(0, 26), colour * 0.62), (slice(26, 48), mix(colour, WHITE, 0.18)), (slice(48, 64), mix(colour, WHITE, 0.34))):
            lines = []
            for offset in offsets[share]:
                fall = np.clip((y - self.top) / (86 - self.top), 0, 1) ** 0.55
                x = part * (1 - fall) + offset * (8 + fall * (np.maximum(self.outer(y) - self.ripple(y), 8) - 8))
                x = x + self.ripple(y) * np.sign(offset)
                lines.append(self.face._fixed(np.column_stack((x, y)), SCALE))
            cv2.polylines(picture, lines, False, np.clip(tone, 0, 255).tolist(), 2, cv2.LINE_8, _SHIFT)
        return picture


def draw_glasses(face, shape, rng):
    """Spectacles: two rims, a bridge, the sides, and a glint on either lens."""
    colour = (rgb(24, 22, 26), rgb(70, 40, 24), rgb(150, 24, 36), GOLD * 0.8, rgb(40, 52, 96))[rng.integers(5)]
    width, height, corner, thick = rng.uniform(14, 16), rng.uniform(10.5, 13), rng.uniform(2, 4), rng.uniform(1.8, 3)
    if not face["Eyeglasses"]:
        return
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    rims, lines, glints = [], [], []
    for s in (-1, 1):
        rim = np.column_stack((np.sign(cos) * abs(cos) ** (2 / corner) * width, np.sign(sin) * abs(sin) ** (2 / corner) * height))
        rims.append(rim + (s * (EYE_X + 0.5), EYE_Y + 0.5))
        lines.append(np.array([(s * (EYE_X + width), EYE_Y - 4), (s * (shape.cheek + 1), EYE_Y - 6)]))
        glints.append(np.array([(-8, 5), (-3, -6), (0, -6), (-5, 5)]) + (s * EYE_X, EYE_Y))
    lines.append(smooth([(width - EYE_X, EYE_Y - 2), (0, EYE_Y - 5), (EYE_X - width, EYE_Y - 2)], closed=False))
    face.paint(face.area(*rims), rgb(226, 238, 246), 0.16)
    face.paint(face.area(*glints), WHITE, 0.3)
    mask = face.lines(rims, thick, closed=True) | face.lines(lines, thick)
    face.paint(mask, colour)
    face.place(mask | face.area(*rims), "Eyeglasses")


def draw_hat(face, shape, rng):
    """A knitted hat, a brimmed hat or a cap; the hair beside the face stays in sight. Returns its mask."""
    kind, colour, band = rng.integers(3), *(BRIGHT[i] for i in rng.permutation(len(BRIGHT))[:2])
    half, top = shape.cheek + 11, rng.uniform(10, 16)
    if not face["Wearing_Hat"]:
        return face.blank()
    side = {
        0: [(0, top), (26, top + 4), (half - 6, 38), (half, 62), (half - 1, 75), (0, 77)],
        1: [(0, top + 6), (20, top + 3), (half - 14, 22), (half - 8, 62), (half - 8, 72), (0, 74)],
        2: [(0, top + 4), (24, top + 8), (half - 8, 40), (half - 3, 66), (0, 70)],
    }[kind]
    crown = face.paint(face.area(smooth(mirrored(side), steps=4)), colour)
    face.paint(face.soft(7, ellipse(-16, 38, 16, 14)) & crown, mix(colour, WHITE, 0.5), 0.6)
    if kind == 0:
        ribs = [[(x, top), (1.15 * x, 66)] for x in range(-48, 49, 8)]
        face.paint(face.lines(ribs, 1.2) & crown, colour * 0.7, 0.7)
        trim = np.array([(-half - 1, 62), (half + 1, 62), (half + 1, 77), (-half - 1, 77)])
    elif kind == 1:
        face.paint(face.area(np.array([(-70, 56), (70, 56), (70, 67), (-70, 67)])) & crown, band)
        trim = ellipse(0, 71, half + 20, 7)
    else:
        seams = [smooth([(0, top + 4), (x, 40), (1.3 * x, 66)], closed=False) for x in (-26, 0, 26)]
        face.paint(face.lines(seams, 1) & crown, colour * 0.6, 0.8)
        trim = smooth([(-half + 6, 64), (0, 58), (half - 6, 64), (half - 12, 77), (0, 80), (12 - half, 77)])
    trim_mask = face.paint(face.area(trim), (band if kind == 2 else colour) * 0.86)
    face.paint(face.soft(1.5, trim - (0, 4)) & trim_mask, mix(colour, WHITE, 0.25), 0.5)
    face.place(crown | trim_mask, "Wearing_Hat")
    return crown | trim_mask


def draw_jewels(face, shape, rng):
    """A necklace of beads or a chain with a pendant, and earrings: hoops, drops or studs."""
    metal, stone = (GOLD, SILVER)[rng.integers(2)], BRIGHT[rng.integers(6)]
    kind, beads = rng.integers(3), rng.integers(2)
    low, size = rng.uniform(200, 204), rng.uniform(4.6, 6)
    if face["Wearing_Necklace"]:
        x = np.linspace(-1, 1, 19)
        arc = np.column_stack((x * shape.neck * 0.98, 188 + (low - 188) * (1 - x**2)))
        if beads:
            mask = face.area(*[ellipse(*p, 2.5, 2.5, 14) for p in arc])
            face.paint(mask, mix(stone, WHITE, 0.15))
            face.paint(face.area(*[ellipse(px - 0.7, py - 0.8, 0.9, 0.9, 8) for px, py in arc]), WHITE, 0.9)
        else:
            mask = face.lines([arc], 2) | face.area(ellipse(0, low + 4, 4, 5))
            face.paint(mask, metal)
            face.paint(face.area(ellipse(0, low + 4, 2.4, 3)), stone)
            face.paint(face.lines([arc + (0, 1)], 0.6), metal * 0.5, 0.8)
        face.place(mask, "Wearing_Necklace")
    if face["Wearing_Earrings"]:
        mask = face.blank()
        for s in (-1, 1):
            x, y = s * (shape.cheek + 4.5), 133
            if kind == 0:
                mask |= face.paint(face.lines([ellipse(x, y + size, size, size + 1)], 2, closed=True), metal)
            elif kind == 1:
                mask |= face.paint(face.lines([[(x, y), (x, y + 6)]], 1.4), metal)
                drop = np.array([(0, 4), (4.2, 11), (2.5, 15), (-2.5, 15), (-4.2, 11)]) + (x, y)
                mask |= face.paint(face.area(smooth(drop, steps=3)), stone)
            else:
                mask |= face.paint(face.area(ellipse(x, y + 2, 4.4, 4.4)), metal)
                face.paint(face.area(ellipse(x, y + 2, 2.4, 2.4)), stone)
            face.paint(face.area(ellipse(x - 1, y + 2, 0.9, 0.9, 8)), WHITE, 0.9)
        face.place(mask, "Wearing_Earrings")


# What must stay in sight for the labels to be decidable: x1, y1, x2, y2 in pixels of the image.
_KEEP_VISIBLE = np.array([
    (54, 90, 86, 122), (91, 90, 123, 122), (70, 124, 107, 144), (66, 142, 111, 166), (70, 162, 107, 186), (55, 62, 122, 92),
    (28, 70, 44, 120), (133, 70, 149, 120), (28, 125, 46, 152), (131, 125, 149, 152), (55, 186, 122, 212), (60, 25, 117, 60),
])  # fmt: skip


def draw_occluder(image, rng):
    """Lays a bar, a ball or a hand over a few percent of the images, where it hides no feature altogether."""
    wanted, kind = rng.random() < 0.05, rng.integers(3)
    colour = BRIGHT[rng.integers(len(BRIGHT))] if kind else SKIN_TONES[rng.integers(len(SKIN_TONES))]
    starts, sizes = rng.uniform((0, 0), (WIDTH - 15, HEIGHT - 15), (12, 2)), rng.uniform(14, 34, (12, 2))
    if not wanted:
        return
    for (x, y), (w, h) in zip(starts, sizes, strict=True):
        corner = np.minimum(_KEEP_VISIBLE[:, 2:], (x + w, y + h)) - np.maximum(_KEEP_VISIBLE[:, :2], (x, y))
        hidden = np.prod(np.maximum(corner, 0), axis=1) / np.prod(_KEEP_VISIBLE[:, 2:] - _KEEP_VISIBLE[:, :2], axis=1)
        if hidden.max() <= 0.35:
            break
    else:
        return
    fixed = lambda *values: [round(value * SCALE) for value in values]  # noqa: E731
    (x, y, w, h), tone = fixed(x, y, w, h), colour.tolist()
    if kind == 1:
        cv2.rectangle(image, (x, y), (x + w, y + h), tone, -1, cv2.LINE_AA)
    elif kind == 2:
        cv2.ellipse(image, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, tone, -1, cv2.LINE_AA)
    else:
        for finger in range(4):
            start = (x + w // 8 + finger * w // 4, y + w // 8 + (h // 6 if finger in (0, 3) else 0))
            cv2.line(image, start, (start[0], y + h - w // 8), (colour * 0.7).tolist(), w // 4, cv2.LINE_AA)
            cv2.line(image, start, (start[0], y + h - w // 8), tone, max(1, w // 4 - 3), cv2.LINE_AA)


def photograph(face, rng):
    """The final image (218, 178, 3): reduced, lit from one side, blurred if Blurry, with sensor noise."""
    image = cv2.resize(face.image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
    across, down = rng.uniform(-0.16, 0.16, 2)
    gain, contrast, warmth = rng.uniform(0.84, 1.1), rng.uniform(0.88, 1.1), rng.uniform(-0.03, 0.03)
    blur, noise = rng.uniform(2.2, 3.0), rng.uniform(0.8, 4)
    light = gain * (1 + np.add.outer(np.linspace(-down, down, HEIGHT), np.linspace(-across, across, WIDTH)))
    image *= light[..., None].astype(np.float32)
    image = (image - 120) * np.float32(contrast) + 120
    image *= np.array((1 - warmth, 1, 1 + warmth), np.float32)
    if face["Blurry"]:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(noise)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def draw(labels, rng):
    """Draws one face.

    labels: dict of all forty names to bool, free of contradictions. rng: numpy Generator.
    Returns image (218, 178, 3) uint8 BGR, boxes {attribute: (x1, y1, x2, y2)} in pixels, half-open, for the present
    attributes that have a place, and landmarks (5, 2) float: left eye, right eye, nose, left and right mouth corner.
    """
    names = _PARTS.split()
    stream = dict(zip(names, rng.spawn(len(names)), strict=True))
    face = Canvas(labels, stream["pose"])
    shape = Shape(face, stream["shape"])
    skin, colour = skin_colour(face, stream["skin"]), hair_colour(face, stream["skin"])
    dark_hair = mix(colour * 0.5, rgb(30, 24, 24), 0.45)
    hair = Hair(face, shape, colour, stream["hair"])
    draw_background(face, stream["background"])
    hair_mask = face.blank() if face["Bald"] else hair.back()
    neck = draw_body(face, shape, skin, stream["body"])
    oval = draw_head(face, shape, skin)
    face.place(oval | neck & face.area(np.array([(-99, 150), (99, 150), (99, 204), (-99, 204)])), "Male")
    draw_marks(face, shape, skin, oval, stream["marks"])
    nose = draw_nose(face, shape, skin, stream["nose"])
    draw_beard(face, shape, skin, dark_hair, oval, stream["beard"])
    corners = draw_mouth(face, shape, skin, stream["mouth"])
    draw_eyes(face, shape, skin, stream["eyes"])
    draw_brows(face, shape, dark_hair, stream["brows"])
    scalp = oval & face.area(np.array([(-99, 0), (99, 0), (99, 84), (-99, 84)]))
    if face["Bald"]:
        face.paint(face.soft(3, ellipse(-10, 56, 14, 6)), mix(skin, WHITE, 0.6), 0.7)
        face.place(scalp, "Bald")
    else:
        hair_mask |= hair.front()
    draw_glasses(face, shape, stream["glasses"])
    hat = draw_hat(face, shape, stream["hat"])
    face.place(hair_mask & ~hat, *HAIR_COLOURS, "Straight_Hair", "Wavy_Hair")
    forehead = face.area(np.array([(-34, 40), (34, 40), (34, 94), (-34, 94)]))
    face.place(hair_mask & ~hat & forehead, "Bangs")
    face.place(forehead & scalp & ~hair_mask, "Receding_Hairline")
    draw_jewels(face, shape, stream["jewels"])
    draw_occluder(face.image, stream["occluder"])
    landmarks = face.posed([shape.eye(-1), shape.eye(1), nose, *corners])
    return photograph(face, stream["light"]), face.boxes, landmarks
