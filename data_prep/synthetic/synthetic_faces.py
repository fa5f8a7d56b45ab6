"""Render synthetic faces in the layout of CelebA or LFWA, for demos and tests without photographs of people.

    face-cascade synthetic data/synthetic --images 2000 --seed 0
    face-cascade synthetic data/synthetic --images 5000 --prevalence Eyeglasses=0.5,Wearing_Hat=0.1

OUT can be used wherever a folder of that data set is expected. It holds images (178 x 218 pixels for CelebA, 250 x 250
for LFWA), the lists of labels and of splits as the data set has them, and list_true_boxes.csv, the place of each
present attribute. Equal seeds give equal bytes: image i depends only on (seed, i).
"""

import concurrent.futures
import dataclasses
import functools
import multiprocessing
import os
import pathlib
import shutil
import signal

import cv2
import numpy as np
from tqdm import tqdm

from data_prep import geometry
from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.errors import DataError
from data_prep.settings import add_options, given, setting
from data_prep.synthetic import face_drawing
from data_prep.synthetic.face_labels import BEARDS, contradictions, prevalences, sample_labels
from data_prep.synthetic.layouts import LAYOUTS, mark_synthetic, write_boxes


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command."""

    images: int = setting(2000, "The number of faces", least=1)
    seed: int = setting(0, "The random seed; equal seeds give equal bytes", least=0)
    prevalence: tuple[str, ...] = setting(
        (),
        "Shares of positives, from 0 to 1, that replace CelebA's; raise those of rare attributes in small sets",
        metavar="A=P,...",
        shown="CelebA's shares",
    )
    layout: str = setting("celeba", "The data set whose folders, lists and framing are used", choices=tuple(LAYOUTS))
    workers: int = setting(0, "The number of processes that render faces", least=1, shown="one per core")


def draw_face(labels, rng):
    """Render one face.

    labels: dict of names to bool (missing names are absent, a missing No_Beard follows from the others); rng: numpy
    Generator, a new one for each face
    Returns the image (218, 178, 3) uint8 B G R; boxes, dict of names to (x1, y1, x2, y2) in pixels, half-open, of the
    present attributes that have a location (Blurry and No_Beard have none); landmarks (5, 2) float in pixels.
    Raises ValueError for an unknown name, contradictions.
    """
    unknown = set(labels) - set(CELEBA_ATTRIBUTES)
    if unknown:
        raise ValueError(f"unknown attribute {sorted(unknown)[0]!r}")
    full = {name: bool(labels.get(name, False)) for name in CELEBA_ATTRIBUTES}
    if "No_Beard" not in labels:
        full["No_Beard"] = not any(full[name] for name in BEARDS)
    wrong = contradictions(full)
    if wrong:
        raise ValueError("; ".join(wrong))
    return face_drawing.draw(full, rng)


def _write_face(index, folder, seed, sampling, layout):
    """Render and write image `index` (from 0); returns its name, labels, landmarks and rows of true boxes."""
    rng = np.random.default_rng([seed, index])
    labels = sample_labels(rng, **sampling)
    image, boxes, landmarks = draw_face(labels, rng)
    image, matrix = LAYOUTS[layout].frame(image)
    name = LAYOUTS[layout].name(index)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes())
    rows = [f"{name},{a},{_moved_box(boxes[a], matrix, image.shape)}" for a in CELEBA_ATTRIBUTES if a in boxes]
    return name, [labels[a] for a in CELEBA_ATTRIBUTES], geometry.moved(landmarks, matrix), rows


def _moved_box(box, matrix, shape):
    """A box transformed by an affine matrix (2, 3), enlarged to whole pixels, as text for a row of the list."""
    box = geometry.moved_box(box, matrix, shape).round(6)
    return ",".join(str(int(side)) for side in (*np.floor(box[:2]), *np.ceil(box[2:])))


def _start_worker():
    # The parent handles Ctrl-C and stops the workers. One thread each, because the workers already use all cores.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def _write_faces(images, job, workers):
    """Write all images; returns the results of `_write_face` in the order of the images."""
    progress = functools.partial(tqdm, total=images, unit="face", desc="rendering", disable=None)
    if workers == 1:
        return list(progress(map(job, range(images))))
    # Not forked, because OpenCV's threads, once started in the parent, hang in a forked child.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker) as pool:
        try:
            return list(progress(pool.map(job, range(images), chunksize=max(1, min(32, images // (4 * workers))))))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def generate(out, images, seed, prevalence=None, workers=None, layout="celeba"):
    """Write a folder of synthetic faces in the layout of CelebA or LFWA, with list_true_boxes.csv.

    out: folder that does not exist yet or is empty; prevalence: dict of names to shares that replace CelebA's
    workers: processes, None for one per core (with more than one, a script must call this under `if __name__ ==
    "__main__":`)
    Nothing is left behind after an error or interruption. Raises ValueError for bad arguments, FileExistsError if `out`
    is not empty.
    """
    out = pathlib.Path(out).resolve()  # of a link its target, because a folder cannot be renamed over a link
    workers = min(workers or len(os.sched_getaffinity(0)), images)
    shares = prevalences(prevalence)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: exists and is not empty; choose another folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.part-{os.getpid()}")
    try:
        folder = temporary / LAYOUTS[layout].images
        folder.mkdir(parents=True)
        sampling = {"shares": shares, "first": frozenset(prevalence or ())}
        job = functools.partial(_write_face, folder=folder, seed=seed, sampling=sampling, layout=layout)
        faces = _write_faces(images, job, workers)
        LAYOUTS[layout].write(temporary, faces)
        write_boxes(temporary, faces)
        mark_synthetic(temporary, len(faces))
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def add_arguments(parser):
    """Add the arguments of `face-cascade synthetic` to an argparse parser."""
    parser.add_argument("out", metavar="OUT", help="The folder to write; it must not exist yet, or be empty.")
    add_options(parser, Options)


def run(arguments):
    """`face-cascade synthetic`: the exit status. Raises DataError, OSError."""
    options, shares = Options(**given(arguments, Options)), {}
    for item in options.prevalence:
        name, _, share = item.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise DataError(f"prevalence {item!r} is not of the form Attribute=share, e.g. Male=0.5")
    try:
        generate(arguments.out, options.images, options.seed, shares, options.workers, options.layout)
    except ValueError as error:
        raise DataError(error)
    return 0
