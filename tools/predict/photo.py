"""A photo, its faces, and the answers for them: what `predict` reads, finds and writes.

predictions.jsonl has a line per photo, Photo.to_dict; predictions.csv a row per face and attribute, Photo.rows. Fields
keep their names and meanings while VERSION stays; docs/prediction.md lists them.
"""

import dataclasses
import typing

import numpy as np

from data_prep.faces.face_finder import rounded

VERSION = 2
# Share of right answers below which an answer is "uncertain", unless another one is asked for.
MIN_CONFIDENCE = 0.8
COLUMNS = ("photo", "time", "face", "attribute", "answer", "probability", "x1", "y1", "x2", "y2")
COLUMNS += ("score", "rotation", "warning", "problem")


@dataclasses.dataclass
class Answer:
    """What the network says of one attribute of a face.

    answer: "present", "absent", or "uncertain" where it would be right less often than min_confidence; probability:
    that the attribute is present; region: (4,), x1 y1 x2 y2 in pixels of the photo; share: the same in shares of the
    aligned picture; both None of the network whole_face
    """

    answer: str
    probability: float
    region: typing.Optional[np.ndarray] = None
    share: typing.Optional[np.ndarray] = None

    def to_dict(self):
        """Everything but `share` as JSON values."""
        region = None if self.region is None else rounded(self.region)
        return {"answer": self.answer, "probability": round(self.probability, 4), "region": region}


@dataclasses.dataclass
class Photo:
    """A picture to predict on, and what prediction makes of it.

    name: its path, or "camera 0"; image: uint8 (height, width, 3) B G R, let go once its faces are found
    problem: why there is no answer, in a few words, or None
    time: seconds since the first frame of a video or camera, else None
    shape: of the image; view: the image as it is drawn, see cards.view; faces: list of Face, the largest first
    """

    name: str
    image: typing.Optional[np.ndarray] = None
    problem: typing.Optional[str] = None
    time: typing.Optional[float] = None
    shape: typing.Optional[tuple[int, ...]] = None
    view: typing.Optional[np.ndarray] = None
    faces: list = dataclasses.field(default_factory=list)

    def to_dict(self, overlay=None):
        """A line of predictions.jsonl. overlay: name of the picture in the same folder."""
        height, width = self.shape[:2] if self.shape else (None, None)
        return {
            "version": VERSION,
            "photo": self.name,
            "time": None if self.time is None else round(self.time, 3),
            "problem": self.problem,
            "width": width,
            "height": height,
            "overlay": overlay,
            "faces": [face.to_dict() for face in self.faces],
        }

    def rows(self):
        """Rows of predictions.csv, as COLUMNS: one per face and attribute, or one that says that there is none."""
        line = self.to_dict()
        for number, face in enumerate(line["faces"], 1):
            for name, answer in face["attributes"].items():
                found = [line["photo"], line["time"], face["track"] or number, name]
                found += [answer["answer"], answer["probability"], *(answer["region"] or [None] * 4)]
                yield [*found, face["score"], face["rotation"], face["warning"], None]
        if not self.faces:
            yield [line["photo"], line["time"], *[None] * (len(COLUMNS) - 3), line["problem"]]
