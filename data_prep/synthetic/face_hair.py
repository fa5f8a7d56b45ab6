"""Hair and beard of a synthetic face."""

import cv2
import numpy as np

from data_prep.synthetic.face_canvas import (
    HAIR,
    OTHER_HAIR,
    SHIFT,
    WHITE,
    bend,
    deeper,
    ellipse,
    mirrored,
    mix,
    pair,
    plain,
    rgb,
    smooth,
)

_GRAIN = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)  # for stubble and cropped hair
_GRAIN = cv2.normalize(cv2.GaussianBlur(_GRAIN, (0, 0), 0.9), None, 0, 255, cv2.NORM_MINMAX)


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
