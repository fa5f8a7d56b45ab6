"""A trained network that answers for faces: see tools.predict for an example."""

import collections
import dataclasses
import typing

import numpy as np

from data_prep import geometry, spelling
from data_prep.faces.face_finder import FaceFinder, FoundFace
from data_prep.geometry import ALIGNED_HEIGHT, ALIGNED_WIDTH, face, from_patch, moved_box, patch
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.predict import cards
from tools.predict.cards import MIN_CONFIDENCE
from tools.predict.images import as_image
from tools.predict.photos import Photo
from tools.run import Run

# Faces of one photo that are answered; the largest are kept.
CROWD = 500
Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the network says of one attribute of a face.

    answer: "present", "absent", or "uncertain" where it would be right less often than min_confidence; probability:
    that the attribute is present; region: x1 y1 x2 y2 in pixels of the photo, None of the whole_face network
    """

    answer: str
    probability: float
    region: typing.Optional[Box] = None

    def to_dict(self):
        """Everything as JSON values; without "region" where there is none."""
        result = {"answer": self.answer, "probability": self.probability}
        return result if self.region is None else {**result, "region": list(self.region)}


@dataclasses.dataclass(frozen=True)
class Face:
    """A face in a photo and the answers for it.

    box: x1 y1 x2 y2 in pixels of the photo; score: the detector's, in [0, 1], None for aligned pictures; rotation: of
    the head in the photo's plane, degrees clockwise; attributes: dict name -> Answer; warning: why the answers may be
    wrong, or None; track: number of the face in a video where faces are followed from frame to frame, else None
    """

    box: Box
    score: typing.Optional[float]
    rotation: float
    attributes: dict[str, Answer]
    warning: typing.Optional[str] = None
    track: typing.Optional[int] = None

    def to_dict(self):
        """Everything as JSON values; without "track" where faces are not followed."""
        result = {"box": list(self.box), "score": self.score, "rotation": self.rotation, "warning": self.warning}
        if self.track is not None:
            result["track"] = self.track
        return {**result, "attributes": {name: answer.to_dict() for name, answer in self.attributes.items()}}


# photo: a Photo without its image; view: the image for drawing, see cards.view, shape: its own, both None where there
# is none; faces: list of Face; aligned: their pictures; shares: dicts name -> region in shares of the aligned picture
Prediction = collections.namedtuple("Prediction", "photo view shape faces aligned shares")


class Predictor:
    """A trained network that answers for faces. Raises ToolError for a run, names or a device that do not serve.

    run: folder of a run, or another place that tools.run.Run.read knows: a model to hand on, a file of weights, the
    project's folder; its cascade answers, or the latest stage that is done
    only: the names to answer for, all by default
    aligned: pictures are faces framed like those the network was trained on; else faces are found by `finder`, a
    FaceFinder by default. frame: where the eyes of such pictures are, (2, 2) pixels; by default the run's, else
    CelebA's aligned pictures at any size
    min_confidence: share of right answers below which an answer is "uncertain"
    device: "cpu", "cuda" or "cuda:N"; by default, where Caffe computes now
    Attributes: calibrated, whether calibration.json serves; without it probabilities are the network's own, right for
    faces of which half have the attribute. synthetic: whether the network is known to be trained on rendered faces.
    """

    def __init__(
        self,
        run,
        only=None,
        aligned=False,
        frame=None,
        finder=None,
        min_confidence=MIN_CONFIDENCE,
        device=None,
    ):
        if device is not None:
            networks.use_device(device)
        run = run if isinstance(run, Run) else Run.read(run)
        stage = run.answering()
        weights, model, self.attributes = run.weights(stage), run.deploy(stage), list(run.attributes)
        if aligned and frame is None and run.data.checksum:
            run.check_data()
            frame = networks.manifest(run.lmdb).frame
        self.net = networks.load(model, weights)
        if networks.attributes_of(self.net) != len(self.attributes):
            names = ", ".join(self.attributes)
            raise ToolError(f"{model}: this network is not for {len(self.attributes)} attributes ({names})")
        self.only = list(only or self.attributes)
        unknown = [name for name in self.only if name not in self.attributes]
        if unknown:
            near = spelling.did_you_mean(unknown[0], self.attributes)
            raise ToolError(f"no attribute {unknown[0]} in {weights}, which knows {', '.join(self.attributes)}{near}")
        self.weights = weights
        self.columns = [self.attributes.index(name) for name in self.only]
        self.score, score, entry = calibration.of_answer(weights, self.net, self.attributes)
        self.calibrated, self.synthetic = entry is not None, entry is not None and entry.synthetic
        self.threshold, self.slope, self.offset = map(np.array, (score.threshold, score.slope, score.offset))
        decisive = calibration.probability(self.threshold, self.slope, self.offset)
        self.decisive = np.broadcast_to(decisive, len(self.attributes))  # probabilities above which one is present
        self.aligned, self.frame, self.min_confidence = aligned, frame, min_confidence
        self.finder = None if aligned else finder or FaceFinder()

    def predict(self, image, batch=16, channels="BGR"):
        """Answers for the faces of one image, the largest face first: list of Face, empty where none is found.

        image: file name, PIL image, or uint8 array (height, width, 3) or, grey, (height, width), see
        tools.predict.images. batch: faces per forward pass. channels: order of an array's colours, "BGR" (OpenCV's) or
        "RGB" (that of Pillow, imageio, Matplotlib). Raises ToolError for an image that cannot be used.
        """
        return self.predict_batch([image], batch, channels)[0]

    def predict_batch(self, images, batch=16, channels="BGR"):
        """Answers for several images, see `predict`: list of lists of Face. Batches are filled across images."""
        source = (Photo(str(number), as_image(image, channels), None) for number, image in enumerate(images))
        predictions = list(self.stream(source, batch))
        for prediction in predictions:
            if prediction.photo.problem:
                raise ToolError(f"image {prediction.photo.name}: {prediction.photo.problem}")
        return [prediction.faces for prediction in predictions]

    def overlay(self, image, channels="BGR", all_regions=False):
        """A picture of an image with its faces, their answers and regions: uint8 (height, width, 3), in `channels`.

        Without a face it is the image as it is drawn. all_regions: draw those of absent and uncertain answers, too.
        """
        photo = Photo("image", as_image(image, channels), None)
        (found,) = self.stream([photo])
        if found.photo.problem:
            raise ToolError(f"image: {found.photo.problem}")
        style = cards.Style(self.min_confidence, self.calibrated, all_regions)
        picture = found.view
        if found.faces:
            picture = cards.overlay(found.view, found.shape, found.faces, found.aligned, found.shares, style)
        return picture if channels == "BGR" else np.ascontiguousarray(picture[:, :, ::-1])

    def stream(self, source, batch=16):
        """Prediction of each of the photos (tools.predict.photos.Photo), in order; few photos are held at a time."""
        waiting, queue = collections.deque(), []
        for photo in source:
            try:
                found = [] if photo.image is None else self.find(photo.image)
            except ToolError as error:
                found, photo = [], photo._replace(image=None, problem=str(error))
            view, shape = (None, None) if photo.image is None else (cards.view(photo.image), photo.image.shape)
            held = Held(photo._replace(image=None), view, shape, found, [None] * len(found))
            waiting.append(held)
            queue += [(held, number) for number in range(len(found))]
            while len(queue) >= batch or (len(waiting) >= 2 * batch and queue):
                self._serve(queue[:batch])
                del queue[:batch]
            while waiting and all(waiting[0].answers):
                yield waiting.popleft().prediction()
        for some in networks.batches(queue, batch):
            self._serve(some)
        while waiting:
            yield waiting.popleft().prediction()

    def find(self, image):
        """The faces of an image (B G R uint8): list of FoundFace, the largest first. Raises ToolError."""
        if self.aligned:
            return [self.framed(image)]
        found = sorted(self.finder(image), key=lambda one: one.box[0] - one.box[2])
        return found[:CROWD]

    def framed(self, image):
        """The face of an image that is framed like the training data, as FoundFace. Raises ToolError."""
        height, width = image.shape[:2]
        if self.frame is None:
            to_photo = np.array([(width / ALIGNED_WIDTH, 0, 0), (0, height / ALIGNED_HEIGHT, 0)])
            return FoundFace(np.array([0.0, 0.0, width, height]), to_photo, image)
        if np.any(np.array(self.frame) >= (width, height)):
            eyes = " and ".join(f"({x:g}, {y:g})" for x, y in self.frame)
            raise ToolError(
                f"{width} x {height} pixels, but eyes of the training data are at {eyes}; find faces (no --aligned)"
            )
        to_photo, aligned = geometry.align(image, self.frame)
        box = moved_box((0, 0, ALIGNED_WIDTH, ALIGNED_HEIGHT), to_photo, image.shape)
        return FoundFace(box, to_photo, aligned)

    def answer(self, found, shapes):
        """Answers for a batch: found (list of FoundFace) in photos of `shapes`.

        Returns a list of pairs: the Face, and its regions in shares of the aligned picture, dict name -> box. Raises
        ToolError where the network's scores are not finite.
        """
        blobs = [name for name in (self.score, "rois_image") if name in self.net.blobs]
        result = networks.forward(self.net, [patch(face(one.aligned)) for one in found], blobs)
        if not np.isfinite(result[self.score]).all():
            raise ToolError(f"{self.weights}: gives scores that are not finite, its training diverged; train again")
        present = result[self.score] > self.threshold
        probabilities = calibration.probability(result[self.score], self.slope, self.offset)
        frame = np.tile((ALIGNED_WIDTH, ALIGNED_HEIGHT), 2)
        pairs = []
        for row, (one, shape) in enumerate(zip(found, shapes)):
            answers, shares = {}, {}
            for name, column in zip(self.only, self.columns):
                p, yes, region = float(probabilities[row, column]), bool(present[row, column]), None
                if "rois_image" in result:
                    shares[name] = from_patch(result["rois_image"][row, column], (1, 1))
                    region = rounded(moved_box(shares[name] * frame, one.to_photo, shape))
                answers[name] = Answer(self.word(p, yes), round(p, 4), region)
            score = None if one.score is None else round(one.score, 4)
            pairs.append((Face(rounded(one.box), score, round(one.rotation, 1), answers, one.warning), shares))
        return pairs

    def word(self, probability, present):
        """The answer for a probability, and whether the score is above the attribute's threshold."""
        certain = (probability if present else 1 - probability) >= self.min_confidence
        return ("present" if present else "absent") if certain else "uncertain"

    def decide(self, name, probability):
        """The answer for a probability alone: "present", "absent" or "uncertain"."""
        return self.word(probability, probability > self.decisive[self.attributes.index(name)])

    def _serve(self, some):
        found = [held.found[number] for held, number in some]
        for (held, number), pair in zip(some, self.answer(found, [held.shape for held, _ in some])):
            held.answers[number] = pair


# A photo that waits in `stream`; found: list of FoundFace; answers: pairs of `answer`, None until they are there
class Held(collections.namedtuple("Held", "photo view shape found answers")):
    __slots__ = ()

    def prediction(self):
        faces, shares = ([pair[place] for pair in self.answers] for place in (0, 1))
        return Prediction(self.photo, self.view, self.shape, faces, [one.aligned for one in self.found], shares)


def rounded(box):
    """A box with a digit after the point."""
    return tuple(round(float(side), 1) for side in box)
