"""The measuring scripts: common networks as baselines."""

import pytest
import torch

from benchmarks import baselines, common_nets
from benchmarks.engine import __main__ as bench
from benchmarks.engine import nets
from data_prep.plan.balance import Plan
from data_prep.store import manifest
from tools import networks


@pytest.mark.parametrize("name, weights", (("resnet18", 11_689_512), ("mobilenet_v3_small", 2_542_856)))
def test_common_networks_have_the_published_shapes(name, weights):
    """The numbers of weights are those of torchvision's networks, which follow the same tables."""
    net = common_nets.NETS[name](1000)
    assert sum(parameter.numel() for parameter in net.parameters()) == weights
    sizes = []
    for module in net:
        module.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape[1:])))
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    expected = {
        "resnet18": [(64, 112, 112), (64, 56, 56), (512, 7, 7)],
        "mobilenet_v3_small": [(16, 56, 56), (576, 7, 7)],
    }
    assert set(expected[name]) <= set(sizes)


def test_balanced_batches_are_those_of_the_plan(small_lmdb):
    batches, kept = baselines.Batches(small_lmdb, "balanced", 9, 3), manifest.read(small_lmdb)
    assert batches.size == 8  # of two attributes, four images each
    labels = networks.read_labels(small_lmdb, "train", 2)
    plan = Plan(labels, kept.attributes, 3)
    for number in range(2):
        pixels, given, mask = batches.take()
        samples = plan.batch(number, 4)
        assert pixels.shape == (8, 3, 224, 224) and (given.numpy() == labels[samples["image"]]).all()
        assert mask.tolist() == [[1, 0], [0, 1]] * 4
        counted = given[mask.bool()].reshape(4, 2).numpy()
        assert (counted == samples["label"].reshape(4, 2)).all() and (counted.sum(axis=0) == 2).all()


def test_the_table_of_make_bench(capsys):
    """Two contestants, the second twice as fast as the first, at half of the machine's rate."""
    work = nets.operations("cascade", 20, 4) / 1e9
    assert work == pytest.approx(507, abs=0.5)
    found = {"BVLC Caffe": [(1.5, 0.5, 100, 0)] * 3, "engine": [(0.75, 0.25, 200, 0)] * 3}
    rivals = {"BVLC Caffe": ("bvlc", "float32"), "engine": ("engine", "float32")}
    bench.show_results("cascade", 20, 4, rivals, found, {"float32": 2 * work})
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("engine"))
    assert row.split() == ["engine", "0.75", "0.25", "1", "1-1", "80.0", "50%", "2.00", "200"]
