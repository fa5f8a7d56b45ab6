"""Eyes, eyebrows, nose, mouth, beard and hair of a synthetic face."""

import cv2
import numpy as np

from data_prep.synthetic.colours import WHITE, deeper, mix, plain, rgb
from data_prep.synthetic.curves import bend, ellipse, mirrored, pair, smooth
from data_prep.synthetic.face_canvas import SHIFT

HAIR = {
    "Black_Hair": rgb(30, 27, 30),
    "Blond_Hair": rgb(228, 193, 118),
    "Brown_Hair": rgb(104, 67, 41),
    "Gray_Hair": rgb(172, 172, 176),
}
OTHER_HAIR = rgb(214, 88, 28), rgb(136, 22, 52), rgb(120, 66, 156), rgb(26, 122, 128)
IRISES = rgb(74, 48, 32), rgb(60, 96, 140), rgb(66, 112, 78), rgb(110, 84, 50)
SHADOWS = rgb(118, 64, 150), rgb(44, 92, 178), rgb(30, 130, 120), rgb(186, 84, 40), rgb(190, 60, 120)
LIPSTICKS = rgb(190, 20, 44), rgb(146, 16, 66), rgb(222, 44, 110), rgb(204, 52, 30)
_GRAIN = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)  # for stubble and cropped hair
_GRAIN = cv2.normalize(cv2.GaussianBlur(_GRAIN, (0, 0), 0.9), None, 0, 255, cv2.NORM_MINMAX)


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
    # Both eyes look in the same direction: the parts in the iris are shifted, not mirrored.
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
    y, lean = 135 + 2 * face["Big_Nose"], (2.2 * shape.lean, 0)
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
    line = 151 + 2.2 * shape.lean * t + (3.0 - 9.5 * t**2 if smiling else 1.6 * t**2)
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


def hair_colour(face, rng):
    """Base colour of the hair: the natural one that a label names, otherwise copper, wine, violet or teal."""
    tint, other = rng.uniform(0.94, 1.06, 3) * rng.uniform(0.88, 1.08), OTHER_HAIR[rng.integers(4)]
    if face["Gray_Hair"]:
        tint = tint.mean()
    named = [HAIR[name] for name in HAIR if face[name]]
    return np.clip((named[0] if named else other) * tint, 0, 255)


def short_hair(face, colour, corner, strength=0.55):
    """A canvas-sized picture of short hair, the colour with grain, to be painted through a mask."""
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
        """Lines of strands of hair from the parting down, in OpenCV's fixed-point coordinates."""
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
        """The hair that hangs behind the neck; returns its mask."""
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
        """Fill a mask with hair: strands if it is long, grain if it is cropped."""
        colour = self.colour * brightness
        if not self.falls:
            return self.face.paint(mask, short_hair(self.face, colour, self.corner, 0.7))
        picture = plain(colour, *mask.shape)
        tones = deeper(colour, 0.78), mix(colour, WHITE, 0.08), deeper(colour, 0.62), mix(colour, WHITE, 0.2)
        for tone, strands in zip(tones, np.split(self.strands, 4)):
            cv2.polylines(picture, list(strands), False, tone.tolist(), 2, cv2.LINE_8, SHIFT)
        self.face.paint(mask, picture)
        shine = self.face.soft(5, ellipse(-16, 54, 20, 6), ellipse(20, 56, 12, 5)) & mask
        self.face.paint(shine, mix(colour, WHITE, 0.5), 0.35)
        return mask
