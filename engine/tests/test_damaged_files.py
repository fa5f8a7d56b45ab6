"""Weights and solver states that are damaged, cut short or of another net: one line that names the file."""

import contextlib
import os
import pathlib

import caffe
import h5py
import numpy as np
import pytest
from caffe import snapshot, wire
from hypothesis import strategies as st
from parity import build
from test_graph import MIXED, T, X, ip, named
from tiny import HDF5, NET, SHORT, SOLVER, write
from tokens import each, exchanged

FILES = [f"tiny_iter_6.{kind}{ending}" for kind in ("caffemodel", "solverstate") for ending in ("", ".h5")]
few_or_many = pytest.mark.parametrize("examples", (60, pytest.param(2000, marks=pytest.mark.slow)))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """name -> bytes of whole snapshots of the tiny net in both formats."""
    folder = tmp_path_factory.mktemp("originals")
    for more in ("", HDF5):
        write(folder, SHORT.replace('"net.', f'"{folder}/net.') + more)
        with contextlib.chdir(folder):
            caffe.get_solver("solver.prototxt").solve()
    return {path.name: path.read_bytes() for path in folder.glob("*iter*")}


@pytest.fixture
def folder(originals, tmp_path, monkeypatch):
    write(tmp_path, SHORT)
    for name, content in originals.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trainer(folder):
    """A solver, of which nothing may have changed after the test."""
    trainer = caffe.get_solver("solver.prototxt")
    before = trainer.net.params["ip"][0].data.copy()
    yield trainer
    assert trainer.iter == 0 and (trainer.net.params["ip"][0].data == before).all()


def state_of(path):
    return f"tiny_iter_6.solverstate{'.h5' if path.endswith('.h5') else ''}"


def refused(call, path):
    """Assert that a call raises a CaffeError of one line that names the file; the line."""
    with pytest.raises(caffe.CaffeError) as error:
        call()
    assert str(path) in str(error.value) and str(error.value).isprintable(), error.value
    return str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_files_cut_short_are_named(name, trainer, originals):
    """At every length: a cut between two layers leaves a readable file, and the resume refuses it all the same.

    Only layers without parameters, which stand behind the others, may be lost.
    """
    whole = originals[name]
    end = len(whole)
    if name.endswith(".caffemodel"):
        end = next(behind for *_, value, _, behind in wire.fields(whole) if b"InnerProduct" in bytes(value))
    for length in range(0, end, 197 if name.endswith(".h5") else 1):
        pathlib.Path(name).write_bytes(whole[:length])
        refused(lambda: trainer.restore(state_of(name)), name)
        refused(lambda: snapshot.verify(state_of(name)), name)


@few_or_many
@pytest.mark.parametrize("name", FILES)
def test_bytes_changed_at_random_never_raise_another_exception(name, examples, folder, originals):
    """What still can be read may be taken, everything else is a CaffeError of one line."""
    trainer, whole, refusals = caffe.get_solver("solver.prototxt"), np.frombuffer(originals[name], np.uint8), []

    def check(changes):
        bad = whole.copy()
        for place, value in changes:
            bad[place] = value
        pathlib.Path(name).write_bytes(bad.tobytes())
        try:
            trainer.restore(state_of(name))
        except caffe.CaffeError as error:
            assert str(error).isprintable() and "tiny_iter_6" in str(error)
            refusals.append(error)

    change = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255))
    each(st.lists(change, min_size=1, max_size=8), examples, check)
    assert refusals


HUGE = {"shape": (1 << 40, 1 << 20), "dtype": np.float32, "chunks": (1024, 1024)}
# What is at a place in an HDF5 file instead: an array, or what a function of file and place makes.
VALUES = {
    "nothing": lambda file, place: None,
    "a group": lambda file, place: file.create_group(place),
    "a huge data set without content": lambda file, place: file.create_dataset(place, **HUGE),
    "a dangling link": h5py.SoftLink("/nowhere"),
    "other numbers": np.zeros((5, 3), np.float32),
    "a negative number": np.array([-1], np.int32),
    "half": np.array([0.5], np.float32),
    "text": np.bytes_(b"text"),
}
PLACES = "data data/ip data/ip/0 data/ip/1 data/ip/99999999999 iter current_step learned_net history history/0".split()
# A state without weights, and other layers.
NO_DAMAGE = [("learned_net", "nothing"), ("data/ip/99999999999", "nothing"), ("data/ip/99999999999", "a group")]


@pytest.mark.parametrize("place", PLACES)
def test_damaged_hdf5_files_are_named(place, trainer, originals):
    path = f"tiny_iter_6.{'caffemodel' if place.startswith('data') else 'solverstate'}.h5"
    for what, value in VALUES.items():
        pathlib.Path(path).write_bytes(originals[path])
        with h5py.File(path, "r+") as file:
            file.pop(place, None)
            if callable(value):
                value(file, place)
            else:
                file[place] = value
        if (place, what) in NO_DAMAGE:
            continue
        line = refused(lambda: trainer.restore("tiny_iter_6.solverstate.h5"), path)
        if "huge" in what and place in ("data/ip/0", "history/0"):
            assert "no content" in line  # and so nothing is allocated
        if place.startswith("data/ip/"):
            refused(lambda: trainer.net.copy_from(path), path)


def test_a_cycle_in_an_hdf5_file_is_named(trainer):
    with h5py.File("tiny_iter_6.caffemodel.h5", "r+") as file:
        file["data/ip/again"] = file["data"]
    refused(lambda: trainer.restore("tiny_iter_6.solverstate.h5"), "tiny_iter_6.caffemodel.h5")


@pytest.mark.parametrize("name", [b"\0iny_iter_6.caffemodel", b"\xff\xfe", b"\xc3"])
def test_names_that_no_file_or_layer_can_have_are_refused(name, folder):
    """protobuf returns bytes for what is not text: the start of a training ended in a TypeError, of NUL in another."""
    text = bytes([len(name)]) + name
    pathlib.Path("x_iter_1.solverstate").write_bytes(b"\x08\x01\x12" + text + b"\x20\x00")
    refused(lambda: snapshot.verify("x_iter_1.solverstate"), "x_iter_1.solverstate")
    if name[0]:
        layer = b"\x0a" + text
        pathlib.Path("x_iter_1.caffemodel").write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
        refused(lambda: wire.read_weights("x_iter_1.caffemodel"), "x_iter_1.caffemodel")


@few_or_many
@pytest.mark.parametrize(
    "kind, whole", (("net", X.replace("dim: 4", "dim: 3 dim: 23 dim: 23") + T + MIXED), ("solver", SOLVER))
)
def test_prototxts_with_other_tokens_are_built_or_refused(kind, whole, examples, folder):
    """A net that is built has sane shapes and computes, forward and backward."""
    refusals = []

    def check(text):
        pathlib.Path(f"{kind}.prototxt").write_text(text, encoding="utf-8", errors="replace")
        try:
            net = caffe.Net("net.prototxt", 0) if kind == "net" else caffe.get_solver("solver.prototxt").net
            if sum(blob.count for blob in net.blobs.values()) < 1_000_000:
                net.forward()
                net.backward()
        except caffe.CaffeError as error:
            refusals.append(error)
            assert str(error).isprintable() and len(str(error)) <= 1000, error

    each(exchanged(whole), examples, check)
    assert examples / 10 < len(refusals) < examples


@pytest.mark.parametrize("change", (('name: "ip"', 'name: "fc"'), ("dim: 4 dim: 5", "dim: 4 dim: 7")))
@pytest.mark.parametrize("ending", ("", ".h5"))
def test_a_state_that_names_another_nets_weights_is_refused(change, ending, folder, trainer):
    other = build(folder, NET.replace(*change), name="other.prototxt")
    path, state = f"tiny_iter_6.caffemodel{ending}", f"tiny_iter_6.solverstate{ending}"
    (other.save_hdf5 if ending else other.save)(path)
    assert f"{state}: cannot resume with" in refused(lambda: trainer.restore(state), path)
    # Without the net shapes tell, or the names of its layers if the caller knows them.
    refused(lambda: snapshot.verify(state, path, ["ip"] if "fc" in change[1] else ()), path)


def test_the_newest_whole_snapshot_is_found(folder):
    for path in folder.glob("*.h5"):
        path.unlink()
    assert snapshot.newest("tiny") == "tiny_iter_6.solverstate"
    (folder / "tiny_iter_6.caffemodel").write_bytes(b"")
    passed_over = []
    assert snapshot.newest("tiny", passed_over) == "tiny_iter_4.solverstate"
    assert len(passed_over) == 1 and "tiny_iter_6.caffemodel" in passed_over[0]
    refused(lambda: snapshot.verify("tiny_iter_4.solverstate", "tiny_iter_2.caffemodel"), "tiny_iter_4.solverstate")
    assert snapshot.newest(folder / "nowhere/x") is None and snapshot.newest("other") is None


def test_folders_and_fifos_are_not_read(trainer):
    os.mkfifo("fifo")
    for read in (trainer.net.copy_from, trainer.restore, lambda path: caffe.Net(path, caffe.TEST)):
        for path, words in (("fifo", "not a file"), (".", "not a file"), ("nowhere", "No such file")):
            assert words in refused(lambda read=read, path=path: read(path), path)


def test_names_with_slashes_and_shared_parameters_survive_hdf5(folder):
    """GoogLeNet's layers are called a/b; a layer all of whose parameters are shared has none in the file."""
    text = X + ip("a/b", "x", "y", extra=named("w", "b")) + ip("a/c", "y", "z", extra=named("w", "b"))
    net, again = build(folder, text), build(folder, text)
    net.save_hdf5("w.h5")
    again.copy_from("w.h5")
    np.testing.assert_array_equal(again.params["a/c"][0].data, net.params["a/b"][0].data)
