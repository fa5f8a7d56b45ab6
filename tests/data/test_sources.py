"""Data sets in all variants of CelebA's and LFWA's layouts, and how the layout of a folder is recognised."""

import subprocess
import zipfile

import numpy as np
import pytest
from lfwa_files import write_mat

from data_prep import geometry
from data_prep.errors import DataError
from data_prep.sources import lfwa
from data_prep.sources.mat import read_mat
from data_prep.sources.opening import open_source
from data_prep.store.manifest import Settings
from data_prep.synthetic import synthetic_faces


@pytest.fixture(scope="module")
def lfwa_source(lfwa_faces):
    source = open_source(lfwa_faces)
    source.open()
    return source


def same_source(one, other):
    assert one.names == other.names and one.attributes == other.attributes
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.partition, other.partition)
    one.open(), other.open()
    for index in (0, 7, len(one.names) - 1):
        assert one.read(index) == other.read(index)
    other.images.close()


def test_zip_csv_and_the_downloads_own_folders_give_the_same(small_faces, tmp_path):
    for folder in ("Anno", "Eval", "Img"):
        (tmp_path / folder).mkdir()
    count, names, *rows = (small_faces / "list_attr_celeba.txt").read_text().splitlines()
    lines = [",".join(["image_id", *names.split()]), *(",".join(row.split()) for row in rows)]
    (tmp_path / "Anno/list_attr_celeba.csv").write_text("\r\n".join(lines))
    rows = (small_faces / "list_eval_partition.txt").read_text().splitlines()
    lines = ["image_id,partition", *(row.replace(" ", ",") for row in rows)]
    (tmp_path / "Eval/list_eval_partition.csv").write_text("\n".join(lines))
    with zipfile.ZipFile(tmp_path / "Img/img_align_celeba.zip", "w") as packed:
        packed.writestr("__MACOSX/notes.txt", "a stray")
        for number, path in enumerate(sorted((small_faces / "img_align_celeba").iterdir())):
            kind = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            packed.write(path, f"img_align_celeba/{path.name}", kind)
    same_source(open_source(small_faces), open_source(tmp_path))


@pytest.mark.parametrize(
    "change",
    [lambda d: d.replace(b"\n", b"\r\n"), lambda d: b"\xef\xbb\xbf" + d, lambda d: d + b"\n \n"],
    ids=["CRLF", "BOM", "blank lines"],
)
def test_text_files_of_other_operating_systems_are_read(small_faces, tmp_path, change):
    (tmp_path / "img_align_celeba").symlink_to(small_faces / "img_align_celeba")
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        (tmp_path / name).write_bytes(change((small_faces / name).read_bytes()))
    same_source(open_source(small_faces), open_source(tmp_path))


def test_persons_of_celeba_are_read_where_their_file_names_all(small_faces, tmp_path):
    for path in small_faces.iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert open_source(tmp_path).persons is None
    lines = [f"{number + 1:06d}.jpg {number // 3}\n" for number in range(60)]
    (tmp_path / "identity_CelebA.txt").write_text("".join(lines))
    assert open_source(tmp_path).persons[:4] == ["0", "0", "0", "1"]
    (tmp_path / "identity_CelebA.txt").write_text("".join(lines[1:]))
    assert open_source(tmp_path).persons is None


@pytest.mark.parametrize("variant", ["padded", "unpadded", "transposed", "tgz"])
def test_variants_of_lfwa_give_the_same(lfwa_faces, lfwa_source, tmp_path, variant):
    changed, indices = read_mat(lfwa_faces / lfwa.ANNOTATION), read_mat(lfwa_faces / lfwa.INDICES)
    names, attributes = changed["name"], changed["AttrName"]
    assert names[0] == "Synthetic_Person_0001\\Synthetic_Person_0001_0001.jpg" and attributes[0] == "5 o Clock Shadow"
    if variant == "padded":  # with blanks and zeros
        changed["name"], changed["AttrName"] = [f"{name}\0" for name in names], [f"{name}  " for name in attributes]
    elif variant == "unpadded":
        people = [name.split("\\")[0].replace("_", " ") for name in names]
        changed["name"] = [f"{person}/{person} {int(name[-8:-4])}.jpg" for person, name in zip(people, names)]
    elif variant == "transposed":
        changed["label"] = changed["label"].T * 2 - 1
    write_mat(tmp_path / lfwa.ANNOTATION, changed)
    write_mat(tmp_path / lfwa.INDICES, indices)
    if variant == "tgz":
        subprocess.run(["tar", "-czf", tmp_path / "lfw.tgz", "-C", lfwa_faces, "lfw"], check=True)
    else:
        (tmp_path / "lfw").symlink_to(lfwa_faces / "lfw")
    same_source(lfwa_source, open_source(tmp_path))


def test_half_of_lfwa_is_for_training_and_no_person_is_in_two_splits(lfwa_faces, lfwa_source):
    data = lfwa_source
    people = [{n.split("/")[0] for n, p in zip(data.names, data.partition) if p == part} for part in range(3)]
    assert (data.partition == 2).sum() == 25 and (data.partition == 1).sum() > 0
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    other = open_source(lfwa_faces, Settings(seed=2, frame="none"))
    assert other.frame is None
    assert (other.partition != data.partition).any() and ((other.partition == 2) == (data.partition == 2)).all()


def test_lfwa_is_framed_like_celeba(lfwa_source, tmp_path):
    """The same faces in both layouts give the same patches and boxes, up to resampling."""
    synthetic_faces.generate(tmp_path / "faces", 10, 4, {"Male": 0.5, "Smiling": 0.5}, workers=1)
    celeba, source = open_source(tmp_path / "faces"), lfwa_source
    celeba.open()
    assert source.frame == ((103.0, 112.0), (146.0, 112.0)) and celeba.frame is None
    for index in range(10):
        expected, found = celeba.face(index).astype(int), source.face(index)
        assert abs(expected - found).mean() < 6
        plain = geometry.face(source.image(index))
        assert abs(expected - plain).mean() > 2 * abs(expected - found).mean()
        boxes, own = celeba.boxes[celeba.names[index]], source.boxes[source.names[index]]
        assert boxes.keys() == own.keys()
        for name, box in own.items():
            box = geometry.to_patch(box, (250, 250), source.frame)
            np.testing.assert_allclose(box, geometry.to_patch(boxes[name], (218, 178)), atol=2)


def test_the_layout_of_a_folder_is_recognised_or_what_was_looked_for_is_listed(small_faces, lfwa_faces, tmp_path):
    with pytest.raises(DataError) as caught:
        open_source(tmp_path)
    for word in ("list_attr_celeba.txt", "lfw_att_40.mat", "CSV file"):
        assert word in str(caught.value)
    with pytest.raises(DataError, match="nowhere: no such folder or CSV file"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="x.txt: neither a folder nor a CSV file"):
        open_source(tmp_path / "x.txt")
    assert open_source(small_faces, expect="celeba").kind == "celeba"
    with pytest.raises(DataError, match="holds LFWA, not CelebA"):
        open_source(lfwa_faces, expect="celeba")
    for name in ("faces.csv", "other.csv"):
        (tmp_path / name).write_text("image,Male\na.jpg,1\n")
    with pytest.raises(DataError, match="several CSV files, faces.csv, other.csv; give the path of one"):
        open_source(tmp_path)
