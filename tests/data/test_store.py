"""LMDBs and manifests are read as they were written; damaged ones are reported in one line with file and record."""

import hashlib
import json
import os

import cv2
import lmdb
import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import attempt, changed, full_disk
from tokens import each

from data_prep import files
from data_prep.settings import to_json
from data_prep.store import databases, environment, manifest
from data_prep.store.manifest import Manifest, Settings, Source, Split

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8)


@pytest.fixture
def images(tmp_path):
    """An LMDB of forty losslessly encoded images, of which the first take more than half a page."""
    values = [databases.image_datum(IMAGE // (1 + number), "png") for number in range(40)]
    databases.write_lmdb(tmp_path / "images", values, 40, "images")
    return tmp_path / "images"


@pytest.mark.parametrize(
    "value, words",
    [
        (b"\xff\xff\xff", "is not a Datum"),
        (b"", "is not a readable image"),
        (databases.encoded_datum(cv2.imencode(".png", IMAGE)[1].tobytes()[:60]), "is not a readable image"),
    ],
)
def test_an_unreadable_record_is_named_in_the_error(tmp_path, value, words):
    databases.write_lmdb(tmp_path / "images", [databases.image_datum(IMAGE, "png"), value], 2, "images")
    for numbers in (None, [1]):
        with pytest.raises(OSError) as caught:
            list(databases.images(tmp_path / "images", numbers))
        assert f"{tmp_path}/images: record 00000001 " in str(caught.value) and words in str(caught.value)
    with pytest.raises(OSError, match="record 00000077 is missing"):
        list(databases.images(tmp_path / "images", [77]))


@pytest.mark.parametrize("end", [0, 50, 9000, -4096, -1])
def test_a_truncated_file_is_named_and_never_mapped(images, end):
    data = (images / "data.mdb").read_bytes()
    (images / "data.mdb").write_bytes(data[:end])
    with pytest.raises(OSError, match=f"{images}.*cut short"):
        environment.open_lmdb(images)


def test_no_damage_of_a_file_ends_the_process(images):
    """Bytes are changed at random places of LMDB's pages: the result is an error of one line, or records."""
    path = images / "data.mdb"
    data = path.read_bytes()
    tree = [page for page in range(0, len(data), 4096) if data[page + 10] & 11]  # branch, leaf and meta pages
    byte = st.tuples(st.sampled_from(tree), st.integers(0, 199) | st.integers(0, 4095), st.integers(0, 255))

    def run(changes):
        bad = bytearray(data)
        for page, place, value in changes:
            bad[page + place] = value
        path.write_bytes(bad)
        attempt(lambda: [len(datum.data) for _, datum in databases.records(images)], images, (OSError,))

    each(st.lists(byte, min_size=1, max_size=6), 300, run)


def test_missing_and_empty_databases_and_pipes(tmp_path):
    with pytest.raises(OSError, match="nowhere: no readable LMDB"):
        environment.open_lmdb(tmp_path / "nowhere")
    lmdb.open(str(tmp_path / "empty")).close()
    with pytest.raises(OSError, match="no labels in it"):
        databases.read_labels(tmp_path / "empty", 2)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/data.mdb")
    with pytest.raises(OSError, match="not a regular file"):
        environment.open_lmdb(tmp_path / "pipe")


def test_a_full_disk_is_reported_with_the_file(tmp_path):
    """The system's own error has no name."""
    with pytest.raises(OSError, match=f"{tmp_path}/file"), full_disk(1000):
        files.write_bytes(tmp_path / "file", bytes(5000))
    assert not list(tmp_path.iterdir())


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


def test_a_manifest_is_read_as_it_was_written_and_attributes_are_enough(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.json: missing; face-cascade data"):
        manifest.read(tmp_path)
    manifest.write(tmp_path, FULL)
    assert manifest.read(tmp_path) == FULL
    assert manifest.checksum(tmp_path) == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
    (tmp_path / "manifest.json").write_text('{"attributes": ["Male"]}')
    found = manifest.read(tmp_path)
    assert found == Manifest(["Male"])
    assert (found.form, found.settings.sampling, found.kind) == ("stream", "balanced", None)


@pytest.mark.parametrize(
    "path, value, words",
    [
        (["attributes"], [], "key 'attributes' must be at least one name"),
        (["attributes"], ["Male", "$(shell id)"], "'$(shell id)' cannot be a name; at most 64 letters"),
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
