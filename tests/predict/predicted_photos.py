"""Photos with answers, and frames of videos, for the tests of what is done with them."""

import json

import numpy as np

from data_prep.faces.face_finder import Face
from tools.predict.cards import Style
from tools.predict.photo import Answer, Photo

STYLE = Style(["Male", "Young"], 0.8, [])


def lines(folder):
    """What a call wrote to predictions.jsonl."""
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def decide(_, probability):
    certain = max(probability, 1 - probability) >= 0.8
    return ("present" if probability > 0.5 else "absent") if certain else "uncertain"


def face(x=0.0, side=30.0, attributes=None, **more):
    """A Face at (x, 0)."""
    if attributes is None:
        box = np.array([1.0, 2.0, 3.0, 4.0])
        attributes = {"Male": Answer("present", 0.9, box, box / 4), "Young": Answer("uncertain", 0.5)}
    picture, to_photo = np.full((218, 178, 3), 100, np.uint8), np.eye(2, 3)
    more = {"score": 0.99, "rotation": 0.0, **more}
    return Face(np.array([x, 0.0, x + side, side]), to_photo, picture, attributes=attributes, **more)


def photo(name, faces=1, **more):
    """A Photo with some faces."""
    found = [face(rotation=-0.01, warning="blurred") for _ in range(faces)]
    return Photo(name, shape=(40, 60, 3), view=np.zeros((40, 60, 3), np.uint8), faces=found, **more)


def frame(time, *faces):
    """A frame of a video with faces (x of the box, 100 pixels wide; probability of Male)."""
    found = []
    for x, p in faces:
        answer = Answer(decide("Male", p), p, np.array([x, 0.0, x + 50, 50.0]), np.array([0, 0, p, p]))
        found.append(face(float(x), 100.0, {"Male": answer}))
    return Photo("clip", time=time, shape=(200, 800, 3), view=np.zeros((200, 800, 3), np.uint8), faces=found)
