"""Weights and solver states that are damaged, cut short or of another net: one line that names the file."""

import os
import pathlib
import signal

import caffe
import h5py
import numpy as np
import pytest
import tokens
from caffe import snapshot, wire
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import build
from tiny import HDF5, NET, SHORT, SOLVER, write

FILES = [f"tiny_iter_6.{kind}{ending}" for kind in ("caffemodel", "solverstate") for ending in ("", ".h5")]
EXAMPLES = 60
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
IMAGES = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 decay_mult: 0 }
        convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "norm" type: "LRN" bottom: "pool" top: "norm" lrn_param { local_size: 3 } }
layer { name: "halves" type: "Slice" bottom: "norm" top: "one" top: "two" slice_param { slice_point: 2 } }
layer { name: "both" type: "Concat" bottom: "one" bottom: "two" top: "both" }
layer { name: "rows" type: "Reshape" bottom: "both" top: "rows" reshape_param { shape { dim: 0 dim: -1 } } }
"""


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """name -> bytes of whole snapshots of the tiny net in both formats."""
    folder = tmp_path_factory.mktemp("originals")
    for more in ("", HDF5):
        write(folder, SHORT.replace('"net.', f'"{folder}/net.') + more)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            caffe.get_solver("solver.prototxt").solve()
    return {path.name: path.read_bytes() for path in folder.iterdir() if "iter" in path.name}


@pytest.fixture
def folder(originals, tmp_path, monkeypatch):
    write(tmp_path, SHORT)
    for name, content in originals.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def solver():
    return caffe.get_solver("solver.prototxt")


def state_of(path):
    return f"tiny_iter_6.solverstate{'.h5' if path.endswith('.h5') else ''}"


def refused(call, path):
    """Assert that a call raises, in time, a CaffeError of one line that names the file; the line."""
    signal.alarm(60)
    try:
        with pytest.raises(caffe.CaffeError) as error:
            call()
    finally:
        signal.alarm(0)
    assert str(path) in str(error.value) and "\n" not in str(error.value), error.value
    return str(error.value)


@pytest.mark.parametrize("name", FILES)
def test_files_cut_short_are_named(name, folder, originals):
    """At every length: a cut between two layers leaves a readable file, and the resume refuses it all the same.

    Only layers without parameters, which stand behind the others, may be lost.
    """
    whole, trainer = originals[name], solver()
    before, end = trainer.net.params["ip"][0].data.copy(), len(whole)
    if name.endswith(".caffemodel"):
        end = next(behind for *_, value, _, behind in wire.fields(whole) if b"InnerProduct" in bytes(value))
    for length in range(0, end, 197 if name.endswith(".h5") else 1):
        pathlib.Path(name).write_bytes(whole[:length])
        refused(lambda: trainer.restore(state_of(name)), name)
        refused(lambda: snapshot.verify(state_of(name)), name)
    assert trainer.iter == 0 and (trainer.net.params["ip"][0].data == before).all()


@pytest.mark.parametrize("examples", (EXAMPLES, pytest.param(2000, marks=pytest.mark.slow)))
@pytest.mark.parametrize("name", FILES)
def test_bytes_changed_at_random_never_raise_another_exception(name, examples, folder, originals):
    """What still can be read may be taken, everything else is a CaffeError of one line."""
    trainer, whole, refusals = solver(), np.frombuffer(originals[name], np.uint8), []

    @settings(max_examples=examples, derandomize=True, **QUIET)
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=8))
    def check(changes):
        bad = whole.copy()
        for place, value in changes:
            bad[place] = value
        pathlib.Path(name).write_bytes(bad.tobytes())
        try:
            trainer.restore(state_of(name))
        except caffe.CaffeError as error:
            assert "\n" not in str(error) and "tiny_iter_6" in str(error)
            refusals.append(error)

    signal.alarm(600)
    check()
    signal.alarm(0)
    assert refusals


def put(file, name, value):
    """Replace a member of an HDF5 file; None: delete it."""
    if name in file:
        del file[name]
    if callable(value):
        value(file, name)
    elif value is not None:
        file[name] = value


WEIGHTS = {
    "a data set far away": ("data/ip/99999999999", np.zeros(3, np.float32)),
    "a name that is no number": ("data/ip/weight", np.zeros(3, np.float32)),
    "a group for a data set": ("data/ip/0", lambda file, name: file.create_group(name)),
    "a data set for a group": ("data/ip", np.zeros(3, np.float32)),
    "a data set for all": ("data", np.zeros(3, np.float32)),
    "nothing": ("data", None),
    "text": ("data/ip/0", np.bytes_(b"text")),
    "complex numbers": ("data/ip/0", np.zeros((3, 5), np.complex64)),
    "a missing data set": ("data/ip/1", None),
    "another shape": ("data/ip/0", np.zeros((5, 3), np.float32)),
    "a huge data set without content": (
        "data/ip/0",
        lambda file, name: file.create_dataset(name, (1 << 40, 1 << 20), np.float32, chunks=(1024, 1024)),
    ),
    "a cycle": ("data/ip/again", lambda file, name: file.__setitem__(name, file["data"])),
    "a dangling link": ("data/ip/0", h5py.SoftLink("/nowhere")),
}
STATES = {
    "a negative iteration": ("iter", np.array([-1], np.int32)),
    "half an iteration": ("iter", np.array([0.5], np.float32)),
    "an iteration in words": ("iter", np.bytes_(b"six")),
    "three iterations": ("iter", np.arange(3)),
    "no step": ("current_step", None),
    "numbers for a name": ("learned_net", np.arange(3)),
    "no histories": ("history", None),
    "a data set of histories": ("history", np.arange(3)),
    "a missing history": ("history/0", None),
    "a history in words": ("history/0", np.bytes_(b"x")),
    "a history of another shape": ("history/0", np.zeros((1, 1), np.float32)),
    "a history too many": ("history/7", np.zeros(3, np.float32)),
}


@pytest.mark.parametrize("kind, what", [("caffemodel", w) for w in WEIGHTS] + [("solverstate", w) for w in STATES])
def test_damaged_hdf5_files_are_named(kind, what, folder):
    path = f"tiny_iter_6.{kind}.h5"
    with h5py.File(path, "r+") as file:
        put(file, *(WEIGHTS if kind == "caffemodel" else STATES)[what])
    trainer = solver()
    before = trainer.net.params["ip"][0].data.copy()
    refused(lambda: trainer.restore("tiny_iter_6.solverstate.h5"), path)
    if kind == "caffemodel":
        refused(lambda: trainer.net.copy_from(path), path)
    assert trainer.iter == 0 and (trainer.net.params["ip"][0].data == before).all()


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


NETS = IMAGES + NET.replace('"x" top: "t"', '"u" top: "t"').replace('bottom: "x"', 'bottom: "rows"')


@pytest.mark.parametrize("examples", (EXAMPLES, pytest.param(2000, marks=pytest.mark.slow)))
@pytest.mark.parametrize("kind, whole", (("net", NETS), ("solver", SOLVER)))
def test_prototxts_with_other_tokens_are_built_or_refused(kind, whole, examples, folder):
    """A net that is built has sane shapes and computes, forward and backward."""
    refusals = []

    @settings(max_examples=examples, derandomize=True, **QUIET)
    @given(tokens.exchanged(whole))
    def check(text):
        pathlib.Path(f"{kind}.prototxt").write_text(text, encoding="utf-8", errors="replace")
        try:
            net = caffe.Net("net.prototxt", caffe.TRAIN) if kind == "net" else solver().net
            if sum(blob.data.size for blob in net.blobs.values()) < 1_000_000:
                net.forward()
                net.backward()
        except caffe.CaffeError as error:
            refusals.append(error)
            assert str(error).isprintable() and len(str(error)) <= 1000, error

    signal.alarm(600)
    check()
    signal.alarm(0)
    assert examples / 10 < len(refusals) < examples


@pytest.mark.parametrize("change", (('name: "ip"', 'name: "fc"'), ("dim: 4 dim: 5", "dim: 4 dim: 7")))
@pytest.mark.parametrize("ending", ("", ".h5"))
def test_a_state_that_names_another_nets_weights_is_refused(change, ending, folder):
    other = build(folder, NET.replace(*change), name="other.prototxt")
    path, state = f"tiny_iter_6.caffemodel{ending}", f"tiny_iter_6.solverstate{ending}"
    (other.save_hdf5 if ending else other.save)(path)
    trainer = solver()
    line = refused(lambda: trainer.restore(state), path)
    assert f"{state}: cannot resume with" in line and trainer.iter == 0
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
    assert snapshot.newest(folder / "nowhere/x") is None and snapshot.newest("other") is None


def test_folders_and_fifos_are_not_read(folder):
    os.mkfifo("fifo")
    for path in ("fifo", "."):
        for read in (build(folder, NET).copy_from, solver().restore, lambda path: caffe.Net(path, caffe.TEST)):
            assert "not a file" in refused(lambda read=read, path=path: read(path), path)
            assert "No such file" in refused(lambda read=read: read("nowhere"), "nowhere")


def test_names_with_slashes_and_shared_parameters_survive_hdf5(folder):
    """GoogLeNet's layers are called a/b; a layer all of whose parameters are shared has none in the file."""
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
    layer { name: "a/b" type: "InnerProduct" bottom: "x" top: "y" param { name: "w" } param { name: "b" }
            inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
    layer { name: "a/c" type: "InnerProduct" bottom: "y" top: "z" param { name: "w" } param { name: "b" }
            inner_product_param { num_output: 4 } }
    """
    net, again = build(folder, text), build(folder, text)
    net.save_hdf5("w.h5")
    again.copy_from("w.h5")
    np.testing.assert_array_equal(again.params["a/c"][0].data, net.params["a/b"][0].data)
