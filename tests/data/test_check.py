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
        assert printed.count("ok ") == (5 if not words else 4)


def change_datum(path, number, change):
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        datum = caffe_pb2.Datum.FromString(transaction.get(databases.key(number)))
        change(datum)
        transaction.put(databases.key(number), datum.SerializeToString())


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


def exchanged(folder):
    """Exchange the labels of two splits."""
    (folder / "test_labels").rename(folder / "other")
    (folder / "val_labels").rename(folder / "test_labels")
    (folder / "other").rename(folder / "val_labels")


AS_BUILT = "every file as it was built"
# (form, damage, title of the check that finds it even where the checksums fit, fault)
FAULTS = [
    ("stream", lambda f: change_datum(f / "train", 3, flip_label), "every batch 1:1", "not absent, then present"),
    ("stream", lambda f: drop(f / "train", 7), "every batch 1:1", "train has"),
    ("stream", change_rows(leak), "no validation or test face is in training", "(test); --keep-duplicates"),
    ("stream", change_rows(lambda r: r[1].__setitem__(2, r[2][2])), "is in training", "more than once"),
    (
        "stream",
        change_rows(lambda r: r[1].__setitem__(2, "x.jpg")),
        "images and splits",
        "x.jpg is not in the data",
    ),
    (
        "stream",
        change_rows(lambda r: r[1].__setitem__(0, "val")),
        "images and splits",
        "1.jpg is in another split",
    ),
    ("stream", change_rows(lambda r: r.pop(1)), "images and splits", "1 images of the data set are not in images.csv"),
    ("compact", lambda f: change_datum(f / "train_labels", 2, flip_first), "labels as the manifest", "train has"),
    ("compact", lambda f: drop(f / "val_labels", 5), "labels as the manifest", "val has 5 labels, the manifest says 6"),
    ("compact", lambda f: shutil.rmtree(f / "test_labels"), "labels as the manifest", "no readable LMDB"),
    ("compact", exchanged, "labels as the manifest", "faces with"),
    ("compact", lambda f: drop(f / "val_images", 5), None, "val_images/data.mdb is missing, changed or damaged"),
    ("compact", lambda f: (f / "test_boxes.json").unlink(), None, "test_boxes.json is missing, changed or damaged"),
]


@pytest.mark.parametrize("form, damage, title, fault", FAULTS, ids=[fault for *_, fault in FAULTS])
def test_every_fault_is_named(made, tmp_path, cascade, form, damage, title, fault):
    folder = shutil.copytree(made / form, tmp_path / "lmdb")
    damage(folder)
    status, printed, error = cascade("check", folder)
    assert status == 1 and f"FAILED  {AS_BUILT}: {folder}/" in printed, printed + error
    with pytest.raises(OSError, match="missing, changed or damaged since it was built"):
        manifest.check_files(folder, manifest.read(folder))
    if title is not None:
        change_manifest(lambda value: value.update(checksums=manifest.checksums(folder)))(folder)
        status, printed, error = cascade("check", folder)
    failures = [line for line in printed.splitlines() if line.startswith("FAILED")]
    assert status == 1 and any((title or AS_BUILT) in line and fault in line for line in failures), printed + error


def test_a_changed_data_set_is_reported(made, small_faces, tmp_path, cascade):
    copy = shutil.copytree(small_faces, tmp_path / "faces")
    shutil.copy(copy / "img_align_celeba/000004.jpg", copy / "img_align_celeba/000003.jpg")
    status, printed, _ = cascade("check", made / "stream", "--source", copy)
    assert status == 1
    assert "FAILED  images and splits are those of the data set: 000003.jpg has other content now" in printed


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
