"""Predict the attributes of the faces in photos, with the region each was found in.

    .caffe/bin/python -m tools.predict.predictor --weights cascade_iter_30000.caffemodel --models build/run \\
        --out build/predictions holiday/ portrait.jpg clip.mp4

Files, folders (searched deeply), videos (--every SECONDS) and cameras (their index). Faces are found and brought into
the frame of CelebA's aligned pictures; give --aligned where the pictures are such faces already. Written to OUT, as
they come: predictions.jsonl (a line per photo), predictions.csv (a row per face and attribute), NAME.png per photo.
Regions and boxes are x1 y1 x2 y2 in pixels of the photo.

Probabilities are calibrated on the validation split where `make evaluate` has left calibration.json beside the weights.
An answer is "uncertain" where it would be right less often than --sure says. Every photo that gives no answer (not
readable, no face) is one line on standard error; the exit code is then 1.

From Python:

    from tools.predict.predictor import Predictor
    predictor = Predictor("cascade.caffemodel", models="build/run")
    faces = predictor.predict(image)      # B G R, as cv2.imread gives it: [{"box": ..., "attributes": {...}}, ...]
"""

import argparse
import collections
import csv
import json
import pathlib
import sys

import numpy as np
from tqdm import tqdm

from data_prep.geometry import ALIGNED_HEIGHT, ALIGNED_WIDTH, face, from_patch, moved_box, patch
from data_prep.pictures import write_image
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration
from tools.predict import cards, face_finder, photos

# Faces of one photo that are answered; the largest are kept.
CROWD = 500
COLUMNS = ["photo", "face", "attribute", "answer", "probability", "x1", "y1", "x2", "y2"]


class Predictor:
    """A trained network that answers for faces. Raises ToolError for weights, prototxts or names that do not fit.

    weights: .caffemodel of any of the networks; models: folder of their prototxts
    attributes: the names the network was trained on, in order; by default calibration.json's, else those of `lmdb`
    only: the names to answer for, all by default
    aligned: pictures are aligned faces already, as CelebA's; else faces are found by `finder`, a FaceFinder by default
    sure: share of right answers below which an answer is "uncertain"
    Attribute calibrated: whether calibration.json serves; without it p is the network's own, right for balanced faces.
    """

    def __init__(
        self, weights, models="models", attributes=None, lmdb=None, only=None, aligned=False, finder=None, sure=0.8
    ):
        model = networks.deploy(models, weights)
        self.attributes = list(attributes or trained_attributes(weights, lmdb))
        self.net = networks.load(model, weights)
        if self.net.blobs["conv3"].data.shape[1] != len(self.attributes) * networks.CONV3_CHANNELS:
            names = ", ".join(self.attributes)
            raise ToolError(f"{model} is not for {len(self.attributes)} attributes: {names}")
        self.only = list(only or self.attributes)
        unknown = [name for name in self.only if name not in self.attributes]
        if unknown:
            raise ToolError(f"no attribute {unknown[0]} in {weights}; it knows {', '.join(self.attributes)}")
        self.columns = [self.attributes.index(name) for name in self.only]
        self.score = "logits" if "logits" in self.net.blobs else "max_d"
        known = calibration.read(weights, self.attributes)
        self.calibrated = known is not None
        score = known.scores[self.score] if known else calibration.ScoreCalibration(0.0, 1.0, 0.0)
        self.threshold, self.slope, self.offset = map(np.array, (score.threshold, score.slope, score.offset))
        self.aligned, self.sure = aligned, sure
        self.finder = None if aligned else finder or face_finder.FaceFinder()

    def find(self, image):
        """The faces of an image (B G R uint8): list of face_finder.Face, the largest first."""
        if self.aligned:
            height, width = image.shape[:2]
            scale = np.array([(width / ALIGNED_WIDTH, 0, 0), (0, height / ALIGNED_HEIGHT, 0)])
            return [face_finder.Face(np.array([0.0, 0.0, width, height]), scale, image)]
        found = sorted(self.finder(image), key=lambda one: one.box[0] - one.box[2])
        return found[:CROWD]

    def answer(self, faces, shapes):
        """Answers for a batch: faces (list of Face) in photos of `shapes`.

        Returns a list of pairs: the answer, see `predict`, and its regions in shares of the aligned picture.
        """
        blobs = [name for name in (self.score, "rois_image") if name in self.net.blobs]
        result = networks.forward(self.net, [patch(face(one.aligned)) for one in faces], blobs)
        present = result[self.score] > self.threshold
        probabilities = calibration.probability(result[self.score], self.slope, self.offset)
        frame = np.tile((ALIGNED_WIDTH, ALIGNED_HEIGHT), 2)
        answers = []
        for row, (one, shape) in enumerate(zip(faces, shapes)):
            told, shares = {}, {}
            for name, column in zip(self.only, self.columns):
                p, yes = float(probabilities[row, column]), bool(present[row, column])
                word = ("present" if yes else "absent") if (p if yes else 1 - p) >= self.sure else "uncertain"
                told[name] = {"answer": word, "probability": round(p, 4)}
                if "rois_image" in result:
                    shares[name] = from_patch(result["rois_image"][row, column], (1, 1))
                    told[name]["region"] = rounded(moved_box(shares[name] * frame, one.to_photo, shape))
            answers.append(({"box": rounded(one.box), "attributes": told}, shares))
        return answers

    def predict(self, image, batch=16):
        """Answers for the faces of one image (B G R uint8), the largest face first.

        Returns a list of {"box": [x1, y1, x2, y2], "attributes": {name: {"answer": "present", "absent" or "uncertain",
        "probability": p, "region": [x1, y1, x2, y2]}}}; the whole_face network gives no region.
        """
        return [
            answer
            for some in networks.batches(self.find(image), batch)
            for answer, _ in self.answer(some, [image.shape] * len(some))
        ]

    def stream(self, source, batch=16):
        """(Photo, view, shape, answers, aligned, shares) of photos in order; few photos are held at a time.

        Batches are filled across photos. Photo: without its image; view: it for drawing, at most cards.LONGEST long;
        shape: its own; answers: [] without a face; aligned, shares: its faces' pictures, and regions in shares of them.
        """
        waiting, queue = collections.deque(), []
        for photo in source:
            faces = [] if photo.image is None else self.find(photo.image)
            view, shape = (None, None) if photo.image is None else (cards.view(photo.image), photo.image.shape)
            held = [photo._replace(image=None), view, shape, [None] * len(faces), faces]
            waiting.append(held)
            queue += [(held, number) for number in range(len(faces))]
            while len(queue) >= batch or (len(waiting) >= 2 * batch and queue):
                self._serve(queue[:batch])
                del queue[:batch]
            while waiting and all(waiting[0][3]):
                yield self._done(waiting.popleft())
        for some in networks.batches(queue, batch):
            self._serve(some)
        while waiting:
            yield self._done(waiting.popleft())

    def _serve(self, some):
        faces = [held[4][number] for held, number in some]
        for (held, number), answer in zip(some, self.answer(faces, [held[2] for held, _ in some])):
            held[3][number] = answer

    @staticmethod
    def _done(held):
        photo, view, shape, answers, faces = held
        return photo, view, shape, [a for a, _ in answers], [one.aligned for one in faces], [s for _, s in answers]


def trained_attributes(weights, lmdb=None):
    """The names a file of weights was trained on: calibration.json's, else the LMDB folder's. Raises ToolError."""
    known = calibration.read(weights)
    if known:
        return known.attributes
    if lmdb is None:
        raise ToolError(f"{weights}: which attributes it knows is not told; give --lmdb or --names")
    return networks.manifest(lmdb).attributes


def rounded(box):
    """A box for JSON."""
    return [round(float(side), 1) for side in box]


def file_name(name, taken):
    """Name of the picture for a photo, not among those taken."""
    stem, _, moment = pathlib.Path(name).name.partition("#")
    stem = pathlib.Path(stem).stem + (f"_{moment}" if moment else "")
    found, number = stem, 2
    while found in taken:
        found, number = f"{stem}_{number}", number + 1
    taken.add(found)
    return f"{found}.png"


def record(photo, shape, answers):
    """A line of predictions.jsonl."""
    told = {"photo": photo.name}
    if photo.problem:
        return {**told, "problem": photo.problem}
    return {**told, "width": shape[1], "height": shape[0], "faces": answers}


def csv_rows(photo, answers):
    """Rows of predictions.csv."""
    for number, answer in enumerate(answers, 1):
        for name, value in answer["attributes"].items():
            yield [photo.name, number, name, value["answer"], value["probability"], *value.get("region", [])]


def write(results, out, total, pictures=True):
    """Write results of Predictor.stream to folder `out` as they come: number of faces, number of problems."""
    faces, problems, taken = 0, 0, set()
    with open(out / "predictions.jsonl", "w") as lines, open(out / "predictions.csv", "w", newline="") as table:
        rows = csv.writer(table)
        rows.writerow(COLUMNS)
        for photo, view, shape, answers, *cut in tqdm(results, total=total, unit="photo", disable=None):
            if not answers:
                photo = photo if photo.problem else photo._replace(problem="no face found")
                problems += 1
                tqdm.write(f"error: {photo.name}: {photo.problem}", file=sys.stderr)
            lines.write(json.dumps(record(photo, shape, answers)) + "\n")
            lines.flush()
            rows.writerows(csv_rows(photo, answers))
            faces += len(answers)
            if pictures and answers:
                write_image(out / file_name(photo.name, taken), cards.overlay(view, shape, answers, *cut))
    return faces, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="image files, folders, videos, index of a camera")
    add("--weights", required=True, help=".caffemodel of any of the networks")
    add("--models", default="models", help="folder with the networks' deploy prototxts (default models)")
    add("--lmdb", help="LMDB folder it was trained on, for the attributes' names where calibration.json is missing")
    add("--names", help="the attributes it was trained on instead, comma-separated, in order")
    add("--attributes", help="the attributes to answer for, comma-separated (default all)")
    add("--aligned", action="store_true", help="the pictures are faces aligned like CelebA's; look for none")
    add("--sure", type=float, default=0.8, help="share of right answers below which one is uncertain (default 0.8)")
    add("--smallest", type=int, default=face_finder.SMALLEST, help="smallest face, in pixels (default 32)")
    add("--searched", type=int, default=face_finder.SEARCHED, help="photos are searched at this size (default 1280)")
    add("--every", type=float, default=1.0, help="seconds between frames of a video (default 1)")
    add("--frames", type=int, default=0, help="frames of each video or camera at most (default 0: all)")
    add("--batch", type=int, default=16, help="faces per forward pass (default 16)")
    add("--no-pictures", action="store_true", help="write no overlays")
    add("--out", type=pathlib.Path, default=pathlib.Path("build/predictions"), help="folder to write to")
    arguments = parser.parse_args()
    try:
        if not 0.5 <= arguments.sure < 1 or arguments.every <= 0 or arguments.batch < 1:
            raise ToolError("--sure must lie in [0.5, 1), --every above 0, --batch at least at 1")
        found = photos.find(arguments.photos)
        finder = None if arguments.aligned else face_finder.FaceFinder(arguments.smallest, arguments.searched)
        predictor = Predictor(
            arguments.weights,
            arguments.models,
            arguments.names and arguments.names.split(","),
            arguments.lmdb,
            arguments.attributes and arguments.attributes.split(","),
            arguments.aligned,
            finder,
            arguments.sure,
        )
        if not predictor.calibrated:
            print("probabilities are not calibrated: no calibration.json that fits; make evaluate", file=sys.stderr)
        arguments.out.mkdir(parents=True, exist_ok=True)
        results = predictor.stream(photos.read(found, arguments.every, arguments.frames), arguments.batch)
        faces, problems = write(results, arguments.out, len(found), not arguments.no_pictures)
    except (ToolError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; what was answered until then is in predictions.jsonl")
    print(f"{arguments.out}: {faces} faces answered for; {problems} of {len(found)} sources gave no answer")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
