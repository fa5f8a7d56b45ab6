"""Render synthetic faces in CelebA's layout, for demos and tests without photographs of people.

    face-cascade synthetic data/synthetic --images 2000 --seed 0
    face-cascade synthetic data/synthetic --images 5000 --prevalence Eyeglasses=0.5,Wearing_Hat=0.1

OUT can be used wherever a folder of CelebA is expected. It holds images of 178 x 218 pixels, CelebA's lists of
labels and splits, and list_true_boxes.csv, the place of each present attribute. Equal seeds give equal bytes: image i
depends only on (seed, i).
"""

import dataclasses
import functools
import os
import pathlib
import shutil

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.errors import DataError
from data_prep.files import partial_of, remove_partials, write_json
from data_prep.settings import add_options, given, setting
from data_prep.sources import celeba
from data_prep.sources.source import SYNTHETIC
from data_prep.synthetic.face_drawing import draw_face
from data_prep.synthetic.face_labels import prevalences, sample_labels
from data_prep.threads import in_order

IMAGES = celeba.IMAGES[0]


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


def _write_face(index, folder, seed, sampling):
    """Render and write image `index` (from 0); returns its name, labels and true boxes."""
    rng = np.random.default_rng([seed, index])
    labels = sample_labels(rng, **sampling)
    image, boxes, _ = draw_face(labels, rng)
    name = f"{index + 1:06d}.jpg"
    (folder / IMAGES / name).write_bytes(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 95))[1].tobytes())
    return name, labels, boxes


def _write_lists(folder, faces):
    """Write CelebA's lists and the true boxes. faces: list of the results of `_write_face`."""
    count = len(faces)
    labels, parts, rows = [str(count), " ".join(CELEBA_ATTRIBUTES) + " "], [], ["image_id,attribute,x1,y1,x2,y2"]
    for number, (name, present, boxes) in enumerate(faces):
        labels.append(name + "".join(f" {1 if present[a] else -1:2d}" for a in CELEBA_ATTRIBUTES))
        parts.append(f"{name} {int(number >= round(0.8 * count)) + int(number >= round(0.9 * count))}")
        rows += [",".join(map(str, (name, a, *boxes[a]))) for a in CELEBA_ATTRIBUTES if a in boxes]
    for file, lines in ((celeba.LABELS[0], labels), (celeba.PARTITION[0], parts), (celeba.BOXES, rows)):
        (folder / file).write_text("\n".join(lines) + "\n", encoding="ascii")


def mark_synthetic(folder, count):
    """Write the file that tells that the faces of a folder are rendered."""
    write_json(folder / SYNTHETIC, {"synthetic faces": count, "rendered by": "data_prep.synthetic.synthetic_faces"})


def generate(out, images, seed, prevalence=None):
    """Write a folder of synthetic faces in CelebA's layout, with list_true_boxes.csv.

    out: folder that does not exist yet or is empty; prevalence: dict of names to shares that replace CelebA's
    Nothing is left behind after an error or interruption; what a kill leaves is removed by the next call. Raises
    DataError for wrong shares, FileExistsError if `out` is not empty.
    """
    out = pathlib.Path(out).resolve()  # of a link its target, because a folder cannot be renamed over a link
    shares = prevalences(prevalence)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: exists and is not empty; choose another folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = partial_of(out.parent, out.name)
    remove_partials(out.parent, out.name)
    try:
        (temporary / IMAGES).mkdir(parents=True)
        sampling = {"shares": shares, "first": frozenset(prevalence or ())}
        job = functools.partial(_write_face, folder=temporary, seed=seed, sampling=sampling)
        faces = in_order(job, range(images))
        _write_lists(temporary, list(tqdm(faces, total=images, unit="face", desc="rendering", disable=None)))
        mark_synthetic(temporary, images)
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
    generate(arguments.out, options.images, options.seed, shares)
    return 0
