"""Damaged data sets and unusable targets: the command line reports one line each, and writes and loses nothing."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest
import scipy.io

from data_prep.build import build_lmdb, builder
from data_prep.sources import image_header, lfwa
from data_prep.sources.opening import open_source
from data_prep.synthetic import synthetic_faces

ROOT = pathlib.Path(__file__).parent.parent
FACE = "img_align_celeba/000007.jpg"  # row 9 of list_attr_celeba.txt, of the training split
LABELS, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
PERSON = "lfw/Synthetic_Person_0001/Synthetic_Person_0001_0001.jpg"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Sixty synthetic faces as CelebA, fifty as LFWA."""
    folder = tmp_path_factory.mktemp("sources")
    shares = {"Male": 0.5, "Smiling": 0.5}
    synthetic_faces.generate(folder / "celeba", 60, seed=3, prevalence=shares, workers=1)
    synthetic_faces.generate(folder / "lfwa", 50, seed=4, prevalence=shares, workers=1, layout="lfwa")
    return folder


def edit(name, *changes):
    def damage(folder):
        text = (folder / name).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (folder / name).write_text(text)

    return damage


def write(name, change):
    """Damage that rewrites a file's bytes."""

    def damage(folder):
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(change(data))

    return damage


def remove(name):
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def image(change, suffix=".jpg"):
    """Damage that replaces an image."""

    def replaced(data):
        picture = change(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        return cv2.imencode(suffix, picture)[1].tobytes()

    return write(FACE, replaced)


def resized(data, size):
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", cv2.resize(picture, (size, size)))[1].tobytes()


def with_exif(data, orientation=6):
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def as_cmyk(data):
    """The frame header states four channels, as that of a CMYK JPEG does."""
    place = data.index(b"\xff\xc0")
    header = bytearray(data[place : place + 19])
    header[3], header[9] = 20, 4
    return data[:place] + bytes(header) + b"\4\x11\0" + data[place + 19 :]


def huge(data):
    place = data.index(b"\xff\xc0")
    return data[: place + 5] + struct.pack(">HH", 60000, 60000) + data[place + 9 :]


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
        variables = {key: value for key, value in scipy.io.loadmat(folder / name).items() if key[0] != "_"}
        change(variables)
        (folder / name).unlink()
        scipy.io.savemat(folder / name, variables)

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
    "no picture": (write(FACE, lambda data: b"not a picture"), ["000007.jpg", f"{LABELS}:9", "neither JPEG nor PNG"]),
    "zero bytes": (write(FACE, lambda data: b""), ["000007.jpg", f"{LABELS}:9", "empty file"]),
    "truncated JPEG": (write(FACE, lambda data: data[: len(data) // 2]), ["000007.jpg", f"{LABELS}:9", "cut short"]),
    "JPEG of a header": (write(FACE, lambda data: data[:100]), ["000007.jpg", f"{LABELS}:9", "cut short"]),
    "damaged JPEG header": (write(FACE, lambda data: data[:30] + data[60:]), ["000007.jpg", f"{LABELS}:9"]),
    "truncated PNG": (
        lambda f: (image(lambda i: i, ".png")(f), write(FACE, lambda data: data[:-20])(f)),
        ["000007.jpg", f"{LABELS}:9", "cut short"],
    ),
    "damaged PNG": (
        lambda f: (image(lambda i: i, ".png")(f), write(FACE, in_the_middle)(f)),
        ["000007.jpg", f"{LABELS}:9", "wrong checksum"],
    ),
    "grey": (image(lambda i: i[..., 0]), ["000007.jpg", f"{LABELS}:9", "grey, not colour", "--convert"]),
    "CMYK": (write(FACE, as_cmyk), ["000007.jpg", f"{LABELS}:9", "CMYK"]),
    "16 bits": (image(lambda i: i.astype(np.uint16) * 257, ".png"), ["000007.jpg", f"{LABELS}:9", "16 bits"]),
    "transparent": (
        image(lambda i: cv2.cvtColor(i, cv2.COLOR_BGR2BGRA), ".png"),
        ["000007.jpg", f"{LABELS}:9", "transparency"],
    ),
    "rotated by Exif": (write(FACE, with_exif), ["000007.jpg", f"{LABELS}:9", "Exif orientation 6"]),
    "huge": (write(FACE, huge), ["000007.jpg", f"{LABELS}:9", "60000 x 60000 pixels"]),
    "padded": (write(FACE, padded), ["000007.jpg", f"{LABELS}:9", "21.0 MB", "at most 20 MB"]),
    "padded in a zip": (
        lambda f: (write(FACE, padded)(f), zipped(compression=zipfile.ZIP_DEFLATED)(f)),
        ["000007.jpg", f"{LABELS}:9", "at most 20 MB"],
    ),
    "count line too large": (edit(LABELS, ("60\n", "61\n")), [f"{LABELS}:1", "61", "60"]),
    "no count line": (edit(LABELS, ("60\n", "")), [f"{LABELS}:1", "expected the number of images"]),
    "label 2": (
        edit(
            LABELS,
            ("000007.jpg -1", "000007.jpg  2"),
        ),
        [f"{LABELS}:9", "label '2'"],
    ),
    "label missing": (edit(LABELS, ("000007.jpg -1", "000007.jpg")), [f"{LABELS}:9", "40 labels, found 39"]),
    "labels -1 and 0": (edit(LABELS, ("000007.jpg -1", "000007.jpg  0")), [LABELS, "-1 and 0"]),
    "name twice": (edit(LABELS, ("000008.jpg", "000007.jpg")), [f"{LABELS}:10", "000007.jpg already has a row, 9"]),
    "column missing": (edit(LABELS, (" Smiling", " Laughing")), ["no attribute 'Smiling'", LABELS]),
    "column twice": (edit(LABELS, (" Smiling", " Male")), [f"{LABELS}:2", "'Male' is named twice"]),
    "binary labels": (write(LABELS, lambda data: b"\xff\xfe\0\1" + data), [LABELS, "not a text file"]),
    "empty labels": (write(LABELS, lambda data: b""), [f"{LABELS}:1"]),
    "no labels": (remove(LABELS), [LABELS, "missing"]),
    "no partition": (remove(PARTITION), [PARTITION, "missing"]),
    "partition short": (edit(PARTITION, ("000007.jpg 0\n", "")), [PARTITION, "000007.jpg", "1 images have none"]),
    "partition 3": (edit(PARTITION, ("000007.jpg 0", "000007.jpg 3")), [f"{PARTITION}:7", "0, 1 or 2"]),
    "partition twice": (edit(PARTITION, ("000008.jpg", "000007.jpg")), [f"{PARTITION}:8", "already has a row"]),
    "no test split": (write(PARTITION, lambda data: data.replace(b" 2", b" 0")), [PARTITION, "test split"]),
    "binary boxes": (
        write("list_true_boxes.csv", lambda data: b"\xff" + data),
        ["list_true_boxes.csv: expected image_id"],
    ),
    "no images": (remove("img_align_celeba"), ["no img_align_celeba or img_align_celeba.zip in it"]),
    "truncated zip": (zipped(lambda data: data[: len(data) // 2]), ["img_align_celeba.zip", "not a complete zip"]),
    "damaged zip": (zipped(in_the_middle), ["img_align_celeba.zip", "damaged in the zip file", LABELS]),
    "one class only": (
        write(PARTITION, lambda data: b"".join(b"%06d.jpg %d\n" % (i, min(i, 3) - 1) for i in range(1, 61))),
        ["training images are"],
    ),
}
LFWA = {
    "mat truncated": (write(lfwa.ANNOTATION, lambda data: data[: len(data) // 2]), [lfwa.ANNOTATION, "MATLAB"]),
    "no mat": (write(lfwa.INDICES, lambda data: b"hello"), [lfwa.INDICES, "not a complete MATLAB file"]),
    "mat of the wrong shape": (
        mat(lfwa.ANNOTATION, lambda m: m.update(label=m["label"][:49])),
        [lfwa.ANNOTATION, "(49, 40)", "50 names and 40 attributes"],
    ),
    "mat without names": (mat(lfwa.ANNOTATION, lambda m: m.pop("name")), [lfwa.ANNOTATION, "'name'"]),
    "label 5": (mat(lfwa.ANNOTATION, put("label", (6, 2), 5)), [lfwa.ANNOTATION, "label(7,3) is 5"]),
    "label unknown": (mat(lfwa.ANNOTATION, put("label", (6, 2), np.nan)), [lfwa.ANNOTATION, "label(7,3) is nan"]),
    "name twice": (
        mat(lfwa.ANNOTATION, lambda m: m["name"].__setitem__((4, 0), m["name"][3, 0])),
        [f"{lfwa.ANNOTATION}:name 5", "a repetition"],
    ),
    "index 0": (mat(lfwa.INDICES, put("indices_img_test", (1, 0), 0)), ["indices_img_test(2) is 0", "from 1 to 50"]),
    "index too large": (mat(lfwa.INDICES, put("indices_img_train", (1, 0), 51)), ["indices_img_train(2) is 51"]),
    "indices are a struct": (
        mat(lfwa.INDICES, lambda m: m.update(indices_img_test={"value": m["indices_img_test"]})),
        [lfwa.INDICES, "no matrix of numbers 'indices_img_test'"],
    ),
    "photo of another size": (
        write(PERSON, lambda data: resized(data, 64)),
        [f"{lfwa.ANNOTATION}:name 1", "64 x 64 pixels, but the frame is for 250 x 250 pixels", "--eyes"],
    ),
    "image in both parts": (mat(lfwa.INDICES, put("indices_img_test", (1, 0), 1)), ["indices_img_test", "other part"]),
    "image in no part": (
        mat(lfwa.INDICES, lambda m: m.update(indices_img_test=m["indices_img_test"][:-1])),
        [lfwa.INDICES, "1 of 50 images are in neither part"],
    ),
    "image missing": (remove(PERSON), ["Synthetic_Person_0001", f"{lfwa.ANNOTATION}:name 1"]),
    "image empty": (write(PERSON, lambda data: b""), [f"{lfwa.ANNOTATION}:name 1", "empty file"]),
    "truncated tgz": (tarred, ["lfw.tgz", "damaged or cut short"]),
    "two trees": (lambda folder: (folder / "lfw-deepfunneled").mkdir(), ["lfw and in lfw-deepfunneled", "--images"]),
}


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fails(capfd, arguments, words):
    status = build_lmdb.main([*map(str, arguments)])
    error = capfd.readouterr().err.strip()
    assert status == 1 and error.startswith("error: ") and "\n" not in error, error
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    "layout, kind", [("celeba", kind) for kind in CELEBA] + [("lfwa", kind) for kind in LFWA], ids=lambda text: text
)
def test_damage_is_reported_in_one_line(sources, tmp_path, capfd, layout, kind):
    copy = tmp_path / "copy"
    shutil.copytree(sources / layout, copy)
    damage, words = {"celeba": CELEBA, "lfwa": LFWA}[layout][kind]
    damage(copy)
    before = contents(copy)
    fails(capfd, [copy, "--out", tmp_path / "lmdb", "--attributes", "Male,Smiling", "--records", "20"], words)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"] and contents(copy) == before


@pytest.mark.parametrize("name", [LABELS, PARTITION])
@pytest.mark.parametrize(
    "change",
    [lambda d: d.replace(b"\n", b"\r\n"), lambda d: b"\xef\xbb\xbf" + d, lambda d: d + b"\n \n"],
    ids=["CRLF", "BOM", "blank lines"],
)
def test_text_files_of_other_operating_systems_are_read(sources, tmp_path, name, change):
    shutil.copytree(sources / "celeba", tmp_path / "copy")
    write(name, change)(tmp_path / "copy")
    one, other = (open_source(folder) for folder in (sources / "celeba", tmp_path / "copy"))
    assert one.names == other.names and one.attributes == other.attributes
    assert (one.labels == other.labels).all() and (one.partition == other.partition).all()


@pytest.mark.parametrize("kind", ["grey", "16 bits", "transparent", "rotated by Exif"])
def test_unusual_images_are_converted_on_request(sources, tmp_path, kind):
    shutil.copytree(sources / "celeba", tmp_path / "copy")
    CELEBA[kind][0](tmp_path / "copy")
    arguments = [str(tmp_path / "copy"), "--form", "compact", "--attributes", "Male", "--convert"]
    assert build_lmdb.main([*arguments, "--out", str(tmp_path / "lmdb")]) == 0
    plain = open_source(sources / "celeba")
    plain.open()
    expected = plain.image(6)
    if kind == "rotated by Exif":
        expected = cv2.rotate(expected, cv2.ROTATE_90_CLOCKWISE)
    if kind == "grey":
        expected = np.repeat(expected[..., :1], 3, axis=2)
    stored = open_source(tmp_path / "copy")
    stored.convert = True
    stored.open()
    assert abs(stored.image(6).astype(int) - expected).mean() < 4
    header = image_header.inspect(stored.checked(6)[0])
    assert image_header.unsupported_reason(header) is None and (header.height, header.width) == expected.shape[:2]
    assert json.loads((tmp_path / "lmdb/manifest.json").read_text())["settings"]["convert"] is True


@pytest.mark.parametrize(
    "options, words",
    [
        (["--attributes", "Eyeglases"], "list_attr_celeba.txt; did you mean Eyeglasses?"),
        (["--attributes", ","], "attributes must be at least one"),
        (["--attributes", "Male,Male"], "without repetitions"),
        (["--records", "-1"], "--records must be at least 0"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--shards", "0"], "--shards must be at least 1"),
        (["--attributes", "Male", "--form", "stream", "--records", "2", "--shards", "3"], "too few for 3 solvers"),
        (["--images", "faces.zip"], "no faces.zip in it"),
        (["--eyes", "10,20,30"], "--eyes must be four numbers"),
        (["--eyes", "30,20,10,20"], "the left one (as seen) first"),
        (["--attributes", "Male", "--eyes", "10,20,900,20"], "the eyes are outside of its 178 x 218 pixels"),
        (["--expect", "lfwa"], "holds CelebA, not LFWA"),
    ],
)
def test_wrong_options_are_reported_in_one_line(sources, tmp_path, capfd, options, words):
    fails(capfd, [sources / "celeba", "--out", tmp_path / "lmdb", *options], [words])
    assert not list(tmp_path.iterdir())


def test_unusable_targets_are_reported_in_one_line(sources, tmp_path, capfd, monkeypatch):
    arguments = [sources / "celeba", "--attributes", "Male", "--records", "20", "--out"]
    fails(capfd, [tmp_path / "nowhere", "--out", tmp_path / "lmdb"], ["nowhere: no such folder"])
    (tmp_path / "file").write_text("here")
    fails(capfd, [*arguments, tmp_path / "file"], ["file: already exists"])
    fails(capfd, [*arguments, tmp_path / "file/lmdb"], ["file"])  # no folder can be made there
    fails(capfd, [*arguments, "/proc/lmdb"], ["/proc"])  # read-only, for root too
    (tmp_path / "old").mkdir()
    (tmp_path / "old/kept").write_text("kept")
    fails(capfd, [*arguments, tmp_path / "old"], ["old: already exists"])
    assert (tmp_path / "file").read_text() == "here" and (tmp_path / "old/kept").read_text() == "kept"
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: usage)
    fails(capfd, [*arguments, tmp_path / "lmdb"], ["too little disk", "1 kB are free"])
    assert sorted(os.listdir(tmp_path)) == ["file", "old"]


def test_a_disk_that_fills_up_during_the_build_leaves_no_files(sources, tmp_path):
    # A limit on file size stands for the full disk; no partial database may appear.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))\n"
        "from data_prep.build import build_lmdb\n"
        f"sys.exit(build_lmdb.main([{str(sources / 'celeba')!r}, '--out', {str(tmp_path / 'lmdb')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert not list(tmp_path.iterdir())
