"""Damaged data sets and unusable targets: the command line reports one line each, and writes and loses nothing."""

import os
import shutil
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
from lfwa_files import write_mat

from data_prep import start
from data_prep.build import builder
from data_prep.sources import lfwa
from data_prep.sources.mat import read_mat

FACE = "img_align_celeba/000007.jpg"  # row 9 of list_attr_celeba.txt, of the training split
LABELS, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
PERSON = "lfw/Synthetic_Person_0001/Synthetic_Person_0001_0001.jpg"
NAMED = ["000007.jpg", f"{LABELS}:9"]


def edit(name, old, new):
    def damage(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return damage


def write(name, change):
    """Damage that rewrites a file's bytes."""

    def damage(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return damage


def remove(name):
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def pipe(folder):
    (folder / FACE).unlink()
    os.mkfifo(folder / FACE)


def padded(data):
    return data[:-2] + bytes(21_000_000 - len(data)) + data[-2:]


def zipped(change=lambda data: data, compression=zipfile.ZIP_STORED):
    def damage(folder):
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", compression) as packed:
            for path in sorted((folder / "img_align_celeba").iterdir()):
                packed.write(path, f"img_align_celeba/{path.name}")
        shutil.rmtree(folder / "img_align_celeba")
        write("img_align_celeba.zip", change)(folder)

    return damage


def in_the_middle(data):
    return data[: len(data) // 2] + bytes(60) + data[len(data) // 2 + 60 :]


def mat(name, change):
    def damage(folder):
        variables = read_mat(folder / name)
        change(variables)
        write_mat(folder / name, variables)

    return damage


def put(variable, place, value):
    def change(variables):
        variables[variable][place] = value

    return change


def tarred(folder):
    subprocess.run(["tar", "-czf", folder / "lfw.tgz", "-C", folder, "lfw"], check=True)
    shutil.rmtree(folder / "lfw")
    write("lfw.tgz", lambda data: data[: len(data) // 2])(folder)


CELEBA = {
    "image missing": (remove(FACE), [f"{LABELS}:9", "000007.jpg is not in"]),
    "image a pipe": (pipe, [*NAMED, "not a regular file"]),
    "no picture": (write(FACE, lambda data: b"not a picture"), [*NAMED, "neither JPEG, PNG"]),
    "padded in a zip": (
        lambda f: (write(FACE, padded)(f), zipped(compression=zipfile.ZIP_DEFLATED)(f)),
        [*NAMED, "at most 20 MB"],
    ),
    "label 2": (edit(LABELS, "000007.jpg -1", "000007.jpg  2"), [f"{LABELS}:9", "label '2'"]),
    "labels -1 and 0": (edit(LABELS, "000007.jpg -1", "000007.jpg  0"), [LABELS, "-1 and 0"]),
    "name twice": (edit(LABELS, "000008.jpg", "000007.jpg"), [f"{LABELS}:10", "000007.jpg already has a row, 9"]),
    "column missing": (edit(LABELS, " Smiling", " Laughing"), ["no attribute 'Smiling'", LABELS]),
    "no labels": (remove(LABELS), [LABELS, "missing"]),
    "no partition": (remove(PARTITION), [PARTITION, "missing"]),
    "partition short": (edit(PARTITION, "000007.jpg 0\n", ""), [PARTITION, "000007.jpg", "1 images have none"]),
    "partition 3": (edit(PARTITION, "000007.jpg 0", "000007.jpg 3"), [f"{PARTITION}:7", "0, 1 or 2"]),
    "no test split": (write(PARTITION, lambda data: data.replace(b" 2", b" 0")), [PARTITION, "test split"]),
    "swapped box": (
        write("list_true_boxes.csv", lambda data: data.split(b"\n")[0] + b"\n000001.jpg,Male,30,20,10,40\n"),
        ["list_true_boxes.csv:2", "x1 <= x2"],
    ),
    "no images": (remove("img_align_celeba"), ["no img_align_celeba or img_align_celeba.zip in it"]),
    "truncated zip": (zipped(lambda data: data[: len(data) // 2]), ["img_align_celeba.zip", "damaged or cut short"]),
    "damaged zip": (zipped(in_the_middle), ["img_align_celeba.zip", "damaged or cut short"]),
    "one class only": (
        write(PARTITION, lambda data: b"".join(b"%06d.jpg %d\n" % (i, min(i, 3) - 1) for i in range(1, 61))),
        ["training images are"],
    ),
}
LFWA = {
    "mat truncated": (write(lfwa.ANNOTATION, lambda data: data[: len(data) // 2]), [lfwa.ANNOTATION, "MATLAB"]),
    "no mat": (write(lfwa.INDICES, lambda data: b"hello"), [lfwa.INDICES, "not a complete MATLAB file"]),
    "label unknown": (mat(lfwa.ANNOTATION, put("label", (6, 2), np.nan)), [f"{lfwa.ANNOTATION}:name 7", "label 'nan'"]),
    "index 0": (mat(lfwa.INDICES, put("indices_img_test", (1, 0), 0)), [lfwa.INDICES, "each number from 1 to 50 once"]),
    "photo of another size": (
        write(PERSON, lambda data: cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()),
        [f"{lfwa.ANNOTATION}:name 1", "64 x 64 pixels, but the frame is for 250 x 250 pixels", "--eyes"],
    ),
    "image in both parts": (
        mat(lfwa.INDICES, put("indices_img_test", (1, 0), 1)),
        [lfwa.INDICES, "each number from 1 to 50 once"],
    ),
    "truncated tgz": (tarred, ["lfw.tgz", "damaged or cut short"]),
    "two trees": (lambda folder: (folder / "lfw-deepfunneled").mkdir(), ["lfw and in lfw-deepfunneled", "--images"]),
}


@pytest.mark.parametrize(
    "layout, kind", [("celeba", kind) for kind in CELEBA] + [("lfwa", kind) for kind in LFWA], ids=lambda text: text
)
def test_damage_is_reported_in_one_line(small_faces, lfwa_faces, tmp_path, fails, layout, kind):
    copy = tmp_path / "copy"
    shutil.copytree({"celeba": small_faces, "lfwa": lfwa_faces}[layout], copy)
    damage, words = {"celeba": CELEBA, "lfwa": LFWA}[layout][kind]
    damage(copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    fails("data", copy, "--out", tmp_path / "lmdb", "--attributes", "Male,Smiling", says=words)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.parametrize(
    "options, words",
    [
        (["--attributes", "Eyeglases"], "list_attr_celeba.txt; did you mean Eyeglasses?"),
        (["--attributes", "Male,Male"], "without repetitions"),
        (["--records", "-1"], "--records: must be a whole number of at least 0"),
        (["--shards", "0"], "--shards: must be a whole number of at least 1"),
        (["--validation", "1"], "--validation: must be a number above 0"),
        (["--sampling", "naturel"], "--sampling: must be balanced or natural, not 'naturel'; did you mean natural?"),
        (["--attributes", "Male", "--form", "stream", "--records", "2", "--shards", "3"], "too few for 3 solvers"),
        (["--images", "faces.zip"], "no faces.zip in it"),
        (["--eyes", "10,20,30"], "--eyes: must be x1,y1,x2,y2 in pixels"),
        (["--eyes", "30,20,10,20"], "the left eye (as seen) first"),
        (["--attributes", "Male", "--eyes", "10,20,900,20"], "the eyes are outside of its 178 x 218 pixels"),
        (["--expect", "lfwa"], "holds CelebA, not LFWA"),
        (["--from", "compact"], "unknown option --from; did you mean --form? (--help explains)"),
    ],
)
def test_wrong_options_are_reported_in_one_line(small_faces, tmp_path, fails, options, words):
    fails("data", small_faces, "--out", tmp_path / "lmdb", *options, says=words)
    assert not list(tmp_path.iterdir())


def test_unusable_targets_are_reported_in_one_line(small_faces, tmp_path, fails, monkeypatch):
    words = ["data", small_faces, "--attributes", "Male", "--out"]
    (tmp_path / "file").write_text("here")
    fails(*words, tmp_path / "file", says="file: already exists")
    fails(*words, tmp_path / "file/lmdb", says="file")  # no folder can be made there
    fails(*words, "/proc/lmdb", says="/proc")  # read-only, for root too
    assert (tmp_path / "file").read_text() == "here"
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: usage)
    status = ["too little disk", "1 kB are free"]
    (tmp_path / "list").mkdir()
    monkeypatch.setattr(builder, "FEW", 0)  # no warning, so that the error is the only line
    fails(*words, tmp_path / "lmdb", says=status)
    assert sorted(os.listdir(tmp_path)) == ["file", "list"]


def test_a_disk_that_fills_up_during_the_build_leaves_no_files_and_is_named(small_faces, tmp_path):
    # A limit on file size stands for the full disk; no partial database may appear.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))\n"
        "from tools import cli\n"
        "sys.exit(cli.main(['data', sys.argv[1], '--attributes', 'Male', '--out', sys.argv[2]]))"
    )
    words = [sys.executable, "-c", code, small_faces, tmp_path / "lmdb"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=start.REPOSITORY)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/.lmdb.partial/train_images/data.mdb: ")
    assert not list(tmp_path.iterdir())
