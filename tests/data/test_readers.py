"""Damaged files at random: every reader refuses them in one line that names the file, or returns a sane result."""

import os
import resource
import shutil
import sys
import tempfile

import h5py
import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import LIMIT, attempt, damaged, each, few, records
from test_images import encoded

from data_prep import image_files, start
from data_prep.errors import DataError
from data_prep.settings import to_json
from data_prep.sources import celeba, csv_table, lfwa
from data_prep.sources.images import Images
from data_prep.sources.mat import read_mat
from data_prep.store import image_list, manifest

ATTRIBUTES, NAMES = ["Male", "Smiling", "Young"], [f"{number:06d}.jpg" for number in range(10)]
SIGNS = [[1 if number & 1 << bit else -1 for bit in range(3)] for number in range(10)]
ROWS = [f"{name} {' '.join(map(str, signs))}" for name, signs in zip(NAMES, SIGNS)]
LABELS = {
    "list_attr_celeba.txt": "\n".join(["10", " ".join(ATTRIBUTES), *ROWS]),
    "list_attr_celeba.csv": "\n".join([",".join(["image_id", *ATTRIBUTES]), *(row.replace(" ", ",") for row in ROWS)]),
    "faces.csv": "\n".join(["image,person,split,Male", *(f"a/{name},p,train,1" for name in NAMES)]),
    "list_eval_partition.txt": "".join(f"{name} {number % 3}\n" for number, name in enumerate(NAMES)),
}


@few(50, 1000)
@pytest.mark.parametrize("name", LABELS)
def test_label_files(tmp_path, name, examples):
    path = tmp_path / name
    readers = {"faces.csv": csv_table.read_table, "list_eval_partition.txt": lambda p: celeba.read_partition(p, NAMES)}
    read = readers.get(name, celeba.read_labels)

    def run(data):
        path.write_bytes(data)
        found = attempt(lambda: read(path), name)
        if isinstance(found, np.ndarray):
            assert found.shape == (10,) and set(found.tolist()) <= {0, 1, 2}
        elif found is not None:
            assert len(set(found.names)) == len(found.names) == len(found.rows) and all(found.names)
            assert found.labels.dtype == bool and found.labels.shape == (len(found.names), len(found.attributes))

    each(damaged(LABELS[name].encode()), examples, run)


@few(4, 150)
def test_mat_files(lfwa_faces, tmp_path, examples):
    path = tmp_path / lfwa.ANNOTATION
    shutil.copy(lfwa_faces / lfwa.ANNOTATION, path)

    def run(data):
        path.write_bytes(data)
        found = attempt(lambda: lfwa.read_annotation(path), path.name)
        if found is not None:
            assert len(set(found.names)) == len(found.names)
            assert found.labels.shape == (len(found.names), len(found.attributes)) and found.labels.dtype == bool

    each(damaged(path.read_bytes()), examples, run)
    assert all(resource.getrusage(of).ru_maxrss < LIMIT for of in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))


def test_a_mat_file_that_asks_for_all_memory_or_crashes_its_reader_is_refused(tmp_path, monkeypatch):
    """Once defects: 37 kB took 8 GB and five minutes; damage ended a reader with SIGSEGV."""
    with h5py.File(tmp_path / "large.mat", "w", userblock_size=512) as file:
        file.create_dataset("label", (40_000, 40_000), "f8", chunks=(1000, 1000))  # of which nothing is written
    assert (tmp_path / "large.mat").stat().st_size < 37_000
    with pytest.raises(DataError, match="large.mat: not a complete MATLAB file"):
        read_mat(tmp_path / "large.mat")
    crash = [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"]
    monkeypatch.setattr(start, "command", lambda *words: crash)
    with pytest.raises(DataError, match="its reader crashed"):
        read_mat(tmp_path / "large.mat")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < LIMIT


@few(30, 300)
@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_images(kind, examples):
    def run(data):
        try:
            header = image_files.header(data)
            if header.width * header.height < 10**7:
                image = image_files.decode(data)
                assert image.dtype == np.uint8 and sorted(image.shape) == sorted((header.height, header.width, 3))
        except image_files.ImageError as error:
            assert len(str(error).splitlines()) == 1

    each(damaged(encoded(kind)), examples, run)


@few(30, 300)
@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives(tmp_path, kind, examples):
    (tmp_path / "in").mkdir()
    names = ["a.jpg", "b.jpg", "c.jpg"]
    for name in names:
        (tmp_path / "in" / name).write_bytes(encoded("JPEG"))
    path = shutil.make_archive(str(tmp_path / "faces"), kind, tmp_path / "in")

    def run(data):
        with open(path, "wb") as file:
            file.write(data)
        images = Images(path, os.path.basename)
        with tempfile.TemporaryDirectory() as scratch:
            if attempt(lambda: [images.locate(names, scratch)], "faces.", (DataError, OSError)) == [None]:
                for number in range(len(names)):
                    attempt(lambda number=number: images.read(number), "")
            images.close()
            assert not os.listdir(scratch)

    with open(path, "rb") as file:
        each(damaged(file.read()), examples, run)


@few(50, 1000)
def test_manifests(small_lmdb, tmp_path, examples):
    original = to_json(manifest.read(small_lmdb))

    def run(data):
        (tmp_path / "manifest.json").write_bytes(data)
        found = attempt(lambda: manifest.read(tmp_path), "manifest.json")
        if found is not None:
            assert found.attributes and manifest.from_json(manifest.Manifest, to_json(found), "again") == found
            attempt(lambda: found.prior, "", (ValueError,))

    each(records(original), examples, run)


@few(12, 300)
def test_no_change_of_a_folder_of_lmdbs_passes_the_check(small_lmdb, tmp_path, cascade, examples):
    folder = shutil.copytree(small_lmdb, tmp_path / "lmdb")
    files = {name: (folder / name).read_bytes() for name in ("manifest.json", *manifest.read(folder).checksums)}

    def run(change):
        name, data = change
        (folder / name).write_bytes(data)
        attempt(lambda: image_list.read(folder), "images.csv", (DataError, OSError))
        status, printed, error = cascade("check", folder)
        if data != files[name] and (name != "manifest.json" or status):
            assert status == 1 and ("FAILED" in printed or error.startswith("error: ")), printed
            assert error.count("\n") <= 1 or "FAILED" in printed, error
        (folder / name).write_bytes(files[name])

    each(
        st.sampled_from(list(files)).flatmap(lambda name: st.tuples(st.just(name), damaged(files[name]))), examples, run
    )
