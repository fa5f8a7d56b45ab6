"""Building databases: their content, their estimated cost, and what interrupted builds leave."""

import dataclasses
import hashlib
import json
import os
import shutil

import cv2
import numpy as np
import pytest
from command_line import ATTRIBUTES

from data_prep import geometry, image_files
from data_prep.build import builder, estimate, examine, sheets
from data_prep.errors import DataError
from data_prep.plan import balance
from data_prep.sources.opening import open_source
from data_prep.store import databases, manifest
from data_prep.store.manifest import Settings

SETTINGS = Settings(records=50, augment="minority")


def build(folder, out, form="stream", workers=None, **options):
    return builder.build(open_source(folder, dataclasses.replace(SETTINGS, **options)), out, ATTRIBUTES, form, workers)


def stored(path):
    return [datum for _, datum in databases.records(path)]


def digest(folder):
    paths = (path for path in sorted(folder.rglob("*")) if path.name != "lock.mdb" and path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_stream_holds_the_plans_patches_and_the_images_and_labels_of_their_source(small_faces, tmp_path):
    made = build(small_faces, tmp_path / "lmdb", encoding="raw")
    assert manifest.read(tmp_path / "lmdb") == made and made.kind == "celeba" and made.sampling == "balanced"
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
        np.testing.assert_array_equal(databases.decoded(datum), expected[:, ::-1] if mirror else expected)
    for name, part in (("val", 1), ("test", 2)):
        members = np.flatnonzero(data.partition == part)
        images, rows = stored(tmp_path / f"lmdb/{name}_images"), stored(tmp_path / f"lmdb/{name}_labels")
        for index, image, row in zip(members, images, rows, strict=True):
            assert list(row.data) == data.labels[index, columns].tolist() and row.channels == 2
            expected = geometry.patch(geometry.face(data.image(index)))
            np.testing.assert_array_equal(databases.decoded(image), expected)
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
    np.testing.assert_allclose(made.prior, np.array(list(made.splits["train"].positive.values())) / 48)
    assert set(made.checksums) >= {"train_images/data.mdb", "test_labels/data.mdb", "images.csv", "test_boxes.json"}


def test_equal_seeds_give_equal_bytes_with_any_number_of_workers(small_faces, tmp_path):
    for name, seed, workers in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        build(small_faces, tmp_path / name, workers=workers, seed=seed, shards=2, records=10)
    one, same, other = (digest(tmp_path / name) for name in "abc")
    assert one == same and one["train/data.mdb"] != other["train/data.mdb"]


def test_the_stream_is_planned_once_and_opencv_keeps_its_threads(small_faces, tmp_path, monkeypatch):
    """Once defects: the builder planned twice, and the whole process was left with one thread of OpenCV."""
    planned = []
    rounds = balance.Plan.rounds
    monkeypatch.setattr(balance.Plan, "rounds", lambda plan, *ends: planned.append(ends) or rounds(plan, *ends))
    monkeypatch.setattr(sheets, "write_sheets", lambda job, out: None)
    cv2.setNumThreads(3)
    build(small_faces, tmp_path / "lmdb")
    assert len(planned) == 1 and cv2.getNumThreads() == 3


def with_copies(small_faces, folder):
    """A copy of the faces in which two of training are equal to one of the test split."""
    shutil.copytree(small_faces, folder)
    for name in ("000002.jpg", "000005.jpg"):
        shutil.copy(folder / "img_align_celeba/000060.jpg", folder / "img_align_celeba" / name)
    return folder


def test_duplicates_across_splits_are_reported_and_left_out_of_training(small_faces, tmp_path, capsys):
    assert examine.repeated("121322", np.array([0, 2, 2, 0, 2, 1])) == [(0, 2), (5, 4)]
    copy = with_copies(small_faces, tmp_path / "copy")
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


@pytest.mark.parametrize("form", manifest.FORMS)
def test_a_source_replaced_during_the_build_is_noticed(small_faces, tmp_path, monkeypatch, form):
    copy, costs = shutil.copytree(small_faces, tmp_path / "copy"), estimate.costs

    def replaced(*arguments):
        found = costs(*arguments)  # the first pass is over
        shutil.copy(copy / "img_align_celeba/000008.jpg", copy / "img_align_celeba/000007.jpg")
        return found

    monkeypatch.setattr(estimate, "costs", replaced)
    with pytest.raises(DataError, match=r"000007.jpg \(list_attr_celeba.txt:9\): changed while it was being prepared"):
        build(copy, tmp_path / "lmdb", form)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_contact_sheets_show_patches_of_every_attribute(small_lmdb):
    pictures = {path.name: cv2.imread(str(path)) for path in (small_lmdb / "sheets").iterdir()}
    assert sorted(pictures) == sorted(f"{name}.jpg" for name in ATTRIBUTES)
    assert all(picture.std() > 20 for picture in pictures.values())
    red = np.full((224, 224, 3), (0, 0, 255), np.uint8)
    sheet = sheets.sheet("Male", [red] * 3, [red // 2] * 3)
    sizes = ((sheet == (0, 0, 255)).all(axis=-1).sum(), (sheet == (0, 0, 127)).all(axis=-1).sum())
    assert sizes == (3 * sheets.SIDE**2,) * 2


@pytest.mark.parametrize("kind", ["grey", "16 bits", "transparent", "rotated", "HEIF"])
def test_unusual_images_are_refused_or_converted_on_request(small_faces, tmp_path, kind):
    from PIL import Image

    copy = shutil.copytree(small_faces, tmp_path / "copy")
    path = copy / "img_align_celeba/000007.jpg"
    image, exif = cv2.imread(str(path)), Image.Exif()
    exif[0x0112] = 6
    rgb = Image.fromarray(image[:, :, ::-1])
    if kind in ("rotated", "HEIF"):
        rgb.save(
            path, "JPEG" if kind == "rotated" else "HEIF", quality=95, **({"exif": exif} if kind == "rotated" else {})
        )
    else:
        changed = {"grey": image[..., 0], "16 bits": image.astype(np.uint16) * 257}.get(kind)
        changed = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA) if changed is None else changed
        path.write_bytes(cv2.imencode(".png", changed)[1].tobytes())
    with pytest.raises(DataError, match=r"000007.jpg \(list_attr_celeba.txt:9\): .*convert such images with --convert"):
        build(copy, tmp_path / "lmdb", "compact")
    assert build(copy, tmp_path / "lmdb", "compact", convert=True).settings.convert
    (found,) = databases.records(tmp_path / "lmdb/train_images", [6])
    expected = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE) if kind == "rotated" else image
    expected = np.repeat(expected[..., :1], 3, axis=2) if kind == "grey" else expected
    assert abs(databases.decoded(found[1]).astype(int) - expected).mean() < 5
    assert image_files.header(found[1].data).unusual is None


# Costs -------------------------------------------------------------------------------------------------


def test_the_estimate_is_near_what_is_written(small_faces, tmp_path, cascade):
    for form in manifest.FORMS:
        words = ["data", small_faces, "--out", tmp_path / form, "--form", form, "--attributes", "Male,Smiling"]
        line = next(line for line in cascade(*words)[1].splitlines() if line.split()[0] == "together")
        unit = {"kB": 1e3, "MB": 1e6}[line.split()[4]]
        written = sum(path.stat().st_size for path in (tmp_path / form).glob("*/data.mdb"))
        assert float(line.split()[3]) * unit == pytest.approx(written, rel=0.15)
    assert estimate.stored(3 * 224 * 224) == 37 * 4096 + 32  # 150,528 bytes and a header take 37 pages
    assert estimate.human(1_602_000_000) == "1.6 GB" and estimate.human(999) == "999 bytes"


def test_a_dry_run_prints_both_forms_and_writes_nothing(small_faces, tmp_path, cascade):
    words = ["data", small_faces, "--attributes", "Male,Eyeglasses", "--dry-run", "--out", tmp_path / "lmdb"]
    status, printed, _ = cascade(*words)
    assert status == 0 and not list(tmp_path.iterdir())
    assert "stream: 2 attributes, 48 training images" in printed and "compact: 2 attributes" in printed


# Interruptions -----------------------------------------------------------------------------------------


def test_after_ctrl_c_the_build_starts_over(small_faces, tmp_path, monkeypatch, cascade):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    words = ["data", small_faces, "--attributes", ",".join(ATTRIBUTES), "--out", tmp_path / "lmdb"]
    with monkeypatch.context() as patched:
        patched.setattr(sheets, "write_sheets", interrupted)
        status, _, error = cascade(*words)
    assert status == 130 and "run the same command again to resume" in error and not (tmp_path / "lmdb").exists()
    assert (tmp_path / ".lmdb.partial/train_images/data.mdb").exists()
    assert cascade(*words, "--seed", 1)[0] == 0
    build(small_faces, tmp_path / "straight", "compact", seed=1, augment="both", records=10000)
    assert digest(tmp_path / "lmdb") == digest(tmp_path / "straight")


def test_a_second_build_of_a_folder_is_refused(small_faces, tmp_path):
    import fcntl

    (tmp_path / ".lmdb.partial").mkdir()
    lock = os.open(tmp_path / ".lmdb.partial", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another build of this folder is running"):
        build(small_faces, tmp_path / "lmdb")
    os.close(lock)
    assert (tmp_path / ".lmdb.partial").exists()
