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

from data_prep.synthetic.face_accessories import draw_earrings, draw_glasses, draw_hat, draw_necklace, draw_occluder
from data_prep.synthetic.face_canvas import HAIR, HEIGHT, WHITE, WIDTH, Canvas, Shape, ellipse, mix, rectangle, rgb
from data_prep.synthetic.face_features import draw_brows, draw_eyes, draw_mouth, draw_nose
from data_prep.synthetic.face_hair import Hair, draw_beard, hair_colour
from data_prep.synthetic.face_skin import draw_background, draw_body, draw_cheeks, draw_head, draw_marks, skin_colour

PARTS = (
    "pose shape skin background body hair eyes brows nose mouth beard marks glasses hat necklace earrings "
    "occluder light"
).split()


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
    stream = dict(zip(PARTS, rng.spawn(len(PARTS))))
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
