"""The networks on a GPU against the CPU, and their passes as a CUDA graph; skipped where PyTorch finds no GPU."""

import caffe
import numpy as np
import pytest
import torch
from caffe import passes
from parity import build, relative
from test_nets import SOLVER, options  # noqa: F401

from models.networks import network
from models.options import NETWORKS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")


@pytest.fixture
def gpu():
    """Switches between the GPU and the CPU; ends on the CPU."""

    def switch(on):
        (caffe.set_mode_gpu if on else caffe.set_mode_cpu)()

    yield switch
    caffe.set_mode_cpu()
    caffe.set_precision("float32")


def copy(net, other):
    for name, blobs in net.params.items():
        for blob, source in zip(blobs, other.params[name]):
            blob.data[...] = source.data


@pytest.mark.parametrize("net_name", NETWORKS)
def test_every_blob_and_gradient_equals_the_cpus(net_name, options, tmp_path, gpu):  # noqa: F811
    text = network(net_name, options)
    nets = []
    for on in (False, True):
        gpu(on)
        assert torch.backends.cudnn.allow_tf32 is False or not on
        net = build(tmp_path, text, caffe.TRAIN)
        if nets:
            copy(net, nets[0])
        net.forward()
        net.backward()
        nets.append(net)
        assert all(blob.raw().is_cuda == on for blob in net.blobs.values())
    for name, blob in nets[0].blobs.items():
        assert relative(nets[1].blobs[name].data, blob.data) < 1e-4, name
    # Where two numbers are almost equal, rounding decides which one a maximum passes the gradient to: 0.0012 was seen.
    for name, blobs in nets[0].params.items():
        for index, blob in enumerate(blobs):
            assert relative(nets[1].params[name][index].diff, blob.diff) < 5e-3, (name, index)


@pytest.mark.parametrize("precision, bound", (("float32", 1e-6), ("bfloat16", 0.02)))
@pytest.mark.parametrize("net_name", NETWORKS)
def test_a_cuda_graph_trains_like_the_layers(net_name, precision, bound, options, tmp_path, gpu, monkeypatch):  # noqa: F811
    # The default algorithms sum in any order: two trainings layer by layer differ by up to 0.02 after these iterations.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    gpu(True)
    caffe.set_precision(precision)
    (tmp_path / "net.prototxt").write_text(network(net_name, options))
    (tmp_path / "solver.prototxt").write_text(
        SOLVER.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "snapshot")
    )
    trained = []
    for recorder in (None, passes.CudaGraph):
        trainer = caffe.SGDSolver(str(tmp_path / "solver.prototxt"))
        trainer.passes.recorder = recorder
        trainer.step(8)
        trainer.snapshot()
        trainer.step(4)
        assert bool(trainer.passes.graph) == bool(recorder)
        trained.append({name: [b.data.copy() for b in blobs] for name, blobs in trainer.net.params.items()})
    for name, arrays in trained[0].items():
        for array, other in zip(arrays, trained[1][name]):
            assert np.isfinite(other).all() and relative(other, array) < bound, name
