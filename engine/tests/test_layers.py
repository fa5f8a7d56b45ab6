"""Every layer type against a real Caffe: forward pass and gradients."""

import caffe
import pytest
from layer_cases import CASES
from parity import build, compare, replay

# Covered by test_data_layers.py, and by nets in test_graph.py.
ELSEWHERE = {"Data", "HDF5Data", "MemoryData", "Input", "Python"}


@pytest.mark.parametrize("kind", CASES)
def test_layer_agrees_with_caffe(kind, bvlc, tmp_path):
    case = CASES[kind]
    backward = "outputs" if case.backward else None
    options = {"passes": case.passes, "random_params": case.random}
    result, names = bvlc.net(case.text, case.inputs, case.phase, backward, **options)
    net = build(tmp_path, case.text, case.phase)
    assert list(net._layer_names) == names["layers"] and list(net.blobs) == names["blobs"]
    compare(replay(net, result, case.inputs, case.passes, case.backward), result, forward=2e-5, gradient=1e-4)


def test_every_layer_type_has_a_case():
    assert {kind.split(" ")[0].rstrip(",") for kind in CASES} | ELSEWHERE == set(caffe.layer_type_list())
