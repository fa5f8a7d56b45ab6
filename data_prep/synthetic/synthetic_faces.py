"""Render synthetic faces in the layout of CelebA or LFWA, for demos and tests without photographs of people.

    python -m data_prep.synthetic.synthetic_faces data/synthetic --images 2000 --seed 0

Image i depends only on (seed, i), so the number of workers does not change the result.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_prep import geometry
from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.synthetic import face_drawing
from data_prep.synthetic.layouts import LAYOUTS, mark_synthetic, write_boxes

# Shares of positives in percent, close to CelebA's, in the order of CELEBA_ATTRIBUTES.
_PERCENT = (
    *(11.1, 26.7, 51.3, 20.5, 2.2, 15.2, 24.1, 23.5, 23.9, 14.8, 5.1, 20.5, 14.2, 5.8, 4.7, 6.5, 6.3, 4.2),
    *(38.7, 45.5, 41.7, 48.3, 4.2, 11.5, 83.5, 28.4, 4.3, 27.7, 8.0, 6.6, 5.7, 48.2, 20.8, 32.0, 18.9, 4.8),
    *(47.2, 12.3, 7.3, 77.4),
)
PREVALENCE = {name: percent / 100 for name, percent in zip(CELEBA_ATTRIBUTES, _PERCENT, strict=True)}

# Labels that contradict each other: of each group at most one is present ...
EXCLUSIVE = (
    ("Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"),
    ("Bald", "Straight_Hair", "Wavy_Hair"),
    ("Bald", "Bangs", "Receding_Hairline"),
    ("Wearing_Hat", "Bald"),  # a hat hides the scalp
    ("Wearing_Hat", "Receding_Hairline"),  # and the hairline
    ("Chubby", "Oval_Face"),
)
# ... and No_Beard is present exactly when none of these is.
BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")

# For --correlated: the factor by which an attribute is more frequent on faces that have the parent. The shares over
# all faces do not change.
_MALE = {
    **dict.fromkeys(BEARDS, 2.4),
    **{"No_Beard": 0.74, "Bald": 2.35, "Receding_Hairline": 1.5, "Gray_Hair": 2.0, "Wearing_Necktie": 2.38},
    **{"Bushy_Eyebrows": 1.7, "Big_Nose": 1.8, "Eyeglasses": 1.8, "Wearing_Hat": 1.7, "Double_Chin": 1.9},
    **{"Bags_Under_Eyes": 1.7, "Young": 0.83, "Attractive": 0.55, "Wearing_Lipstick": 0.02, "Bangs": 0.6},
    **{"Rosy_Cheeks": 0.02, "Blond_Hair": 0.15, "Wavy_Hair": 0.45},
    **{"Arched_Eyebrows": 0.2, "Wearing_Earrings": 0.1, "Wearing_Necklace": 0.1},
}
LIFTS = {
    "Male": _MALE,
    "Smiling": {"High_Cheekbones": 1.75, "Mouth_Slightly_Open": 1.55},
    "Wearing_Lipstick": {"Heavy_Makeup": 2.05},
}


def prevalences(asked=None):
    """The forty shares of positives: the defaults, replaced by those asked for and reduced where they contradict.

    asked: dict of names to shares in [0, 1], or None. Raises ValueError for an unknown name, a share outside [0, 1],
    and for mutually exclusive attributes whose shares sum to more than 1.
    """
    asked = dict(asked or {})
    for name, share in asked.items():
        if name not in PREVALENCE:
            raise ValueError(f"unknown attribute {name!r} in the prevalences (names as in list_attr_celeba.txt)")
        if not 0 <= share <= 1:
            raise ValueError(f"prevalence of {name} is {share}, outside [0, 1]")
    shares = PREVALENCE | asked
    for group in EXCLUSIVE:
        taken = sum(asked.get(name, 0) for name in group)
        if taken > 1 + 1e-9:
            names = ", ".join(name for name in group if name in asked)
            raise ValueError(f"prevalences of {names} exclude each other and sum to {taken:g}, more than 1")
        rest = [name for name in group if name not in asked]
        room = (1 - taken) / max(1 - taken, sum(shares[name] for name in rest), 1e-9)
        shares.update({name: shares[name] * room for name in rest})
    return shares


def contradictions(labels):
    """The contradictions in labels (dict of all forty names to bool): list of sentences, empty if consistent."""
    sentences = []
    for group in EXCLUSIVE:
        present = [name for name in group if labels[name]]
        if len(present) > 1:
            sentences.append(" and ".join(present) + " exclude each other")
    beards = [name for name in BEARDS if labels[name]]
    if labels["No_Beard"] == bool(beards):
        sentences.append(f"No_Beard is {labels['No_Beard']}, but the beard labels are {', '.join(beards) or 'none'}")
    return sentences


def sample_labels(rng, shares, correlated=False, first=()):
    """Sample the labels of one face: dict of forty names to bool, without contradictions.

    shares: dict of all forty shares, from `prevalences`; correlated: whether LIFTS apply
    first: names that are sampled first, so that mutually exclusive ones give way to them
    """
    uniform = dict(zip(CELEBA_ATTRIBUTES, rng.random(len(CELEBA_ATTRIBUTES)), strict=True))
    rate = dict(shares)
    for parent, lifts in LIFTS.items() if correlated else ():
        share = shares[parent]
        for child, lift in lifts.items():
            low, high = share + shares[child] - 1, min(share, shares[child])  # of faces that have both
            with_parent = np.clip(lift * shares[child], *(np.array((max(0, low), high)) / max(share, 1e-9)))
            without = (shares[child] - share * with_parent) / max(1 - share, 1e-9)
            rate[child] = with_parent if uniform[parent] < rate[parent] else min(1.0, without)

    labels = {}
    for name in sorted(CELEBA_ATTRIBUTES, key=lambda name: name not in first):
        # The share is among all faces, so it must be larger among faces without the attributes that exclude it.
        free = 1.0
        for group in (group for group in EXCLUSIVE if name in group):
            earlier = [other for other in group if other in labels]
            free *= 1 - sum(rate[other] for other in earlier)
            free *= not any(labels[other] for other in earlier)
        labels[name] = bool(free > 1e-9 and uniform[name] < rate[name] / free)
    _sample_beard(labels, rate, uniform)
    return labels


def _sample_beard(labels, rate, uniform):
    """Sample whether there is a beard, then its kinds; if no other kind is sampled, it is 5_o_Clock_Shadow."""
    bearded = max(1 - rate["No_Beard"], *(rate[name] for name in BEARDS))
    share = {name: min(1.0, rate[name] / max(bearded, 1e-9)) for name in BEARDS}
    shadow, *others = BEARDS
    none = np.prod([1 - share[name] for name in others])
    has_beard = uniform["No_Beard"] >= 1 - bearded
    labels["No_Beard"] = not has_beard
    for name in others:
        labels[name] = bool(has_beard and uniform[name] < share[name])
    extra = max(0.0, (share[shadow] - none) / max(1 - none, 1e-9))
    labels[shadow] = bool(has_beard and (uniform[shadow] < extra or not any(labels[name] for name in others)))


def draw_face(labels, rng):
    """Render one face.

    labels: dict of names to bool (missing names are absent, a missing No_Beard follows from the others), or an array
    over CELEBA_ATTRIBUTES in which values above 0 mean present; rng: numpy Generator, a new one for each face
    Returns the image (218, 178, 3) uint8 B G R; boxes, dict of names to (x1, y1, x2, y2) in pixels, half-open, of the
    present attributes that have a location (Blurry and No_Beard have none); landmarks (5, 2) float in pixels.
    Raises ValueError for an unknown name, a wrong number of labels, contradictions.
    """
    if not isinstance(labels, dict):
        labels = dict(zip(CELEBA_ATTRIBUTES, np.asarray(labels) > 0, strict=True))
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
    coded, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 95))
    if not coded:
        raise RuntimeError(f"{name}: OpenCV could not encode this image")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(data.tobytes())
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


def _write_faces(folder, images, job, workers):
    """Write all images; returns the results of `_write_face` in the order of the images."""
    progress = partial(tqdm, total=images, unit="face", desc="rendering", disable=None)
    if workers == 1:
        return list(progress(map(job, range(images))))
    # Not forked, because OpenCV's threads, once started in the parent, hang in a forked child.
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker) as pool:
        chunk = max(1, min(32, images // (4 * workers)))
        return list(progress(pool.imap(job, range(images), chunk)))


def generate(out, images, seed, prevalence=None, correlated=False, workers=None, layout="celeba"):
    """Write a folder of synthetic faces in the layout of CelebA or LFWA, with list_true_boxes.csv.

    out: folder that does not exist yet or is empty; prevalence: dict of names to shares that replace CelebA's
    correlated: whether LIFTS apply; workers: processes, None for one per core (with more than one, a script must call
    this under `if __name__ == "__main__":`)
    Nothing is left behind after an error or interruption. Raises ValueError for bad arguments, FileExistsError if `out`
    is not empty.
    """
    out = Path(out).resolve()  # of a link its target, because a folder cannot be renamed over a link
    workers = os.cpu_count() or 1 if workers is None else workers
    for name, value in (("images", images), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, not {seed}")
    shares = prevalences(prevalence)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: exists and is not empty; choose another folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.part-{os.getpid()}")
    try:
        folder = temporary / LAYOUTS[layout].images
        folder.mkdir(parents=True)
        sampling = {"shares": shares, "correlated": correlated, "first": frozenset(prevalence or ())}
        job = partial(_write_face, folder=folder, seed=seed, sampling=sampling, layout=layout)
        faces = _write_faces(folder, images, job, min(workers, images))
        LAYOUTS[layout].write(temporary, faces)
        write_boxes(temporary, faces)
        mark_synthetic(temporary, len(faces))
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def parse_prevalence(text):
    """Parse "Eyeglasses=0.5,Male=0.4" to a dict. Raises ValueError if the text does not have this form."""
    shares = {}
    for item in filter(None, text.split(",")):
        name, _, share = item.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise ValueError(f"prevalence {item!r} is not of the form Attribute=share, e.g. Male=0.5") from None
    return shares


WRITTEN = """files written:
  OUT/img_align_celeba/000001.jpg ...      178 x 218 pixels, colour, eyes at CelebA's positions
  OUT/list_attr_celeba.txt                 forty labels per image, -1 or 1
  OUT/list_eval_partition.txt              0 train (80 %), 1 validation (10 %), 2 test (10 %)
  OUT/list_landmarks_align_celeba.txt      eyes, nose, corners of the mouth
  OUT/list_true_boxes.csv                  the true box of each present attribute (CelebA has no such file)
files written with --layout lfwa, besides list_true_boxes.csv:
  OUT/lfw/Synthetic_Person_0001/Synthetic_Person_0001_0001.jpg ...     250 x 250 pixels, eyes at LFW's positions
  OUT/lfw_att_40.mat, OUT/indices_train_test.mat               names and labels; half for training, half for testing

example: 5,000 faces, half of them with glasses, a tenth with a hat
  python -m data_prep.synthetic.synthetic_faces data/synthetic --images 5000 --prevalence Eyeglasses=0.5,Wearing_Hat=0.1

OUT can be used wherever a folder of that data set is expected. The same seed gives the same bytes."""


def add_arguments(parser):
    """Add the command's arguments to an argparse parser, or to a subcommand's."""
    add = parser.add_argument
    add("out", metavar="OUT", help="The folder to write; it must not exist yet, or be empty.")
    add("--images", type=int, default=2000, metavar="N", help="The number of faces (default: 2000).")
    add("--seed", type=int, default=0, help="The random seed; equal seeds give equal bytes (default: 0).")
    add(
        "--prevalence",
        default="",
        metavar="A=P,...",
        help="Shares of positives, from 0 to 1, that replace CelebA's; raise those of rare attributes in small sets "
        "(default: CelebA's shares).",
    )
    add(
        "--correlated",
        action="store_true",
        help="Correlate labels roughly as in CelebA, for example beards with Male (default: independent labels).",
    )
    add(
        "--layout",
        choices=tuple(LAYOUTS),
        default="celeba",
        help="The data set whose folders, lists and framing are used (default: celeba).",
    )
    add("--workers", type=int, metavar="N", help="The number of processes that render faces (default: one per core).")


def run(arguments):
    """The command, with arguments as of `add_arguments`; returns its exit status. Errors are one line each."""
    try:
        shares = parse_prevalence(arguments.prevalence)
        generate(
            arguments.out,
            arguments.images,
            arguments.seed,
            shares,
            arguments.correlated,
            arguments.workers,
            arguments.layout,
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


def main(arguments=None):
    """The command by itself; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.synthetic.synthetic_faces",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Render synthetic faces and write them in the layout of CelebA or LFWA.",
        epilog=WRITTEN,
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    sys.exit(main())
