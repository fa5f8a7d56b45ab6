"""Weights and solver states that are damaged, cut short or of another net: one line that names the file."""

import os
import pathlib
import signal

import caffe
import h5py
import numpy as np
import pytest
from caffe import snapshot, wire
from parity import build
from tiny import NET, OURS, SHORT, run, write

HDF5 = "snapshot_format: HDF5\n"
ENDINGS = {"binary": "", "HDF5": ".h5"}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A folder with whole snapshots of the tiny net in both formats."""
    folder = tmp_path_factory.mktemp("originals")
    for more in ("", HDF5):
        write(folder, SHORT.replace('"tiny"', f'"{folder}/tiny"').replace('"net.', f'"{folder}/net.') + more)
        caffe.get_solver(str(folder / "solver.prototxt")).solve()
    return folder


@pytest.fixture
def folder(originals, tmp_path, monkeypatch):
    for path in originals.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    write(tmp_path, SHORT)
    monkeypatch.chdir(tmp_path)
    for number in (2, 4, 6):  # states name the weights of their own folder
        for ending, put in (("", snapshot.write), (".h5", snapshot.write_hdf5)):
            path = f"tiny_iter_{number}.solverstate{ending}"
            state = snapshot.read(originals / path)
            state.learned_net = f"tiny_iter_{number}.caffemodel{ending}"
            put(path, state)
    return tmp_path


def refused(call, path):
    """Assert that a call raises a CaffeError of one line that names the file; the line."""
    signal.alarm(60)  # nothing hangs
    try:
        with pytest.raises(caffe.CaffeError) as error:
            call()
    finally:
        signal.alarm(0)
    assert str(path) in str(error.value) and "\n" not in str(error.value), error.value
    return str(error.value)


def solver():
    return caffe.get_solver("solver.prototxt")


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("kind", ("caffemodel", "solverstate"))
def test_files_cut_short_are_named(kind, ending, folder):
    """At every length: a cut between two layers leaves a readable file, and the resume refuses it all the same.

    Only layers without parameters, which stand behind the others, may be lost.
    """
    state, path = f"tiny_iter_6.solverstate{ending}", pathlib.Path(f"tiny_iter_6.{kind}{ending}")
    whole = path.read_bytes()
    trainer = solver()
    before = trainer.net.params["ip"][0].data.copy()
    end = len(whole)
    if path.suffix == ".caffemodel":
        end = next(behind for *_, value, _, behind in wire.fields(whole) if b"InnerProduct" in bytes(value))
    for length in range(0, end, 97 if ending else 1):
        path.write_bytes(whole[:length])
        refused(lambda: trainer.restore(state), path)
        assert not snapshot.is_whole(state), length
    assert trainer.iter == 0 and (trainer.net.params["ip"][0].data == before).all()


def test_the_newest_whole_snapshot_is_found(folder):
    for path in folder.glob("*.h5"):
        path.unlink()
    assert snapshot.newest("tiny") == "tiny_iter_6.solverstate"
    (folder / "tiny_iter_6.caffemodel").write_bytes(b"")
    passed_over = []
    assert snapshot.newest("tiny", passed_over) == "tiny_iter_4.solverstate"
    assert len(passed_over) == 1 and "tiny_iter_6.caffemodel" in passed_over[0]
    assert snapshot.newest(folder / "nowhere/x") is None and snapshot.newest("other") is None


def damage(file, what):
    """Damage a file of weights in HDF5."""
    ip = file["data/ip"]
    if what == "a data set far away":
        ip["99999999999"] = np.zeros(3, np.float32)
    elif what == "a name that is no number":
        ip["weight"] = np.zeros(3, np.float32)
    elif what == "a group for a data set":
        del ip["0"]
        ip.create_group("0")
    elif what == "a data set for a group":
        del file["data/ip"]
        file["data/ip"] = np.zeros(3, np.float32)
    elif what == "a data set for all":
        del file["data"]
        file["data"] = np.zeros(3, np.float32)
    elif what == "nothing":
        del file["data"]
    elif what == "text":
        del ip["0"]
        ip["0"] = np.bytes_(b"text")
    elif what == "complex numbers":
        del ip["0"]
        ip["0"] = np.zeros((3, 5), np.complex64)
    elif what == "a missing data set":
        del ip["1"]
    elif what == "another shape":
        del ip["0"]
        ip["0"] = np.zeros((5, 3), np.float32)
    elif what == "a huge data set without content":
        del ip["0"]
        ip.create_dataset("0", (1 << 40, 1 << 20), np.float32, chunks=(1024, 1024))
    elif what == "a cycle":
        ip["again"] = file["data"]
    elif what == "a dangling link":
        del ip["0"]
        ip["0"] = h5py.SoftLink("/nowhere")


DAMAGES = """
a data set far away, a name that is no number, a group for a data set, a data set for a group, a data set for all,
nothing, text, complex numbers, a missing data set, another shape, a huge data set without content, a cycle,
a dangling link"""


@pytest.mark.parametrize("what", [word.strip() for word in DAMAGES.split(",")])
def test_damaged_weights_in_hdf5_are_named(what, folder):
    with h5py.File("tiny_iter_6.caffemodel.h5", "r+") as file:
        damage(file, what)
    net = build(folder, NET)
    before = net.params["ip"][0].data.copy()
    refused(lambda: net.copy_from("tiny_iter_6.caffemodel.h5"), "tiny_iter_6.caffemodel.h5")
    assert (net.params["ip"][0].data == before).all()


@pytest.mark.parametrize(
    "name, value",
    [
        ("iter", np.array([-1], np.int32)),
        ("iter", np.array([0.5], np.float32)),
        ("iter", np.bytes_(b"six")),
        ("iter", np.arange(3)),
        ("current_step", None),
        ("learned_net", np.arange(3)),
        ("history", None),
        ("history", np.arange(3)),
        ("history/0", None),
        ("history/0", np.bytes_(b"x")),
        ("history/0", np.zeros((1, 1), np.float32)),
        ("history/7", np.zeros(3, np.float32)),
    ],
)
def test_damaged_states_in_hdf5_are_named(name, value, folder):
    with h5py.File("tiny_iter_6.solverstate.h5", "r+") as file:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value
    refused(lambda: solver().restore("tiny_iter_6.solverstate.h5"), "tiny_iter_6.solverstate.h5")


def test_bytes_changed_at_random_never_raise_another_exception(folder):
    """Seeded; what still can be read may be taken, everything else is a CaffeError."""
    rng = np.random.default_rng(0)
    trainer, refusals = solver(), 0
    signal.alarm(120)
    for path in [folder / f"tiny_iter_6.{kind}{end}" for kind in ("caffemodel", "solverstate") for end in ("", ".h5")]:
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        state = f"tiny_iter_6.solverstate{'.h5' if path.suffix == '.h5' else ''}"
        for _ in range(60):
            bad = whole.copy()
            places = rng.integers(0, len(bad), rng.integers(1, 9))
            bad[places] = rng.integers(0, 256, len(places))
            path.write_bytes(bad.tobytes())
            try:
                trainer.restore(state)
            except caffe.CaffeError as error:
                assert "\n" not in str(error) and "tiny_iter_6" in str(error)
                refusals += 1
        path.write_bytes(whole.tobytes())
    signal.alarm(0)
    assert refusals > 20


OTHER = {
    "another layer": NET.replace('name: "ip"', 'name: "fc"'),
    "another shape": NET.replace("dim: 4 dim: 5", "dim: 4 dim: 7"),
}


@pytest.mark.parametrize("kind", OTHER)
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_state_that_names_another_nets_weights_is_refused(kind, ending, folder):
    other = build(folder, OTHER[kind], name="other.prototxt")
    path = f"tiny_iter_6.caffemodel{ending}"
    (other.save_hdf5 if ending else other.save)(path)
    trainer = solver()
    line = refused(lambda: trainer.restore(f"tiny_iter_6.solverstate{ending}"), path)
    assert f"tiny_iter_6.solverstate{ending}: cannot resume with" in line and trainer.iter == 0
    # Without the net only shapes tell.
    assert snapshot.is_whole(f"tiny_iter_6.solverstate{ending}") == (kind == "another layer")


def test_folders_and_fifos_are_not_read(folder):
    os.mkfifo("fifo")
    for path in ("fifo", "."):
        assert "not a file" in refused(lambda path=path: build(folder, NET).copy_from(path), path)
        assert "not a file" in refused(lambda path=path: solver().restore(path), path)


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


def test_the_command_line_names_the_file_in_one_line(folder):
    (folder / "tiny_iter_6.caffemodel").write_bytes((folder / "tiny_iter_6.caffemodel").read_bytes()[:50])
    arguments = ["train", "-solver", "solver.prototxt", "-snapshot", "tiny_iter_6.solverstate"]
    done = run(OURS, folder, *arguments, GLOG_minloglevel="2")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: tiny_iter_6.solverstate: cannot resume"), line
