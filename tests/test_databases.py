"""Whole LMDBs are read as they were written; damaged ones are reported in one line with file and record."""

import random
import subprocess
import sys

import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep.store import databases, environment, lmdb_file

IMAGE = np.random.default_rng(0).integers(0, 255, (30, 20, 3)).astype(np.uint8)


@pytest.fixture
def images(tmp_path):
    """Forty losslessly encoded images, each darker than the one before."""
    values = [databases.image_datum(IMAGE // (1 + number), "png") for number in range(40)]
    databases.write_lmdb(tmp_path / "images", values, 40, "images")
    return tmp_path / "images"


def put(path, number, value):
    with lmdb.open(str(path), map_size=1 << 28) as opened, opened.begin(write=True) as transaction:
        transaction.put(databases.key(number), value)


def test_records_are_read_in_order_singly_and_by_number(images):
    assert [datum.encoded for datum in databases.records(images)] == [True] * 40
    for number, image in enumerate(databases.images(images)):
        np.testing.assert_array_equal(image, IMAGE // (1 + number))
    np.testing.assert_array_equal(databases.decoded(databases.record(images, 7)), IMAGE // 8)
    assert [number for number, _ in databases.chosen(images, [9, 3])] == [9, 3]
    (image,) = databases.images(images, [39])
    np.testing.assert_array_equal(image, IMAGE // 40)
    assert databases.count(images) == 40 and databases.count(images.parent / "none") == 0


def raw(data, **size):
    return caffe_pb2.Datum(data=data, **size).SerializeToString()


@pytest.mark.parametrize(
    "value, words",
    [
        (b"\xff\xff\xff", "is not a Datum"),
        (b"", "has 0 bytes, which is not the size of an image 0 x 0 x 0"),
        (databases.encoded_datum(b"nothing"), "is not a readable image"),
        (databases.encoded_datum(b""), "is not a readable image"),
        (databases.encoded_datum(cv2.imencode(".png", IMAGE)[1].tobytes()[:60]), "is not a readable image"),
        (
            raw(bytes(299), channels=3, height=10, width=10),
            "has 299 bytes, which is not the size of an image 3 x 10 x 10",
        ),
        (raw(bytes(100), channels=1, height=10, width=10), "not the size of an image 1 x 10 x 10"),
        (raw(bytes(8), channels=3, height=2**31 - 1, width=2**31 - 1), "has 8 bytes"),
        (raw(bytes(12), channels=3, height=-2, width=-2), "has 12 bytes"),
        (databases.label_datum([0, 1]), "has 2 bytes"),
    ],
)
def test_an_unreadable_record_is_named_in_the_error(images, value, words):
    put(images, 5, value)
    for read in (lambda: list(databases.images(images)), lambda: list(databases.images(images, [5]))):
        with pytest.raises(OSError) as caught:
            read()
        assert f"{images}: record 00000005 " in str(caught.value) and words in str(caught.value)
    with pytest.raises(OSError, match="record 00000077 is missing"):
        databases.record(images, 77)


def labels(path, rows):
    databases.write_lmdb(path, iter(rows), len(rows), "labels")
    return path


def test_labels_must_be_0_or_1_and_of_equal_length(tmp_path):
    good = labels(tmp_path / "good", [databases.label_datum(row) for row in ([0, 1], [1, 1], [0, 0])])
    assert databases.read_labels(good, 2).tolist() == [[False, True], [True, True], [False, False]]
    assert databases.read_labels(labels(tmp_path / "empty", []), 2).shape == (0, 2)
    with pytest.raises(OSError, match="record 00000000 has 2 labels, but should have 3"):
        databases.read_labels(good, 3)
    for number, (data, words) in enumerate(((b"\1", "1 labels, but should have 2"), (b"\1\2", "other than 0 and 1"))):
        bad = labels(tmp_path / str(number), [databases.label_datum([0, 1]), raw(data, channels=2, height=1, width=1)])
        with pytest.raises(OSError, match=f"{bad}: record 00000001 .*{words}"):
            databases.read_labels(bad)


@pytest.mark.parametrize("keep", [0, 50, 5000, 9000, 0.3, 0.9, -4096, -1])
def test_a_truncated_file_is_named_and_never_mapped(images, keep):
    data = (images / "data.mdb").read_bytes()
    whole = len(data) - len(data) % 4096
    kept = keep if isinstance(keep, int) and keep >= 0 else whole + keep if keep < 0 else int(keep * whole)
    (images / "data.mdb").write_bytes(data[:kept])
    with pytest.raises(OSError) as caught:
        databases.open_lmdb(images)
    assert str(images) in str(caught.value) and "cut short" in str(caught.value)
    assert databases.count(images) == 0


def test_no_damage_of_a_file_ends_the_process(images, tmp_path):
    """Bytes are changed at random places of LMDB's pages: the result is an error of one line, or records."""
    code = (
        "import pathlib, sys\n"
        "from data_prep.store import databases\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        [len(datum.data) for datum in databases.records(path)]\n"
        "    except OSError as error:\n"
        "        assert str(path) in str(error) and '\\n' not in str(error)\n"
        "print('done')\n"
    )
    data, rng = (images / "data.mdb").read_bytes(), random.Random(0)
    tree = [page for page in range(0, len(data), 4096) if data[page + 10] & 11]  # branch, leaf and meta pages
    for number in range(300):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 4, 50])):
            damaged[rng.choice(tree) + rng.choice([rng.randrange(200), rng.randrange(4096)])] = rng.randrange(256)
        (tmp_path / f"damaged/{number}").mkdir(parents=True)
        (tmp_path / f"damaged/{number}/data.mdb").write_bytes(damaged)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "damaged"], capture_output=True, text=True)
    assert done.stdout == "done\n", (done.returncode, done.stderr)


# Places in a meta page (lmdb.h, mdb.c): of the records' tree its depth, number of records and root; the page size.
@pytest.mark.parametrize(
    "place, value, words",
    [
        (94, b"\0\0", "depth 0"),
        (94, b"\7\0", "is damaged"),
        (92, b"\4\0", "its flags 4"),
        (120, b"\5" + bytes(7), "40 of 5 records are there"),
        (128, b"\xee" + bytes(7), "page 238 is outside of the file"),
        (40, b"\0\x20\0\0", "the second page is not that of an LMDB|different page sizes|a page size"),
        (16, b"\0\0\0\0", "the first page is not that of an LMDB"),
    ],
)
def test_damaged_meta_pages_are_named_in_the_error(images, place, value, words):
    data = bytearray((images / "data.mdb").read_bytes())
    for page in (0, 4096):
        data[page + place : page + place + len(value)] = value
    (images / "data.mdb").write_bytes(data)
    with pytest.raises(OSError, match=f"{images}/data.mdb: damaged LMDB, .*({words})"):
        databases.open_lmdb(images)


def test_large_and_empty_databases_are_read_completely(tmp_path):
    databases.write_lmdb(tmp_path / "large", (bytes(20) for _ in range(20000)), 20000, "records")
    lmdb_file.check_file(tmp_path / "large/data.mdb")
    with environment.open_lmdb(tmp_path / "large") as opened:
        assert opened.stat()["depth"] > 1 and opened.stat()["entries"] == 20000
    lmdb.open(str(tmp_path / "empty")).close()
    assert databases.count(tmp_path / "empty") == 0 and list(databases.records(tmp_path / "empty")) == []
    with pytest.raises(OSError, match="nowhere: no readable LMDB"):
        databases.open_lmdb(tmp_path / "nowhere")
