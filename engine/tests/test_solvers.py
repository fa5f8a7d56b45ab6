"""Solvers against a real Caffe: update rules, learning rates, regularisation, clipping, iter_size; and their states."""

import gc
import weakref

import caffe
import numpy as np
import pytest
from parity import compare, layer, steps

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
def write(tmp_path):
    """Function that writes a net, and a solver with some more fields; the solver's path."""

    def make(body, net=NET):
        (tmp_path / "net.prototxt").write_text(net)
        text = BASE.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "own")
        (tmp_path / "solver.prototxt").write_text(text + body)
        return str(tmp_path / "solver.prototxt")

    return make


def test_multistep_takes_one_step_an_iteration(write):
    """As BVLC Caffe; there, unlike here, reading `lr` takes a step too, so that `steps` cannot compare it."""
    body = 'lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 3 stepvalue: 3'
    solver, rates = caffe.get_solver(write(body)), []
    for _ in range(6):
        rates.append(solver.lr)
        solver.step(1)
    assert rates == pytest.approx([0.05, 0.025, 0.025, 0.0125, 0.00625, 0.00625])


@pytest.mark.parametrize("kind", CASES)
def test_solver_agrees_with_caffe(kind, write, bvlc, tmp_path):
    """Eight steps from the same weights; then three from the real Caffe's state, which must continue."""
    path, start, state = write(CASES[kind]), str(tmp_path / "start"), str(tmp_path / "own_iter_8.solverstate")
    theirs = bvlc(steps, path=path, count=8, losses=["loss"], start=start, snapshot=True)
    ours = steps(path, 8, ["loss"], weights=start)
    del ours["update/frozen/0"], ours["update/frozen/1"]
    compare(ours, theirs, gradient=2e-3)
    words = {"path": path, "count": 3, "losses": ["loss"], "state": state}
    ours, theirs = steps(**words), bvlc(steps, **words)
    assert ours["iter"] == theirs["iter"] == 11
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-3)


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
        (FIXED + "momentum: nan", ["momentum is nan"]),
        (FIXED + "gamma: 1e99", ["gamma is inf"]),
        (FIXED + "iter_size: 0", ["iter_size must be at least 1, not 0"]),
        (FIXED + "display: -1", ["display must be at least 0"]),
    ],
)
def test_wrong_solvers_are_errors_that_say_what(body, words, write):
    with pytest.raises(caffe.CaffeError) as error:
        caffe.get_solver(write(body)).step(1)
    assert all(word in str(error.value) for word in words), error.value


def story(path, start):
    """What a caller of a solver sees."""
    solver, found, calls = caffe.get_solver(path), {}, []
    solver.net.copy_from(start)
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("ready"))
    (weights, _), (other, _) = solver.net.params["a"], solver.net.params["b"]
    kept = other.diff
    for number in range(3):
        solver.step(1)
        # The diff is what was subtracted; writing into it changes neither weights nor momentum.
        found.update({f"weights {number}": weights.data.copy(), f"diff {number}": weights.diff.copy()})
        found[f"kept {number}"] = kept.copy()
        weights.diff[...] = np.nan
    # The float32 norm of the second gradient is infinite, so it is clipped to zero; the momentum stays.
    for fill in (1, 1e30, 1):
        for blobs in solver.net.params.values():
            for blob in blobs:
                blob.diff[...] = fill
        solver.apply_update()
        found[f"applied {len(found)}"] = weights.data.copy()
    test = solver.test_nets[0]
    solver.share_weights(test)
    weights.data[...] = 0.5
    found["shared"] = test.params["a"][0].data.copy()
    found.update(calls=calls, iter=solver.iter, max_iter=solver.param.max_iter, tests=len(solver.test_nets))
    solver.solve()
    return {**found, "end": solver.iter}


@pytest.mark.parametrize("more", ("clip_gradients: 5", "clip_gradients: 0", "clip_gradients: 5 weight_decay: 0.1"))
def test_solvers_are_used_as_in_pycaffe(more, write, bvlc, tmp_path):
    path, start = write(FIXED + f"momentum: 0.9 test_iter: 2 test_interval: 50 {more}"), str(tmp_path / "start")
    caffe.get_solver(path).net.save(start)
    compare(story(path, start), bvlc(story, path=path, start=start))
    assert isinstance(caffe.get_solver(path), caffe.SGDSolver) and (tmp_path / "own_iter_40.caffemodel").exists()


def test_a_solver_is_freed_without_the_garbage_collector(write):
    """Once it was not, and its net kept memory and reading threads."""
    gc.disable()
    try:
        solver = caffe.get_solver(write(FIXED + "momentum: 0.9 test_iter: 1 test_interval: 1"))
        solver.step(2)
        net = weakref.ref(solver.net)
        del solver
        assert net() is None
    finally:
        gc.enable()


def test_norm_of_many_numbers(write):
    """The norm that gradients are clipped by is exact for millions of numbers too, where a float32 sum is not."""
    net = layer("Parameter", "", "p", "parameter_param { shape { dim: 4000000 } }", "p") + layer("Silence", "p", "")
    solver = caffe.get_solver(write(FIXED + "clip_gradients: 0.05", net))
    blob = solver.net.params["p"][0]
    blob.diff[...] = np.random.default_rng(0).standard_normal(4_000_000)
    expected = 0.05 * 0.05 * float(blob.diff[0]) / np.linalg.norm(blob.diff.astype(np.float64))
    solver.apply_update()
    np.testing.assert_allclose(blob.data[0], -expected, rtol=1e-6)
