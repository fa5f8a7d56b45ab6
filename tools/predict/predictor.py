"""A trained network that answers for faces: see tools.predict for an example."""

import os

import numpy as np
from PIL import Image, ImageOps

from data_prep import geometry, image_files, spelling
from data_prep.errors import DataError
from data_prep.faces.aligner import Framing
from data_prep.faces.face_finder import FaceFinder
from data_prep.geometry import ALIGNED_HEIGHT, ALIGNED_WIDTH
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.predict import cards
from tools.predict.inputs import text
from tools.predict.photo import MIN_CONFIDENCE, Answer, Photo
from tools.run import Run

# Faces of one photo that are answered; the largest are kept.
CROWD = 500
ACCEPTED = (
    "give a file name, a PIL image, or a uint8 array, colour (height, width, 3) or grey (height, width); "
    "several images go to predict_batch"
)
CHANNELS = ("BGR", "RGB")


class Predictor:
    """A trained network that answers for faces. Raises DataError for a run, names or a device that do not serve.

    run: folder of a run, or another place that tools.run.Run.read knows: a model to hand on, a file of weights, the
    project's folder; its cascade answers, or the latest stage that is done
    attributes: the names to answer for, all of the network by default
    aligned: pictures are faces framed like those the network was trained on; else faces are found by `finder`, a
    FaceFinder by default
    min_confidence: share of right answers below which an answer is "uncertain"
    device: "cpu", "cuda" or "cuda:N"; by default, where Caffe computes now
    Attributes: notes, what to know about all answers, list of sentences: of networks that were trained on rendered
    faces, and of those without calibration, whose probabilities are right for faces of which half have the attribute
    """

    def __init__(self, run, attributes=None, aligned=False, finder=None, min_confidence=MIN_CONFIDENCE, device=None):
        if device is not None:
            networks.use_device(device)
        run = run if isinstance(run, Run) else Run.read(run)
        stage, known = run.answering(), list(run.attributes)
        self.weights = run.weights(stage)
        self.net = networks.load(run.deploy(stage), self.weights)
        self.score, score, calibrated = calibration.of_answer(self.weights, self.net, known)
        self.attributes = list(attributes or known)
        unknown = next((name for name in self.attributes if name not in known), None)
        if unknown is not None:
            near = spelling.did_you_mean(unknown, known)
            raise ToolError(f"no attribute {unknown} in {self.weights}, which knows {', '.join(known)}{near}")
        columns = [known.index(name) for name in self.attributes]
        threshold, slope, offset = (
            np.broadcast_to(values, len(known))[columns] for values in (score.threshold, score.slope, score.offset)
        )
        self.columns, self.slope, self.offset = columns, slope, offset
        # Probabilities above which an attribute is present.
        self.decisive = dict(zip(self.attributes, calibration.probability(threshold, slope, offset)))
        self.notes = list(filter(None, [run.passed_over()]))
        if run.data.synthetic or (calibrated and calibrated.synthetic):
            self.notes.append("the network was trained on rendered faces; its answers for photos mean nothing")
        if not calibrated:
            self.notes.append("probabilities are not calibrated; run face-cascade evaluate for that")
        self.min_confidence = min_confidence
        self.finder = None if aligned else finder or FaceFinder()
        self.framing = Framing(run.data.frame) if aligned else None

    def predict(self, image, batch=16, channels="BGR"):
        """Answers for the faces of one image, the largest face first: list of Face, empty where none is found.

        image: file name, PIL image, or uint8 array (height, width, 3) or, grey, (height, width), see
        as_image. batch: faces per forward pass. channels: order of an array's colours, "BGR" (OpenCV's) or
        "RGB" (that of Pillow, imageio, Matplotlib). Raises DataError for an image that cannot be used.
        """
        return self.predict_batch([image], batch, channels)[0]

    def predict_batch(self, images, batch=16, channels="BGR"):
        """Answers for several images, see `predict`: list of lists of Face. Batches are filled across images."""
        return [photo.faces for photo in self._photos(images, channels, batch)]

    def overlay(self, image, channels="BGR", all_regions=False):
        """A picture of an image with its faces, their answers and regions: uint8 (height, width, 3), in `channels`.

        Without a face it is the image as it is drawn. all_regions: draw those of absent and uncertain answers, too.
        """
        (photo,) = self._photos([image], channels, draw=True)
        picture = cards.overlay(photo, self.style(all_regions)) if photo.faces else photo.view
        return picture if channels == "BGR" else np.ascontiguousarray(picture[:, :, ::-1])

    def style(self, all_regions=False):
        """The cards.Style of pictures of these answers."""
        return cards.Style(self.attributes, self.min_confidence, self.notes, all_regions)

    def _photos(self, images, channels, *options, **more):
        photos = (Photo(f"image {number}", as_image(image, channels)) for number, image in enumerate(images))
        found = list(self.stream(photos, *options, **more))
        for photo in found:
            if photo.problem:
                raise ToolError(f"{photo.name}: {photo.problem}")
        return found

    def stream(self, photos, batch=16, draw=False):
        """The photos with their faces and answers, in order; few are held at a time. draw: whether to keep `view`."""
        waiting, faces = [], 0
        for photo in photos:
            photo.view = cards.view(photo.image) if draw and photo.image is not None else None
            self.search(photo)
            waiting.append(photo)
            faces += len(photo.faces)
            if max(faces, len(waiting) - faces) >= batch:  # photos without a face do not wait for ever
                yield from self.answered(waiting, batch)
                waiting, faces = [], 0
        yield from self.answered(waiting, batch)

    def answered(self, photos, batch):
        """The photos, after answering for their faces."""
        for part in networks.batches(((photo, face) for photo in photos for face in photo.faces), batch):
            self.answer(part)
        return photos

    def search(self, photo):
        """Find the faces of a Photo, without answers, and let go of its image, in place."""
        image, photo.image = photo.image, None
        if image is None:
            return
        photo.shape = image.shape
        try:
            found = self.finder(image) if self.finder else [self.framing(image)]
        except DataError as error:
            photo.problem = str(error)
            return
        photo.faces = sorted(found, key=lambda face: face.box[0] - face.box[2])[:CROWD]

    def answer(self, pairs):
        """Answer for faces, a batch of pairs (Photo, Face of it), in place.

        Raises ToolError where the network's scores are not finite.
        """
        blobs = [name for name in (self.score, "rois_image") if name in self.net.blobs]
        patches = [geometry.patch(geometry.face(face.aligned)) for _, face in pairs]
        result = networks.forward(self.net, patches, blobs)
        scores = result[self.score][:, self.columns]
        if not np.isfinite(scores).all():
            raise ToolError(f"{self.weights}: gives scores that are not finite, its training diverged; train again")
        probabilities = calibration.probability(scores, self.slope, self.offset)
        for row, (photo, face) in enumerate(pairs):
            for place, (name, column) in enumerate(zip(self.attributes, self.columns)):
                answer = Answer(self.decide(name, probabilities[row, place]), float(probabilities[row, place]))
                if "rois_image" in result:
                    answer.share = geometry.from_patch(result["rois_image"][row, column], (1, 1))
                    box = answer.share * np.tile((ALIGNED_WIDTH, ALIGNED_HEIGHT), 2)
                    answer.region = geometry.moved_box(box, face.to_photo, photo.shape)
                face.attributes[name] = answer

    def decide(self, name, probability):
        """The answer for a probability: "present", "absent" or "uncertain"."""
        present = probability > self.decisive[name]
        if (probability if present else 1 - probability) < self.min_confidence:
            return "uncertain"
        return "present" if present else "absent"


def as_image(value, channels="BGR"):
    """The image that a Python program hands over. Raises DataError for what cannot be used.

    value: path of an image file (str or Path); PIL image of any mode; uint8 array (height, width, 3), or (height,
    width) or (height, width, 1), grey; channels: order of an array's colours, "BGR" as cv2.imread gives them, or "RGB"
    """
    if channels not in CHANNELS:
        raise DataError(f"channels={channels!r}: give {' or '.join(map(repr, CHANNELS))}, the order in an array")
    if isinstance(value, (str, os.PathLike)):
        try:
            return image_files.read(value)
        except DataError as error:
            raise DataError(f"{text(value)}: {error}")
    if isinstance(value, Image.Image):
        image_files.check_size(*value.size)
        if value.mode == "F" or value.mode.startswith("I"):
            raise DataError(f"a PIL image of mode {value.mode} has no values from 0 to 255; scale it, convert it to L")
        try:
            value, channels = np.asarray(ImageOps.exif_transpose(value).convert("RGB")), "RGB"
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files that it decodes late
            raise DataError(f"the PIL image cannot be read ({error})")
    if not isinstance(value, np.ndarray):
        raise DataError(f"{type(value).__name__} is no image; {ACCEPTED}")
    if value.dtype != np.uint8 or value.ndim not in (2, 3) or value.shape[2:] not in ((), (1,), (3,)):
        raise DataError(f"an array of {value.dtype} and shape {value.shape} is no image; {ACCEPTED}")
    image_files.check_size(*value.shape[1::-1])
    if value.shape[2:] == (3,):
        return np.ascontiguousarray(value if channels == "BGR" else value[:, :, ::-1])
    return np.repeat(value.reshape(*value.shape[:2], 1), 3, axis=2)
