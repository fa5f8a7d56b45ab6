"""The measuring scripts: common networks as baselines, the table of `make bench`, and that each script runs."""

import argparse
import re

import pytest
import torch

from benchmarks import baselines, common_nets, growth, prediction
from benchmarks.engine import __main__ as bench
from benchmarks.engine import nets
from data_prep.plan.balance import Plan
from data_prep.store import databases, manifest
from tools import cli


@pytest.mark.parametrize("name, weights", (("resnet18", 11_689_512), ("mobilenet_v3_small", 2_542_856)))
def test_common_networks_have_the_published_numbers_of_weights(name, weights):
    """The numbers of weights are those of torchvision's networks, which follow the same tables."""
    net = common_nets.NETS[name](1000)
    assert sum(parameter.numel() for parameter in net.parameters()) == weights
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_balanced_batches_are_those_of_the_plan(small_lmdb):
    batches, kept = baselines.Batches(small_lmdb, "balanced", 9, 3), manifest.read(small_lmdb)
    assert batches.size == 8  # of two attributes, four images each
    labels = databases.read_labels(small_lmdb / "train_labels", 2)
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


# Each script runs -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_baseline_is_trained_once_and_compared(small_lmdb, tmp_path, capsys):
    given = {"net": "mobilenet_v3_small", "images": 16, "batch": 8, "sampling": "balanced", "rates": [0.01, 0.1]}
    given.update(seeds=[1], search_images=8, size=64, precision="float32", device="cpu", ablation=None)
    given.update(lmdb=small_lmdb, out=tmp_path)
    text = baselines.compare(argparse.Namespace(**given))
    assert capsys.readouterr().out.count("validation accuracy, prior-corrected") == 2 and "mobilenet_v3_small" in text
    assert len(list(tmp_path.glob("*.pt"))) == 3 and (tmp_path / "means.csv").exists()
    assert baselines.compare(argparse.Namespace(**given)) == text  # from the weights that are kept
    assert "images/s" not in capsys.readouterr().out


@pytest.mark.slow
def test_growth_is_measured_on_nets_and_on_data(tmp_path):
    found = growth.iteration(1, attributes=1, b=2, width=1 / 16)
    assert set(found) == {"seconds of an iteration", "peak memory, GiB"} and min(found.values()) > 0
    growth.write_faces(tmp_path, 150)
    assert len(databases.read_labels(tmp_path / "train_labels", 20)) == 150
    assert growth.reading(1, tmp_path)["seconds for 1,000 images"] > 0


@pytest.mark.slow
def test_prediction_and_an_exported_file_are_compared(small_faces, small_run, tmp_path, capsys):
    exported = tmp_path / "cascade.onnx"
    assert cli.main(["export", "--run", str(small_run), "--out", str(exported), "--uncalibrated"]) == 0
    prediction.speed(small_faces / "img_align_celeba", small_run, 1, [exported], count=4)
    printed = capsys.readouterr().out
    assert float(re.search(r"differ by (\S+) at most", printed)[1]) < 1e-4
    assert printed.count("batches of 1:") == 3 and printed.count("batches of 16:") == 2


@pytest.mark.slow
def test_contestants_that_do_not_fit_into_memory_together_are_started_in_turn(monkeypatch, capsys):
    keep = bench.keep
    monkeypatch.setattr(bench, "CONTESTANTS", {"cpu": {"PyTorch": "pytorch", "engine": "engine"}})
    monkeypatch.setattr(bench, "keep", lambda workers, needed: keep(workers, needed * 1e6))
    bench.main(bench.Settings(["region"], attributes=1, batches=[2], rounds=1, precisions=["float32"]))
    captured = capsys.readouterr()
    assert "started anew in every round" in captured.err
    assert [line.split()[0] for line in captured.out.splitlines() if "-" in line] == ["PyTorch", "engine"]
