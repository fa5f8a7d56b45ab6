"""Building databases: their content, their estimated cost, and what interrupted builds leave."""

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from command_line import ATTRIBUTES
from PIL import Image

from data_prep import geometry, image_files
from data_prep.build import builder, examine, sheets
from data_prep.errors import DataError
from data_prep.plan import balance, forms
from data_prep.sources.opening import open_source
from data_prep.store import databases, manifest
from data_prep.store.manifest import Settings

SETTINGS = Settings(records=50, augment="minority")


def build(folder, out, form="stream", **options):
    return builder.build(open_source(folder, dataclasses.replace(SETTINGS, **options)), out, ATTRIBUTES, form)


def stored(path):
    return [datum for _, datum in databases.records(path)]


def digest(folder):
    paths = (path for path in sorted(folder.rglob("*")) if path.name != "lock.mdb" and path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_stream_holds_the_plans_patches_and_the_images_and_labels_of_their_source(small_faces, tmp_path):
    cv2.setNumThreads(3)
    made = build(small_faces, tmp_path / "lmdb", encoding="png")
    assert cv2.getNumThreads() == 3  # once a defect: the whole process was left with one
    assert manifest.read(tmp_path / "lmdb") == made and made.kind == "celeba" and made.settings.sampling == "balanced"
    data = open_source(small_faces)
    data.open()
    columns = [data.attributes.index(name) for name in ATTRIBUTES]
    members = np.flatnonzero(data.partition == 0)
    plan = balance.Plan(data.labels[np.ix_(members, columns)], ATTRIBUTES, 0, "minority")
    samples = plan.rounds(0, plan.largest).reshape(-1)
    train = stored(tmp_path / "lmdb/train")
    assert len(train) == len(samples) == made.train_records
    for datum, sample in list(zip(train, samples, strict=True))[::17]:
        image, label, dx, dy, mirror = sample.item()
        assert datum.label == label
        expected = cv2.resize(data.image(members[image]), (256, 256))[16 + dy : 240 + dy, 16 + dx : 240 + dx]
        np.testing.assert_array_equal(image_files.decode(datum.data), expected[:, ::-1] if mirror else expected)
    for name, part in (("val", 1), ("test", 2)):
        members = np.flatnonzero(data.partition == part)
        images, rows = stored(tmp_path / f"lmdb/{name}_images"), stored(tmp_path / f"lmdb/{name}_labels")
        for index, image, row in zip(members, images, rows, strict=True):
            assert list(row.data) == data.labels[index, columns].tolist() and row.channels == 2
            expected = geometry.patch(geometry.face(data.image(index)))
            np.testing.assert_array_equal(image_files.decode(image.data), expected)
    boxes = json.loads((tmp_path / "lmdb/test_boxes.json").read_text())
    for index, known in zip(np.flatnonzero(data.partition == 2), boxes, strict=True):
        assert all(data.labels[index, data.attributes.index(name)] for name in known)


def test_the_compact_form_holds_each_face_once_in_its_original_encoding(small_faces, small_lmdb):
    made, data = manifest.read(small_lmdb), open_source(small_faces)
    data.open()
    assert made.form == "compact" and made.splits["train"].images == 48 and made.synthetic
    for name, part in (("train", 0), ("val", 1), ("test", 2)):
        images = [datum.data for datum in stored(small_lmdb / f"{name}_images")]
        assert images == [data.read(index) for index in np.flatnonzero(data.partition == part)]
        labels = databases.read_labels(small_lmdb / f"{name}_labels", len(ATTRIBUTES))
        assert labels.sum(axis=0).tolist() == [made.splits[name].positive[attribute] for attribute in ATTRIBUTES]
    pictures = {path.name: cv2.imread(str(path)) for path in (small_lmdb / "sheets").iterdir()}
    assert sorted(pictures) == sorted(f"{name}.jpg" for name in ATTRIBUTES)
    assert all(picture.std() > 20 for picture in pictures.values())


def test_equal_seeds_give_equal_bytes_on_any_number_of_cores(small_faces, tmp_path, monkeypatch):
    for name, seed, cores in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: range(cores))
        build(small_faces, tmp_path / name, seed=seed, shards=2, records=10)
    one, same, other = (digest(tmp_path / name) for name in "abc")
    assert one == same and one["train/data.mdb"] != other["train/data.mdb"]


def test_duplicates_across_splits_are_reported_and_left_out_of_training(small_faces, tmp_path, capsys):
    assert examine.repeated("121322", np.array([0, 2, 2, 0, 2, 1])) == [(0, 2), (5, 4)]
    copy = shutil.copytree(small_faces, tmp_path / "copy")
    for name in ("000002.jpg", "000005.jpg"):
        shutil.copy(copy / "img_align_celeba/000060.jpg", copy / "img_align_celeba" / name)
    made = build(copy, tmp_path / "a", "compact")
    warning = "2 training images that are also in the validation or test split are left out"
    assert warning in capsys.readouterr().err and made.settings.dropped == 2
    images = [datum.data for datum in stored(tmp_path / "a/train_images")]
    assert len(images) == made.splits["train"].images == 46
    assert (copy / "img_align_celeba/000060.jpg").read_bytes() not in images
    made = build(copy, tmp_path / "b", "compact", keep_duplicates=True)
    assert made.splits["train"].images == 48 and made.settings.dropped == 0
    warning = "2 images are in two splits, the first is 000002.jpg (train) and 000060.jpg (test); none of them is left"
    assert warning in capsys.readouterr().err


def test_unusual_images_are_refused_or_converted_on_request(small_faces, tmp_path):
    """Which images are unusual, and how each is decoded: test_readers.py."""
    copy, exif = shutil.copytree(small_faces, tmp_path / "copy"), Image.Exif()
    exif[0x0112] = 6
    path = copy / "img_align_celeba/000007.jpg"
    Image.open(path).save(path, "JPEG", quality=95, exif=exif)
    words = r"000007.jpg \(list_attr_celeba.txt:9\): rotated .*; .*convert such images with --convert"
    with pytest.raises(DataError, match=words):
        build(copy, tmp_path / "lmdb", "compact")
    assert build(copy, tmp_path / "lmdb", "compact", convert=True).settings.convert
    ((_, found),) = databases.records(tmp_path / "lmdb/train_images", [6])
    np.testing.assert_array_equal(image_files.decode(found.data), image_files.read(path))
    assert image_files.header(found.data).unusual is None


def test_the_disk_space_of_a_build_is_estimated(small_faces, small_lmdb):
    data = open_source(small_faces)
    data.open()
    written = sum(path.stat().st_size for path in small_lmdb.glob("*/data.mdb"))
    assert builder.needed(forms.Job(data, "compact", ATTRIBUTES)) == pytest.approx(written, rel=0.15)


# Interruptions -----------------------------------------------------------------------------------------


def test_after_ctrl_c_the_build_starts_over(small_faces, tmp_path, monkeypatch, cascade):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    words = ["data", small_faces, "--out", tmp_path / "lmdb", "--attributes"]
    with monkeypatch.context() as patched:
        patched.setattr(sheets, "write_sheets", interrupted)
        status, _, error = cascade(*words, ",".join(reversed(ATTRIBUTES)))
    assert status == 130 and "run the same command again" in error and not (tmp_path / "lmdb").exists()
    assert (tmp_path / ".lmdb.partial/train_images/data.mdb").exists()
    unpacked, write_sheets = tmp_path / ".lmdb.partial/scratch/images-of-a-killed-build", sheets.write_sheets
    unpacked.mkdir()
    there = []
    monkeypatch.setattr(sheets, "write_sheets", lambda *words: (there.append(unpacked.exists()), write_sheets(*words)))
    assert cascade(*words, ",".join(ATTRIBUTES), "--seed", 1)[0] == 0 and there == [False]
    build(small_faces, tmp_path / "straight", "compact", seed=1, augment="both", records=10000)
    assert digest(tmp_path / "lmdb") == digest(tmp_path / "straight")


def test_a_second_build_of_a_folder_is_refused(small_faces, tmp_path):
    (tmp_path / ".lmdb.partial").mkdir()
    lock = os.open(tmp_path / ".lmdb.partial", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another build of this folder is running"):
        build(small_faces, tmp_path / "lmdb")
    os.close(lock)
    assert (tmp_path / ".lmdb.partial").exists()
