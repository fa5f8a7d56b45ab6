"""A data set of the user's own as a CSV file: its forms, its split, its mistakes; photos that are not aligned."""

import csv
import json

import cv2
import numpy as np
import pytest

from data_prep.errors import DataError
from data_prep.faces.face_finder import FaceFinder
from data_prep.sources import splits
from data_prep.sources.opening import open_source
from data_prep.store import databases, image_list, manifest
from data_prep.store.manifest import Settings

COUNT = 40


@pytest.fixture(scope="module")
def table(small_faces, tmp_path_factory):
    """Forty images in photos/ and faces.csv beside it; Wears_Mask is on every second, "Kind of hat" on every third."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "photos").symlink_to(small_faces / "img_align_celeba")
    rows = [["image", "person", "Wears_Mask", "Kind of hat"]]
    rows += [[f"photos/{n + 1:06d}.jpg", f"p{n // 2}", n % 2, int(n % 3 == 0)] for n in range(COUNT)]
    write(folder / "faces.csv", rows)
    return folder / "faces.csv"


def write(path, rows, **options):
    with open(path, "w", newline="") as file:
        csv.writer(file, **options).writerows(rows)


def read(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def changed(table, folder, change, **options):
    """A copy of the table with changed rows, its images linked."""
    (folder / "photos").symlink_to(table.parent / "photos")
    rows = read(table)
    change(rows)
    write(folder / "faces.csv", rows, **options)
    return folder / "faces.csv"


@pytest.mark.parametrize("form", manifest.FORMS)
def test_custom_attributes_pass_preparation_and_check(table, tmp_path, cascade, form):
    status, printed, warned = cascade("data", table, "--out", tmp_path / "lmdb", "--form", form)
    assert status == 0 and "ready, " in printed
    assert "need at least 20 images with and without each attribute" in warned and "2 with Wears_Mask in val" in warned
    made = manifest.read(tmp_path / "lmdb")
    assert made.attributes == ["Wears_Mask", "Kind_of_hat"] and made.kind == "csv" and made.frame is None
    assert sum(split.images for split in made.splits.values()) == COUNT
    source = open_source(table)
    for split, part in (("val", 1), ("test", 2)):
        labels = databases.read_labels(tmp_path / f"lmdb/{split}_labels", 2)
        np.testing.assert_array_equal(labels, source.labels[source.partition == part])
    listed = image_list.read(tmp_path / "lmdb")
    assert dict(zip(listed.names, listed.persons)) == dict(zip(source.names, source.persons))
    assert (tmp_path / "lmdb/sheets/Kind_of_hat.jpg").exists()
    status, printed, _ = cascade("check", tmp_path / "lmdb")
    assert status == 0 and "FAILED" not in printed


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_tables_of_spreadsheets_are_separated_by_semicolons_or_tabs(table, tmp_path, delimiter):
    """Once a defect: a semicolon CSV had "no column of labels"."""
    source = open_source(changed(table, tmp_path, lambda rows: None, delimiter=delimiter))
    np.testing.assert_array_equal(source.labels, open_source(table).labels)


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


def test_a_seeded_split_keeps_persons_together_and_every_attribute_in_all_parts(table):
    one, same, other = (open_source(table, Settings(seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.partition, same.partition)
    assert (one.partition != other.partition).any()
    assert [(one.partition == part).sum() for part in range(3)] == [32, 4, 4]
    assert (one.partition[::2] == one.partition[1::2]).all()  # two images a person
    # Once a defect: 18 positives of 49 fell 11, 1 and 6.
    rare = np.arange(49)[:, None] < 18
    for seed in range(5):
        parts = splits.stratified(np.arange(49), rare, seed)
        assert [(parts == part).sum() for part in range(3)] == [39, 5, 5]
        assert [rare[parts == part].sum() for part in range(3)] == [14, 2, 2]
    labels = np.random.default_rng(0).random((1000, 3)) < [0.03, 0.3, 0.9]
    persons = np.random.default_rng(1).integers(0, 300, 1000)
    parts = splits.stratified(persons, labels, 0)
    assert all(len(np.unique(parts[persons == person])) == 1 for person in np.unique(persons))
    for part, share in splits.SHARES.items():
        np.testing.assert_allclose(labels[parts == part].sum(axis=0), share * labels.sum(axis=0), rtol=0.15, atol=2)
    assert sorted(splits.stratified(list("abc"), np.zeros((3, 0), bool), 0)) == [0, 1, 2]
    with pytest.raises(DataError, match="too few to split"):
        splits.stratified(list("aabb"), np.zeros((4, 1), bool), 0)


def put(row, column, value):
    def change(rows):
        rows[row][column] = value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (put(3, 2, "2"), "faces.csv:4: label '2' of Wears_Mask; labels are 1 and 0"),
        (put(3, 2, "-1"), "labels use both -1 and 0"),
        (put(3, 0, ""), "faces.csv:4: '' is not a path"),
        (put(3, 0, "/etc/passwd"), "is not a path of an image"),
        (put(3, 0, "./photos/000001.jpg"), "faces.csv:4: photos/000001.jpg already has a row, 2"),
        (put(3, 0, "photos/missing.jpg"), "faces.csv:4: photos/missing.jpg is not in"),
        (put(0, 3, "Wears Mask"), "'Wears_Mask' is named twice"),
        (put(0, 3, ""), "'' cannot name an attribute"),
        (put(0, 3, "Trägt Brille"), "'Trägt_Brille' cannot name an attribute; at most 64 letters from A to Z, digits"),
        (put(0, 3, "a" * 80), "aaa' cannot name an attribute"),
        (
            lambda rows: (put(0, 3, "split")(rows), put(1, 3, "testing")(rows)),
            "faces.csv:2: split 'testing'; splits are train, val, test or 0, 1, 2",
        ),
        (put(0, 3, "person"), "column 'person' occurs twice"),
        (lambda rows: rows[5].append("1"), "faces.csv:6: 5 fields, but 4 columns"),
        (lambda rows: rows.__delitem__(slice(1, None)), "no image in it"),
        (lambda rows: [row.__delitem__(slice(2, 4)) for row in rows], "no column of labels beside 'image, person'"),
    ],
)
def test_mistakes_are_one_clear_line(table, tmp_path, fails, change, words):
    fails("data", changed(table, tmp_path, change), "--out", tmp_path / "lmdb", says=words)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["faces.csv", "photos"]


# Photos that are not aligned ------------------------------------------------------------------------------------


def photo(face, rng):
    """A synthetic face at a random place, size and rotation on a background."""
    scale, angle = rng.uniform(0.8, 1.6), rng.uniform(-20, 20)
    middle = np.array([178, 218]) / 2
    size = np.ceil(np.array([178, 218]) * scale * rng.uniform(1.4, 2, 2)).astype(int)
    matrix = cv2.getRotationMatrix2D(middle.tolist(), angle, scale)
    matrix[:, 2] += rng.uniform(0.45, 0.55, 2) * size - middle
    ground = cv2.GaussianBlur(rng.integers(0, 255, (size[1], size[0], 3), np.uint8), (0, 0), 15)
    mask = cv2.warpAffine(np.full(face.shape[:2], 255, np.uint8), matrix, size.tolist())[..., None] > 127
    return np.where(mask, cv2.warpAffine(face, matrix, size.tolist(), flags=cv2.INTER_LINEAR), ground)


def photos(folder, faces, count, seed=0):
    """A CSV file of unaligned photos of synthetic faces, the last of two people and the one before of none."""
    (folder / "photos").mkdir(parents=True)
    rng, names = np.random.default_rng(seed), sorted(faces.glob("*/*.jpg"))
    _, attributes, *labels = (faces / "list_attr_celeba.txt").read_text().splitlines()
    columns = [attributes.split().index(name) for name in ("Eyeglasses", "Male")]
    rows = [["image", "Glasses", "Male"]]
    for number in range(count):
        picture = photo(cv2.imread(str(names[number])), rng)
        if number == count - 1:
            picture = np.hstack([cv2.imread(str(name)) for name in names[:2]])
        elif number == count - 2:
            picture = np.full((300, 200, 3), 90, np.uint8)
        cv2.imwrite(str(folder / f"photos/{number}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
        present = [labels[number].split()[1 + column] == "1" for column in columns]
        rows.append([f"photos/{number}.jpg", *map(int, present)])
    write(folder / "photos.csv", rows)
    return folder / "photos.csv"


def test_detect_finds_and_aligns_the_face_of_each_photo_as_predict_does(small_faces, tmp_path, cascade):
    """Once a defect: photos of any size and place were taken as aligned faces."""
    table, lmdb = photos(tmp_path, small_faces, 20), tmp_path / "lmdb"
    status, _, warned = cascade("data", table, "--detect", "--out", lmdb)
    assert status == 0
    assert "2 of 20 images are left out: 1 with no face found, 1 with faces of similar size; without_face.csv" in warned
    assert read(lmdb / "without_face.csv") == [
        ["image", "reason"],
        ["photos/18.jpg", "no face found"],
        ["photos/19.jpg", "2 faces of similar size"],
    ]
    made, listed = manifest.read(lmdb), image_list.read(lmdb)
    assert made.settings.detect and made.frame is None and made.source.without_face == 2 and len(listed.names) == 18
    finder, stored = FaceFinder(), databases.images(lmdb / "train_images", range(5))
    for name, image in zip(listed.names, stored):
        (face,) = finder(cv2.imread(str(tmp_path / name)))
        np.testing.assert_array_equal(image, face.aligned)
    status, printed, _ = cascade("check", lmdb)
    assert status == 0 and "FAILED" not in printed, printed


def test_photos_that_are_not_aligned_are_refused_with_the_remedy(small_faces, tmp_path, fails, cascade):
    table = photos(tmp_path, small_faces, 12)
    remedy = "find and align the faces with --detect, or take all images as aligned with --frame none"
    fails(
        "data", table, "--out", tmp_path / "lmdb", says=["the eyes are not at the positions of aligned faces", remedy]
    )
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


@pytest.mark.slow
def test_unaligned_photos_become_a_trained_and_evaluated_network(small_faces, tmp_path, cascade):
    """200 photos by CSV, with --detect, to a trained narrow network, its evaluation and its report."""
    from data_prep.synthetic import synthetic_faces

    synthetic_faces.generate(tmp_path / "faces", 200, 6, {"Eyeglasses": 0.5, "Male": 0.5})
    table, run = photos(tmp_path / "own", tmp_path / "faces", 200), tmp_path / "run"
    assert cascade("data", table, "--detect", "--out", tmp_path / "lmdb")[0] == 0
    assert cascade("check", tmp_path / "lmdb")[0] == 0
    solver = "max_iter=60,snapshot=60,display=20,test_interval=60,test_iter=1,stepsize=45"
    words = ["--width", "1/16", "--batch", 8, "--caffe", "torch", "--lmdb", tmp_path / "lmdb", "--run", run]
    assert cascade("train", *words, "--solver", solver)[0] == 0
    for command in (["evaluate", "--run", run], ["report", "--run", run]):
        assert cascade(*command)[0] == 0
    evaluation = json.loads((run / "evaluation/evaluation.json").read_text())
    assert evaluation["attributes"] == ["Glasses", "Male"] and (run / "report.html").exists()
    status, printed, _ = cascade("predict", "--run", run, tmp_path / "own/photos/3.jpg", "--out", tmp_path / "out")
    assert status == 0 and "1 face in 1 photo" in printed
