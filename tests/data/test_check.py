"""face-cascade check accepts what face-cascade data writes, and names every fault."""

import csv
import json
import shutil

import lmdb
import pytest
from caffe.proto import caffe_pb2

from data_prep.build.builder import build
from data_prep.sources.opening import open_source
from data_prep.store import databases, manifest


@pytest.fixture(scope="session")
def made(small_faces, lfwa_faces, small_lmdb, shared):
    """Folders of both forms; `sharded` for two solvers, from LFWA."""

    def make(folder):
        shutil.copytree(small_lmdb, folder / "compact")
        for name, source, options in (
            ("stream", small_faces, {}),
            ("natural", small_faces, {"sampling": "natural"}),
            ("sharded", lfwa_faces, {"shards": 2, "encoding": "png", "validation": 0.3}),
        ):
            opened = open_source(source, manifest.Settings(records=30, **options))
            build(opened, folder / name, ["Smiling", "Male"], "stream")

    return shared("checked", make)


@pytest.mark.parametrize("name", ["stream", "compact", "sharded", "natural"])
def test_a_folder_as_built_passes(made, cascade, name):
    for words in ([], ["--no-source"]):
        status, printed, _ = cascade("check", made / name, *words)
        assert status == 0 and "FAILED" not in printed and "all checks passed" in printed
        assert printed.count("ok ") == 5 - (name == "natural") - bool(words)


def change(path, edit):
    """Change the records of an LMDB. edit: function of a dict number -> value, in place; a missing one is removed."""
    with lmdb.open(str(path), map_size=1 << 28) as environment, environment.begin(write=True) as transaction:
        values = {int(key): value for key, value in transaction.cursor()}
        edit(values)
        transaction.drop(environment.open_db(txn=transaction), delete=False)
        for number, value in values.items():
            transaction.put(databases.key(number), value)


def flip_label(values):
    found = caffe_pb2.Datum.FromString(values[3])
    values[3] = databases.encoded_datum(found.data, 1 - found.label)


def rows(edit):
    """A change of the rows of images.csv."""

    def damage(folder):
        with open(folder / "images.csv", newline="") as file:
            found = list(csv.reader(file))
        edit(found)
        with open(folder / "images.csv", "w", newline="") as file:
            csv.writer(file).writerows(found)

    return damage


def leak(found):
    """Make the last training image equal to the first test image."""
    train = [row for row in found if row[0] == "train"][-1]
    train[4] = next(row for row in found if row[0] == "test")[4]


def edit_manifest(folder, **changes):
    value = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**value, **changes}))


AS_BUILT = "every file as it was built"
# (form, damage, title of the check that finds it even where the checksums fit, fault)
FAULTS = [
    ("stream", lambda f: change(f / "train", flip_label), "every batch 1:1", "not absent, then present"),
    ("stream", lambda f: change(f / "train", lambda v: v.pop(0)), "every batch 1:1", "Male is not absent, then"),
    ("stream", rows(leak), "no validation or test face is in training", "(test); --keep-duplicates"),
    ("stream", rows(lambda r: r[1].__setitem__(2, "x.jpg")), "images and splits", "x.jpg is not in the data"),
    ("stream", rows(lambda r: r[1].__setitem__(0, "val")), "images and splits", "1.jpg is in another split"),
    ("stream", rows(lambda r: r.pop(1)), "images and splits", "1 images of the data set are not in images.csv"),
    ("compact", lambda f: shutil.rmtree(f / "train_labels"), "every batch 1:1", "no readable LMDB"),
    ("compact", lambda f: change(f / "val_images", lambda v: v.pop(5)), None, "val_images/data.mdb is missing"),
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
        edit_manifest(folder, checksums=manifest.checksums(folder))
        status, printed, error = cascade("check", folder)
    failures = [line for line in printed.splitlines() if line.startswith("FAILED")]
    assert status == 1 and any((title or AS_BUILT) in line and fault in line for line in failures), printed + error


def test_labels_under_another_name_are_found(made, tmp_path, cascade):
    folder = shutil.copytree(made / "compact", tmp_path / "lmdb")
    edit_manifest(folder, attributes=manifest.read(folder).attributes[::-1])
    status, printed, _ = cascade("check", folder)
    assert status == 1 and "FAILED  labels as the manifest counts them: train has " in printed


def test_a_changed_data_set_is_reported(made, small_faces, tmp_path, cascade):
    copy = shutil.copytree(small_faces, tmp_path / "faces")
    shutil.copy(copy / "img_align_celeba/000004.jpg", copy / "img_align_celeba/000003.jpg")
    status, printed, _ = cascade("check", made / "stream", "--source", copy)
    assert status == 1
    assert "FAILED  images and splits are those of the data set: 000003.jpg has other content now" in printed


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda f: (f / "manifest.json").unlink(), "(make lmdb) writes it"),
        (lambda f: (f / "manifest.json").write_text('{"attributes": ["a"]}'), "key 'source' is missing"),
        (lambda f: edit_manifest(f, source={"kind": "celeba", "path": "nowhere"}), "nowhere: no such folder"),
        (lambda f: (f / "images.csv").unlink(), "images.csv: missing; build"),
        (lambda f: (f / "images.csv").write_text("a,b\n1,2\n"), "images.csv: damaged"),
        (lambda f: (f / "images.csv").write_bytes(b"split\n\xff"), "images.csv: damaged, not a text"),
    ],
)
def test_folders_that_cannot_be_checked_are_refused_in_one_line(made, tmp_path, fails, damage, words):
    folder = shutil.copytree(made / "compact", tmp_path / "lmdb")
    damage(folder)
    fails("check", folder, says=words)
