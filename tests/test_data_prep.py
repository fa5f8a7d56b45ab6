"""Reading data sets, balanced sampling, building databases: what they hold, and that a kill changes nothing of it."""

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import zipfile

import cv2
import h5py
import lmdb
import numpy as np
import pytest
import scipy.io
from caffe.proto import caffe_pb2

from data_prep import geometry
from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.build import build_lmdb, estimate, examine
from data_prep.plan import balance
from data_prep.plan.forms import Settings
from data_prep.sources import lfwa
from data_prep.sources.images import DataError
from data_prep.store import databases
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


def build(folder, out, **options):
    settings = Settings("stream", ATTRIBUTES, 50, 0, "jpg", "minority", 1)._replace(**options)
    return build_lmdb.build(build_lmdb.open_source(folder), out, settings)


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
    plan = balance.Plan(labels, "abc", seed, augment)
    draws = plan.turns(0, 250).reshape(-1)
    assert len(draws) == 2 * 250 * 3
    for b in (2, 4, 10):
        assert (draws["label"].reshape(-1, b, 3).sum(axis=1) == b // 2).all()
        np.testing.assert_array_equal(plan.batch(7, b), draws[7 * b * 3 : 8 * b * 3])
    for record, draw in enumerate(draws):
        assert labels[draw["image"], record % 3] == draw["label"] == record // 3 % 2
        assert max(abs(int(draw["dx"])), abs(int(draw["dy"]))) <= 12  # 5 % of 256
        # Attribute 0 has few positives, attribute 2 few negatives.
        minority = draw["label"] == {0: 1, 2: 0}.get(record % 3, -1)
        if augment == "none" or (augment == "minority" and record % 3 != 1 and not minority):
            assert draw[["dx", "dy", "mirror"]].item() == (0, 0, 0)


def test_all_of_a_class_come_before_one_comes_again_and_otherwise_cut():
    labels = np.arange(40)[:, None] < 12
    turns = balance.Plan(labels, "a", 0).turns(0, 36)[:, 1, 0]
    rounds = turns.reshape(3, 12)
    assert all(sorted(r["image"]) == list(range(12)) for r in rounds)
    assert rounds[0]["image"].tolist() != rounds[1]["image"].tolist() != rounds[2]["image"].tolist()
    cuts = {draw[["image", "dx", "dy", "mirror"]].item() for draw in turns}
    assert len(cuts) > 30
    # All shifts come, and about half of the cuts are mirrored.
    many = balance.Plan(labels, "a", 0).turns(0, 5000)[:, 1, 0]
    assert set(many["dx"]) == set(many["dy"]) == set(range(-12, 13)) and 0.45 < many["mirror"].mean() < 0.55


@pytest.mark.parametrize("augment", balance.AUGMENT)
def test_natural_batches_hold_every_image_once_a_round(augment):
    labels = np.random.default_rng(2).uniform(size=(41, 2)) < [0.2, 0.7]
    plan = balance.Plan(labels, "ab", 3, augment, "natural")
    assert plan.largest == 21  # turns of two images that an epoch takes
    draws = plan.turns(0, 82).reshape(-1, 2)  # 164 images, four rounds
    for attribute in range(2):
        rounds = draws[:, attribute].reshape(4, 41)
        assert all(sorted(one["image"]) == list(range(41)) for one in rounds)
        assert rounds[0]["image"].tolist() != rounds[1]["image"].tolist()
        column = labels[draws["image"][:, attribute], attribute]
        np.testing.assert_array_equal(draws["label"][:, attribute], column)
        moved = (draws["dx"] != 0) | (draws["dy"] != 0) | (draws["mirror"] != 0)
        rare = column == (attribute == 0)
        may = {"both": rare | True, "minority": rare, "none": rare & False}[augment]
        assert not moved[~may, attribute].any() and (not may.any() or moved[may, attribute].mean() > 0.9)
    np.testing.assert_array_equal(plan.batch(5, 4), draws[20:24].reshape(-1))


def test_the_plan_of_a_seed_never_changes():
    # Worked out once: snapshots and unfinished builds rely on it, on every Python and NumPy.
    labels = np.random.default_rng(0).random((50, 2)) < 0.3
    draws = balance.Plan(labels, "ab", 7).turns(1000, 1002).reshape(-1)
    assert draws["image"].tolist() == [12, 41, 44, 29, 3, 15, 23, 34]
    assert balance.Plan(labels, "ab", 8).turns(1000, 1002).reshape(-1)["image"].tolist() != draws["image"].tolist()


def test_one_class_only_is_an_error():
    with pytest.raises(DataError, match="Male: all 5 training images are negative"):
        balance.Plan(np.zeros((5, 1), dtype=bool), ["Male"], 0)


def test_every_solver_of_several_gets_balanced_batches_of_its_own():
    labels = np.random.default_rng(0).random((60, 2)) < 0.4
    turns = balance.Plan(labels, "ab", 0).turns(0, 20)
    stream = balance.interleave(turns, 3)
    assert len(stream) == 18 * 4  # the last two turns do not go round
    for solver in range(3):
        own = stream[solver::3]  # as Caffe hands them out
        assert (own["label"].reshape(-1, 2, 2).sum(axis=1) == 1).all()
        np.testing.assert_array_equal(own, turns[solver:18:3].reshape(-1))


def test_patches_by_hand():
    image = np.zeros((256, 256, 3), dtype=np.uint8)
    image[16, 16], image[28, 4] = 1, 2
    assert geometry.patch(image)[0, 0, 0] == 1 and geometry.patch(image).shape == (224, 224, 3)
    assert geometry.patch(image, dx=-12, dy=12)[0, 0, 0] == 2
    assert geometry.patch(image, mirror=True)[0, 223, 0] == 1
    box = [20, 40, 100, 200]
    np.testing.assert_allclose(geometry.from_patch(geometry.to_patch(box, (218, 178)), (218, 178)), box)
    assert geometry.to_patch([0, 0, 178, 218], (218, 178)).tolist() == [0, 0, 224, 224]


# Layouts -----------------------------------------------------------------------------------------------


def same_source(one, other):
    assert one.names == other.names and one.attributes == other.attributes
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.partition, other.partition)
    one.open(), other.open()
    for index in (0, 7, len(one.names) - 1):
        assert one.read(index) == other.read(index)


def test_zip_csv_and_the_downloads_own_folders_give_the_same(source, tmp_path):
    for folder in ("Anno", "Eval", "Img"):
        (tmp_path / folder).mkdir()
    count, names, *rows = (source / "list_attr_celeba.txt").read_text().splitlines()
    lines = [",".join(["image_id", *names.split()]), *(",".join(row.split()) for row in rows)]
    (tmp_path / "Anno/list_attr_celeba.csv").write_text("\r\n".join(lines))
    rows = (source / "list_eval_partition.txt").read_text().splitlines()
    lines = ["image_id,partition", *(row.replace(" ", ",") for row in rows)]
    (tmp_path / "Eval/list_eval_partition.csv").write_text("\n".join(lines))
    with zipfile.ZipFile(tmp_path / "Img/img_align_celeba.zip", "w") as packed:
        for number, path in enumerate(sorted((source / "img_align_celeba").iterdir())):
            kind = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            packed.write(path, f"img_align_celeba/{path.name}", kind)
    same_source(build_lmdb.open_source(source), build_lmdb.open_source(tmp_path))


def write_mat_73(path, variables):
    """A file as MATLAB's version 7.3 writes it: HDF5, arrays transposed, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = file.create_group("#refs#")
        for name, value in variables.items():
            if isinstance(value, list):
                cell = file.create_dataset(name, (1, len(value)), h5py.ref_dtype)
                for number, text in enumerate(value):
                    item = references.create_dataset(f"{name}{number}", data=np.array([[ord(c)] for c in text], "u2"))
                    cell[0, number] = item.ref
            else:
                file.create_dataset(name, data=np.asarray(value).T)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


@pytest.mark.parametrize("variant", ["7.3", "characters", "unpadded", "row cells", "identities", "tgz"])
def test_variants_of_lfwa_give_the_same(lfwa_source, tmp_path, variant):
    annotation = scipy.io.loadmat(lfwa_source / lfwa.ANNOTATION)
    indices = {k: v for k, v in scipy.io.loadmat(lfwa_source / lfwa.INDICES).items() if k[0] != "_"}
    names = [str(name[0]) for name in annotation["name"].ravel()]
    attributes = [str(name[0]) for name in annotation["AttrName"].ravel()]
    assert names[0] == "Drawn_Person_0001\\Drawn_Person_0001_0001.jpg" and attributes[0] == "5 o Clock Shadow"
    changed = {"name": np.array(names, object)[:, None], "AttrName": np.array(attributes, object)[:, None]}
    changed["label"] = annotation["label"]
    write = scipy.io.savemat
    if variant == "7.3":
        write, changed["name"], changed["AttrName"] = write_mat_73, names, [name + "  " for name in attributes]
    elif variant == "characters":  # rows padded with blanks
        changed["name"], changed["AttrName"] = np.array(names), np.array([f"{name}\0" for name in attributes])
    elif variant == "unpadded":
        people = [name.split("\\")[0].replace("_", " ") for name in names]
        changed["name"] = np.array([f"{p}/{p} {int(n[-8:-4])}.jpg" for p, n in zip(people, names)], object)
    elif variant == "row cells":
        changed["name"], changed["AttrName"] = changed["name"].T, changed["AttrName"].T
        changed["label"] = changed["label"].T * 2 - 1
    elif variant == "identities":
        person = np.array([int(name[13:17]) for name in names])
        indices = {
            k.replace("img", "identity"): np.unique(person[v.astype(int).ravel() - 1])[:, None]
            for k, v in indices.items()
        }
    write(tmp_path / lfwa.ANNOTATION, changed)
    write(tmp_path / lfwa.INDICES, indices)
    if variant == "tgz":
        subprocess.run(["tar", "-czf", tmp_path / "lfw.tgz", "-C", lfwa_source, "lfw"], check=True)
        one, other = build_lmdb.open_source(lfwa_source), build_lmdb.open_source(tmp_path)
        one.open(), other.open(tmp_path)
        assert all(one.read(i) == other.read(i) for i in range(50))
    else:
        (tmp_path / "lfw").symlink_to(lfwa_source / "lfw")
        same_source(build_lmdb.open_source(lfwa_source), build_lmdb.open_source(tmp_path))


def test_half_of_lfwa_is_for_training_and_no_one_is_on_two_sides(lfwa_source):
    data = build_lmdb.open_source(lfwa_source)
    people = [{n.split("/")[0] for n, p in zip(data.names, data.partition) if p == part} for part in range(3)]
    assert (data.partition == 2).sum() == 25 and (data.partition == 1).sum() > 0
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    other = lfwa.read(lfwa_source, seed=2)
    assert (other.partition != data.partition).any() and ((other.partition == 2) == (data.partition == 2)).all()


# Databases ---------------------------------------------------------------------------------------------


def test_databases_agree_with_their_source(source, tmp_path):
    manifest = build(source, tmp_path / "lmdb", encoding="raw")
    assert json.loads((tmp_path / "lmdb/manifest.json").read_text()) == manifest
    data = build_lmdb.open_source(source)
    data.open()
    columns = [data.attributes.index(name) for name in ATTRIBUTES]
    train = read(tmp_path / "lmdb/train")
    assert len(train) == manifest["train_records"] and [key for key, _ in train] == sorted(key for key, _ in train)
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


def test_compact_form_holds_each_face_once_in_its_own_bytes(source, tmp_path):
    manifest = build(source, tmp_path / "lmdb", form="compact")
    data = build_lmdb.open_source(source)
    data.open()
    assert manifest["form"] == "compact" and manifest["train"]["images"] == 48
    for name, part in (("train", 0), ("val", 1), ("test", 2)):
        stored = [datum.data for _, datum in read(tmp_path / f"lmdb/{name}_images")]
        assert stored == [data.read(index) for index in np.flatnonzero(data.partition == part)]
        labels = databases.read_labels(tmp_path / f"lmdb/{name}_labels")
        assert labels.sum(axis=0).tolist() == list(manifest[name]["positive"].values())


def test_encodings_hold_the_same_faces(source, tmp_path):
    for encoding in databases.ENCODINGS:
        build(source, tmp_path / encoding, encoding=encoding, records=10)
    raw = [np.frombuffer(d.data, np.uint8).reshape(3, 224, 224) for _, d in read(tmp_path / "raw/train")]
    for encoding, worst in (("png", 0), ("jpg", 5)):
        for expected, (_, datum) in zip(raw, read(tmp_path / encoding / "train"), strict=True):
            image = databases.decoded(datum).transpose(2, 0, 1)
            assert datum.encoded and abs(image.astype(int) - expected).mean() <= worst


def test_same_seed_same_bytes_whatever_the_number_of_workers(source, tmp_path):
    settings = Settings("stream", ATTRIBUTES, 50, 1, "jpg", "minority", 2)
    for name, seed, workers in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        build_lmdb.build(build_lmdb.open_source(source), tmp_path / name, settings._replace(seed=seed), workers)
    one, same, other = (digest(tmp_path / name) for name in "abc")
    assert one == same and one["train/data.mdb"] != other["train/data.mdb"]


def test_map_grows_beyond_its_first_size(tmp_path, monkeypatch):
    opened = lmdb.open
    monkeypatch.setattr(databases.lmdb, "open", lambda path, **k: opened(path, **{**k, "map_size": 1 << 16}))
    values = [bytes([number % 256]) * 5000 for number in range(600)]
    databases.write_lmdb(tmp_path / "db", values, 600, "test")
    monkeypatch.undo()
    with lmdb.open(str(tmp_path / "db"), readonly=True) as environment, environment.begin() as transaction:
        assert [value for _, value in transaction.cursor()] == values


def test_duplicates_are_told_and_can_be_left_out(source, tmp_path, capsys):
    hashes = np.array([[1] * 16, [2] * 16, [1] * 16, [3] * 16, [2] * 16, [2] * 16], np.uint8)
    assert examine.duplicates(hashes, np.array([0, 2, 2, 0, 2, 1])) == [(0, 2), (5, 1), (5, 4)]
    copy = tmp_path / "copy"
    (copy / "img_align_celeba").mkdir(parents=True)
    for path in source.rglob("*.*"):
        (copy / path.relative_to(source)).write_bytes(path.read_bytes())
    image = (copy / "img_align_celeba/000060.jpg").read_bytes()  # of the test split
    (copy / "img_align_celeba/000002.jpg").write_bytes(image)
    settings = Settings("compact", ("Male",), 50, 0, "jpg", "minority", 1)
    assert build_lmdb.build(build_lmdb.open_source(copy), tmp_path / "a", settings)["train"]["images"] == 48
    assert "1 images are in two splits, first 000002.jpg (train) and 000060.jpg (test)" in capsys.readouterr().err
    build_lmdb.build(build_lmdb.open_source(copy), tmp_path / "b", settings, drop_duplicates=True)
    stored = [datum.data for _, datum in read(tmp_path / "b/train_images")]
    assert len(stored) == 47 and image not in stored


# Costs -------------------------------------------------------------------------------------------------


def test_estimate_is_near_what_is_written(source, tmp_path, capsys):
    for form in ("stream", "compact"):
        build(source, tmp_path / form, form=form, attributes=("Male", "Smiling"))
        told = capsys.readouterr().out
        line = next(line for line in told.splitlines() if line.split()[0] == "together")
        unit = {"kB": 1e3, "MB": 1e6}[line.split()[4]]
        written = sum(path.stat().st_size for path in (tmp_path / form).glob("*/data.mdb"))
        assert float(line.split()[3]) * unit == pytest.approx(written, rel=0.15)


def test_costs_of_typical_images_by_hand():
    assert estimate.stored(3 * 224 * 224) == 37 * 4096 + 32  # 150,528 bytes and a header take 37 pages
    assert estimate.stored(50) == 82
    assert estimate.human(1_602_000_000) == "1.6 GB" and estimate.human(999) == "999 bytes"


def test_dry_run_of_labels_alone_writes_nothing(source, tmp_path, capsys):
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    before = digest(tmp_path)
    arguments = [str(tmp_path), "--attributes", "Male,Eyeglasses", "--dry-run", "--out", str(tmp_path / "lmdb")]
    assert build_lmdb.main(arguments) == 0
    told = capsys.readouterr().out
    assert "stream: 2 attributes, 48 training images" in told and "compact: 2 attributes" in told
    assert "no image was looked at" in told and digest(tmp_path) == before


# Interruptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["stream", "compact"])
def test_killed_builds_end_as_undisturbed_ones(source, tmp_path, form):
    """kill -9 at random moments, then the same command; KILLS=10 in the environment for more moments."""
    kills = int(os.environ.get("KILLS", 2))

    def written(folder):
        return sum(path.stat().st_size for path in folder.glob("*/data.mdb"))

    arguments = [sys.executable, "-m", "data_prep.build.build_lmdb", str(source), "--form", form, "--records", "600"]
    arguments += ["--attributes", ",".join(PAPER_ATTRIBUTES[6:12]), "--workers", "1", "--out"]
    subprocess.run([*arguments, str(tmp_path / "undisturbed")], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    expected, rng, disturbed = digest(tmp_path / "undisturbed"), random.Random(0), 0
    size = written(tmp_path / "undisturbed") if form == "stream" else 0
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


def test_ctrl_c_keeps_what_is_there_and_says_so(source, tmp_path):
    arguments = [sys.executable, "-m", "data_prep.build.build_lmdb", str(source), "--records", "0", "--encoding", "png"]
    arguments += ["--workers", "1", "--out", str(tmp_path / "lmdb")]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    # A shell's background jobs, and so tests run as one, begin with Ctrl-C ignored.
    process = subprocess.Popen(arguments, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **options)
    while not (tmp_path / ".lmdb.partial/train/data.mdb").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130 and "the same command goes on" in told and "Traceback" not in told
    assert not (tmp_path / "lmdb").exists()
    # Other settings start over.
    build(source, tmp_path / "lmdb", records=20)
    build(source, tmp_path / "straight", records=20)
    assert digest(tmp_path / "lmdb") == digest(tmp_path / "straight")


def test_two_builds_of_one_folder_do_not_meet(source, tmp_path):
    (tmp_path / ".lmdb.partial").mkdir()
    code = (
        "import fcntl, os, sys, time\n"
        f"fcntl.flock(os.open({str(tmp_path / '.lmdb.partial')!r}, os.O_RDONLY), fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        with pytest.raises(RuntimeError, match="another build of it is running"):
            build(source, tmp_path / "lmdb")
        assert (tmp_path / ".lmdb.partial").exists()
    finally:
        holder.kill()
        holder.wait()
