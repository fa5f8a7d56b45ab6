"""The project's nets against a real Caffe: names, every blob, every gradient; training from equal weights."""

import caffe
import numpy as np
import pytest
from noise import write_noise
from parity import build, compare, relative, replay
from recorder import Recorder

from data_prep.attributes import PAPER_ATTRIBUTES
from models.networks import network
from models.options import NETWORKS, NetworkOptions

ATTRIBUTES = ["Eyeglasses", "Male", "Smiling"]
B = 2


def options_for(attributes, folder):
    rows = np.random.default_rng(0).integers(0, 2, (6, len(attributes)))
    write_noise(folder, len(attributes), 4 * B, rows)
    return NetworkOptions(attributes, batch=B, lmdb=str(folder), test_batch=2, width=1 / 16, form="stream")


@pytest.fixture(scope="session")
def options(tmp_path_factory):
    return options_for(ATTRIBUTES, tmp_path_factory.mktemp("lmdb"))


@pytest.fixture(scope="session")
def all_options(tmp_path_factory):
    """The committed networks, on other data and with a smaller batch."""
    return options_for(PAPER_ATTRIBUTES, tmp_path_factory.mktemp("lmdb"))


three_or_twenty = pytest.mark.parametrize("data", ("options", pytest.param("all_options", marks=pytest.mark.slow)))


@three_or_twenty
@pytest.mark.parametrize("phase", (caffe.TRAIN, caffe.TEST))
@pytest.mark.parametrize("net_name", NETWORKS)
def test_every_blob_and_gradient_of_train_val_equals_bvlc_caffes(net_name, phase, data, request, bvlc, tmp_path):
    text = network(net_name, request.getfixturevalue(data))
    result, names = bvlc.net(text, phase=phase, backward="loss")
    net = build(tmp_path, text, phase)
    assert list(net.blobs) == names["blobs"] and net._layer_names == names["layers"]
    assert net.bottom_names == names["bottoms"] and net.top_names == names["tops"]
    assert net.outputs == names["outputs"] and net.inputs == names["inputs"]
    assert net.blob_loss_weights == names["loss_weights"]
    compare(replay(net, result, backward=False), result)
    compare(replay(build(tmp_path, text, phase), result, in_step=True), result)


@three_or_twenty
@pytest.mark.parametrize("net_name", NETWORKS)
def test_every_blob_of_deploy_equals_bvlc_caffes(net_name, data, request, bvlc, tmp_path):
    text = network(net_name, request.getfixturevalue(data), deploy=True)
    inputs = {"data": np.random.default_rng(1).uniform(0, 255, (1, 3, 224, 224)).astype(np.float32)}
    result, names = bvlc.net(text, inputs, backward=None)
    net = build(tmp_path, text)
    assert list(net.blobs) == names["blobs"] and net.outputs == names["outputs"] and net.inputs == names["inputs"]
    compare(replay(net, result, inputs, backward=False), result)


SOLVER = """
net: "{net}" base_lr: 0.001 lr_policy: "step" gamma: 0.1 stepsize: 4 momentum: 0.9 weight_decay: 0.0005
snapshot_prefix: "{prefix}" random_seed: 1 max_iter: 100
"""


@pytest.fixture
def cascade_solver(options, tmp_path):
    """A solver of the cascade in which early stopping acts within a few iterations."""
    text = network("cascade", options)
    text = text.replace('"range": 0.1', '"window": 2, "range": 10, "ceiling": 1')
    (tmp_path / "train_val.prototxt").write_text(text)
    solver = SOLVER.format(net=tmp_path / "train_val.prototxt", prefix=tmp_path / "cascade")
    (tmp_path / "solver.prototxt").write_text(solver)
    return solver


def steps(solver, count, loss="loss_attribute"):
    losses = []
    for _ in range(count):
        solver.step(1)
        losses.append(float(solver.net.blobs[loss].data))
    return losses


def test_thirty_iterations_from_one_start_give_the_same_weights(cascade_solver, bvlc, tmp_path):
    # At 0.0015 these three attributes without a trained task one diverge, in both engines.
    text = cascade_solver.replace("base_lr: 0.001", "base_lr: 0.0005").replace("stepsize: 4", "stepsize: 20")
    (tmp_path / "solver.prototxt").write_text(text)
    start = str(tmp_path / "start.caffemodel")
    result = bvlc.solver(text, 30, ["loss_attribute", "loss_region"], save_first=start)
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    solver.net.copy_from(start)
    found = steps(solver, 30)
    np.testing.assert_allclose(found, result["losses"][:, 0], rtol=1e-3)
    assert solver.iter == result["iter"] == 30
    np.testing.assert_allclose(solver.lr, 0.00005, rtol=1e-6)
    for name, blobs in solver.net.params.items():
        for index, blob in enumerate(blobs):
            expected = result[f"param/{name}/{index}"]
            assert relative(blob.data, expected) < 1e-3, (name, index)
    state = solver.net.params["early_stopping"][1].data
    assert (state[:, 0] > 0).any() and (state[:, 1] == 30).all()


@pytest.mark.parametrize("ending", ("", ".h5"))
def test_snapshots_are_resumed_across_engines(cascade_solver, ending, bvlc, tmp_path):
    """Both engines resume both engines' snapshots, in either format, with the same losses and weights."""
    if ending:
        cascade_solver += "snapshot_format: HDF5\n"
        (tmp_path / "solver.prototxt").write_text(cascade_solver)
    own = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    own.step(3)
    own.snapshot()
    state = str(tmp_path / f"cascade_iter_3.solverstate{ending}")
    theirs = bvlc.solver(cascade_solver, 2, ["loss_attribute"], state=state, snapshot=True)
    again = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    again.restore(state)
    np.testing.assert_allclose(steps(again, 2), theirs["losses"][:, 0], rtol=1e-3)
    for name, blobs in again.net.params.items():
        for index, blob in enumerate(blobs):
            assert relative(blob.data, theirs[f"param/{name}/{index}"]) < 1e-3, (name, index)
    # BVLC Caffe's, at iteration 5, resumed by both.
    state = str(tmp_path / f"cascade_iter_5.solverstate{ending}")
    theirs = bvlc.solver(cascade_solver, 2, ["loss_attribute"], state=state)
    again = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    again.restore(state)
    assert again.iter == 5
    early = again.net.params["early_stopping"][1].data.copy()
    assert (early[:, 1] == 5).all()
    np.testing.assert_allclose(steps(again, 2), theirs["losses"][:, 0], rtol=1e-3)


@pytest.mark.parametrize("net_name", NETWORKS)
def test_passes_as_a_graph_equal_passes_layer_by_layer(net_name, options, tmp_path):
    (tmp_path / "net.prototxt").write_text(network(net_name, options))
    trained = []
    for recorder in (None, Recorder):
        path = tmp_path / "solver.prototxt"
        path.write_text(SOLVER.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "snapshot"))
        trainer = caffe.SGDSolver(str(path))
        trainer.passes.recorder = recorder
        trainer.step(6)
        assert trainer.passes.recorder is recorder and bool(trainer.passes.graph) == bool(recorder)
        trained.append(trainer.net)
    plain, replayed = trained
    for name, blob in plain.blobs.items():
        np.testing.assert_array_equal(replayed.blobs[name].data, blob.data, err_msg=name)
    for name, blobs in plain.params.items():
        for blob, other in zip(blobs, replayed.params[name]):
            np.testing.assert_array_equal(other.data, blob.data, err_msg=name)
