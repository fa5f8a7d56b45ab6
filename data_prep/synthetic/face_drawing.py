"""Drawing of one synthetic face: labels in, picture, boxes and landmarks out.

Every part of the face has a random stream of its own, so a label switched on or off changes no random
number of another part.

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

from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.geometry import corners
from data_prep.synthetic import face_accessories, face_features
from data_prep.synthetic.colours import BRIGHT, SKIN_TONES, WHITE, deeper, mix, rgb
from data_prep.synthetic.curves import bend, ellipse, mirrored, pair, smooth
from data_prep.synthetic.face_canvas import HEIGHT, WIDTH, Canvas, Shape

PALE = rgb(243, 232, 227)
PARTS = (
    "pose shape skin background body hair eyes brows nose mouth beard marks glasses hat necklace earrings "
    "occluder light"
).split()


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
    """Base colour of the skin; the palest tone is reserved for Pale_Skin."""
    tone = rng.beta(1.1, 1.6) * (len(SKIN_TONES) - 1)
    tint = rng.uniform(-4, 4, 3)
    low = min(int(tone), len(SKIN_TONES) - 2)
    base = PALE if face["Pale_Skin"] else mix(SKIN_TONES[low], SKIN_TONES[low + 1], tone - low)
    return np.clip(base + tint * (0.3 if face["Pale_Skin"] else 1), 0, 255)


def draw_body(face, shape, skin, rng):
    """Neck, shoulders, clothes and, if the label is present, the necktie; returns the mask of neck and shoulders."""
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


def draw_face(labels, rng):
    """Render one face.

    labels: dict of names to bool, without contradictions; missing names are absent
    rng: numpy Generator, a new one for each face
    Returns the image (218, 178, 3) uint8 B G R; boxes, dict of names to (x1, y1, x2, y2) in pixels, half-open, of the
    present attributes that have a location (Blurry and No_Beard have none); landmarks (5, 2) float in pixels: left eye,
    right eye, nose, left and right corner of the mouth.
    """
    stream = dict(zip(PARTS, rng.spawn(len(PARTS))))
    face = Canvas({**dict.fromkeys(CELEBA_ATTRIBUTES, False), **labels}, stream["pose"])
    shape = Shape(face, stream["shape"])
    skin, colour = skin_colour(face, stream["skin"]), face_features.hair_colour(face, stream["skin"])
    dark_hair = mix(colour * 0.5, rgb(34, 26, 24), 0.55)
    hair = face_features.Hair(face, shape, colour, stream["hair"])
    draw_background(face, stream["background"])
    back = front = hat = face.blank()
    if hair.falls:
        back = hair.draw_back()
    neck = draw_body(face, shape, skin, stream["body"])
    oval = draw_head(face, shape, skin)
    face.place(oval | neck & face.area(corners((-99, 150, 99, 204))), "Male")
    draw_cheeks(face, shape, skin, oval)
    draw_marks(face, shape, skin, oval, stream["marks"])
    nose = face_features.draw_nose(face, shape, skin, stream["nose"])
    face_features.draw_beard(face, shape, dark_hair, oval, stream["beard"])
    mouth = face_features.draw_mouth(face, shape, skin, stream["mouth"])
    face_features.draw_eyes(face, shape, skin, stream["eyes"])
    face_features.draw_brows(face, shape, dark_hair, stream["brows"])
    scalp = oval & face.area(corners((-99, 0, 99, 84)))
    if face["Bald"]:
        face.paint(face.soft(3, ellipse(-10, 56, 14, 6)), mix(skin, WHITE, 0.6), 0.7)
        face.place(scalp, "Bald")
    else:
        front = hair.draw_front()
    if face["Eyeglasses"]:
        face_accessories.draw_glasses(face, shape, stream["glasses"])
    if face["Wearing_Hat"]:
        hat = face_accessories.draw_hat(face, shape, stream["hat"])
    forehead = face.area(corners((-34, 40, 34, 94))) & ~hat
    face.place((back & ~(oval | neck) | front) & ~hat, *face_features.HAIR, "Straight_Hair", "Wavy_Hair")
    face.place(front & forehead, "Bangs")
    face.place(scalp & forehead & ~front, "Receding_Hairline")
    if face["Wearing_Necklace"]:
        face_accessories.draw_necklace(face, shape, stream["necklace"])
    if face["Wearing_Earrings"]:
        face_accessories.draw_earrings(face, shape, stream["earrings"])
    face_accessories.draw_occluder(face.image, stream["occluder"])
    landmarks = face.posed([shape.eye(-1), shape.eye(1), nose, *mouth])
    return photograph(face, stream["light"]), face.boxes, landmarks
