"""Solvers against a real Caffe: update rules, learning rates, regularisation, clipping, iter_size; and their states."""

import caffe
import numpy as np
import pytest
from parity import relative

NET = """
layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param {
        data_filler { type: "constant" value: 0.7 } data_filler { type: "constant" value: 0.3 }
        shape { dim: 4 dim: 3 dim: 4 dim: 5 } shape { dim: 4 dim: 3 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "h"
        param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        convolution_param { num_output: 6 kernel_h: 2 kernel_w: 3 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "h" top: "h" }
layer { name: "frozen" type: "InnerProduct" bottom: "h" top: "f" param { lr_mult: 0 } param { lr_mult: 0 }
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "f" top: "y"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
BASE = 'net: "{net}" base_lr: 0.05 max_iter: 40 snapshot_prefix: "{prefix}" random_seed: 7 '
FIXED = 'lr_policy: "fixed" '
CASES = {
    "SGD": FIXED + "momentum: 0.9 weight_decay: 0.01",
    "SGD L1": FIXED + 'momentum: 0.9 weight_decay: 0.01 regularization_type: "L1"',
    "SGD clipped": FIXED + "momentum: 0.9 clip_gradients: 0.1",
    "SGD iter_size": FIXED + "momentum: 0.9 iter_size: 3 weight_decay: 0.01",
    "Nesterov": FIXED + 'type: "Nesterov" momentum: 0.9 weight_decay: 0.01',
    "AdaGrad": FIXED + 'type: "AdaGrad" weight_decay: 0.01',
    "RMSProp": FIXED + 'type: "RMSProp" rms_decay: 0.95 weight_decay: 0.01',
    "AdaDelta": FIXED + 'type: "AdaDelta" momentum: 0.95 delta: 1e-6 weight_decay: 0.01',
    "Adam": FIXED + 'type: "Adam" momentum: 0.9 momentum2: 0.999 weight_decay: 0.01',
    "old name": FIXED + "solver_type: NESTEROV momentum: 0.9",
    "step": 'lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9',
    "exp": 'lr_policy: "exp" gamma: 0.8',
    "inv": 'lr_policy: "inv" gamma: 0.3 power: 0.75',
    "multistep": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 3 stepvalue: 6',
    "poly": 'lr_policy: "poly" power: 1.5',
    "sigmoid": 'lr_policy: "sigmoid" gamma: 0.5 stepsize: 3',
    "sigmoid that starts at 0": 'lr_policy: "sigmoid" gamma: 1 stepsize: 1000',
}


@pytest.fixture
def solver_text(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)

    def make(body):
        text = BASE.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "own") + body
        (tmp_path / "solver.prototxt").write_text(text)
        return text

    return make


@pytest.mark.parametrize("kind", CASES)
def test_solver_agrees_with_caffe(kind, solver_text, bvlc, tmp_path):
    """Eight steps from the same weights; then three from the real Caffe's state, which must continue."""
    text, start = solver_text(CASES[kind]), str(tmp_path / "start.caffemodel")
    expected = bvlc.solver(text, 8, ["loss"], save_first=start, snapshot=True)
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    solver.net.copy_from(start)
    rates, losses = [], []
    for _ in range(8):
        rates.append(solver.lr)
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    np.testing.assert_allclose(losses, expected["losses"][:, 0], rtol=1e-4)
    np.testing.assert_allclose(rates, expected["rates"], rtol=1e-5)
    for name, blobs in solver.net.params.items():
        for index, blob in enumerate(blobs):
            assert relative(blob.data, expected[f"param/{name}/{index}"]) < 1e-4, (name, index)
            if name != "frozen":
                assert relative(blob.diff, expected[f"update/{name}/{index}"]) < 2e-3, (name, index)
    state = str(tmp_path / "own_iter_8.solverstate")
    more = bvlc.solver(text, 3, ["loss"], state=state)
    solver.restore(state)
    assert solver.iter == 8
    for row in more["losses"]:
        solver.step(1)
        np.testing.assert_allclose(solver.net.blobs["loss"].data, row[0], rtol=1e-3)


@pytest.mark.parametrize(
    "body, words",
    [
        (FIXED + 'type: "SDG"', ["SDG", "SGD", "Adam"]),
        ('lr_policy: "stepp"', ["stepp", "multistep"]),
        (FIXED + 'type: "AdaGrad" momentum: 0.9', ["Momentum", "AdaGrad"]),
        (FIXED + 'type: "RMSProp" rms_decay: 1.5', ["rms_decay"]),
        (FIXED + 'regularization_type: "L3"', ["L3"]),
        (FIXED + "momentun: 0.9", ["solver.prototxt:1", "momentun"]),
        (FIXED + "test_iter: 1", ["test_interval"]),
        (FIXED + 'train_net: "x"', ["train net", "net, train_net"]),
        (FIXED + 'snapshot: 1 snapshot_prefix: "x"', ["multiple", "snapshot_prefix"]),
        (FIXED + "average_loss: 0", ["average_loss"]),
        (FIXED + "momentum: nan", ["momentum is nan"]),
        (FIXED + "weight_decay: inf", ["weight_decay is inf"]),
        (FIXED + "clip_gradients: -inf", ["clip_gradients is -inf"]),
        (FIXED + "gamma: 1e99", ["gamma is inf"]),
        (FIXED + "iter_size: 0", ["iter_size must be at least 1, not 0"]),
        (FIXED + "display: -1", ["display must be at least 0"]),
        (FIXED + "test_iter: 0 test_interval: 1", ["test_iter must be at least 1"]),
    ],
)
def test_wrong_solvers_are_errors_that_say_what(body, words, solver_text, tmp_path):
    solver_text(body)
    with pytest.raises(caffe.CaffeError) as error:
        caffe.get_solver(str(tmp_path / "solver.prototxt")).step(1)
    assert all(word in str(error.value) for word in words), error.value


def test_callbacks_and_what_pycaffe_shows_of_a_solver(solver_text, tmp_path):
    solver_text(FIXED + 'momentum: 0.9 test_iter: 2 test_interval: 5 type: "Adam" momentum2: 0.9')
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    assert isinstance(solver, caffe.AdamSolver) and len(solver.test_nets) == 1
    calls = []
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("ready"))
    solver.step(2)
    assert calls == ["start", "ready"] * 2 and solver.iter == 2
    assert solver.param.max_iter == 40 and solver.param.base_lr == pytest.approx(0.05)
    solver.param.max_iter = 4
    solver.solve()
    assert solver.iter == 4 and (tmp_path / "own_iter_4.caffemodel").exists()
    before = solver.net.params["a"][0].data.copy()
    solver.net.clear_param_diffs()
    solver.net.params["a"][0].diff[...] = 1
    solver.apply_update()
    assert (solver.net.params["a"][0].data < before).all()
    solver.share_weights(solver.test_nets[0])
    assert np.shares_memory(solver.test_nets[0].params["a"][0].data, solver.net.params["a"][0].data)


def test_diffs_are_the_updates_and_safe_to_write(solver_text, tmp_path):
    """After a step a parameter's diff is what was subtracted; writing into it changes neither weights nor momentum."""
    solver_text(FIXED + "momentum: 0.9 clip_gradients: 0.05")
    solvers = [caffe.get_solver(str(tmp_path / "solver.prototxt")) for _ in range(2)]
    for solver in solvers:
        solver.net.params["a"][0].data[...] = 0.1
        kept = solver.net.params["b"][0].diff
        for _ in range(3):
            before = {name: solver.net.params[name][0].data.copy() for name in "ab"}
            solver.step(1)
            for name in "ab":
                blob = solver.net.params[name][0]
                np.testing.assert_allclose(before[name] - blob.data, blob.diff, rtol=1e-3, atol=1e-8)
            assert np.shares_memory(kept, solver.net.params["b"][0].diff) and kept.any()
            if solver is solvers[0]:
                solver.net.params["a"][0].diff[...] = np.nan
    for ours, theirs in zip(*(s.optimizer.histories[0] for s in solvers)):
        assert ours is theirs is None or np.array_equal(ours, theirs)


def test_norm_of_many_numbers(tmp_path):
    """The norm that gradients are clipped by is exact for millions of numbers too, where a float32 sum is not."""
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 4000000 } } }'
        'layer { name: "s" type: "Silence" bottom: "p" }'
    )
    text = f'net: "{tmp_path}/net.prototxt" base_lr: 1 lr_policy: "fixed" momentum: 0.9 clip_gradients: 1 snapshot: 0'
    (tmp_path / "solver.prototxt").write_text(f'{text} snapshot_prefix: "{tmp_path}/x"')
    solver = caffe.get_solver(str(tmp_path / "solver.prototxt"))
    blob = solver.net.params["p"][0]
    blob.diff[...] = np.random.default_rng(0).standard_normal(4_000_000).astype(np.float32)
    norm = np.linalg.norm(blob.diff.astype(np.float64))
    first = float(blob.diff[0])
    solver.apply_update()
    np.testing.assert_allclose(blob.data[0], -first / norm, rtol=1e-6)


CLIPPED_TO_ZERO = """
solver = caffe.get_solver(case["path"])
found = []
for fill in (1, 1e30, 1):
    for blob in solver.net.params["a"]:
        blob.diff[...] = fill
    solver.apply_update()
    found += [solver.net.params["a"][0].data.copy(), solver.net.params["a"][0].diff.copy()]
result["found"] = np.array(found)
"""


@pytest.mark.parametrize("more", ("clip_gradients: 5", "clip_gradients: 0", "clip_gradients: 5 weight_decay: 0.1"))
def test_gradients_that_are_clipped_to_zero(more, solver_text, bvlc, tmp_path):
    """The float32 norm of the second gradient is infinite, so the factor is 0; the momentum stays."""
    solver_text(FIXED + f"momentum: 0.9 {more}")
    text = NET.replace('"xavier"', '"constant" value: 0.1')
    (tmp_path / "net.prototxt").write_text(text)
    path = str(tmp_path / "solver.prototxt")
    expected, _ = bvlc.code(CLIPPED_TO_ZERO, path=path)
    space = {"caffe": caffe, "np": np, "case": {"path": path}, "result": {}}
    exec(CLIPPED_TO_ZERO, space)
    np.testing.assert_allclose(space["result"]["found"], expected["found"], rtol=1e-4, atol=1e-7)
