"""The project's nets against a real Caffe: names, every blob, every gradient; training from equal weights.

Those of a GPU are skipped where PyTorch finds none.
"""

import caffe
import numpy as np
import pytest
import torch
from caffe import passes
from noise import write_noise
from parity import build, compare, relative, steps
from recorder import Recorder

from models.networks import network
from models.options import NETWORKS, NetworkOptions

ATTRIBUTES = ["Eyeglasses", "Male", "Smiling"]
B = 2


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(params=("cpu", pytest.param("gpu", marks=NO_GPU)))
def device(request):
    """Where the engine computes, "cpu" or "gpu"."""
    (caffe.set_mode_gpu if request.param == "gpu" else caffe.set_mode_cpu)()
    assert request.param == "cpu" or not torch.backends.cudnn.allow_tf32
    yield request.param
    caffe.set_mode_cpu()
    caffe.set_precision("float32")


@pytest.fixture(scope="session")
def options(tmp_path_factory):
    """Those of narrow networks for three attributes, on databases of noise."""
    folder = tmp_path_factory.mktemp("lmdb")
    write_noise(folder, len(ATTRIBUTES), 4 * B, np.random.default_rng(0).integers(0, 2, (6, len(ATTRIBUTES))))
    return NetworkOptions(ATTRIBUTES, batch=B, lmdb=str(folder), test_batch=2, width=1 / 16, form="stream")


@pytest.mark.parametrize("kind", ("train", "test", "deploy"))
@pytest.mark.parametrize("net_name", NETWORKS)
def test_every_blob_and_gradient_equals_bvlc_caffes(net_name, device, kind, options, alike, tmp_path):
    text, phase = network(net_name, options, kind == "deploy"), int(kind != "train")
    if kind == "deploy":
        alike(text, backward="", data=np.random.default_rng(1).uniform(0, 255, (1, 3, 224, 224)))
    else:
        alike(text, in_step=True, phase=phase, backward="loss")
    if device == "gpu":
        net = build(tmp_path, text, phase)
        net.forward()
        assert all(blob.raw().is_cuda for blob in net.blobs.values())


SOLVER = """
net: "{net}" base_lr: 0.001 lr_policy: "step" gamma: 0.1 stepsize: 4 momentum: 0.9 weight_decay: 0.0005
snapshot_prefix: "{prefix}" random_seed: 1 max_iter: 100
"""


@pytest.mark.parametrize("ending", ("", ".h5"))
def test_both_caffes_resume_the_snapshots_of_both_and_train_alike(options, ending, bvlc, tmp_path):
    """In either format, with the same losses, weights, and an early stopping that acts within a few iterations."""
    # At 0.0015 these three attributes without a trained task one diverge, in both engines.
    text = SOLVER.replace("base_lr: 0.001", "base_lr: 0.0005").replace("stepsize: 4", "stepsize: 12")
    text = text.format(net=tmp_path / "train_val.prototxt", prefix=tmp_path / "cascade")
    text += "snapshot_format: HDF5\n" if ending else ""
    early = network("cascade", options).replace('"range": 0.1', '"window": 2, "range": 10, "ceiling": 1')
    (tmp_path / "train_val.prototxt").write_text(early)
    (tmp_path / "solver.prototxt").write_text(text)
    words = {"path": str(tmp_path / "solver.prototxt"), "losses": ["loss_attribute"]}
    steps(**words, count=0, snapshot=True)
    for start, count in ((0, 15), (15, 5)):  # the second one is BVLC Caffe's
        words.update(state=str(tmp_path / f"cascade_iter_{start}.solverstate{ending}"), count=count)
        theirs, ours = bvlc(steps, snapshot=True, **words), steps(**words)
        compare({key: value for key, value in ours.items() if not key.startswith("update/")}, theirs, forward=1e-3)
        stopping = ours["param/early_stopping/1"]
        assert (stopping[:, 0] > 0).any() and (stopping[:, 1] == start + count).all() and ours["iter"] == start + count


@pytest.mark.parametrize("precision, bound", (("float32", 1e-6), ("bfloat16", 0.02)))
@pytest.mark.parametrize("net_name", NETWORKS)
def test_passes_as_a_graph_train_like_passes_layer_by_layer(
    net_name, device, precision, bound, options, tmp_path, monkeypatch
):
    """Without any difference on a CPU."""
    # The default algorithms sum in any order: two trainings layer by layer differ by up to 0.02 after these iterations.
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    caffe.set_precision(precision)
    path = tmp_path / "solver.prototxt"
    path.write_text(SOLVER.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "snapshot"))
    (tmp_path / "net.prototxt").write_text(network(net_name, options))
    trained = []
    for recorder in (None, passes.CudaGraph if device == "gpu" else Recorder):
        trainer = caffe.SGDSolver(str(path))
        trainer.passes.recorder = recorder
        trainer.step(6)
        trainer.snapshot()
        trainer.step(2)
        assert trainer.passes.recorder is recorder and bool(trainer.passes.graph) == bool(recorder)
        trained.append(trainer.net.params)
    for name, blobs in trained[0].items():
        for blob, other in zip(blobs, trained[1][name]):
            difference = relative(other.data, blob.data)
            assert np.isfinite(other.data).all() and difference <= bound * (device == "gpu"), name
