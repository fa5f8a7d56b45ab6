"""Passes that are recorded once and replayed, as on a GPU: here with a recorder that replays on the CPU."""

import caffe
import numpy as np
import pytest
from caffe import passes, solver
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from recorder import Recorder

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 9 dim: 9 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
layer { name: "tile" type: "Tile" bottom: "data" top: "tile" tile_param { axis: 1 tiles: 2 } }
layer { name: "conv" type: "Convolution" bottom: "tile" top: "conv"
        convolution_param { num_output: 8 kernel_size: 3 group: 2 weight_filler { type: "xavier" } } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "norm" }
layer { name: "relu" type: "ReLU" bottom: "norm" top: "norm" }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "score" type: "InnerProduct" bottom: "pool" top: "score"
        inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
layer { name: "second" type: "InnerProduct" bottom: "pool" top: "second"
        inner_product_param { num_output: 1 weight_filler { type: "xavier" } } }
layer { name: "size" type: "Reduction" bottom: "second" top: "size" loss_weight: 0.1
        reduction_param { operation: SUMSQ } }
"""


def make(recorder, net=NET, **words):
    param = caffe_pb2.SolverParameter(base_lr=1e-3, momentum=0.9, lr_policy="fixed", random_seed=3, max_iter=99)
    param.snapshot_after_train = False
    for word, value in words.items():
        setattr(param, word, value)
    text_format.Parse(net, param.net_param)
    trainer = solver.SGDSolver(param)
    trainer.passes.recorder = recorder
    return trainer


def feed(trainer, number):
    rng = np.random.default_rng(number)
    trainer.net.blobs["data"].data[...] = rng.normal(size=(4, 3, 9, 9))
    trainer.net.blobs["label"].data[...] = rng.integers(0, 2, 4)


def weights(trainer):
    return {(name, i): b.data.copy() for name, blobs in trainer.net.params.items() for i, b in enumerate(blobs)}


def blobs(trainer):
    return {name: blob.data.copy() for name, blob in trainer.net.blobs.items()}


def train(trainer, numbers, between=lambda trainer, number: None):
    for number in numbers:
        feed(trainer, number)
        trainer.step(1)
        between(trainer, number)
    return trainer


def assert_equal(first, second):
    for find in (weights, blobs):
        for name, array in find(first).items():
            np.testing.assert_array_equal(array, find(second)[name], err_msg=str(name))


def test_replayed_passes_equal_those_run_layer_by_layer():
    plain, recorded = train(make(None), range(12)), train(make(Recorder), range(12))
    assert recorded.passes.graph.operations
    assert_equal(plain, recorded)


def test_changes_from_outside_enter_the_replayed_passes(tmp_path):
    def change(trainer, number):
        if number == 6:
            trainer.net.params["conv"][0].data[...] *= 0.5  # NumPy
        if number == 7:
            trainer.net.forward()  # passes without a graph in between
        if number == 8:
            trainer.net.save(tmp_path / "weights")
            trainer.net.params["score"][0].data[...] = 0
        if number == 9:
            trainer.net.copy_from(tmp_path / "weights")

    plain, recorded = train(make(None), range(14), change), train(make(Recorder), range(14), change)
    assert_equal(plain, recorded)


def test_arrays_that_a_caller_holds_stay_live():
    plain, recorded = make(None), make(Recorder)
    held = [trainer.net.blobs["score"].data for trainer in (plain, recorded)]
    for number in range(8):
        for trainer in (plain, recorded):
            train(trainer, [number])
        np.testing.assert_array_equal(*held)
    assert recorded.passes.graph is None


def test_another_batch_size_or_precision_is_recorded_anew():
    plain, recorded = train(make(None), range(6)), train(make(Recorder), range(6))
    first = recorded.passes.graph
    caffe.set_precision("bfloat16")
    try:
        for trainer in (plain, recorded):
            train(trainer, range(6, 12))
    finally:
        caffe.set_precision("float32")
    assert recorded.passes.graph is not first
    assert_equal(plain, recorded)


def test_a_net_that_cannot_be_recorded_is_run_layer_by_layer(capfd):
    class Refuses(Recorder):
        def __init__(self, function):
            super().__init__(lambda: float(function()))

    plain, recorded = train(make(None), range(8)), train(make(Refuses), range(8))
    assert recorded.passes.recorder is None
    assert_equal(plain, recorded)


@pytest.mark.parametrize("words", ({"iter_size": 2}, {"debug_info": True, "display": 1}))
def test_passes_that_are_never_recorded(words):
    trainer = train(make(None, **words), range(2))
    if "iter_size" in words:
        assert solver.SGDSolver(trainer.param).passes.recorder is None
        return
    recorded = train(make(Recorder, **words), range(6))
    assert recorded.passes.graph is None
    assert passes.CudaGraph is solver.Passes(recorded.net).recorder
