"""Measure face detectors on photos whose eyes are known: faces found, other detections, eye error, time.

    .venv/bin/python -m benchmarks.finder LFW --count 60 [--detectors mtcnn,FILE.onnx] [--out FOLDER]

LFW: folder of deep-funneled LFW photos (250 x 250 pixels, one person in the middle), subfolders included. The
same photos are used in every row, changed as the row says; the detectors are interleaved, photo by photo. A face counts
as found if the middle of its eyes is less than half the eyes' distance away and its size is within a factor of two.
Other detections are false ones, or other people in the background: --out writes pictures that show which (keep them out
of the repository).
"""

import argparse
import collections
import pathlib
import random
import statistics
import sys
import time

import cv2
import numpy as np

from data_prep import geometry
from data_prep.errors import DataError
from data_prep.faces.face_finder import FaceFinder
from data_prep.pictures import COLOURS, rectangle, write_image

# Left and right eye of deep-funneled photos, and where a hidden face is: pixels.
EYES, SIDE, FACE = np.array([(103.0, 112.0), (146.0, 112.0)]), 250, (62, 50, 188, 205)

Row = collections.namedtuple("Row", "name change")


def turned(angle):
    """Rotate a photo and its eyes about the centre, counter-clockwise; edge pixels are repeated."""
    matrix = cv2.getRotationMatrix2D((SIDE / 2 - 0.5, SIDE / 2 - 0.5), angle, 1)

    def change(photo):
        return cv2.warpAffine(photo, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE), geometry.moved(
            EYES, matrix
        )

    return Row(f"turned {angle} degrees", change)


def sized(side):
    """Resize a photo."""
    method = cv2.INTER_AREA if side < SIDE else cv2.INTER_CUBIC
    return Row(
        f"{side} x {side} pixels",
        lambda photo: (cv2.resize(photo, (side, side), interpolation=method), EYES * side / SIDE),
    )


def hidden(photo):
    """Cover the face with its mean colour: whatever is found is another face, or none."""
    photo = photo.copy()
    x1, y1, x2, y2 = FACE
    photo[y1:y2, x1:x2] = photo[y1:y2, x1:x2].mean(axis=(0, 1))
    return photo, None


ROWS = [
    Row("plain", lambda photo: (photo, EYES)),
    *map(turned, (15, 30, 45, 90, 180)),
    Row("darkened to a fifth", lambda photo: (photo // 5, EYES)),
    Row("blurred (sigma 3)", lambda photo: (cv2.GaussianBlur(photo, (0, 0), 3), EYES)),
    *map(sized, (125, 48, 3000)),
    Row("face hidden", hidden),
    Row(
        "hidden, 3000 x 3000",
        lambda photo: (cv2.resize(hidden(photo)[0], (3000, 3000), interpolation=cv2.INTER_CUBIC), None),
    ),
]


def eye_error(face, eyes):
    """Largest distance of an aligned face's eyes from the true ones, in distances of the eyes; None: another face."""
    found = geometry.moved(geometry.ALIGNED_EYES, face.to_photo)
    distance, own = (np.linalg.norm(points[1] - points[0]) for points in (eyes, found))
    if np.linalg.norm(found.mean(axis=0) - eyes.mean(axis=0)) > distance / 2 or not 0.5 < own / distance < 2:
        return None
    return np.linalg.norm(found - eyes, axis=1).max() / distance


def measure(photos, row, finders, out=None):
    """Print a row of the table for each detector."""
    found, others, errors, seconds = ({name: [] for name in finders} for _ in range(4))
    for number, photo in enumerate(photos):
        photo, eyes = row.change(photo)
        for name in list(finders)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            faces = finders[name](photo)
            seconds[name].append(time.perf_counter() - start)
            error = [None if eyes is None else eye_error(face, eyes) for face in faces]
            own = [one for one in error if one is not None]
            found[name].append(bool(own))
            errors[name] += own[:1]
            false = [face for face, one in zip(faces, error) if one is None]
            others[name] += false
            if out and false:
                picture = photo.copy()
                for face in false:
                    rectangle(picture, face.box, COLOURS[1])
                write_image(out / f"{row.name}-{pathlib.Path(name).stem}-{number}.png".replace(" ", "_"), picture)
    for name in finders:
        error = f"{statistics.median(errors[name]):.2f}" if errors[name] else "-"
        best = sorted((face.score for face in others[name]), reverse=True)[:1]
        print(
            f"{row.name:20} {name:8} found {sum(found[name]):3} of {len(photos)}, others {len(others[name]):3}, "
            f"eye error {error} (median), {1000 * statistics.median(seconds[name]):7.1f} ms"
            + (f", best score of others {best[0]:.3f}" if best else ""),
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("photos", type=pathlib.Path, metavar="LFW", help="The folder of deep-funneled LFW photos.")
    add("--count", type=int, default=60, metavar="N", help="Photos per row (default: 60).")
    add("--seed", type=int, default=1, help="The seed of the choice of photos (default: 1).")
    add(
        "--detectors",
        default="mtcnn",
        metavar="NAMES",
        help="The detectors, separated by commas: mtcnn, YuNet files (default: mtcnn).",
    )
    add(
        "--rows",
        metavar="WORDS",
        help="Only the rows whose names contain one of these words, separated by commas (default: all).",
    )
    add(
        "--out",
        type=pathlib.Path,
        metavar="FOLDER",
        help="The folder for pictures of the detections that are not the labelled face (default: no pictures).",
    )
    given = parser.parse_args()
    paths = sorted(given.photos.rglob("*.jpg"))
    if not paths:
        sys.exit(f"error: {given.photos}: no .jpg in it")
    chosen = random.Random(given.seed).sample(paths, min(given.count, len(paths)))
    photos = [cv2.imread(str(path)) for path in chosen]
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
    try:
        finders = {name: FaceFinder(name) for name in given.detectors.split(",")}
        for row in ROWS:
            if not given.rows or any(word in row.name for word in given.rows.split(",")):
                measure(photos, row, finders, given.out)
    except (DataError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
