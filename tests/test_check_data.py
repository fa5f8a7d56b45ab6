"""check_data accepts what make lmdb writes, names every fault, and writes contact sheets."""

import csv
import json
import shutil

import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep.build import build_lmdb, contact_sheet
from data_prep.check import check_data
from data_prep.store import databases
from data_prep.synthetic import synthetic_faces

ATTRIBUTES = ["Eyeglasses", "Male"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set and folders of both forms made from it."""
    folder = tmp_path_factory.mktemp("check")
    synthetic_faces.generate(folder / "faces", 60, 3, {"Eyeglasses": 0.3, "Male": 0.5}, workers=1)
    synthetic_faces.generate(folder / "lfwa", 30, 3, {"Eyeglasses": 0.3, "Male": 0.5}, workers=1, layout="lfwa")
    for form in ("stream", "compact"):
        arguments = ["--form", form, "--attributes", ",".join(ATTRIBUTES), "--records", "30"]
        assert build_lmdb.main([str(folder / "faces"), "--out", str(folder / form), *arguments]) == 0
        if form == "stream":
            natural = [*arguments, "--sampling", "natural"]
            assert build_lmdb.main([str(folder / "faces"), "--out", str(folder / "natural"), *natural]) == 0
            arguments += ["--shards", "2", "--encoding", "raw", "--validation", "0.3"]
            assert build_lmdb.main([str(folder / "lfwa"), "--out", str(folder / "sharded"), *arguments]) == 0
    return folder


@pytest.mark.parametrize("name", ["stream", "compact", "sharded", "natural"])
@pytest.mark.parametrize("source", [True, False])
def test_a_folder_as_built_passes(made, tmp_path, capsys, name, source):
    arguments = [str(made / name), "--out", str(tmp_path / "sheets")] + ["--no-source"] * (not source)
    assert check_data.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "FAILED" not in printed and "all checks passed" in printed
    assert printed.count("ok ") >= (9 if source else 5)
    sheets = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    expected = [f"{attribute}.jpg" for attribute in ATTRIBUTES]
    assert sheets == (expected if name != "compact" and not source else sorted([*expected, "augmentation.png"]))
    for sheet in sheets:
        assert cv2.imread(str(tmp_path / "sheets" / sheet)).std() > 20


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


def change_plan(**fields):
    def damage(folder):
        plan = np.load(folder / "train_plan.npy")
        for field, value in fields.items():
            plan[field][5] = value
        np.save(folder / "train_plan.npy", plan)

    return damage


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
    test = next(row for row in rows if row[0] == "test")
    train[3] = test[3]


FAULTS = [
    ("natural", lambda f: change_datum(f / "train", 3, flip_label), ["batches natural", "record 3 has another label"]),
    ("stream", lambda f: change_datum(f / "train", 3, flip_label), ["every batch 1:1", "not absent, then present"]),
    ("stream", lambda f: swap(f / "train", 0, 4), ["stored images", "train 00000000", "not cropped from it"]),
    ("stream", lambda f: swap(f / "val_images", 0, 1), ["stored images", "val_images 00000000"]),
    ("stream", lambda f: drop(f / "val_images", 5), ["same order", "has 5 records, but should have 6"]),
    ("stream", lambda f: drop(f / "train", 119), ["databases complete", "train has 119 records, but should have 120"]),
    ("stream", lambda f: change_datum(f / "test_labels", 2, flip_first), ["test labels", "Eyeglasses differs"]),
    ("stream", change_plan(dx=30), ["shifted by at most 5 %", "record 5 is shifted by 30"]),
    ("stream", change_plan(image=500), ["only training images", "record 5 is of image 500"]),
    ("stream", lambda f: shutil.rmtree(f / "test_images"), ["same order", "test_images: no readable LMDB"]),
    ("stream", change_rows(leak), ["is in training", "(train) equals", "(test)", "--keep-duplicates"]),
    (
        "stream",
        change_rows(lambda rows: rows[1].__setitem__(2, rows[2][2])),
        ["no name in two splits", "more than once"],
    ),
    ("stream", change_rows(lambda rows: rows[1].__setitem__(2, "x.jpg")), ["splits agree", "x.jpg is not in"]),
    ("stream", change_rows(lambda rows: rows[1].__setitem__(0, "val")), ["same order", "val_images has 6 records"]),
    ("compact", lambda f: change_datum(f / "train_labels", 2, flip_first), ["train labels", "Eyeglasses differs"]),
    ("compact", lambda f: swap(f / "test_images", 0, 1), ["stored images", "not the image it was made from"]),
    ("compact", lambda f: change_datum(f / "train_images", 1, lambda d: d.ClearField("data")), ["does not decode"]),
]


@pytest.mark.parametrize("form, damage, words", FAULTS, ids=[" ".join(words) for _, _, words in FAULTS])
def test_every_fault_is_named(made, tmp_path, capsys, form, damage, words):
    shutil.copytree(made / form, tmp_path / "lmdb")
    damage(tmp_path / "lmdb")
    assert check_data.main([str(tmp_path / "lmdb"), "--out", str(tmp_path / "sheets")]) == 1
    printed = capsys.readouterr()
    failures = [line for line in printed.out.splitlines() if line.startswith("FAILED")]
    assert failures and any(all(word in line for word in words) for line in failures), printed.out + printed.err


def test_a_changed_data_set_is_reported(made, tmp_path, capsys):
    shutil.copytree(made / "faces", tmp_path / "faces")
    path = tmp_path / "faces/img_align_celeba/000003.jpg"
    path.write_bytes((tmp_path / "faces/img_align_celeba/000004.jpg").read_bytes())
    arguments = [str(made / "stream"), "--source", str(tmp_path / "faces"), "--out", str(tmp_path / "sheets")]
    assert check_data.main(arguments) == 1
    assert "FAILED  images of the data set unchanged: 000003.jpg" in capsys.readouterr().out


def test_a_folder_without_databases_is_reported_in_one_line(made, tmp_path, capsys):
    for folder, words in ((tmp_path, "(make lmdb) writes it"), (made / "stream", "nowhere: no such folder")):
        arguments = [str(folder), "--source", "nowhere", "--out", str(tmp_path / "sheets")]
        assert check_data.main(arguments) == 1
        printed = capsys.readouterr().err
        assert printed.startswith("error: ") and words in printed and printed.count("\n") == 1
    shutil.copytree(made / "stream", tmp_path / "old")
    manifest = json.loads((tmp_path / "old/manifest.json").read_text())
    (tmp_path / "old/manifest.json").write_text(json.dumps({"attributes": manifest["attributes"]}))
    assert check_data.main([str(tmp_path / "old")]) == 1
    assert "manifest.json: key 'source' or 'train_records' is missing" in capsys.readouterr().err


def truncate(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


DAMAGE = {
    "truncated database": (lambda f: truncate(f / "train_images/data.mdb", 0.5), "train_images/data.mdb: damaged LMDB"),
    "labels other than 0 and 1": (
        lambda f: change_datum(f / "val_labels", 2, lambda d: setattr(d, "data", b"\1\2")),
        "val_labels: record 00000002 has labels other than 0 and 1",
    ),
    "too few labels": (
        lambda f: change_datum(f / "val_labels", 2, lambda d: setattr(d, "data", b"\1")),
        "val_labels: record 00000002 has 1 labels, but should have 2",
    ),
    "images.csv without columns": (lambda f: (f / "images.csv").write_text("a,b\n1,2\n"), "images.csv: damaged"),
    "manifest is a list": (
        lambda f: (f / "manifest.json").write_text("[]"),
        "manifest.json: damaged, must hold a JSON",
    ),
    "unknown data set": (
        lambda f: change_manifest(f, lambda m: m["source"].update(kind="x")),
        "manifest.json: damaged, key 'kind' is 'x'",
    ),
    "wrong option": (
        lambda f: change_manifest(f, lambda m: m["source"]["options"].update(images=5)),
        "manifest.json: damaged, key 'images' must be",
    ),
}


def change_manifest(folder, change):
    value = json.loads((folder / "manifest.json").read_text())
    change(value)
    (folder / "manifest.json").write_text(json.dumps(value))


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_folders_are_reported_in_one_line(made, tmp_path, capsys, kind):
    shutil.copytree(made / "compact", tmp_path / "lmdb")
    damage, words = DAMAGE[kind]
    damage(tmp_path / "lmdb")
    assert check_data.main([str(tmp_path / "lmdb"), "--out", str(tmp_path / "sheets")]) == 1
    printed = capsys.readouterr()
    assert words in printed.out + printed.err and "Traceback" not in printed.err
    assert printed.err.count("\n") <= 1


def test_files_of_the_user_in_the_output_folder_are_not_touched(made, tmp_path):
    out = tmp_path / "sheets"
    out.mkdir()
    (out / "images.tar").write_bytes(b"the user's own")
    assert check_data.main([str(made / "sharded"), "--out", str(out)]) == 0
    assert (out / "images.tar").read_bytes() == b"the user's own"
    assert sorted(path.name for path in out.iterdir() if path.suffix not in (".jpg", ".png")) == ["images.tar"]


def test_sheets_are_written_to_the_lmdb_folder_by_default(made, tmp_path):
    shutil.copytree(made / "compact", tmp_path / "lmdb")
    shutil.rmtree(tmp_path / "lmdb/sheets")
    assert check_data.main([str(tmp_path / "lmdb")]) == 0
    assert (tmp_path / "lmdb/sheets/Male.jpg").exists()


def test_sheets_show_the_given_patches():
    red = np.full((224, 224, 3), (0, 0, 255), np.uint8)
    sheet = contact_sheet.attribute("Male", [red] * 3, [red // 2] * 3)
    sizes = ((sheet == (0, 0, 255)).all(axis=-1).sum(), (sheet == (0, 0, 127)).all(axis=-1).sum())
    assert sizes == (3 * contact_sheet.SIDE**2,) * 2
