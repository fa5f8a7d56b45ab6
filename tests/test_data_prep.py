"""Reading CelebA's layout, balanced sampling, building LMDBs: right on good input, clear on bad."""

import hashlib
import json
import pathlib
import subprocess
import sys

import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep import balance, build_lmdb, celeba, faces, synthetic_faces

ATTRIBUTES = ["Eyeglasses", "Male", "Wearing_Hat"]


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """Sixty synthetic faces in CelebA's layout."""
    folder = tmp_path_factory.mktemp("source") / "faces"
    synthetic_faces.generate(
        folder, 60, seed=3, prevalence={"Eyeglasses": 0.3, "Wearing_Hat": 0.4, "Male": 0.5}, workers=1
    )
    return folder


@pytest.fixture
def copy(source, tmp_path):
    """A copy that a test may damage."""
    folder = tmp_path / "copy"
    (folder / "img_align_celeba").mkdir(parents=True)
    for path in source.rglob("*.*"):
        (folder / path.relative_to(source)).write_bytes(path.read_bytes())
    return folder


def build(folder, out, **options):
    return build_lmdb.build(celeba.Faces(folder), out, ATTRIBUTES, options.pop("records", 50), **options)


def read(path):
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [(key, caffe_pb2.Datum.FromString(value)) for key, value in transaction.cursor()]


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.name not in ("lock.mdb",) and path.is_file()
    }


# Sampling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("augment", balance.AUGMENT)
def test_every_batch_is_one_to_one_for_every_attribute(seed, augment):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(size=(100, 3)) < [0.1, 0.5, 0.8]
    draws = list(balance.plan(labels, "abc", 40, seed, augment))
    assert len(draws) == 2 * 40 * 3
    for b in (2, 4, 8):
        batches = np.array([draw.label for draw in draws]).reshape(-1, b, 3)
        assert (batches.sum(axis=1) == b // 2).all()
    for record, draw in enumerate(draws):
        assert labels[draw.image, record % 3] == draw.label == record // 3 % 2
        assert max(abs(draw.dx), abs(draw.dy)) <= 12  # 5 % of 256
        moved = (draw.dx, draw.dy, draw.mirror) != (0, 0, False)
        # Attribute 0 has few positives, attribute 2 few negatives.
        minority = draw.label == {0: 1, 2: 0}.get(record % 3, -1)
        if augment == "none" or (augment == "minority" and record % 3 != 1 and not minority):
            assert not moved


def test_all_of_a_class_come_before_one_comes_again():
    labels = np.arange(10)[:, None] < 3
    draws = [draw for draw in balance.plan(labels, "a", 7, 0) if draw.label]
    images = [draw.image for draw in draws]
    assert sorted(images[:3]) == sorted(images[3:6]) == [0, 1, 2]


def test_one_class_only_is_an_error():
    with pytest.raises(celeba.DataError, match="Male: all 5 training images are negative"):
        list(balance.plan(np.zeros((5, 1), dtype=bool), ["Male"], 4, 0))


def test_patches_by_hand():
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    image[16, 16], image[28, 4] = 1, 2
    assert faces.patch(image)[0, 0, 0] == 1 and faces.patch(image).shape == (224, 224, 3)
    assert faces.patch(image, dx=-12, dy=12)[0, 0, 0] == 2
    assert faces.patch(image, mirror=True)[0, 223, 0] == 1
    box = [20, 40, 100, 200]
    np.testing.assert_allclose(faces.from_patch(faces.to_patch(box, (218, 178)), (218, 178)), box)
    assert faces.to_patch([0, 0, 178, 218], (218, 178)).tolist() == [0, 0, 224, 224]


# Databases ---------------------------------------------------------------------------------------------


def test_databases_agree_with_their_source(source, tmp_path):
    manifest = build(source, tmp_path / "lmdb", encoding="raw")
    data = celeba.Faces(source)
    columns = [data.attributes.index(name) for name in ATTRIBUTES]
    train = read(tmp_path / "lmdb/train")
    assert len(train) == manifest["train_records"] and [key for key, _ in train] == sorted(key for key, _ in train)
    labels = np.array([datum.label for _, datum in train]).reshape(-1, 4, 3)
    assert (labels.sum(axis=1) == 2).all()
    for name, part in (("val", 1), ("test", 2)):
        members = np.flatnonzero(data.partition == part)
        images, rows = read(tmp_path / f"lmdb/{name}_images"), read(tmp_path / f"lmdb/{name}_labels")
        assert [key for key, _ in images] == [key for key, _ in rows] and len(rows) == len(members)
        for index, (_, image), (_, row) in zip(members, images, rows, strict=True):
            assert list(row.data) == data.labels[index, columns].tolist() and row.channels == 3
            stored = np.frombuffer(image.data, np.uint8).reshape(3, 224, 224).transpose(1, 2, 0)
            np.testing.assert_array_equal(stored, faces.patch(faces.face(data.image(index))))
    boxes = json.loads((tmp_path / "lmdb/test_boxes.json").read_text())
    for index, known in zip(np.flatnonzero(data.partition == 2), boxes, strict=True):
        assert all(data.labels[index, data.attributes.index(name)] for name in known)


def test_encodings_hold_the_same_faces(source, tmp_path):
    for encoding in build_lmdb.ENCODINGS:
        build(source, tmp_path / encoding, encoding=encoding, records=10)
    raw = [np.frombuffer(d.data, np.uint8).reshape(3, 224, 224) for _, d in read(tmp_path / "raw/train")]
    for encoding, worst in (("png", 0), ("jpg", 5)):
        for expected, (_, datum) in zip(raw, read(tmp_path / encoding / "train"), strict=True):
            image = cv2.imdecode(np.frombuffer(datum.data, np.uint8), cv2.IMREAD_COLOR).transpose(2, 0, 1)
            assert datum.encoded and abs(image.astype(int) - expected).mean() <= worst


def test_same_seed_same_bytes(source, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build(source, tmp_path / name, seed=seed)
    one, same, other = (digest(tmp_path / name) for name in "abc")
    assert one == same and one["train/data.mdb"] != other["train/data.mdb"]


def test_map_grows_beyond_its_first_size(tmp_path, monkeypatch):
    opened = lmdb.open
    monkeypatch.setattr(build_lmdb.lmdb, "open", lambda path, **k: opened(path, **{**k, "map_size": 1 << 16}))
    values = [bytes([number % 256]) * 5000 for number in range(600)]
    build_lmdb.write_lmdb(tmp_path / "db", values, 600, "test")
    monkeypatch.undo()
    with lmdb.open(str(tmp_path / "db"), readonly=True) as environment, environment.begin() as transaction:
        assert [value for _, value in transaction.cursor()] == values


# Bad input ---------------------------------------------------------------------------------------------


def edit(path, change):
    path.write_text(change(path.read_text()))


def remove_image(folder):
    (folder / "img_align_celeba/000007.jpg").unlink()


def corrupt_image(folder):
    (folder / "img_align_celeba/000007.jpg").write_bytes(b"not a picture")


def empty_image(folder):
    (folder / "img_align_celeba/000007.jpg").write_bytes(b"")


def wrong_count(folder):
    edit(folder / "list_attr_celeba.txt", lambda text: text.replace("60\n", "61\n", 1))


def wrong_label(folder):
    edit(folder / "list_attr_celeba.txt", lambda text: text.replace("000007.jpg ", "000007.jpg 2 ", 1))


def twice(folder):
    edit(folder / "list_attr_celeba.txt", lambda text: text.replace("000008.jpg", "000007.jpg", 1))


def no_labels(folder):
    (folder / "list_attr_celeba.txt").unlink()


def short_partition(folder):
    edit(folder / "list_eval_partition.txt", lambda text: text.replace("000007.jpg 0\n", ""))


def strange_partition(folder):
    edit(folder / "list_eval_partition.txt", lambda text: text.replace("000007.jpg 0", "000007.jpg 3"))


def no_images(folder):
    (folder / "img_align_celeba").rename(folder / "elsewhere")


def broken_zip(folder):
    no_images(folder)
    (folder / "img_align_celeba.zip").write_bytes(b"PK\3\4 cut short")


@pytest.mark.parametrize(
    "damage, words",
    [
        (remove_image, ["list_attr_celeba.txt:9", "000007.jpg"]),
        (corrupt_image, ["000007.jpg", "not a readable image", "list_attr_celeba.txt:9"]),
        (empty_image, ["000007.jpg", "not a readable image"]),
        (wrong_count, ["list_attr_celeba.txt:1", "61", "60"]),
        (wrong_label, ["list_attr_celeba.txt:9"]),
        (twice, ["000007.jpg", "more than one row"]),
        (no_labels, ["list_attr_celeba.txt", "missing"]),
        (short_partition, ["list_eval_partition.txt", "000007.jpg"]),
        (strange_partition, ["list_eval_partition.txt:7"]),
        (no_images, ["neither img_align_celeba/ nor img_align_celeba.zip"]),
        (broken_zip, ["img_align_celeba.zip", "not a whole zip"]),
    ],
)
def test_damaged_data_sets_are_named(copy, tmp_path, damage, words):
    damage(copy)
    with pytest.raises(celeba.DataError) as error:
        build(copy, tmp_path / "lmdb")
    assert all(word in str(error.value) for word in words), error.value
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_full_disk_leaves_nothing(source, tmp_path, monkeypatch):
    monkeypatch.setattr(build_lmdb.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match="too little disk"):
        build(source, tmp_path / "lmdb")
    assert not list(tmp_path.iterdir())


def test_disk_that_fills_up_during_the_build_leaves_nothing(source, tmp_path):
    # A real limit on file size stands for the full disk; the database must not half-appear.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))\n"
        "from data_prep import build_lmdb\n"
        f"sys.argv = ['build_lmdb', {str(source)!r}, '--out', {str(tmp_path / 'lmdb')!r}, '--attributes', 'Male']\n"
        "build_lmdb.main()"
    )
    root = pathlib.Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode != 0 and done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert not list(tmp_path.iterdir())


def test_command_line_errors(source, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "data_prep.build_lmdb", str(source), "--out", str(tmp_path / "lmdb")]
        root = pathlib.Path(__file__).parent.parent
        return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=root)

    done = run("--attributes", "Eyeglases")
    assert done.returncode != 0 and "unknown attribute 'Eyeglases'" in done.stderr
    assert not (tmp_path / "lmdb").exists()
    assert run("--attributes", "Male", "--records", "20").returncode == 0
    before = digest(tmp_path / "lmdb")
    done = run("--attributes", "Male")
    assert done.returncode != 0 and "exists" in done.stderr and digest(tmp_path / "lmdb") == before
