"""Damaged files at random: every reader refuses them in one line that names the file, or returns a sane result."""

import csv
import json
import os
import resource
import shutil
import tempfile

import cv2
import h5py
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from test_sources import write_mat_73

from data_prep import image_files
from data_prep.errors import DataError
from data_prep.settings import to_json
from data_prep.sources import celeba, csv_table, lfwa
from data_prep.sources.images import open_images
from data_prep.sources.mat import read_mat
from data_prep.store import image_list, manifest

EDGES = (0, 1, 127, 128, 255, 65535, 2**31 - 1, 2**32 - 1, 2**63 - 1)
WORDS = (
    b"",
    b"0",
    b"-1",
    b"2",
    b"1e999",
    b"nan",
    b'"',
    b"\0",
    b"\x1b[31m",
    b"\xff",
    b"\xe2\x80\xa8",
    b"9" * 30,
    b"x" * 9000,
)


def damaged(data):
    """Strategy: the bytes with one to four of their parts changed, moved, repeated, or cut off."""
    place = st.integers(0, max(len(data) - 1, 0))
    word = st.one_of(
        st.binary(max_size=20),
        st.builds(
            lambda edge, size: (edge % 256**size).to_bytes(size, "little"),
            st.sampled_from(EDGES),
            st.sampled_from((1, 2, 4, 8)),
        ),
        st.sampled_from(WORDS),
    )
    change = st.tuples(
        st.sampled_from("change insert delete repeat cut zero".split()), place, word, st.integers(1, 300)
    )

    def apply(changes):
        result = data
        for kind, start, piece, size in changes:
            before, after = result[:start], result[start:]
            result = {
                "change": before + piece + after[len(piece) :],
                "insert": before + piece + after,
                "delete": before + after[size:],
                "repeat": before + after[:size] * 2 + after[size:],
                "cut": before,
                "zero": before + bytes(min(size, len(after))) + after[size:],
            }[kind]
        return result

    return st.lists(change, min_size=1, max_size=4).map(apply)


def lines(data):
    """Strategy: text with one to three of its words replaced, or lines removed, repeated or exchanged."""
    rows = data.split(b"\n")
    place, separator = st.integers(0, len(rows) - 1), b"," if b"," in rows[0] else b" "
    change = st.tuples(place, st.sampled_from("word remove repeat exchange".split()), st.sampled_from(WORDS), place)

    def apply(changes):
        result = list(rows)
        for row, kind, word, other in changes:
            row, other = row % max(len(result), 1), other % max(len(result), 1)
            if kind == "word":
                words = result[row].split(separator)
                words[other % len(words)] = word
                result[row] = separator.join(words)
            elif kind == "exchange":
                result[row], result[other] = result[other], result[row]
            elif len(result) > 1:
                result[row : row + 1] = [] if kind == "remove" else [result[row]] * 2
        return b"\n".join(result)

    return st.one_of(st.lists(change, min_size=1, max_size=3).map(apply), damaged(data))


def each(strategy, examples, run):
    """Run a function of damaged bytes for a number of examples, the same ones every time."""
    checks = list(hypothesis.HealthCheck)
    options = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": checks}

    @hypothesis.settings(max_examples=examples, **options)
    @hypothesis.given(strategy)
    def check(value):
        run(value)

    check()


def attempt(read, name, promised=(DataError,)):
    """What a reader returns, None where it refuses in one printable line that holds a name."""
    try:
        return read()
    except promised as error:
        words = str(error)
        assert words.isprintable() and len(words) <= 1100 and name in words, words
        return None


def few(number, many):
    """Parameters: a small number of examples, and a large one in the slow run."""
    return pytest.mark.parametrize("examples", [number, pytest.param(many, marks=pytest.mark.slow)])


def whole_table(table):
    if table is not None:
        assert len(set(table.names)) == len(table.names) == len(table.rows) and all(table.names)
        assert table.labels.dtype == bool and table.labels.shape == (len(table.names), len(table.attributes))


@few(60, 500)
@pytest.mark.parametrize(
    "kind", ["list_attr_celeba.txt", "list_attr_celeba.csv", "list_eval_partition.txt", "faces.csv"]
)
def test_label_files(small_faces, tmp_path, kind, examples):
    rows = (small_faces / "list_attr_celeba.txt").read_text().splitlines()
    names, path = [row.split()[0] for row in rows[2:12]], tmp_path / kind
    if kind.endswith("partition.txt"):
        path.write_text("".join(f"{name} {number % 3}\n" for number, name in enumerate(names)))
    elif kind == "list_attr_celeba.txt":
        path.write_text("\n".join(["10", *rows[1:12]]))
    else:
        with open(path, "w", newline="") as file:
            header = ["image", "person", "split", "Male"] if kind == "faces.csv" else ["image_id", *rows[1].split()]
            values = [[n, "p", "train", 1] if kind == "faces.csv" else row.split() for n, row in zip(names, rows[2:])]
            csv.writer(file).writerows([header, *values])

    def run(data):
        path.write_bytes(data)
        if kind.endswith("partition.txt"):
            found = attempt(lambda: celeba.read_partition(path, names), kind)
            assert found is None or (found.shape == (10,) and set(found.tolist()) <= {0, 1, 2})
        else:
            read = csv_table.read_table if kind == "faces.csv" else celeba.read_labels
            whole_table(attempt(lambda: read(path), kind))

    each(lines(path.read_bytes()), examples, run)


@few(4, 120)
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_mat_files(lfwa_faces, tmp_path, version, examples):
    path = tmp_path / lfwa.ANNOTATION
    shutil.copy(lfwa_faces / lfwa.ANNOTATION, path)
    if version == "7.3":
        write_mat_73(path, read_mat(path))

    def run(data):
        path.write_bytes(data)
        found = attempt(lambda: lfwa.read_annotation(path), path.name)
        if found is not None:
            names, attributes, labels = found
            assert len(set(names)) == len(names) and labels.shape == (len(names), len(attributes))
            assert labels.dtype == bool

    each(damaged(path.read_bytes()), examples, run)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 << 20  # kB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 << 20


def test_a_mat_file_that_asks_for_all_memory_or_crashes_its_reader_is_refused(lfwa_faces, tmp_path):
    """Once defects: 37 kB took 8 GB and five minutes; either of two bytes ended scipy's reader with SIGSEGV."""
    with h5py.File(tmp_path / "large.mat", "w", userblock_size=512) as file:
        file.create_dataset("label", (40_000, 40_000), "f8", chunks=(1000, 1000))  # of which nothing is written
    assert (tmp_path / "large.mat").stat().st_size < 37_000
    data = bytearray((lfwa_faces / lfwa.ANNOTATION).read_bytes())
    data[224:226] = b"\x5f\x71"
    (tmp_path / "crash.mat").write_bytes(data)
    for name in ("large.mat", "crash.mat"):
        with pytest.raises(DataError, match=f"{name}: not a complete MATLAB file"):
            read_mat(tmp_path / name)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2 << 20


@few(30, 300)
@pytest.mark.parametrize("kind", image_files.FORMATS)
def test_images(kind, examples):
    from test_images import encoded

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
    for name in "abcd":
        (tmp_path / f"in/{name}.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((20, 20, 3), np.uint8))[1].tobytes())
    path, names = (
        shutil.make_archive(str(tmp_path / "faces"), kind, tmp_path / "in"),
        ["a.jpg", "b.jpg", "c.jpg", "d.jpg"],
    )
    with open(path, "rb") as file:
        data = file.read()

    def run(data):
        with open(path, "wb") as file:
            file.write(data)
        images = open_images(path, os.path.basename)
        with tempfile.TemporaryDirectory() as scratch:
            if attempt(lambda: [images.locate(names, scratch)], "faces.", (DataError, OSError)) == [None]:
                for number in range(4):
                    attempt(lambda number=number: images.read(number), "")
            images.close()
            assert not os.listdir(scratch)

    each(damaged(data), examples, run)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "train", "\x1b", "\ud800", "x" * 5000]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Male", "images", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@few(100, 1000)
def test_manifests(small_lmdb, tmp_path, examples):
    original = to_json(manifest.read(small_lmdb))

    def places(value, path=()):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            if isinstance(value[key], (dict, list)):
                yield from places(value[key], (*path, key))

    def run(change):
        path, value = change
        changed = json.loads(json.dumps(original))
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (tmp_path / "manifest.json").write_bytes(json.dumps(changed).encode("utf-8", "surrogatepass"))
        found = attempt(lambda: manifest.read(tmp_path), "manifest.json")
        if found is not None:
            assert found.attributes and manifest.from_json(manifest.Manifest, to_json(found), "again") == found
            attempt(lambda: found.prior, "", (ValueError,))

    each(st.tuples(st.sampled_from(list(places(original))), JSON), examples, run)


@few(40, 300)
def test_lists_of_images(small_lmdb, tmp_path, examples):
    def run(data):
        (tmp_path / "images.csv").write_bytes(data)
        found = attempt(lambda: image_list.read(tmp_path), "images.csv")
        assert found is None or len(found.names) == len(found.persons) == len(found.hashes) == len(found.parts)

    each(lines((small_lmdb / "images.csv").read_bytes()), examples, run)


@few(12, 300)
def test_no_change_of_a_folder_of_lmdbs_passes_the_check(small_lmdb, tmp_path, cascade, examples):
    folder = shutil.copytree(small_lmdb, tmp_path / "lmdb")
    names = ["manifest.json", *manifest.read(folder).checksums]
    files = {name: (folder / name).read_bytes() for name in names}

    def run(change):
        name, data = change
        (folder / name).write_bytes(data)
        status, printed, error = cascade("check", folder)
        if data != files[name] and (name != "manifest.json" or status):
            assert status == 1 and ("FAILED" in printed or error.startswith("error: ")), printed
            assert error.count("\n") <= 1 or "FAILED" in printed, error
        (folder / name).write_bytes(files[name])

    each(st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), damaged(files[name]))), examples, run)
