"""Data sets in all variants of CelebA's and LFWA's layouts, CSV files, and photos that are not aligned."""

import csv
import tarfile
import zipfile

import cv2
import numpy as np
import pytest
import scipy.io
from lfwa_files import write_mat

from data_prep import geometry
from data_prep.errors import DataError
from data_prep.faces.face_finder import FaceFinder
from data_prep.sources import lfwa, mat, splits
from data_prep.sources.opening import open_source
from data_prep.store import databases, image_list, manifest
from data_prep.store.manifest import Settings

pytestmark = pytest.mark.usefixtures("mat_files_read_here")


@pytest.fixture(scope="module")
def lfwa_source(lfwa_faces):
    source = open_source(lfwa_faces)
    source.open()
    return source


def same_source(one, other):
    assert one.names == other.names and one.attributes == other.attributes
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.partition, other.partition)
    one.open(), other.open()
    for index in (0, 7, len(one.names) - 1):
        assert one.read(index) == other.read(index)
    other.images.close()


def test_zip_csv_and_the_downloads_own_folders_give_the_same(small_faces, tmp_path):
    """As other operating systems write text, too: a byte order mark, the ends of lines of Windows, blank lines."""
    for folder in ("Anno", "Eval", "Img"):
        (tmp_path / folder).mkdir()
    count, names, *rows = (small_faces / "list_attr_celeba.txt").read_text().splitlines()
    lines = [",".join(["image_id", *names.split()]), *(",".join(row.split()) for row in rows)]
    (tmp_path / "Anno/list_attr_celeba.csv").write_text("\r\n".join(lines))
    rows = (small_faces / "list_eval_partition.txt").read_text().splitlines()
    lines = ["\ufeffimage_id,partition", *(row.replace(" ", ",") for row in rows), " \r\n"]
    (tmp_path / "Eval/list_eval_partition.csv").write_text("\r\n".join(lines), encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "Img/img_align_celeba.zip", "w") as packed:
        packed.writestr("__MACOSX/notes.txt", "a stray")
        for path in sorted((small_faces / "img_align_celeba").iterdir()):
            packed.write(path, f"img_align_celeba/{path.name}")
    same_source(open_source(small_faces), open_source(tmp_path))
    assert open_source(tmp_path).persons is None
    lines = [f"{number + 1:06d}.jpg {number // 3}\n" for number in range(60)]
    for listed, persons in ((lines, ["0", "0", "0", "1"]), (lines[1:], None)):  # of all images, or not used
        (tmp_path / "Anno/identity_CelebA.txt").write_text("".join(listed))
        found = open_source(tmp_path, expect="celeba").persons
        assert (found and found[:4]) == persons


@pytest.mark.parametrize("variant", ["padded, in a tar", "short, transposed", "version 5"])
def test_variants_of_lfwa_give_the_same(lfwa_faces, lfwa_source, tmp_path, variant):
    found, indices = (mat.variables(lfwa_faces / name) for name in (lfwa.ANNOTATION, lfwa.INDICES))
    names, attributes = found["name"], found["AttrName"]
    assert names[0] == "Synthetic_Person_0001\\Synthetic_Person_0001_0001.jpg" and attributes[0] == "5 o Clock Shadow"
    write = write_mat
    if variant == "version 5":
        found = {key: np.array(value, object) if isinstance(value, list) else value for key, value in found.items()}
        write = scipy.io.savemat
        (tmp_path / "lfw").symlink_to(lfwa_faces / "lfw")
    elif variant == "padded, in a tar":
        found["name"], found["AttrName"] = [f"{name}  " for name in names], [f"{name}\0" for name in attributes]
        with tarfile.open(tmp_path / "lfw.tgz", "w:gz") as packed:
            packed.add(lfwa_faces / "lfw", "lfw")
            packed.add(lfwa_faces / lfwa.INDICES, "../stray.jpg")  # would lie outside of where it is unpacked
    else:  # without underscores and zeros, and with labels of 1 and -1
        people = [name.split("\\")[0].replace("_", " ") for name in names]
        found["name"] = [f"{person}/{person} {int(name[-8:-4])}.jpg" for person, name in zip(people, names)]
        found["label"] = found["label"].T * 2 - 1
        (tmp_path / "lfw").symlink_to(lfwa_faces / "lfw")
    write(tmp_path / lfwa.ANNOTATION, found)
    write(tmp_path / lfwa.INDICES, indices)
    same_source(lfwa_source, open_source(tmp_path))
    assert not list(tmp_path.rglob("stray.jpg"))


def test_cells_of_an_older_matlab_file_are_unwrapped(tmp_path):
    cells = np.empty(3, object)
    cells[:2], cells[2] = ["a ", ""], np.array(["b"], object)
    scipy.io.savemat(tmp_path / "cells.mat", {"cells": cells})
    assert mat.variables(tmp_path / "cells.mat") == {"cells": ["a", "", "b"]}


def test_half_of_lfwa_is_for_training_and_no_person_is_in_two_splits(lfwa_faces, lfwa_source):
    data = lfwa_source
    people = [{n.split("/")[0] for n, p in zip(data.names, data.partition) if p == part} for part in range(3)]
    assert (data.partition == 2).sum() == 25 and (data.partition == 1).sum() > 0
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    other = open_source(lfwa_faces, Settings(seed=2, frame="none"))
    assert other.frame is None
    assert (other.partition != data.partition).any() and ((other.partition == 2) == (data.partition == 2)).all()


def test_lfwa_is_framed_like_celeba(lfwa_faces, lfwa_source):
    """The same faces in both layouts give the same faces, up to resampling."""
    celeba, source = open_source(lfwa_faces.with_name("celeba")), lfwa_source
    celeba.open()
    assert source.frame == ((103.0, 112.0), (146.0, 112.0)) and celeba.frame is None
    for index in range(10):
        expected, found = celeba.face(index).astype(int), source.face(index)
        assert abs(expected - found).mean() < 6
        plain = geometry.face(source.image(index))
        assert abs(expected - plain).mean() > 2 * abs(expected - found).mean()


# CSV files --------------------------------------------------------------------------------------------------


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def test_custom_attributes_pass_preparation_and_check(table, tmp_path, cascade):
    status, printed, warned = cascade("data", table, "--out", tmp_path / "lmdb")
    assert status == 0
    assert "need at least 20 images with and without each attribute" in warned and "2 with Wears_Mask in val" in warned
    made = manifest.read(tmp_path / "lmdb")
    assert made.attributes == ["Wears_Mask", "Kind_of_hat"] and made.kind == "csv" and made.frame is None
    assert sum(split.images for split in made.splits.values()) == 40
    source = open_source(table)
    for split, part in (("val", 1), ("test", 2)):
        labels = databases.read_labels(tmp_path / f"lmdb/{split}_labels", 2)
        np.testing.assert_array_equal(labels, source.labels[source.partition == part])
    listed = image_list.read(tmp_path / "lmdb")
    assert dict(zip(listed.names, listed.persons)) == dict(zip(source.names, source.persons))
    status, printed, _ = cascade("check", tmp_path / "lmdb")
    assert status == 0 and "FAILED" not in printed


@pytest.mark.parametrize("delimiter, words, absent", [(";", ("train", "val", "test"), "0"), ("\t", "012", "-1")])
def test_separators_given_splits_and_either_spelling_of_labels(table, tmp_path, delimiter, words, absent):
    """As spreadsheets write them; once a semicolon CSV had "no column of labels"."""
    (tmp_path / "photos").symlink_to(table.parent / "photos")
    header, *rows = read(table)
    for number, row in enumerate(rows):
        row[2:] = [label.replace("0", absent) for label in row[2:]] + [words[min(number // 10, 2)]]
    with open(tmp_path / "faces.csv", "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([[*header, "Split"], *rows])
    source = open_source(tmp_path / "faces.csv")
    assert source.partition.tolist() == [0] * 10 + [1] * 10 + [2] * 20
    np.testing.assert_array_equal(source.labels, open_source(table).labels)
    source.open()
    assert source.image(3).shape == (218, 178, 3)


def test_a_seeded_split_keeps_persons_together_and_every_attribute_in_all_parts(table):
    one, same, other = (open_source(table, Settings(seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.partition, same.partition)
    assert (one.partition != other.partition).any()
    assert [(one.partition == part).sum() for part in range(3)] == [32, 4, 4]
    assert (one.partition[::2] == one.partition[1::2]).all()  # two images a person
    labels = np.random.default_rng(0).random((1000, 3)) < [0.03, 0.3, 0.9]
    persons = np.random.default_rng(1).integers(0, 300, 1000)
    parts = splits.stratified(persons, labels, 0)
    assert all(len(np.unique(parts[persons == person])) == 1 for person in np.unique(persons))
    for part, share in splits.SHARES.items():
        np.testing.assert_allclose(labels[parts == part].sum(axis=0), share * labels.sum(axis=0), rtol=0.15, atol=2)
    with pytest.raises(DataError, match="too few to split"):
        splits.stratified(list("aabb"), np.zeros((4, 1), bool), 0)


# Photos that are not aligned ------------------------------------------------------------------------------------


def photos(folder, small_faces):
    """A CSV file of eight photos, each of a synthetic face at another place and size, then one of nobody and one of two
    people."""
    faces = [cv2.imread(str(path)) for path in sorted(small_faces.glob("*/*.jpg"))[:10]]
    pictures = [cv2.resize(face, None, fx=0.8 + number / 10, fy=0.8 + number / 10) for number, face in enumerate(faces)]
    pictures = [cv2.copyMakeBorder(one, 90, 60, 20 + len(one) // 4, 50, cv2.BORDER_REPLICATE) for one in pictures]
    pictures[8:] = [np.full((300, 200, 3), 90, np.uint8), np.hstack(faces[8:])]
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    write(folder / "photos.csv", [["image", "Odd"], *([f"{number}.jpg", number % 2] for number in range(10))])
    return folder / "photos.csv"


def test_detect_finds_and_aligns_the_face_of_each_photo_as_predict_does(small_faces, tmp_path, cascade):
    """Once a defect: photos of any size and place were taken as aligned faces."""
    lmdb = tmp_path / "lmdb"
    status, _, warned = cascade("data", photos(tmp_path, small_faces), "--detect", "--out", lmdb)
    assert status == 0
    assert "2 of 10 images are left out: 1 with no face found, 1 with faces of similar size; without_face.csv" in warned
    assert read(lmdb / "without_face.csv") == [
        ["image", "reason"],
        ["8.jpg", "no face found"],
        ["9.jpg", "2 faces of similar size"],
    ]
    made, listed = manifest.read(lmdb), image_list.read(lmdb)
    assert made.settings.detect and made.frame is None and made.source.without_face == 2 and len(listed.names) == 8
    finder, stored = FaceFinder(), databases.images(lmdb / "train_images", range(3))
    for name, image in zip(listed.names, stored):
        (face,) = finder(cv2.imread(str(tmp_path / name)))
        np.testing.assert_array_equal(image, face.aligned)
    status, printed, _ = cascade("check", lmdb)
    assert status == 0 and "FAILED" not in printed, printed


def test_photos_that_are_not_aligned_are_refused_with_the_remedy(small_faces, tmp_path, fails, cascade):
    remedy = "find and align the faces with --detect, or take all images as aligned with --frame none"
    (tmp_path / "shifted").mkdir()
    for path in sorted(small_faces.glob("*/*.jpg"))[:12]:
        moved = cv2.copyMakeBorder(cv2.imread(str(path)), 60, 0, 60, 0, cv2.BORDER_REPLICATE)
        cv2.imwrite(str(tmp_path / "shifted" / path.name), moved)
    rows = [[f"shifted/{n + 1:06d}.jpg", n % 2] for n in range(12)]
    write(tmp_path / "shifted.csv", [("image", "Odd"), *rows])
    words = ["data", tmp_path / "shifted.csv", "--out", tmp_path / "lmdb"]
    fails(*words, says=["the eyes are not at the positions of aligned faces, in 12 of 12 images", remedy])
    fails(*words, "--eyes", "69,111,108,111", says=["positions given with --eyes", remedy])
    assert not (tmp_path / "lmdb").exists()
    assert cascade(*words, "--eyes", "129,171,168,171")[0] == 0
    assert manifest.read(tmp_path / "lmdb").frame == ((129, 171), (168, 171))
    assert cascade(*words[:2], "--out", tmp_path / "plain", "--frame", "none")[0] == 0
    # One photo among aligned faces.
    cv2.imwrite(str(tmp_path / "shifted/000005.jpg"), moved[:-9])
    said = ["(shifted.csv:6)", "238 x 269 pixels, others have 238 x 278, so these are photos", remedy]
    fails(*words[:2], "--out", tmp_path / "mixed", "--eyes", "129,171,168,171", says=said)
