"""A custom data set as a CSV file passes data preparation with its attributes; mistakes are reported in one line."""

import csv
import shutil

import numpy as np
import pytest

from data_prep.build import build_lmdb
from data_prep.check import check_data
from data_prep.errors import DataError
from data_prep.sources import csv_table
from data_prep.sources.opening import open_source
from data_prep.store import databases, manifest
from data_prep.synthetic import synthetic_faces

COUNT = 40


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Forty images in photos/ and faces.csv beside it; Wears_Mask is on every second, "Kind of hat" on every third."""
    folder = tmp_path_factory.mktemp("table")
    synthetic_faces.generate(folder / "faces", COUNT, 5, workers=1)
    (folder / "faces/img_align_celeba").rename(folder / "photos")
    shutil.rmtree(folder / "faces")
    rows = [["image", "person", "Wears_Mask", "Kind of hat"]]
    rows += [[f"photos/{n + 1:06d}.jpg", f"p{n // 2}", n % 2, int(n % 3 == 0)] for n in range(COUNT)]
    write(folder / "faces.csv", rows)
    return folder / "faces.csv"


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def changed(table, folder, change):
    """A copy of the table with changed rows, its images linked."""
    (folder / "photos").symlink_to(table.parent / "photos")
    rows = read(table)
    change(rows)
    write(folder / "faces.csv", rows)
    return folder / "faces.csv"


@pytest.mark.parametrize("form", manifest.FORMS)
def test_custom_attributes_pass_preparation_and_check(table, tmp_path, capsys, form):
    arguments = [str(table), "--out", str(tmp_path / "lmdb"), "--form", form]
    assert build_lmdb.main(arguments) == 0
    made = manifest.read(tmp_path / "lmdb")
    assert made.attributes == ["Wears_Mask", "Kind_of_hat"] and made.kind == "csv" and made.frame is None
    assert sum(split.images for split in made.splits.values()) == COUNT
    source = open_source(table)
    for split, part in (("val", 1), ("test", 2)):
        labels = databases.read_labels(tmp_path / f"lmdb/{split}_labels", 2)
        np.testing.assert_array_equal(labels, source.labels[source.partition == part])
    assert (tmp_path / "lmdb/sheets/Kind_of_hat.jpg").exists()
    assert check_data.main([str(tmp_path / "lmdb")]) == 0
    assert "FAILED" not in capsys.readouterr().out


def test_seeded_split_keeps_the_images_of_a_person_together(table):
    one, same, other = (open_source(table, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.partition, same.partition)
    assert (one.partition != other.partition).any()
    assert [(one.partition == part).sum() for part in range(3)] == [32, 4, 4]
    assert (one.partition[::2] == one.partition[1::2]).all()  # two images a person
    parts = csv_table.seeded_split(np.arange(1000), 0)
    assert [(parts == part).sum() for part in range(3)] == [800, 100, 100]
    assert sorted(csv_table.seeded_split(list("abc"), 0)) == [0, 1, 2]
    with pytest.raises(DataError, match="too few to split"):
        csv_table.seeded_split(list("aabb"), 0)


@pytest.mark.parametrize("words", [("train", "val", "test"), ("0", "1", "2")])
@pytest.mark.parametrize("absent", ["0", "-1"])
def test_given_splits_and_either_spelling_of_labels(table, tmp_path, words, absent):
    def change(rows):
        rows[0].append("Split")
        for number, row in enumerate(rows[1:]):
            row.append(words[min(number // 10, 2)])
            row[2:4] = [label.replace("0", absent) for label in row[2:4]]

    source = open_source(changed(table, tmp_path, change))
    assert source.partition.tolist() == [0] * 10 + [1] * 10 + [2] * 20
    np.testing.assert_array_equal(source.labels, open_source(table).labels)
    source.open()
    assert source.image(3).shape == (218, 178, 3)


def test_a_folder_with_one_table_and_given_eyes_is_read(table, tmp_path):
    path = changed(table, tmp_path, lambda rows: None)
    source = open_source(path.parent, frame=[[69, 111], [108, 111]])
    assert source.kind == "csv" and source.path == path and source.frame == ((69, 111), (108, 111))
    source.open()
    plain = open_source(table)
    plain.open()
    assert abs(source.face(0).astype(int) - plain.face(0)).mean() < 1  # CelebA's eye positions change nothing
    write(tmp_path / "other.csv", read(table))
    with pytest.raises(DataError, match="several CSV files, faces.csv, other.csv; give the path of one"):
        open_source(tmp_path)


def put(row, column, value):
    def change(rows):
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (put(3, 2, "2"), "faces.csv:4: label '2' of Wears_Mask; labels are 1 and 0"),
        (put(3, 2, ""), "faces.csv:4: label '' of Wears_Mask"),
        (put(3, 2, "-1"), "labels use both -1 and 0"),
        (put(3, 0, ""), "faces.csv:4: '' is not a path"),
        (put(3, 0, "/etc/passwd"), "is not a path relative to the CSV file"),
        (put(3, 0, "photos/000001.jpg"), "faces.csv:4: photos/000001.jpg already has a row, 2"),
        (put(3, 0, "photos/missing.jpg"), "faces.csv:4: photos/missing.jpg is not in"),
        (put(0, 3, "Wears Mask"), "'Wears_Mask' is named twice"),
        (put(0, 3, "a/b"), "'a/b' cannot name an attribute"),
        (put(0, 3, ""), "'' cannot name an attribute"),
        (put(0, 3, "Trägt Brille"), "'Trägt_Brille' cannot name an attribute; at most 64 letters from A to Z, digits"),
        (put(0, 3, "a+b"), "'a+b' cannot name an attribute"),
        (put(0, 3, "Hat."), "'Hat.' cannot name an attribute"),
        (put(0, 3, "a" * 80), "aaa' cannot name an attribute"),
        (
            lambda rows: (put(0, 3, "split")(rows), put(1, 3, "testing")(rows)),
            "faces.csv:2: split 'testing'; splits are train, val, test or 0, 1, 2",
        ),
        (put(0, 3, "person"), "column 'person' occurs twice"),
        (lambda rows: rows[5].append("1"), "faces.csv:6: 5 fields, but 4 columns"),
        (lambda rows: rows.__delitem__(slice(1, None)), "no image in it"),
        (lambda rows: [row.__delitem__(slice(2, 4)) for row in rows], "no column of labels"),
    ],
)
def test_mistakes_are_one_clear_line(table, tmp_path, capsys, change, words):
    path = changed(table, tmp_path, change)
    assert build_lmdb.main([str(path), "--out", str(tmp_path / "lmdb")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["faces.csv", "photos"]


def test_misspelt_attributes_get_a_suggestion(table, tmp_path, capsys):
    assert build_lmdb.main([str(table), "--attributes", "wears_masc", "--out", str(tmp_path / "lmdb")]) == 1
    error = capsys.readouterr().err
    assert error == f"error: no attribute 'wears_masc' in {table}; did you mean Wears_Mask?\n"
    assert build_lmdb.main([str(table), "--attributes", "Xyz", "--out", str(tmp_path / "lmdb")]) == 1
    assert "attributes are Wears_Mask, Kind_of_hat" in capsys.readouterr().err


def test_text_that_is_not_a_table_is_reported_in_one_line(tmp_path):
    for data, words in ((b"\xff\xfe\0a", "not a text file"), (b'image,"a\n', "not readable as CSV"), (b"", "no image")):
        (tmp_path / "x.csv").write_bytes(data)
        with pytest.raises(DataError, match=words):
            open_source(tmp_path / "x.csv")
