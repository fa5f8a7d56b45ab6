"""Synthetic faces: layout on disk, determinism, labels, boxes, errors."""

import hashlib

import numpy as np
import pytest

from data_prep.attributes import CELEBA_ATTRIBUTES, PAPER_ATTRIBUTES
from data_prep.sources.opening import open_source
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
    generate(out, COUNT, seed=3)
    return out


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_same_seed_gives_the_same_bytes_for_ever(folder, tmp_path):
    """Recorded once: pictures in the docs show these faces. Pixels, because JPEG depends on OpenCV's version."""
    shares = prevalences({"Eyeglasses": 1.0, "Blurry": 0.0})
    labels = sample(np.random.default_rng(5), shares, first={"Eyeglasses": True})
    image, _, _ = draw_face(labels, np.random.default_rng([5, 5]))
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == "81c6541b0895ebf5"
    generate(tmp_path / "few", 3, seed=3)
    generate(tmp_path / "other", 2, seed=4)
    name = "img_align_celeba/000002.jpg"
    assert contents(tmp_path / "few")[name] == contents(folder)[name] != contents(tmp_path / "other")[name]


def test_the_folder_is_one_of_celeba_with_true_boxes(folder):
    data = open_source(folder, expect="celeba")
    data.open()
    assert data.names == [f"{i:06d}.jpg" for i in range(1, COUNT + 1)] and tuple(data.attributes) == CELEBA_ATTRIBUTES
    assert [(data.partition == part).sum() for part in range(3)] == [16, 2, 2] and data.synthetic
    for index, name in enumerate(data.names):
        image, boxes = data.image(index), data.boxes[name]
        assert image.shape == (218, 178, 3) and image.std() > 10
        assert np.abs(image.astype(int) - image[..., :1]).max() > 20
        present = {attribute for attribute, label in zip(data.attributes, data.labels[index]) if label}
        assert set(boxes) == present - PLACELESS
        assert all(0 <= x1 < x2 <= 178 and 0 <= y1 < y2 <= 218 for x1, y1, x2, y2 in boxes.values())


def is_consistent(labels):
    exclusive = all(sum(labels[name] for name in group) <= 1 for group in EXCLUSIVE)
    return exclusive and labels["No_Beard"] != any(labels[name] for name in BEARDS)


@pytest.mark.parametrize("asked", ({}, {"Eyeglasses": 0.5, "Bald": 0.5}))
def test_labels_are_consistent_and_as_frequent_as_asked_or_in_celeba(asked):
    rng, shares = np.random.default_rng(0), prevalences(asked)
    rows = [sample(rng, shares, first=asked) for _ in range(2000)]
    assert all(map(is_consistent, rows))
    found = {name: np.mean([labels[name] for labels in rows]) for name in asked or CELEBA_ATTRIBUTES}
    assert not {name: found[name] for name in found if abs(found[name] - shares[name]) > 0.04}


def test_prevalences_of_0_and_1_are_exact():
    for name in PAPER_ATTRIBUTES:
        for share in (0.0, 1.0):
            labels = sample(np.random.default_rng(1), prevalences({name: share}), first={name})
            assert labels[name] == bool(share) and is_consistent(labels)


@pytest.mark.parametrize("name", LOCAL)
def test_a_label_changes_the_picture_in_its_box_only(name):
    asked = {name: 1.0, "Bald": 0.0, "Receding_Hairline": 0.0, "5_o_Clock_Shadow": 1.0, "Blurry": 0.0}
    labels = sample(np.random.default_rng(0), prevalences(asked), first=asked)
    image, boxes, landmarks = draw_face(labels, np.random.default_rng(7))
    # Landmarks are near CelebA's aligned positions.
    assert np.abs(landmarks - [(69, 111), (108, 111), (88, 136), (72, 151), (105, 151)]).max() <= 10
    without, others, _ = draw_face({**labels, name: False}, np.random.default_rng(7))
    changed = np.abs(image.astype(int) - without).max(axis=2) > 12
    x1, y1, x2, y2 = boxes[name]
    assert changed.sum() >= 20 and changed[y1:y2, x1:x2].sum() >= 0.9 * changed.sum()
    for axis, side in ((0, x2 - x1), (1, y2 - y1)):  # the box is tight: the change reaches nearly to each of its sides
        assert np.ptp(np.flatnonzero(changed.any(axis=axis))) + 1 >= 0.6 * side
    assert name not in others


def test_the_command_fills_an_empty_folder_through_a_link_and_overwrites_nothing(tmp_path, cascade, fails):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    words = ["synthetic", tmp_path / "out", "--images", 1, "--prevalence", "Male=1"]
    assert cascade(*words)[0] == 0
    assert (tmp_path / "out").is_symlink() and len(list((tmp_path / "disk/img_align_celeba").iterdir())) == 1
    before = contents(tmp_path)
    fails("synthetic", tmp_path / "x", "--prevalence", "Spectacles=0.5", says="Spectacles")
    fails("synthetic", tmp_path / "x", "--prevalence", "Bald=0.7,Black_Hair=0.7", says="exclude each other")
    fails(*words, says="is not empty")
    assert contents(tmp_path) == before


def test_an_interruption_leaves_no_files(tmp_path, monkeypatch, cascade):
    def write_face(index, **options):
        if index == 3:
            raise KeyboardInterrupt
        return drawn(index, **options)

    drawn = synthetic_faces._write_face
    monkeypatch.setattr(synthetic_faces, "_write_face", write_face)
    status, _, error = cascade("synthetic", tmp_path / "out", "--images", 5)
    assert status == 130 and "error: " in error and list(tmp_path.iterdir()) == []
