"""Findings of the fuzzer as fixed cases: each file is refused in one line with its name, or accepted."""

import json
import pathlib
import shutil
import zipfile

import caffe
import lmdb
import numpy as np
import originals
import pytest
import scipy.io
from caffe import lmdb_file as engine_lmdb_file
from caffe import snapshot, wire

from data_prep.build.prepared import read_images
from data_prep.check import check_data
from data_prep.files import one_line
from data_prep.sources import celeba, lfwa
from data_prep.sources.images import DataError, Zip
from data_prep.store import lmdb_file, manifest
from models import solvers
from tools.errors import Reported, ToolError
from tools.run import Run


def refused(kind, call, *words):
    """Assert that a call raises an exception with a message of one printable line; the line."""
    with pytest.raises(kind) as error:
        call()
    line = str(error.value)
    assert line.isprintable() and len(line) <= 1000, line
    for word in words:
        assert str(word) in line, line
    return line


def test_messages_are_one_printable_line_of_bounded_length():
    assert one_line("tab\t\x1b[31m\n\ud800\u2028é") == r"tab\t\x1b[31m\n\ud800\u2028é"
    assert one_line("x" * 1000) == "x" * 1000
    for kind in (one_line, DataError, ToolError, Reported, caffe.CaffeError):
        words = str(kind("begins" + "x" * 100_000 + "ends"))
        assert len(words) <= 1000 and words.startswith("begins") and words.endswith("ends")
        assert str(kind("a\nb\0")) == r"a\nb\x00"


def test_names_from_files_cannot_write_to_the_terminal(tmp_path):
    (tmp_path / "list_attr_celeba.txt").write_text("1\nMale\na\x1b[31m.jpg 5\n")
    refused(DataError, lambda: celeba.read_labels(tmp_path / "list_attr_celeba.txt"), "label '5'")
    (tmp_path / "list_attr_celeba.txt").write_text("1\nMale\na\x1b[31m.jpg 1\n")
    (tmp_path / "list_eval_partition.txt").write_text("b.jpg 0\n")
    names = celeba.read_labels(tmp_path / "list_attr_celeba.txt")[0]
    refused(DataError, lambda: celeba.read_partition(tmp_path / "list_eval_partition.txt", names), r"a\x1b[31m.jpg")
    scipy.io.savemat(tmp_path / "lfw_att_40.mat", {"other": np.eye(2)})
    refused(DataError, lambda: lfwa.read_annotation(tmp_path / "lfw_att_40.mat"), "no cell of strings 'name'")


# Nets and solvers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("std: 0.1", "std: -1", ["'ip'", "InnerProduct", "std"]),
        ("num_output: 3", "num_output: 2147483647", ["'ip'", "more than 2147483647 numbers"]),
        ("slice_point: 2", "slice_dim: 9", ["'halves'", "axis 9 is out of range"]),
        ("concat", "concat", []),
        ('type: "ReLU"', 'type: "Python"', ["'relu'", "module is ''"]),
        ('type: "ReLU"', 'type: "Python" python_param { module: ".x" layer: "X" }', ["'relu'", "module is '.x'"]),
        ('name: "tiny"', 'name: "tiny" \0', ["net.prototxt:2:14"]),
        ('type: "ReLU"', f'type: "{"x" * 5000}"', ["'relu'", "unknown layer type"]),
    ],
)
def test_nets_that_cannot_be_built_name_the_layer(old, new, words, tmp_path):
    """ENGINE: the layer types are BVLC Caffe's, which ends the process for these."""
    text = originals.NET.replace(old, new)
    if old == "concat":
        text = text.replace('top: "both"', 'top: "both" concat_param { concat_dim: 7 }')
        words = ["'both'", "axis 7 is out of range"]
    (tmp_path / "net.prototxt").write_text(text)
    refused(caffe.CaffeError, lambda: caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST), *words)


def test_sizes_that_fail_in_a_forward_pass_name_the_layer(tmp_path):
    """ENGINE: a window over channels that no machine can compute."""
    (tmp_path / "net.prototxt").write_text(originals.NET.replace("local_size: 3", "local_size: 4294967295"))

    def run():
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward()

    refused(caffe.CaffeError, run, "'norm'", "LRN")


def test_an_impossible_snapshot_prefix_is_refused(tmp_path):
    """ENGINE: the system's ValueError was not caught."""
    (tmp_path / "net.prototxt").write_text(originals.NET)
    text = originals.SOLVER.replace('"net.', f'"{tmp_path}/net.').replace('"tiny"', r'"a\000/b"')
    (tmp_path / "solver.prototxt").write_text(text)
    refused(caffe.CaffeError, lambda: caffe.get_solver(str(tmp_path / "solver.prototxt")), "snapshot_prefix")


def test_an_impossible_path_of_a_net_is_refused(tmp_path):
    """ENGINE: the same for the net's path."""
    (tmp_path / "solver.prototxt").write_text(originals.SOLVER.replace("net.", r"net.\000"))
    refused(caffe.CaffeError, lambda: caffe.get_solver(str(tmp_path / "solver.prototxt")), "null byte")


@pytest.mark.parametrize("text", ["base_lr=\0", "a\nb=1", "type=Adam" + "#" * 2000, "\udcff=1", "{" * 20_000])
def test_changes_to_solvers_are_short_and_printable(text):
    assert "not a solver change" in refused(ValueError, lambda: solvers.parse_changes(text))


# Weights and snapshots --------------------------------------------------------------------------------------


def test_a_solver_state_with_an_impossible_path_of_weights_is_refused(tmp_path):
    """ENGINE: a flipped bit made a NUL of the name's first letter."""
    path = tmp_path / "x_iter_1.solverstate"
    snapshot.write(path, snapshot.State(1, 0, "\0iny_iter_1.caffemodel", []))
    refused(caffe.CaffeError, lambda: snapshot.verify(path), path, "null byte")


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\xc3"])
def test_names_that_are_not_text_are_refused(name, tmp_path):
    """protobuf returns bytes for them: the start of a training ended in a TypeError."""
    path = tmp_path / "x_iter_1.solverstate"
    path.write_bytes(b"\x08\x01\x12" + bytes([len(name)]) + name + b"\x20\x00")
    refused(caffe.CaffeError, lambda: snapshot.read(path), path, "damaged")
    weights = tmp_path / "x_iter_1.caffemodel"
    layer = b"\x0a" + bytes([len(name)]) + name
    weights.write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    refused(caffe.CaffeError, lambda: wire.read_weights(weights), weights, "damaged")


def test_the_two_copies_of_the_check_of_lmdb_files_are_equal():
    """One for the engine, which is a package by itself, and one for data_prep, which also runs beside BVLC Caffe."""
    copies = [pathlib.Path(module.__file__).read_text() for module in (engine_lmdb_file, lmdb_file)]
    assert copies[0] == copies[1]


@pytest.mark.parametrize("place", [10, 16 + 2], ids=["kind of page", "place of a record"])
def test_damaged_pages_of_an_lmdb_are_an_error_of_caffe(place, tmp_path):
    """ENGINE: LMDB's own exception was not caught, or SIGBUS and SIGSEGV ended the process."""
    with lmdb.open(str(tmp_path / "labels"), map_size=1 << 20) as environment, environment.begin(write=True) as writing:
        for number in range(3):
            writing.put(b"%08d" % number, b"\x08\x01\x10\x01\x18\x01\x22\x01\x01")
    path = tmp_path / "labels/data.mdb"
    data = bytearray(path.read_bytes())
    for page in range(2 * 4096, len(data), 4096):  # behind the two meta pages
        data[page + place : page + place + 2] = b"\xf1\x7f"
    path.write_bytes(data)
    data_param = f'source: "{path.parent}" backend: LMDB batch_size: 1'
    (tmp_path / "net.prototxt").write_text(f'layer {{ name: "d" type: "Data" top: "d" data_param {{ {data_param} }} }}')
    refused(caffe.CaffeError, lambda: caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).forward(), "damaged LMDB")


# Data sets and folders of LMDBs -----------------------------------------------------------------------------


def test_a_zip_with_a_damaged_directory_is_refused(tmp_path):
    """The offset of a member was used unchecked: OSError, or OverflowError from 2^63 on."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.jpg", b"12345")
    images = Zip(path, lambda name: name)
    assert images.locate(["a.jpg"]) is None and images.read(0) == b"12345"
    images._places[0, 0] = -5
    refused(DataError, lambda: images.read(0), "cut short")
    images.close()
    images._members = lambda: [("a.jpg", (2**63, 5, False, 0))]
    refused(DataError, lambda: images.locate(["a.jpg"]), path, "a.jpg")


def test_an_images_csv_that_is_not_text_is_refused(tmp_path):
    """The message quoted the whole file."""
    path = tmp_path / "images.csv"
    path.write_bytes(b"split,number,name,blake2b\n" + b"\xff" * 5000)
    assert len(refused(DataError, lambda: read_images(path), path, "not a text file")) < 300


# Records ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "solver, words",
    [
        ({"region": 5}, "key 'region' must be an object"),
        ({"region": ["max_iter"]}, "key 'region'"),
        ({"max_iter": "4"}, "key 'max_iter'"),
        ({"region": {"stepvalue": "2 ,"}}, "stepvalue: must be a whole number"),
        ({"region": {"max_iter": None}}, "max_iter: must be a whole number"),
        ({"regoin": {"max_iter": "4"}}, "unknown stage 'regoin'"),
    ],
)
def test_changes_to_solvers_in_a_runs_record_are_checked(solver, words, small_lmdb, tmp_path):
    run = Run.create(tmp_path / "run", small_lmdb)
    run.settings.engine = "torch"
    run.write()
    record = json.loads((run.folder / "run.json").read_text())
    record["settings"]["solver"] = solver
    (run.folder / "run.json").write_text(json.dumps(record))
    refused(ToolError, lambda: Run.read(run.folder), "run.json: settings: solver: damaged", words)
    record["settings"].update(solver={}, seed=10**30)
    (run.folder / "run.json").write_text(json.dumps(record))
    refused(ToolError, lambda: Run.read(run.folder), "run.json: settings: seed: damaged")


# Impossible values that were accepted -----------------------------------------------------------------------


def changed(path, *keys, value):
    """Change one value of a JSON file."""
    record = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("box", [[30, 20, 10, 40], [10, 40, 30, 20], [10, 20, float("nan"), 40]])
def test_boxes_with_swapped_sides_are_refused(box, tmp_path):
    words = ",".join(map(str, box))
    (tmp_path / "list_true_boxes.csv").write_text(f"image_id,attribute,x1,y1,x2,y2\n1.jpg,Male,{words}\n")
    refused(DataError, lambda: celeba.read_boxes(tmp_path / "list_true_boxes.csv"), "x1 <= x2")


def test_mean_colours_of_a_manifest_must_be_colours(tmp_path):
    manifest.write(tmp_path, manifest.Manifest(["Male"], means=manifest.Means(5, [100.0, 300.0, 90.0])))
    refused(ValueError, lambda: manifest.read(tmp_path), "manifest.json: means", "'bgr'", "[0, 255]")


@pytest.mark.parametrize("device", ["1e999", "", "cuda:", "cuda:0,", "cpu\n"])
def test_a_wrong_device_in_a_runs_record_is_refused(device, small_lmdb, tmp_path):
    run = Run.create(tmp_path / "run", small_lmdb)
    run.settings.engine, run.settings.device = "torch", device
    run.write()
    refused(ToolError, lambda: Run.read(run.folder), "run.json: settings: damaged, key 'device'")


@pytest.mark.parametrize("key, value", [("batch", 3), ("alpha", {}), ("lmdb", "x"), ("", 1)])
def test_the_error_for_an_impossible_network_names_the_runs_record(key, value, small_lmdb, tmp_path):
    run = Run.create(tmp_path / "run", small_lmdb)
    run.settings.engine, run.settings.network = "torch", {key: value}
    run.write()
    refused(ToolError, lambda: Run.read(run.folder), "run.json: damaged, describes an impossible network")


@pytest.mark.parametrize("damage", ["no JSON", "a list less", "another box", "no file"])
def test_check_compares_true_boxes_with_the_data_set(damage, small_lmdb, tmp_path, capsys):
    """The check did not read the boxes."""
    folder = shutil.copytree(small_lmdb, tmp_path / "lmdb")
    path = folder / "test_boxes.json"
    assert check_data.main([str(folder)]) == 0 and "true boxes agree with the data set" in capsys.readouterr().out
    boxes = json.loads(path.read_text())
    if damage == "no file":
        path.unlink()
    elif damage == "no JSON":
        path.write_text(path.read_text()[:-9])
    elif damage == "a list less":
        path.write_text(json.dumps(boxes[1:]))
    else:
        next(box for of_image in boxes for box in of_image.values())[0] += 0.5
        path.write_text(json.dumps(boxes))
    assert check_data.main([str(folder)]) == 1
    done = capsys.readouterr()
    assert "test_boxes.json" in done.err if damage == "no JSON" else "FAILED  true boxes" in done.out
