"""Building databases: their content, their estimated cost, and that interrupted builds give the same bytes."""

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep import geometry
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.build import build_lmdb, builder, estimate, examine
from data_prep.errors import DataError
from data_prep.sources.opening import open_source
from data_prep.store import databases, manifest
from data_prep.store.manifest import Settings
from data_prep.synthetic import synthetic_faces

ROOT = pathlib.Path(__file__).parent.parent
ATTRIBUTES = ("Eyeglasses", "Male", "Wearing_Hat")


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Sixty synthetic faces in CelebA's layout."""
    folder = tmp_path_factory.mktemp("source") / "faces"
    synthetic_faces.generate(
        folder, 60, seed=3, prevalence={"Eyeglasses": 0.3, "Wearing_Hat": 0.4, "Male": 0.5}, workers=1
    )
    return folder


@pytest.fixture(scope="session")
def lfwa_source(tmp_path_factory):
    """Fifty synthetic faces in LFWA's layout."""
    folder = tmp_path_factory.mktemp("lfwa") / "faces"
    synthetic_faces.generate(folder, 50, seed=4, prevalence={"Male": 0.5, "Smiling": 0.5}, workers=1, layout="lfwa")
    return folder


SETTINGS = Settings(records=50, augment="minority")


def build(folder, out, form="stream", attributes=ATTRIBUTES, **options):
    return builder.build(open_source(folder), out, attributes, dataclasses.replace(SETTINGS, **options), form)


def read(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(key, caffe_pb2.Datum.FromString(value)) for key, value in transaction.cursor()]


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.name not in ("lock.mdb",) and path.is_file()
    }


# Databases ---------------------------------------------------------------------------------------------


def test_databases_hold_the_images_and_labels_of_their_source(source, tmp_path):
    made = build(source, tmp_path / "lmdb", encoding="raw")
    assert manifest.read(tmp_path / "lmdb") == made and made.kind == "celeba" and made.sampling == "balanced"
    data = open_source(source)
    data.open()
    columns = [data.attributes.index(name) for name in ATTRIBUTES]
    train = read(tmp_path / "lmdb/train")
    assert len(train) == made.train_records and [key for key, _ in train] == sorted(key for key, _ in train)
    labels = np.array([datum.label for _, datum in train]).reshape(-1, 4, 3)
    assert (labels.sum(axis=1) == 2).all()
    members = np.flatnonzero(data.partition == 0)
    for (_, datum), draw in list(zip(train, np.load(tmp_path / "lmdb/train_plan.npy"), strict=True))[::17]:
        stored = np.frombuffer(datum.data, np.uint8).reshape(3, 224, 224).transpose(1, 2, 0)
        image, _, dx, dy, mirror = draw.item()
        expected = cv2.resize(data.image(members[image]), (256, 256))[16 + dy : 240 + dy, 16 + dx : 240 + dx]
        np.testing.assert_array_equal(stored, expected[:, ::-1] if mirror else expected)
    for name, part in (("val", 1), ("test", 2)):
        members = np.flatnonzero(data.partition == part)
        images, rows = read(tmp_path / f"lmdb/{name}_images"), read(tmp_path / f"lmdb/{name}_labels")
        assert [key for key, _ in images] == [key for key, _ in rows] and len(rows) == len(members)
        for index, (_, image), (_, row) in zip(members, images, rows, strict=True):
            assert list(row.data) == data.labels[index, columns].tolist() and row.channels == 3
            stored = np.frombuffer(image.data, np.uint8).reshape(3, 224, 224).transpose(1, 2, 0)
            np.testing.assert_array_equal(stored, geometry.patch(geometry.face(data.image(index))))
    boxes = json.loads((tmp_path / "lmdb/test_boxes.json").read_text())
    for index, known in zip(np.flatnonzero(data.partition == 2), boxes, strict=True):
        assert all(data.labels[index, data.attributes.index(name)] for name in known)


def test_compact_form_holds_each_face_once_in_its_original_encoding(source, tmp_path):
    made = build(source, tmp_path / "lmdb", "compact")
    data = open_source(source)
    data.open()
    assert made.form == "compact" and made.splits["train"].images == 48
    for name, part in (("train", 0), ("val", 1), ("test", 2)):
        stored = [datum.data for _, datum in read(tmp_path / f"lmdb/{name}_images")]
        assert stored == [data.read(index) for index in np.flatnonzero(data.partition == part)]
        labels = databases.read_labels(tmp_path / f"lmdb/{name}_labels", len(ATTRIBUTES))
        assert labels.sum(axis=0).tolist() == [made.splits[name].positive[attribute] for attribute in ATTRIBUTES]
    np.testing.assert_allclose(made.prior, np.array(list(made.splits["train"].positive.values())) / 48)


def test_encodings_hold_the_same_faces(source, tmp_path):
    for encoding in manifest.ENCODINGS:
        build(source, tmp_path / encoding, encoding=encoding, records=10)
    raw = [np.frombuffer(d.data, np.uint8).reshape(3, 224, 224) for _, d in read(tmp_path / "raw/train")]
    for encoding, worst in (("png", 0), ("jpg", 5)):
        for expected, (_, datum) in zip(raw, read(tmp_path / encoding / "train"), strict=True):
            image = databases.decoded(datum).transpose(2, 0, 1)
            assert datum.encoded and abs(image.astype(int) - expected).mean() <= worst


def test_equal_seeds_give_equal_bytes_with_any_number_of_workers(source, tmp_path):
    for name, seed, workers in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        settings = dataclasses.replace(SETTINGS, seed=seed, shards=2)
        builder.build(open_source(source), tmp_path / name, ATTRIBUTES, settings, "stream", workers)
    one, same, other = (digest(tmp_path / name) for name in "abc")
    assert one == same and one["train/data.mdb"] != other["train/data.mdb"]


def test_map_grows_beyond_its_first_size(tmp_path, monkeypatch):
    monkeypatch.setattr(databases, "FIRST_MAP", 1 << 16)
    values = [bytes([number % 256]) * 5000 for number in range(600)]
    databases.write_lmdb(tmp_path / "db", values, 600, "test")
    with lmdb.open(str(tmp_path / "db"), readonly=True) as environment, environment.begin() as transaction:
        assert [value for _, value in transaction.cursor()] == values


def copy_of(source, folder):
    (folder / "img_align_celeba").mkdir(parents=True)
    for path in source.rglob("*.*"):
        (folder / path.relative_to(source)).write_bytes(path.read_bytes())
    return folder


def test_duplicates_across_splits_are_reported_and_left_out_of_training(source, tmp_path, capsys):
    hashes = np.array([[1] * 16, [2] * 16, [1] * 16, [3] * 16, [2] * 16, [2] * 16], np.uint8)
    assert examine.duplicates(hashes, np.array([0, 2, 2, 0, 2, 1])) == [(0, 2), (5, 1), (5, 4)]
    copy = copy_of(source, tmp_path / "copy")
    image = (copy / "img_align_celeba/000060.jpg").read_bytes()  # of the test split
    for name in ("000002.jpg", "000005.jpg"):
        (copy / "img_align_celeba" / name).write_bytes(image)
    made = build(copy, tmp_path / "a", "compact")
    warning = "2 training images that are also in the validation or test split are left out"
    assert warning in capsys.readouterr().err and made.settings.dropped == 2
    stored = [datum.data for _, datum in read(tmp_path / "a/train_images")]
    assert len(stored) == made.splits["train"].images == 46 and image not in stored
    made = build(copy, tmp_path / "b", "compact", keep_duplicates=True)
    assert made.splits["train"].images == 48 and made.settings.dropped == 0
    warning = "1 images are in two splits, the first is 000002.jpg (train) and 000060.jpg (test); none of them is left"
    assert warning in capsys.readouterr().err


@pytest.mark.parametrize("form", manifest.FORMS)
def test_a_source_replaced_during_the_build_is_noticed(source, tmp_path, monkeypatch, form):
    copy = copy_of(source, tmp_path / "copy")
    name = copy / "img_align_celeba/000007.jpg"
    other = (copy / "img_align_celeba/000008.jpg").read_bytes()
    costs = estimate.costs

    def replaced(*arguments):
        found = costs(*arguments)  # the first pass is over
        name.write_bytes(other)
        return found

    monkeypatch.setattr(estimate, "costs", replaced)
    with pytest.raises(DataError, match=r"000007.jpg \(list_attr_celeba.txt:9\): changed while it was being prepared"):
        build(copy, tmp_path / "lmdb", form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


@pytest.mark.parametrize("form", manifest.FORMS)
def test_contact_sheets_are_always_written(source, tmp_path, form):
    build(source, tmp_path / "lmdb", form)
    sheets = {path.name: path for path in (tmp_path / "lmdb/sheets").iterdir()}
    assert sorted(sheets) == sorted([*(f"{name}.jpg" for name in ATTRIBUTES), "augmentation.png"])
    for path in sheets.values():
        assert cv2.imread(str(path)).std() > 20 and path.stat().st_size < 700_000


# Costs -------------------------------------------------------------------------------------------------


def test_estimate_is_near_what_is_written(source, tmp_path, capsys):
    for form in ("stream", "compact"):
        build(source, tmp_path / form, form, ("Male", "Smiling"))
        printed = capsys.readouterr().out
        line = next(line for line in printed.splitlines() if line.split()[0] == "together")
        unit = {"kB": 1e3, "MB": 1e6}[line.split()[4]]
        written = sum(path.stat().st_size for path in (tmp_path / form).glob("*/data.mdb"))
        assert float(line.split()[3]) * unit == pytest.approx(written, rel=0.15)


def test_estimated_costs_of_typical_images_are_as_expected():
    assert estimate.stored(3 * 224 * 224) == 37 * 4096 + 32  # 150,528 bytes and a header take 37 pages
    assert estimate.stored(50) == 82
    assert estimate.human(1_602_000_000) == "1.6 GB" and estimate.human(999) == "999 bytes"


def test_dry_run_needs_only_labels_and_writes_nothing(source, tmp_path, capsys):
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    before = digest(tmp_path)
    arguments = [str(tmp_path), "--attributes", "Male,Eyeglasses", "--dry-run", "--out", str(tmp_path / "lmdb")]
    assert build_lmdb.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "stream: 2 attributes, 48 training images" in printed and "compact: 2 attributes" in printed
    assert "no image was read" in printed and digest(tmp_path) == before


# Interruptions -----------------------------------------------------------------------------------------


def test_records_written_in_several_transactions_equal_those_of_one(tmp_path):
    rng = np.random.default_rng(0)
    # Values within a page, on a page of their own and on several: each leaves different bytes in LMDB's unused memory.
    values = [rng.bytes(int(size)) for size in rng.choice([20, 900, 3000, 9000], 1500)]
    databases.write_lmdb(tmp_path / "one", iter(values), len(values), "test")
    for start in range(0, len(values), 2 * databases.COMMIT):
        databases.write_lmdb(tmp_path / "several", iter(values[start : start + 2 * databases.COMMIT]), 0, "test")
    assert digest(tmp_path / "several") == digest(tmp_path / "one")


@pytest.mark.parametrize("form", manifest.FORMS)
def test_killed_builds_end_with_the_same_bytes_as_undisturbed_ones(source, tmp_path, form):
    """kill -9 at random moments, then the same command: equal bytes. KILLS=10 in the environment tests more moments."""
    kills = int(os.environ.get("KILLS", 2))

    def written(folder):
        return sum(path.stat().st_size for path in folder.glob("*/data.mdb"))

    arguments = [sys.executable, "-m", "data_prep.build.build_lmdb", str(source), "--form", form, "--records", "600"]
    arguments += ["--attributes", ",".join(PAPER_ATTRIBUTES[6:12]), "--workers", "1", "--out"]
    subprocess.run([*arguments, str(tmp_path / "undisturbed")], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    expected, rng, disturbed = digest(tmp_path / "undisturbed"), random.Random(0), 0
    size = written(tmp_path / "undisturbed") * 0.9
    for number in range(kills):
        out = tmp_path / f"killed{number}"
        process = subprocess.Popen([*arguments, str(out)], cwd=ROOT, stdout=subprocess.DEVNULL)
        partial, moment = tmp_path / f".killed{number}.partial", rng.random() * size
        while process.poll() is None and not (partial.exists() and written(partial) >= moment):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        disturbed += not out.exists()
        if not out.exists():
            subprocess.run([*arguments, str(out)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        assert digest(out) == expected
    assert disturbed and not list(tmp_path.glob(".*"))


def test_ctrl_c_keeps_finished_work_and_reports_it(source, tmp_path):
    arguments = [sys.executable, "-m", "data_prep.build.build_lmdb", str(source), "--form", "stream", "--records", "0"]
    arguments += ["--encoding", "png", "--workers", "1", "--out", str(tmp_path / "lmdb")]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    # Background jobs of a shell ignore Ctrl-C, and the tests may run as one.
    process = subprocess.Popen(arguments, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)
    while not (tmp_path / ".lmdb.partial/train/data.mdb").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130 and "run the same command again to resume" in errors and "Traceback" not in errors
    assert not (tmp_path / "lmdb").exists()
    # Other settings start over.
    build(source, tmp_path / "lmdb", records=20)
    build(source, tmp_path / "straight", records=20)
    assert digest(tmp_path / "lmdb") == digest(tmp_path / "straight")


def test_a_second_build_of_a_folder_is_refused(source, tmp_path):
    (tmp_path / ".lmdb.partial").mkdir()
    code = (
        "import fcntl, os, sys, time\n"
        f"fcntl.flock(os.open({str(tmp_path / '.lmdb.partial')!r}, os.O_RDONLY), fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        with pytest.raises(RuntimeError, match="another build of this folder is running"):
            build(source, tmp_path / "lmdb")
        assert (tmp_path / ".lmdb.partial").exists()
    finally:
        holder.kill()
        holder.wait()
