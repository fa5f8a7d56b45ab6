"""Synthetic faces: layout on disk, determinism, labels, boxes, errors."""

import csv
import hashlib
import re

import cv2
import numpy as np
import pytest

from data_prep.attributes import CELEBA_ATTRIBUTES, PAPER_ATTRIBUTES
from data_prep.synthetic import synthetic_faces
from data_prep.synthetic.face_labels import BEARDS, EXCLUSIVE, prevalences
from data_prep.synthetic.face_labels import sample_labels as sample
from data_prep.synthetic.synthetic_faces import draw_face, generate

COUNT = 20
PLACELESS = {"Blurry", "No_Beard"}
# Attributes whose label changes pixels in their own box only.
LOCAL = ("Eyeglasses", "Wearing_Hat", "Mustache", "Goatee", "Wearing_Necklace", "Wearing_Earrings", "Smiling")
LOCAL += ("Mouth_Slightly_Open", "Bushy_Eyebrows", "Wearing_Lipstick", "Sideburns", "Rosy_Cheeks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("synthetic") / "faces"
    generate(out, COUNT, seed=3, workers=1)
    return out


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def random_labels(seed, asked):
    """Random consistent labels with the given ones, never Blurry."""
    shares = prevalences({**{name: float(on) for name, on in asked.items()}, "Blurry": 0.0})
    return sample(np.random.default_rng(seed), shares, first=asked)


def test_the_same_seed_gives_the_same_bytes_for_ever(folder, tmp_path):
    """Recorded once: pictures in the docs show these faces. Pixels, because JPEG depends on OpenCV's version."""
    image, boxes, _ = draw_face(random_labels(5, {"Eyeglasses": True}), np.random.default_rng([5, 5]))
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == "81c6541b0895ebf5"
    generate(tmp_path / "two", 3, seed=3, workers=2)
    generate(tmp_path / "other", 2, seed=4, workers=1)
    name = "img_align_celeba/000002.jpg"
    assert contents(tmp_path / "two")[name] == contents(folder)[name] != contents(tmp_path / "other")[name]


def test_lists_and_images_are_those_of_celeba(folder):
    count, names, *rows = (folder / "list_attr_celeba.txt").read_text().splitlines()
    labels = {row.split()[0]: np.array(row.split()[1:], int) for row in rows}
    assert int(count) == COUNT == len(labels) and tuple(names.split()) == CELEBA_ATTRIBUTES
    assert re.fullmatch(r"000001\.jpg( -1|  1){40}", rows[0])
    paths = sorted((folder / "img_align_celeba").iterdir())
    assert [path.name for path in paths] == [f"{i:06d}.jpg" for i in range(1, COUNT + 1)] == sorted(labels)
    for path in paths:
        image = cv2.imread(str(path))
        assert image.shape == (218, 178, 3) and image.std() > 10
        assert np.abs(image.astype(int) - image[..., :1]).max() > 20
    rows = [row.split() for row in (folder / "list_eval_partition.txt").read_text().splitlines()]
    assert [name for name, _ in rows] == sorted(labels)
    assert [sum(part == p for _, part in rows) for p in "012"] == [16, 2, 2]
    # Boxes are inside of the image and belong to the positives.
    with open(folder / "list_true_boxes.csv", newline="") as file:
        boxes = list(csv.DictReader(file))
    for row in boxes:
        assert 0 <= int(row["x1"]) < int(row["x2"]) <= 178 and 0 <= int(row["y1"]) < int(row["y2"]) <= 218
    present = {(name, a) for name, row in labels.items() for a, sign in zip(CELEBA_ATTRIBUTES, row) if sign == 1}
    listed = [(row["image_id"], row["attribute"]) for row in boxes]
    assert len(listed) == len(set(listed)) and set(listed) == {pair for pair in present if pair[1] not in PLACELESS}


def test_labels_are_consistent_and_as_frequent_as_in_celeba():
    rng, shares = np.random.default_rng(0), prevalences()
    rows = [sample(rng, shares) for _ in range(3000)]
    for labels in rows:
        assert all(sum(labels[name] for name in group) <= 1 for group in EXCLUSIVE)
        assert labels["No_Beard"] != any(labels[name] for name in BEARDS)
    found = {name: np.mean([labels[name] for labels in rows]) for name in CELEBA_ATTRIBUTES}
    assert not {name: found[name] for name in found if abs(found[name] - shares[name]) > 0.035}


def test_given_prevalences_are_met_and_those_of_0_and_1_are_exact():
    for name in PAPER_ATTRIBUTES:
        for share in (0.0, 1.0):
            for seed in range(5):
                labels = sample(np.random.default_rng(seed), prevalences({name: share}), first={name})
                assert labels[name] == bool(share)
    asked, rng = {"Eyeglasses": 0.5, "Bald": 0.5}, np.random.default_rng(1)
    rows = [sample(rng, prevalences(asked), first=asked) for _ in range(1500)]
    for name, share in asked.items():
        assert np.mean([labels[name] for labels in rows]) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("name", LOCAL)
def test_a_label_changes_the_picture_in_its_box_only(name):
    for seed in range(2):
        labels = random_labels(seed, {name: True, "Bald": False, "Receding_Hairline": False, "5_o_Clock_Shadow": True})
        image, boxes, _ = draw_face(labels, np.random.default_rng([7, seed]))
        without, others, _ = draw_face({**labels, name: False}, np.random.default_rng([7, seed]))
        changed = np.abs(image.astype(int) - without).max(axis=2) > 12
        x1, y1, x2, y2 = boxes[name]
        assert changed.sum() >= 20 and changed[y1:y2, x1:x2].sum() >= 0.9 * changed.sum()
        rows, columns = np.nonzero(changed.any(axis=1))[0], np.nonzero(changed.any(axis=0))[0]
        # The box is tight: the change reaches nearly to each of its sides.
        assert (rows.max() - rows.min() + 1) >= 0.6 * (y2 - y1)
        assert (columns.max() - columns.min() + 1) >= 0.6 * (x2 - x1)
        assert name not in others


@pytest.mark.parametrize("name", CELEBA_ATTRIBUTES)
def test_every_label_changes_the_picture_and_has_a_box(name):
    off = random_labels(1, {"Bald": False, "Wearing_Hat": False, "Straight_Hair": 1.0})
    off = {**off, **{other: False for group in EXCLUSIVE if name in group for other in group}}
    on = {**off, name: True}
    if name == "No_Beard":
        on.update(dict.fromkeys(BEARDS, False))
        off = {**on, "No_Beard": False, "Goatee": True}
    elif name in BEARDS:
        on["No_Beard"] = False
        off = {**on, name: False, ("Goatee" if name == "Mustache" else "Mustache"): True}
    else:
        off = {**off, name: False}
    (image, boxes, landmarks), (without, _, _) = (draw_face(x, np.random.default_rng(1)) for x in (on, off))
    assert (image.dtype, image.shape) == (np.uint8, (218, 178, 3))
    # Landmarks are near CelebA's aligned positions.
    assert np.abs(landmarks - [(69, 111), (108, 111), (88, 136), (72, 151), (105, 151)]).max() <= 10
    assert np.abs(image.astype(int) - without).max() > 30
    assert set(boxes) == {other for other in CELEBA_ATTRIBUTES if on[other]} - PLACELESS
    for x1, y1, x2, y2 in boxes.values():
        assert 0 <= x1 <= x2 - 5 <= 173 and 0 <= y1 <= y2 - 3 <= 215


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--prevalence", "Spectacles=0.5"], "Spectacles"),
        (["--prevalence", "Eyeglasses=1.5"], "1.5"),
        (["--prevalence", "Eyeglasses"], "Attribute=share"),
        (["--prevalence", "Bald=0.7,Black_Hair=0.7"], "exclude each other"),
        (["--images", "0"], "--images: must be a whole number of at least 1"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, says, tmp_path, fails):
    fails("synthetic", tmp_path / "out", *options, says=says)
    assert list(tmp_path.iterdir()) == []


def test_the_command_fills_an_empty_folder_through_a_link_and_overwrites_nothing(tmp_path, cascade, fails):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    words = ["synthetic", tmp_path / "out", "--images", 1, "--workers", 1, "--prevalence", "Male=1"]
    assert cascade(*words)[0] == 0
    assert (tmp_path / "out").is_symlink() and len(list((tmp_path / "disk/img_align_celeba").iterdir())) == 1
    before = contents(tmp_path)
    fails(*words, says="is not empty")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OSError(28, "No space left on device", "x.jpg")])
def test_an_interruption_leaves_no_files(problem, tmp_path, monkeypatch, cascade):
    def write_face(index, **options):
        if index == 3:
            raise problem
        return drawn(index, **options)

    drawn = synthetic_faces._write_face
    monkeypatch.setattr(synthetic_faces, "_write_face", write_face)
    status, _, error = cascade("synthetic", tmp_path / "out", "--images", 5, "--workers", 1)
    assert status != 0 and "error: " in error and list(tmp_path.iterdir()) == []
