"""Synthetic faces: layout on disk, determinism, labels, boxes, errors."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.attributes import CELEBA_ATTRIBUTES, PAPER_ATTRIBUTES
from data_prep.synthetic import synthetic_faces
from data_prep.synthetic.synthetic_faces import BEARDS, EXCLUSIVE, contradictions, draw_face, generate, prevalences
from data_prep.synthetic.synthetic_faces import sample_labels as sample

ROOT = Path(__file__).resolve().parents[1]
COUNT = 30
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


def read_labels(folder):
    count, names, *rows = (folder / "list_attr_celeba.txt").read_text().splitlines()
    labels = {row.split()[0]: np.array(row.split()[1:], int) for row in rows}
    return int(count), names.split(), labels


def read_boxes(folder):
    with open(folder / "list_true_boxes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(row["image_id"], row["attribute"], *(int(row[k]) for k in ("x1", "y1", "x2", "y2"))) for row in rows]


def random_labels(seed, asked):
    """Random consistent labels with the given ones, never Blurry."""
    shares = prevalences({name: float(on) for name, on in asked.items()} | {"Blurry": 0.0})
    return sample(np.random.default_rng(seed), shares, first=asked)


def test_attribute_file_is_that_of_celeba(folder):
    count, names, labels = read_labels(folder)
    assert count == COUNT == len(labels)
    assert tuple(names) == CELEBA_ATTRIBUTES
    assert all(len(row) == 40 and set(row) <= {-1, 1} for row in labels.values())
    row = (folder / "list_attr_celeba.txt").read_text().splitlines()[2]
    assert re.fullmatch(r"000001\.jpg( -1|  1){40}", row)


def test_every_image_is_178_by_218_in_colour(folder):
    names = sorted(path.name for path in (folder / "img_align_celeba").iterdir())
    assert names == [f"{i:06d}.jpg" for i in range(1, COUNT + 1)] == sorted(read_labels(folder)[2])
    for name in names:
        image = cv2.imread(str(folder / "img_align_celeba" / name))
        assert image.shape == (218, 178, 3)
        assert image.std() > 10
        assert np.abs(image.astype(int) - image[..., :1]).max() > 20


def test_partition_is_80_10_10(folder):
    rows = [row.split() for row in (folder / "list_eval_partition.txt").read_text().splitlines()]
    assert [name for name, _ in rows] == [f"{i:06d}.jpg" for i in range(1, COUNT + 1)]
    assert [sum(part == p for _, part in rows) for p in "012"] == [24, 3, 3]


def test_landmarks_are_at_celebas_aligned_positions(folder):
    count, names, *rows = (folder / "list_landmarks_align_celeba.txt").read_text().splitlines()
    assert int(count) == COUNT == len(rows)
    assert names.split()[:4] == ["lefteye_x", "lefteye_y", "righteye_x", "righteye_y"]
    assert len(names.split()) == 10
    points = np.array([row.split()[1:] for row in rows], int).reshape(COUNT, 5, 2)
    usual = np.array([(69, 111), (108, 111), (88, 136), (72, 151), (105, 151)])
    assert np.abs(points[:, :2] - usual[:2]).max() <= 9
    assert np.abs(points - usual).max() <= 20
    assert np.abs(points.mean(axis=0) - usual).max() <= 5


def test_boxes_are_inside_the_image_and_belong_to_the_positives(folder):
    _, names, labels = read_labels(folder)
    boxes = read_boxes(folder)
    for _, _, x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= 178
        assert 0 <= y1 < y2 <= 218
    listed = [(name, attribute) for name, attribute, *_ in boxes]
    present = {(name, a) for name, row in labels.items() for a, sign in zip(names, row) if sign == 1}
    assert len(listed) == len(set(listed))
    assert set(listed) == {(name, a) for name, a in present if a not in PLACELESS}


def test_equal_seeds_give_equal_bytes_with_any_number_of_workers(folder, tmp_path):
    generate(tmp_path / "two", COUNT, seed=3, workers=2)
    assert contents(tmp_path / "two") == contents(folder)


def test_image_depends_on_seed_and_index_only(folder, tmp_path):
    generate(tmp_path / "fewer", 2, seed=3, workers=1)
    generate(tmp_path / "other", 2, seed=4, workers=1)
    name = "img_align_celeba/000002.jpg"
    assert contents(tmp_path / "fewer")[name] == contents(folder)[name]
    assert contents(tmp_path / "other")[name] != contents(folder)[name]


@pytest.mark.parametrize("correlated", [False, True])
def test_labels_are_consistent_and_as_frequent_as_in_celeba(correlated):
    rng, shares = np.random.default_rng(0), prevalences()
    rows = [sample(rng, shares, correlated) for _ in range(3000)]
    for labels in rows:
        assert contradictions(labels) == []
        assert all(sum(labels[name] for name in group) <= 1 for group in EXCLUSIVE)
        assert labels["No_Beard"] != any(labels[name] for name in BEARDS)
    found = {name: np.mean([labels[name] for labels in rows]) for name in CELEBA_ATTRIBUTES}
    assert {
        name: round(found[name] - shares[name], 3) for name in found if abs(found[name] - shares[name]) > 0.035
    } == {}


def test_correlated_ties_beards_to_male_and_make_up_to_its_absence():
    rng, shares = np.random.default_rng(0), prevalences()
    rows = [sample(rng, shares, correlated=True) for _ in range(1500)]
    goatees = [labels["Male"] for labels in rows if labels["Goatee"]]
    made_up = [labels["Male"] for labels in rows if labels["Heavy_Makeup"]]
    assert np.mean(goatees) > 0.95
    assert np.mean(made_up) < 0.1


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("name", PAPER_ATTRIBUTES)
def test_prevalences_of_0_and_1_are_exact(name, correlated):
    for share in (0.0, 1.0):
        shares = prevalences({name: share})
        for seed in range(10):
            labels = sample(np.random.default_rng(seed), shares, correlated, first={name})
            assert labels[name] == bool(share)
            assert contradictions(labels) == []


def test_given_prevalences_of_two_attributes_are_met():
    shares = prevalences({"Eyeglasses": 0.5, "Bald": 0.5})
    rng = np.random.default_rng(1)
    rows = [sample(rng, shares, first={"Eyeglasses", "Bald"}) for _ in range(1500)]
    for name in ("Eyeglasses", "Bald"):
        assert np.mean([labels[name] for labels in rows]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", LOCAL)
def test_a_label_changes_the_picture_in_its_box_only(name):
    for seed in range(4):
        labels = random_labels(seed, {name: True, "Bald": False, "Receding_Hairline": False, "5_o_Clock_Shadow": True})
        image, boxes, _ = draw_face(labels, np.random.default_rng([7, seed]))
        without, others, _ = draw_face(labels | {name: False}, np.random.default_rng([7, seed]))
        changed = np.abs(image.astype(int) - without).max(axis=2) > 12
        x1, y1, x2, y2 = boxes[name]
        assert changed.sum() >= 20
        assert changed[y1:y2, x1:x2].sum() >= 0.9 * changed.sum()
        rows, columns = np.nonzero(changed.any(axis=1))[0], np.nonzero(changed.any(axis=0))[0]
        # The box is tight: the change reaches nearly to each of its sides.
        assert (rows.max() - rows.min() + 1) >= 0.6 * (y2 - y1)
        assert (columns.max() - columns.min() + 1) >= 0.6 * (x2 - x1)
        assert name not in others


@pytest.mark.parametrize("name", CELEBA_ATTRIBUTES)
def test_every_label_changes_the_picture_and_has_a_box(name):
    for seed in range(4):
        off = random_labels(seed, {"Bald": False, "Wearing_Hat": False, "Straight_Hair": float(seed % 2)})
        off |= {other: False for group in EXCLUSIVE if name in group for other in group}
        on = off | {name: True}
        if name == "No_Beard":
            on |= dict.fromkeys(BEARDS, False)
            off = on | {"No_Beard": False, "Goatee": True}
        elif name in BEARDS:
            on |= {"No_Beard": False}
            off = on | {name: False, ("Goatee" if name == "Mustache" else "Mustache"): True}
        else:
            off = off | {name: False}
        (image, boxes, landmarks), (without, _, _) = (draw_face(x, np.random.default_rng(seed)) for x in (on, off))
        assert (image.dtype, image.shape, landmarks.shape) == (np.uint8, (218, 178, 3), (5, 2))
        assert np.abs(image.astype(int) - without).max() > 30
        assert set(boxes) == {other for other in CELEBA_ATTRIBUTES if on[other]} - PLACELESS
        for x1, y1, x2, y2 in boxes.values():
            assert 0 <= x1 <= x2 - 5 <= 173
            assert 0 <= y1 <= y2 - 3 <= 215


def test_labels_can_be_given_as_an_array():
    labels = random_labels(0, {"Eyeglasses": True})
    row = np.array([1 if labels[name] else -1 for name in CELEBA_ATTRIBUTES])
    first, second = (draw_face(given, np.random.default_rng(1)) for given in (labels, row))
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


@pytest.mark.parametrize(
    "labels",
    [
        {"Bald": True, "Black_Hair": True},
        {"Goatee": True, "No_Beard": True},
        {"Spectacles": True},
        np.ones(39),
    ],
)
def test_impossible_labels_are_refused(labels):
    with pytest.raises(ValueError):
        draw_face(labels, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prevalence", "Spectacles=0.5"], "Spectacles"),
        (["--prevalence", "Eyeglasses=1.5"], "1.5"),
        (["--prevalence", "Eyeglasses"], "Attribute=share"),
        (["--prevalence", "Bald=0.7,Black_Hair=0.7"], "exclude each other"),
        (["--images", "0"], "at least 1"),
        (["--workers", "-1"], "at least 1"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments, says, tmp_path, capsys):
    assert synthetic_faces.main([str(tmp_path / "out"), *arguments]) != 0
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert says in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_never_overwritten(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").write_bytes(b"mine")
    assert synthetic_faces.main([str(tmp_path / "out"), "--images", "1"]) != 0
    assert "is not empty" in capsys.readouterr().err
    assert contents(tmp_path) == {"out/photo.jpg": b"mine"}


@pytest.mark.parametrize("problem", [KeyboardInterrupt, OSError("disk full")])
def test_an_interruption_leaves_no_files(problem, tmp_path, monkeypatch, capsys):
    def write_face(index, **_):
        if index == 3:
            raise problem
        return drawn(index, **_)

    drawn = synthetic_faces._write_face
    monkeypatch.setattr(synthetic_faces, "_write_face", write_face)
    assert synthetic_faces.main([str(tmp_path / "out"), "--images", "5", "--workers", "1"]) != 0
    assert "error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_command_writes_into_an_empty_folder(tmp_path):
    command = [
        sys.executable,
        "-m",
        "data_prep.synthetic.synthetic_faces",
        str(tmp_path),
        "--images",
        "2",
        "--workers",
        "1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "img_align_celeba").iterdir())) == 2


def test_a_link_to_an_empty_folder_is_kept_and_its_folder_filled(tmp_path):
    """Once a defect: the faces were rendered, then lost because the folder could not replace the link."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    synthetic_faces.generate(tmp_path / "out", 1, 0, workers=1)
    assert (tmp_path / "out").is_symlink()
    assert len(list((tmp_path / "disk" / "img_align_celeba").iterdir())) == 1
