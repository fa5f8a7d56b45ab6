"""LMDBs and manifests are read as they were written; damaged ones are reported in one line with file and record."""

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys

import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from mutations import changed

from data_prep import files, start
from data_prep.settings import to_json
from data_prep.store import databases, environment, manifest
from data_prep.store.manifest import Manifest, Settings, Source, Split

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


def test_records_are_read_in_order_and_by_number(images):
    assert [datum.encoded for _, datum in databases.records(images)] == [True] * 40
    for number, image in enumerate(databases.images(images)):
        np.testing.assert_array_equal(image, IMAGE // (1 + number))
    names = [where.rpartition(" ")[2] for where, _ in databases.records(images, [9, 3])]
    assert names == ["00000009", "00000003"]
    (image,) = databases.images(images, [39])
    np.testing.assert_array_equal(image, IMAGE // 40)


def raw(data, **size):
    return caffe_pb2.Datum(data=data, **size).SerializeToString()


@pytest.mark.parametrize(
    "value, words",
    [
        (b"\xff\xff\xff", "is not a Datum"),
        (b"", "has 0 bytes, which is not the size of an image 0 x 0 x 0"),
        (databases.encoded_datum(b""), "is not a readable image"),
        (databases.encoded_datum(cv2.imencode(".png", IMAGE)[1].tobytes()[:60]), "is not a readable image"),
        (raw(bytes(299), channels=3, height=10, width=10), "has 299 bytes, which is not the size of an image 3 x 10 x"),
        (raw(bytes(12), channels=3, height=-2, width=-2), "has 12 bytes"),
    ],
)
def test_an_unreadable_record_is_named_in_the_error(images, value, words):
    put(images, 5, value)
    for numbers in (None, [5]):
        with pytest.raises(OSError) as caught:
            list(databases.images(images, numbers))
        assert f"{images}: record 00000005 " in str(caught.value) and words in str(caught.value)
    with pytest.raises(OSError, match="record 00000077 is missing"):
        list(databases.images(images, [77]))


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


@pytest.mark.parametrize("keep", [0, 50, 9000, 0.3, -4096, -1])
def test_a_truncated_file_is_named_and_never_mapped(images, keep):
    data = (images / "data.mdb").read_bytes()
    whole = len(data) - len(data) % 4096
    kept = keep if isinstance(keep, int) and keep >= 0 else whole + keep if keep < 0 else int(keep * whole)
    (images / "data.mdb").write_bytes(data[:kept])
    with pytest.raises(OSError) as caught:
        environment.open_lmdb(images)
    assert str(images) in str(caught.value) and "cut short" in str(caught.value)


def test_no_damage_of_a_file_ends_the_process(images, tmp_path):
    """Bytes are changed at random places of LMDB's pages: the result is an error of one line, or records."""
    code = (
        "import pathlib, sys\n"
        "from data_prep.store import databases\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        [len(datum.data) for _, datum in databases.records(path)]\n"
        "    except OSError as error:\n"
        "        assert str(path) in str(error) and '\\n' not in str(error)\n"
        "print('done')\n"
    )
    data, rng = (images / "data.mdb").read_bytes(), random.Random(0)
    tree = [page for page in range(0, len(data), 4096) if data[page + 10] & 11]  # branch, leaf and meta pages
    for number in range(200):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 4, 50])):
            damaged[rng.choice(tree) + rng.choice([rng.randrange(200), rng.randrange(4096)])] = rng.randrange(256)
        (tmp_path / f"damaged/{number}").mkdir(parents=True)
        (tmp_path / f"damaged/{number}/data.mdb").write_bytes(damaged)
    words = [sys.executable, "-c", code, tmp_path / "damaged"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=start.REPOSITORY)
    assert done.stdout == "done\n", (done.returncode, done.stderr)


def test_large_empty_and_missing_databases_and_pipes(tmp_path):
    for name in ("large", "again"):
        databases.write_lmdb(tmp_path / name, (bytes(20 + number % 4000) for number in range(20000)), 20000, "records")
    data = [(tmp_path / name / "data.mdb").read_bytes() for name in ("large", "again")]
    assert data[0] == data[1]
    with environment.open_lmdb(tmp_path / "large") as opened:
        assert opened.stat()["depth"] > 1 and opened.stat()["entries"] == 20000
    lmdb.open(str(tmp_path / "empty")).close()
    assert list(databases.records(tmp_path / "empty")) == []
    with pytest.raises(OSError, match="nowhere: no readable LMDB"):
        environment.open_lmdb(tmp_path / "nowhere")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/data.mdb")
    with pytest.raises(OSError, match="not a regular file"):
        environment.open_lmdb(tmp_path / "pipe")


def test_a_full_disk_is_reported_with_the_file(tmp_path):
    """The system's own error has no name. A limit on file size stands for the full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            files.write_bytes(tmp_path / "file", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert str(tmp_path / "file") in str(caught.value) and not list(tmp_path.iterdir())


# manifest.json ----------------------------------------------------------------------------------------------

FULL = Manifest(
    attributes=["Male", "Wears_Mask"],
    form="compact",
    source=Source("csv", "faces.csv", {"faces.csv": {"bytes": 9, "sha256": "0"}}, {"count": 30}),
    settings=Settings(seed=3, sampling="natural", dropped=2, eyes=(103.0, 112.0, 146.0, 112.0)),
    splits={"train": Split(20, {"Male": 5, "Wears_Mask": 20}), "val": Split(5, {"Male": 1, "Wears_Mask": 2})},
    train_records=20,
    frame=((103.0, 112.0), (146.0, 112.0)),
    synthetic=True,
    checksums={"images.csv": "0" * 64},
)


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    manifest.write(tmp_path, FULL)
    assert manifest.read(tmp_path) == FULL and manifest.exists(tmp_path) and not manifest.exists(tmp_path / "no")
    assert (FULL.kind, FULL.sampling) == ("csv", "natural")
    np.testing.assert_allclose(FULL.prior, [0.25, 1])
    assert manifest.checksum(tmp_path) == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()


def test_a_minimal_manifest_has_defaults(tmp_path):
    text = '{"attributes": ["Male"], "splits": {"train": {"images": 4, "positive": {"Male": 1}}}}'
    (tmp_path / "manifest.json").write_text(text)
    read = manifest.read(tmp_path)
    assert (read.form, read.source, read.kind, read.sampling, read.frame) == ("stream", None, None, "balanced", None)
    assert read.settings == Settings() and read.prior.tolist() == [0.25] and read.checksums == {}
    with pytest.raises(ValueError, match="split 'train' is missing"):
        Manifest(["Male"]).prior  # noqa: B018


@pytest.mark.parametrize(
    "path, value, words",
    [
        (["attributes"], [], "key 'attributes' must be a list of different names"),
        (["attributes"], ["Male", "$(shell id)"], "must be a list of different names of attributes"),
        (["splits", "train", "positive"], {"Male": 3}, "of split train do not fit attributes and images"),
        (["splits", "train", "positive", "Male"], 21, "of split train do not fit attributes and images"),
        (["splits", "dev"], {"images": 0, "positive": {}}, "'splits' has 'dev', none of train, val, test"),
        (["source", "kind"], ..., "source: damaged, key 'kind' is missing"),
        (["settings", "eyes"], [1, 2], "key 'eyes' must be x1,y1,x2,y2 in pixels"),
        (["frame"], [[1, 2], [1, 2]], "key 'frame' must be two different points"),
    ],
)
def test_errors_for_damaged_manifests_name_file_and_key(tmp_path, path, value, words):
    (tmp_path / "manifest.json").write_text(json.dumps(changed(to_json(FULL), path, value)))
    with pytest.raises(ValueError) as caught:
        manifest.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/manifest.json: ") and words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_or_what_is_no_file_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.json: missing; face-cascade data"):
        manifest.read(tmp_path)
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(OSError, match="manifest.json: not a regular file"):
        manifest.read(tmp_path)
