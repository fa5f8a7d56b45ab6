"""EarlyStopping in a real Caffe: losses, when epsilon is fixed, which gradients pass."""

import caffe
import numpy as np
from layer_nets import backward, build, forward

from python_layers import early_stopping

LABELS = np.array([[0, 0], [1, 1]], dtype=np.float32)


def scores_with_loss(loss):
    """Scores whose cross-entropy is `loss` on LABELS for attribute 0, and about 0.7 for attribute 1."""
    score = -np.log(np.expm1(loss))
    return np.array([[-score, 0.0], [score, 0.0]], dtype=np.float32)


def early(tmp_path, phase=caffe.TRAIN, **parameters):
    parameters = {"window": 4, "range": 0.05, **parameters}
    return build(tmp_path, "EarlyStopping", [(2, 2), (2, 2)], 3, parameters, phase)


def test_attribute_losses_have_the_expected_values():
    found = early_stopping.attribute_losses(np.array([[0.0, 2.0], [0.0, -1.0]]), LABELS, "log")
    expected = [np.log(2), (np.log1p(np.exp(2)) + np.log1p(np.exp(1))) / 2]
    np.testing.assert_allclose(found, expected)
    found = early_stopping.attribute_losses(np.array([[0.0, 2.0], [0.0, -1.0]]), LABELS, "linear")
    sigmoid = 1 / (1 + np.exp([-2.0, 1.0]))
    np.testing.assert_allclose(found, [0.5, (sigmoid[0] + 1 - sigmoid[1]) / 2])


def test_early_stopping_fixes_epsilon_and_gates_the_gradient(tmp_path):
    net = early(tmp_path)
    window, state = net.params["layer"][0], net.params["layer"][1]
    for step, loss in enumerate((0.30, 0.21, 0.19, 0.20)):
        out = forward(net, scores_with_loss(loss), LABELS)
        np.testing.assert_array_equal(out, scores_with_loss(loss))
        if step < 3:
            assert state.data[0, 0] == 0 and net.blobs["out1"].data[0] == 2
            assert net.blobs["out2"].data.tolist() == [1, 1]
    # Standard deviation of the window is 0.044 <= 0.05: epsilon is its mean; 0.20 is below that, so it is gated.
    np.testing.assert_allclose(window.data[0], [0.30, 0.21, 0.19, 0.20], rtol=1e-5)
    np.testing.assert_allclose(state.data[0], [0.225, 4, 1], rtol=1e-5)
    # The losses of attribute 1 vary even less, but at chance level.
    np.testing.assert_allclose(state.data[1], [0, 4, 0])
    assert net.blobs["out1"].data[0] == 1 and net.blobs["out2"].data.tolist() == [0, 1]
    backward(net, [[1, 2], [3, 4]])
    assert net.blobs["in0"].diff.tolist() == [[0, 2], [0, 4]]
    # A loss above epsilon trains again, and epsilon stays.
    forward(net, scores_with_loss(0.5), LABELS)
    backward(net, [[1, 2], [3, 4]])
    assert net.blobs["in0"].diff.tolist() == [[1, 2], [3, 4]]
    np.testing.assert_allclose(state.data[0], [0.225, 5, 1], rtol=1e-5)


def test_early_stopping_can_be_off_and_is_the_identity_in_the_test_phase(tmp_path):
    for net in (early(tmp_path, range=0), early(tmp_path, caffe.TEST)):
        for _ in range(6):
            out = forward(net, scores_with_loss(0.1), LABELS)
        np.testing.assert_array_equal(out, scores_with_loss(0.1))
        backward(net, [[1, 2], [3, 4]])
        assert net.blobs["in0"].diff.tolist() == [[1, 2], [3, 4]]
        assert not net.params["layer"][0].data.any() and not net.params["layer"][1].data.any()


def test_early_stopping_sums_weighted_losses_of_two_scores(tmp_path):
    parameters = {"window": 2, "range": 0.1, "forms": ["log", "linear"], "weights": [1, 2]}
    net = build(tmp_path, "EarlyStopping", [(2, 2)] * 3, 3, parameters)
    forward(net, scores_with_loss(0.2), np.zeros((2, 2)), LABELS)
    np.testing.assert_allclose(net.params["layer"][0].data[0, 0], 0.2 + 2 * 0.5, rtol=1e-5)


def test_the_layer_scales_its_bounds_with_the_weights(tmp_path):
    net = build(tmp_path, "EarlyStopping", [(2, 2)] * 3, 4, {"window": 4, "range": 0.05})
    state = net.params["layer"][1]
    for loss in (0.30, 0.21, 0.19, 0.20):  # a deviation of 0.044 in each of two losses, 0.088 in their sum
        forward(net, scores_with_loss(loss), scores_with_loss(loss), LABELS)
    np.testing.assert_allclose(state.data[0, 0], 0.45, rtol=1e-5)
