"""Damaged data sets and unusable targets: the command line reports one line each, and writes and loses nothing."""

import os
import shutil

import cv2
import numpy as np
import pytest
from lfwa_files import write_mat
from mutations import full_disk

from data_prep.build import builder
from data_prep.sources import lfwa, mat

pytestmark = pytest.mark.usefixtures("mat_files_read_here")
FACE = "img_align_celeba/000007.jpg"  # row 9 of list_attr_celeba.txt, of the training split
LABELS, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
PERSON = "lfw/Synthetic_Person_0001/Synthetic_Person_0001_0001.jpg"
NAMED = ["000007.jpg", f"{LABELS}:9"]
TABLE, HEADER, ROW = "faces.csv", "image,person,Wears_Mask,Kind of hat", "photos/000003.jpg,p1,0,0"  # in line 4


def write(name, change):
    """Damage that rewrites a file's bytes."""

    def damage(folder):
        data = (folder / name).read_bytes()
        assert change(data) != data
        (folder / name).write_bytes(change(data))

    return damage


def edit(name, old, new):
    return write(name, lambda data: data.replace(old.encode(), new.encode(), 1))


def remove(name):
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def padded(data):
    return data[:-2] + bytes(21_000_000 - len(data)) + data[-2:]


def put(name, variable, place, value):
    """Damage of a variable in a .mat file."""

    def damage(folder):
        variables = mat.variables(folder / name)
        variables[variable][place] = value
        write_mat(folder / name, variables)

    return damage


CELEBA = [
    (remove(FACE), [f"{LABELS}:9", "000007.jpg is not in"]),
    (write(FACE, lambda data: b"not a picture"), [*NAMED, "neither JPEG, PNG"]),
    (write(FACE, padded), [*NAMED, "at most 20 MB"]),
    (edit(LABELS, " Smiling", " Laughing"), ["no attribute 'Smiling'", LABELS]),
    (remove(PARTITION), [PARTITION, "missing"]),
    (edit(PARTITION, "000007.jpg 0\n", ""), [PARTITION, "000007.jpg", "1 images have none"]),
    (edit(PARTITION, "000007.jpg 0", "000007.jpg 3"), [f"{PARTITION}:7", "0, 1 or 2"]),
    (
        write(PARTITION, lambda data: b"".join(b"%06d.jpg %d\n" % (i, min(i, 3) - 1) for i in range(1, 61))),
        ["training images are"],
    ),
    (
        write("list_true_boxes.csv", lambda data: data.split(b"\n")[0] + b"\n000001.jpg,Male,30,20,10,40\n"),
        ["list_true_boxes.csv:2", "x1 <= x2"],
    ),
    (remove("img_align_celeba"), ["no img_align_celeba or img_align_celeba.zip in it"]),
]
LFWA = [
    (put(lfwa.ANNOTATION, "label", (6, 2), np.nan), [f"{lfwa.ANNOTATION}:name 7", "label 'nan'"]),
    (put(lfwa.INDICES, "indices_img_test", (1, 0), 1), [lfwa.INDICES, "each number from 1 to 50 once"]),
    (
        write(PERSON, lambda data: cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()),
        [f"{lfwa.ANNOTATION}:name 1", "64 x 64 pixels, but the frame is for 250 x 250 pixels", "--eyes"],
    ),
    (lambda folder: (folder / "lfw-deepfunneled").mkdir(), ["lfw and in lfw-deepfunneled", "--images"]),
]
CSV = [
    (edit(TABLE, ROW, ROW.replace(",0", ",2", 1)), "faces.csv:4: label '2' of Wears_Mask; labels are 1 and 0"),
    (edit(TABLE, ROW, ROW.replace(",0", ",-1", 1)), "labels use both -1 and 0"),
    (edit(TABLE, ROW, "/etc/passwd,p1,0,0"), "is not a path of an image"),
    (edit(TABLE, ROW, "./photos/000001.jpg,p1,0,0"), "faces.csv:4: photos/000001.jpg already has a row, 2"),
    (edit(TABLE, ROW, "photos/missing.jpg,p1,0,0"), "faces.csv:4: photos/missing.jpg is not in"),
    (edit(TABLE, ROW, f"{ROW},1"), "faces.csv:4: 5 fields, but 4 columns"),
    (edit(TABLE, "Kind of hat", "Wears Mask"), "Wears_Mask is given twice"),
    (edit(TABLE, "Kind of hat", ""), "faces.csv:1: column 4 has no name; name it, or remove it"),
    (edit(TABLE, "Kind of hat", "mean"), "'mean' is the row of the means over attributes in tables"),
    (edit(TABLE, "Kind of hat", "Trägt Brille"), "'Trägt_Brille' cannot be a name; at most 64 letters from A"),
    (edit(TABLE, "Kind of hat", "person"), "column 'person' occurs twice"),
    (edit(TABLE, HEADER, "image,split,Wears_Mask,Male"), "faces.csv:2: split 'p0'; splits are train, val, test or 0"),
    (write(TABLE, lambda data: data.splitlines()[0]), "no image in it"),
    (lambda folder: shutil.copy(folder / TABLE, folder / "x.csv"), "several CSV files, faces.csv, x.csv; give"),
    (remove(TABLE), "no data set in it; looked for list_attr_celeba.txt or .csv (CelebA, also in Anno/), lfw_att_40"),
    (write(TABLE, lambda data: b"image,person\nphotos/000001.jpg,p0\n"), "no column of labels beside 'image, person'"),
    (write(TABLE, lambda data: b"photos/000001.jpg,1\nphotos/000002.jpg,0\n"), "faces.csv:1: the first row must name"),
]
LAYOUTS = {"celeba": CELEBA, "lfwa": LFWA, "csv": CSV}


@pytest.mark.parametrize(
    "layout, damage, words",
    [
        pytest.param(layout, *fault, id=f"{layout} {fault[1] if layout == 'csv' else ' '.join(fault[1])}")
        for layout, faults in LAYOUTS.items()
        for fault in faults
    ],
)
def test_damage_is_reported_in_one_line(small_faces, lfwa_faces, table, tmp_path, fails, layout, damage, words):
    copy = tmp_path / "copy"
    shutil.copytree({"celeba": small_faces, "lfwa": lfwa_faces, "csv": table.parent}[layout], copy, symlinks=True)
    damage(copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    attributes = [] if layout == "csv" else ["--attributes", "Male,Smiling"]
    fails("data", copy, "--out", tmp_path / "lmdb", *attributes, says=words)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.parametrize(
    "options, words",
    [
        (["--attributes", "Eyeglases"], "list_attr_celeba.txt; did you mean Eyeglasses?"),
        (["--attributes", "Male,Male"], "Male is given twice"),
        (["--attributes", "Male", "--form", "stream", "--records", "2", "--shards", "3"], "too few for 3 solvers"),
        (["--attributes", ","], "--attributes: must not be empty"),
        (["--shards", "2"], "--shards has no effect in the compact form; --form stream uses it"),
        (["--validation", "0.2"], "--validation has no effect here; only LFWA's"),
        (["--eyes", "69,111,108,111", "--frame", "none"], "--eyes has no effect with --detect or --frame none"),
        (["--images", "faces.zip"], "no faces.zip in it"),
        (["--eyes", "30,20,10,20"], "the left eye (as seen) first"),
        (["--attributes", "Male", "--eyes", "10,20,900,20"], "the eyes are outside of its 178 x 218 pixels"),
        (["--expect", "lfwa"], "holds CelebA, not LFWA"),
        (["--from", "compact"], "unknown option --from; did you mean --form? (--help explains)"),
        ([""], "unknown argument '' (--help explains)"),
    ],
)
def test_wrong_options_are_reported_in_one_line(small_faces, tmp_path, fails, options, words):
    fails("data", small_faces, "--out", tmp_path / "lmdb", *options, says=words)
    assert not list(tmp_path.iterdir())


def test_a_model_is_not_made_from_other_data_than_asked_for(small_faces, small_lmdb, table, tmp_path, fails):
    fails("model", tmp_path / "nowhere", "--run", tmp_path / "new", says="nowhere: no such folder or CSV file")
    assert not list(tmp_path.iterdir())
    (tmp_path / "lmdb").symlink_to(small_lmdb)
    fails("model", table, "--run", tmp_path, says=["was built from ", str(small_faces), "give another folder"])
    fails("model", small_faces, "--run", tmp_path, "--convert", says="was built with another --convert")


def test_unusable_targets_are_reported_in_one_line(small_faces, tmp_path, fails, monkeypatch):
    words = ["data", small_faces, "--attributes", "Male", "--out"]
    (tmp_path / "file").write_text("here")
    fails("data", tmp_path / "file", says="file: neither a folder nor a CSV file")
    fails("data", tmp_path / "nowhere", says="nowhere: no such folder or CSV file")
    fails(*words, tmp_path / "file", says="file: already exists")
    fails(*words, tmp_path / "file/lmdb", says="file")  # no folder can be made there
    fails(*words, "/proc/lmdb", says="/proc")  # read-only, for root too
    assert (tmp_path / "file").read_text() == "here"
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(builder, "FEW", 0)  # no warning, so that the error is the only line
    fails(*words, tmp_path / "lmdb", says=["too little disk", "0.000 GB are free"])
    assert os.listdir(tmp_path) == ["file"]


def test_a_disk_that_fills_up_during_the_build_leaves_no_files_and_is_named(small_faces, tmp_path, cascade):
    with full_disk(300_000):
        status, _, error = cascade("data", small_faces, "--attributes", "Male", "--out", tmp_path / "lmdb")
    assert status == 1
    assert error.splitlines()[-1].startswith(f"error: {tmp_path}/.lmdb.partial/train_images/data.mdb: ")
    assert not list(tmp_path.iterdir())
