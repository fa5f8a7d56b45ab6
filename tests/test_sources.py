"""Data sets in all variants of CelebA's and LFWA's layouts, and how the layout of a folder is recognised."""

import subprocess
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io

from data_prep.errors import DataError
from data_prep.sources import lfwa
from data_prep.sources.mat import read_mat
from data_prep.sources.opening import open_source
from data_prep.synthetic import synthetic_faces


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Sixty synthetic faces in CelebA's layout."""
    folder = tmp_path_factory.mktemp("source") / "faces"
    synthetic_faces.generate(folder, 60, seed=3, prevalence={"Male": 0.5}, workers=1)
    return folder


@pytest.fixture(scope="module")
def lfwa_source(tmp_path_factory):
    """Fifty synthetic faces in LFWA's layout."""
    folder = tmp_path_factory.mktemp("lfwa") / "faces"
    synthetic_faces.generate(folder, 50, seed=4, prevalence={"Male": 0.5, "Smiling": 0.5}, workers=1, layout="lfwa")
    return folder


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
    same_source(open_source(source), open_source(tmp_path))


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
    assert names[0] == "Synthetic_Person_0001\\Synthetic_Person_0001_0001.jpg" and attributes[0] == "5 o Clock Shadow"
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
        person = np.array([int(name.split("_")[2][:4]) for name in names])
        indices = {
            k.replace("img", "identity"): np.unique(person[v.astype(int).ravel() - 1])[:, None]
            for k, v in indices.items()
        }
    write(tmp_path / lfwa.ANNOTATION, changed)
    write(tmp_path / lfwa.INDICES, indices)
    if variant == "tgz":
        subprocess.run(["tar", "-czf", tmp_path / "lfw.tgz", "-C", lfwa_source, "lfw"], check=True)
        one, other = open_source(lfwa_source), open_source(tmp_path)
        one.open(), other.open(tmp_path)
        assert all(one.read(i) == other.read(i) for i in range(50))
    else:
        (tmp_path / "lfw").symlink_to(lfwa_source / "lfw")
        same_source(open_source(lfwa_source), open_source(tmp_path))


def test_half_of_lfwa_is_for_training_and_no_person_is_in_two_splits(lfwa_source):
    data = open_source(lfwa_source)
    people = [{n.split("/")[0] for n, p in zip(data.names, data.partition) if p == part} for part in range(3)]
    assert (data.partition == 2).sum() == 25 and (data.partition == 1).sum() > 0
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    other = lfwa.read(lfwa_source, seed=2)
    assert (other.partition != data.partition).any() and ((other.partition == 2) == (data.partition == 2)).all()


def test_the_error_for_an_unknown_layout_lists_the_expected_files(source, lfwa_source, tmp_path):
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    for word in ("list_attr_celeba.txt", "lfw_att_40.mat", "CSV file"):
        assert word in str(caught.value)
    with pytest.raises(DataError, match="nowhere: no such folder or CSV file"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="x.txt: neither a folder nor a CSV file"):
        open_source(tmp_path / "x.txt")
    assert open_source(source, expect="celeba").kind == "celeba"
    with pytest.raises(DataError, match="holds LFWA, not CelebA"):
        open_source(lfwa_source, expect="celeba")
    with pytest.raises(DataError, match="holds CelebA, not LFWA"):
        open_source(source, expect="lfwa")


def test_a_mat_file_that_crashes_its_reader_is_reported_in_one_line(tmp_path):
    names = np.array(["a\\a_1.jpg", "b\\b_1.jpg"], object)[:, None]
    scipy.io.savemat(tmp_path / "x.mat", {"name": names, "AttrName": names, "label": np.eye(2)})
    data = (tmp_path / "x.mat").read_bytes()
    assert read_mat(tmp_path / "x.mat")["name"] == ["a\\a_1.jpg", "b\\b_1.jpg"]
    # Either of these bytes ends scipy's reader with SIGSEGV.
    for place, value in ((225, 113), (224, 95)):
        damaged = bytearray(data)
        damaged[place] = value
        (tmp_path / "x.mat").write_bytes(damaged)
        with pytest.raises(DataError, match="x.mat: not a complete MATLAB file"):
            read_mat(tmp_path / "x.mat")
