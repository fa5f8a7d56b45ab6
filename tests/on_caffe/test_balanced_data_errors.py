"""BalancedData on damaged folders and with wrong parameters: each is reported in one line."""

import shutil

import compact_folder
import pytest
from caffe.proto import caffe_pb2
from compact_folder import batches, damaged, net

from data_prep.store import databases
from python_layers import prefetch

folder = compact_folder.folder


@pytest.mark.parametrize(
    "damage, words",
    [
        ("no picture", "record 00000001 is not a readable image"),
        ("empty", "record 00000001 is not a readable image"),
        ("gone", "record 00000001 is missing"),
        ("no database", "No such file"),
        ("truncated", "damaged LMDB, cut short"),
    ],
)
def test_unreadable_faces_are_named_in_the_error(tmp_path, folder, damage, words):
    copy = damaged(folder, tmp_path, damage)
    with pytest.raises(prefetch.PrefetchError, match=f"BalancedData: {copy}/train_images.*{words}"):
        batches(net(tmp_path, copy), 30)


@pytest.mark.parametrize(
    "row, words", [(b"\0\2\1", "labels other than 0 and 1"), (b"\0\1", "has 2 labels, but should have 3")]
)
def test_damaged_labels_are_named_in_the_error(tmp_path, folder, row, words):
    copy = tmp_path / "copy"
    shutil.copytree(str(folder), str(copy))
    shutil.rmtree(str(copy / "train_labels"))
    rows = [
        databases.label_datum([0, 1, 1]),
        caffe_pb2.Datum(channels=3, height=1, width=1, data=row).SerializeToString(),
    ]
    databases.write_lmdb(copy / "train_labels", rows, 2, "labels")
    with pytest.raises(ValueError, match=f"BalancedData: {copy}/train_labels: record 00000001 .*{words}"):
        net(tmp_path, copy)


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"batch": 3}, "batch must be even"),
        ({"batch": 0}, "batch: must be a whole number of at least 1"),
        ({"source": "nowhere"}, "nowhere/manifest.json: missing; face-cascade data"),
        ({"split": "training"}, "split: must be train, val or test"),
        ({"colour": "grey"}, "unknown .*'colour'"),
        ({"workers": 0}, "workers: must be a whole number of at least 1"),
    ],
)
def test_wrong_parameters_are_named_in_the_error(tmp_path, folder, parameters, words):
    with pytest.raises(ValueError, match=f"BalancedData: .*{words}"):
        net(tmp_path, folder, **parameters)
