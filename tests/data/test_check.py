"""face-cascade check accepts what face-cascade data writes, and names every fault."""

import csv
import json
import shutil

import lmdb
import pytest
from caffe.proto import caffe_pb2

from data_prep.store import databases, manifest

WORDS = ["--attributes", "Eyeglasses,Male", "--records", "30"]


@pytest.fixture(scope="module")
def made(small_faces, lfwa_faces, small_lmdb, tmp_path_factory):
    """Folders of both forms; `sharded` for two solvers, from LFWA."""
    from data_prep.build.builder import build
    from data_prep.sources.opening import open_source

    folder = tmp_path_factory.mktemp("check")
    shutil.copytree(small_lmdb, folder / "compact")
    for name, source, options in (
        ("stream", small_faces, {}),
        ("natural", small_faces, {"sampling": "natural"}),
        ("sharded", lfwa_faces, {"shards": 2, "encoding": "raw", "validation": 0.3}),
    ):
        settings = manifest.Settings(records=30, **options)
        build(open_source(source, settings), folder / name, ["Smiling", "Male"], "stream")
    return folder


@pytest.mark.parametrize("name", ["stream", "compact", "sharded", "natural"])
def test_a_folder_as_built_passes(made, cascade, name):
    for words in ([], ["--no-source"]):
        status, printed, _ = cascade("check", made / name, *words)
        assert status == 0 and "FAILED" not in printed and "all checks passed" in printed
        assert printed.count("ok ") >= (12 if not words else 6)


def change_datum(path, number, change):
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        datum = caffe_pb2.Datum.FromString(transaction.get(databases.key(number)))
        change(datum)
        transaction.put(databases.key(number), datum.SerializeToString())


def swap(path, one, other):
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        values = [transaction.get(databases.key(number)) for number in (one, other)]
        for number, value in zip((other, one), values, strict=True):
            transaction.put(databases.key(number), value)


def drop(path, number):
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        transaction.delete(databases.key(number))


def flip_label(datum):
    datum.label = 1 - datum.label


def flip_first(datum):
    datum.data = bytes([1 - datum.data[0]]) + datum.data[1:]


def change_rows(change):
    def damage(folder):
        with open(folder / "images.csv", newline="") as file:
            rows = list(csv.reader(file))
        change(rows)
        with open(folder / "images.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)

    return damage


def leak(rows):
    """Make the last training image equal to the first test image."""
    train = [row for row in rows if row[0] == "train"][-1]
    train[4] = next(row for row in rows if row[0] == "test")[4]


def change_manifest(change):
    def damage(folder):
        value = json.loads((folder / "manifest.json").read_text())
        change(value)
        (folder / "manifest.json").write_text(json.dumps(value))

    return damage


def inverted(folder):
    """Invert all labels of the test split."""
    path = folder / "test_labels"
    for number in range(databases.count(path)):
        change_datum(path, number, lambda datum: setattr(datum, "data", bytes(1 - label for label in datum.data)))


def exchanged(folder):
    """Exchange the labels of two splits."""
    (folder / "test_labels").rename(folder / "other")
    (folder / "val_labels").rename(folder / "test_labels")
    (folder / "other").rename(folder / "val_labels")


AS_BUILT = "every file as it was built"
FAULTS = [
    ("stream", lambda f: change_datum(f / "train", 3, flip_label), ["every batch 1:1", "not absent, then present"]),
    ("natural", lambda f: change_datum(f / "train", 3, flip_label), ["train as the data set", "record 00000003"]),
    ("stream", lambda f: swap(f / "train", 0, 4), ["train as the data set", "record 00000000 differs"]),
    ("stream", lambda f: swap(f / "val_images", 0, 1), ["val_images as the data set", "record 00000000"]),
    ("stream", lambda f: drop(f / "val_images", 5), ["same order", "has 5 records, but should have 6"]),
    ("stream", lambda f: drop(f / "train", 7), ["databases complete", "train has", "records, but should have"]),
    ("stream", lambda f: change_datum(f / "test_labels", 2, flip_first), ["test_labels as the data set", "00000002"]),
    ("stream", lambda f: shutil.rmtree(f / "test_images"), ["same order", "test_images: no readable LMDB"]),
    ("stream", change_rows(leak), ["is in training", "equals", "(test)", "--keep-duplicates"]),
    ("stream", change_rows(lambda r: r[1].__setitem__(2, r[2][2])), ["no name in two splits", "more than once"]),
    (
        "stream",
        change_rows(lambda r: r[1].__setitem__(2, "x.jpg")),
        ["splits agree", "1 images of the data set are not in"],
    ),
    ("stream", change_rows(lambda r: r[1].__setitem__(0, "val")), ["two splits", "train has 47 images in images.csv"]),
    ("compact", lambda f: change_datum(f / "train_labels", 2, flip_first), ["labels as the manifest", "train has"]),
    ("compact", lambda f: swap(f / "test_images", 0, 1), ["test_images as the data set", "record 00000000"]),
    ("compact", lambda f: change_datum(f / "train_images", 1, lambda d: d.ClearField("data")), ["train_images as"]),
    ("compact", lambda f: (f / "test_boxes.json").write_text("[]"), ["true boxes", "boxes of 0 images"]),
    ("compact", lambda f: (f / "test_boxes.json").unlink(), [AS_BUILT, "test_boxes.json is missing"]),
]


@pytest.mark.parametrize("form, damage, words", FAULTS, ids=[" ".join(words) for _, _, words in FAULTS])
def test_every_fault_is_named(made, tmp_path, cascade, form, damage, words):
    folder = shutil.copytree(made / form, tmp_path / "lmdb")
    damage(folder)
    status, printed, error = cascade("check", folder)
    failures = [line for line in printed.splitlines() if line.startswith("FAILED")]
    assert status == 1 and failures[0].startswith(f"FAILED  {AS_BUILT}: {folder}/"), printed + error
    assert any(all(word in line for word in words) for line in failures), printed + error


@pytest.mark.parametrize("damage", [inverted, exchanged])
def test_inverted_and_exchanged_labels_are_found_without_the_data_set(made, tmp_path, cascade, damage):
    """Once a defect: they passed, although the manifest counts the positives."""
    folder = shutil.copytree(made / "compact", tmp_path / "lmdb")
    damage(folder)
    with pytest.raises(OSError, match="_labels/data.mdb: missing, changed or damaged since it was built"):
        manifest.check_files(folder, manifest.read(folder))
    manifest.check_files(folder, manifest.read(folder), ["train"])
    # Even with checksums of their own.
    change_manifest(lambda value: value.update(checksums=manifest.checksums(folder)))(folder)
    status, printed, _ = cascade("check", folder, "--no-source")
    assert status == 1 and "FAILED  labels as the manifest counts them: " in printed


def test_a_changed_data_set_is_reported(made, small_faces, tmp_path, cascade):
    copy = shutil.copytree(small_faces, tmp_path / "faces")
    shutil.copy(copy / "img_align_celeba/000004.jpg", copy / "img_align_celeba/000003.jpg")
    status, printed, _ = cascade("check", made / "stream", "--source", copy)
    assert status == 1 and "FAILED  images of the data set unchanged: 000003.jpg has other content now" in printed


REFUSED = {
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "(make lmdb) writes it"),
    "a short manifest": (lambda f: (f / "manifest.json").write_text('{"attributes": ["a"]}'), "source, splits or"),
    "moved data set": (change_manifest(lambda m: m["source"].update(path="nowhere")), "nowhere: no such folder"),
    "images.csv": (lambda f: (f / "images.csv").write_text("a,b\n1,2\n"), "images.csv: damaged"),
    "binary images.csv": (lambda f: (f / "images.csv").write_bytes(b"split\n\xff"), "images.csv: damaged, not a text"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_folders_that_cannot_be_checked_are_refused_in_one_line(made, tmp_path, fails, kind):
    folder = shutil.copytree(made / "compact", tmp_path / "lmdb")
    damage, words = REFUSED[kind]
    damage(folder)
    fails("check", folder, says=words)
