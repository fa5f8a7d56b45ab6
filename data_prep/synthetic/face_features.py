"""Eyes, eyebrows, nose and mouth of a synthetic face."""

import numpy as np

from data_prep.synthetic.face_canvas import (
    MOUTH_Y,
    NOSE_Y,
    WHITE,
    bend,
    deeper,
    ellipse,
    mirrored,
    mix,
    pair,
    rgb,
    smooth,
)

IRISES = rgb(74, 48, 32), rgb(60, 96, 140), rgb(66, 112, 78), rgb(110, 84, 50)
SHADOWS = rgb(118, 64, 150), rgb(44, 92, 178), rgb(30, 130, 120), rgb(186, 84, 40), rgb(190, 60, 120)
LIPSTICKS = rgb(190, 20, 44), rgb(146, 16, 66), rgb(222, 44, 110), rgb(204, 52, 30)


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
