"""Passes that are recorded once and replayed, as on a GPU: here with a recorder that replays on the CPU."""

import caffe
import numpy as np
import pytest
from caffe import passes, solver
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from parity import layer
from recorder import Recorder
from test_graph import MIXED, T, X

INPUT = X.replace('"x"', '"i"').replace("dim: 4", "dim: 3 dim: 31 dim: 33")
NET = INPUT + T + layer("BatchNorm", "i", "x", name="norm") + MIXED


def trained(recorder, between, iterations, **words):
    """A solver after some iterations; between: a function of the solver and the iteration, called after each."""
    param = caffe_pb2.SolverParameter(
        base_lr=1e-3, momentum=0.9, lr_policy="fixed", random_seed=3, max_iter=99, **words
    )
    param.snapshot_after_train = False
    trainer = solver.SGDSolver(text_format.Parse("net_param {" + NET + "}", param))
    trainer.passes.recorder = recorder
    for number in range(iterations):
        rng = np.random.default_rng(number)
        trainer.net.blobs["i"].data[...] = rng.normal(size=(3, 3, 31, 33))
        trainer.net.blobs["t"].data[...] = rng.integers(0, 4, 3)
        trainer.step(1)
        between(trainer, number)
    return trainer


def recorded(between, recorder=Recorder, iterations=12, **words):
    """A solver that was trained with a recorder, and has the numbers of one that was trained without."""
    trainers = [trained(which, between, iterations, **words) for which in (None, recorder)]
    params = [[blob for blobs in trainer.net.params.values() for blob in blobs] for trainer in trainers]
    for plain, replayed in (*zip(*params), *zip(*(trainer.net.blobs.values() for trainer in trainers))):
        np.testing.assert_array_equal(replayed.data, plain.data)
    return trainers[1]


def test_changes_from_outside_enter_the_replayed_passes(tmp_path):
    """Another precision is recorded anew; arrays that a caller holds stay live."""
    graphs, held, seen = {None: [], Recorder: []}, {}, {None: [], Recorder: []}

    def change(trainer, number):
        net, kind = trainer.net, trainer.passes.recorder
        graphs[kind].append(trainer.passes.graph)
        caffe.set_precision("bfloat16" if 10 <= number + 1 < 16 else "float32")
        if number == 6:
            net.params["c_Convolution"][0].data[...] *= 0.5  # NumPy
        if number == 7:
            net.forward()  # passes without a graph in between
        if number == 8:
            net.save(tmp_path / "weights")
            net.params["y_InnerProduct"][0].data[...] = 0
        if number == 9:
            net.copy_from(tmp_path / "weights")
        if number >= 15:
            seen[kind].append(held.setdefault(kind, net.blobs["y"].data).copy())

    recorded(change, iterations=19)
    np.testing.assert_array_equal(seen[Recorder], seen[None])
    first, second = graphs[Recorder][3], graphs[Recorder][13]
    expected = [None] * 3 + [first] * 7 + [None] * 3 + [second] * 6
    assert graphs[Recorder] == expected and first.operations and second.operations and first is not second


class Refuses(Recorder):
    def __init__(self, function):
        super().__init__(lambda: float(function()))


@pytest.mark.parametrize("recorder, words", ((Refuses, {}), (Recorder, {"debug_info": True, "display": 1})))
def test_nets_that_cannot_be_recorded_are_run_layer_by_layer(recorder, words):
    trainer = recorded(lambda trainer, number: None, recorder, **words)
    assert trainer.passes.graph is None and (trainer.passes.recorder is None) == (recorder is Refuses)


def test_what_records():
    """With iter_size, gradients add up over passes."""
    param = trained(None, None, 0).param
    assert solver.SGDSolver(param).passes.recorder is passes.CudaGraph
    param.iter_size = 2
    assert solver.SGDSolver(param).passes.recorder is None
