"""Metrics equal values worked out by hand, and those of scikit-learn."""

import numpy as np
import sklearn.metrics

from tools.evaluate import metrics

# Attribute 0: 3 of 4 correct, 1 of 1 positive and 2 of 3 negatives. Attribute 1: none correct.
DECISIONS = np.array([[1, 0], [0, 0], [0, 1], [1, 1]], dtype=bool)
LABELS = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=bool)


def test_accuracies_have_the_expected_values():
    np.testing.assert_allclose(metrics.accuracy(DECISIONS, LABELS), [0.75, 0])
    np.testing.assert_allclose(metrics.balanced_accuracy(DECISIONS, LABELS), [(1 + 2 / 3) / 2, 0])
    np.testing.assert_allclose(metrics.majority(LABELS), [0.75, 0.5])
    assert np.isnan(metrics.balanced_accuracy(DECISIONS[:, :1], np.zeros((4, 1), dtype=bool))).all()


def test_prior_shift_turns_balanced_odds_into_natural_ones():
    # A face that balanced training gives p = 0.9 (odds 9) has odds 9 * 0.1 / 0.9 = 1 where 10 % are positive.
    np.testing.assert_allclose(np.log(9) + metrics.prior_shift(np.array([0.1])), [0], atol=1e-12)


def test_iou_and_coverage_have_the_expected_values():
    true = np.array([[0, 0, 4, 4.0]])
    assert metrics.iou(np.array([[2, 0, 6, 4.0]]), true) == 8 / 24
    assert metrics.coverage(np.array([[2, 0, 6, 4.0]]), true) == 0.5
    assert metrics.iou(np.array([[5, 5, 6, 6.0]]), true) == 0
    assert metrics.area(np.array([[3, 3, 1, 9.0]])) == 0


def test_f1_has_the_expected_values():
    # Attribute 0: precision 1/2, recall 1. Attribute 1: none correct. No positive and no detection: not defined.
    np.testing.assert_allclose(metrics.f1(DECISIONS, LABELS), [2 / 3, 0])
    assert np.isnan(metrics.f1(np.zeros((3, 1), bool), np.zeros((3, 1), bool))).all()


def test_average_precision_has_the_expected_values():
    # Present faces come first (precision 1) and third (2 of 3); then two faces that share a score: one step.
    scores = np.array([[9, 5], [8, 5], [7, 1]], dtype=float)
    labels = np.array([[1, 1], [0, 0], [1, 0]], dtype=bool)
    np.testing.assert_allclose(metrics.average_precision(scores, labels), [(1 + 2 / 3) / 2, 1 / 2])
    assert np.isnan(metrics.average_precision(scores, np.zeros_like(labels))).all()


def test_resampled_measures_equal_those_of_the_repeated_faces():
    scores, labels = random_split(faces=60, attributes=3)
    decisions = scores > 0
    (weights,) = metrics.resamples(60, 4, seed=3)
    assert weights.shape == (4, 60) and (weights.sum(axis=1) == 60).all()
    precisions = metrics.average_precision(scores, labels, weights)
    counts = metrics.count(decisions, labels, weights)
    for row, weight in enumerate(weights):
        taken = np.repeat(np.arange(60), weight.astype(int))
        np.testing.assert_allclose(precisions[row], metrics.average_precision(scores[taken], labels[taken]), rtol=1e-5)
        for measure in metrics.MEASURES.values():
            expected = measure(metrics.count(decisions[taken], labels[taken]))
            np.testing.assert_allclose(measure(metrics.Counts(*(part[row] for part in counts))), expected, rtol=1e-6)


def test_counts_at_thresholds_equal_those_of_the_decisions():
    scores, labels = random_split(faces=60, attributes=3)
    scores = np.round(scores, 1)  # equal scores, and scores equal to a threshold
    (weights,) = metrics.resamples(60, 4, seed=3)
    own = np.array([[0.3, 99, -99]] * 3 + [[-0.5, 0.2, 0.1]])  # also above and below all scores
    precision, counts = metrics.at_thresholds(scores, labels, {"same": np.array([0, 0.5, -0.1]), "own": own}, weights)
    np.testing.assert_array_equal(precision, metrics.average_precision(scores, labels, weights))
    np.testing.assert_array_equal(counts["same"], metrics.count(scores > [0, 0.5, -0.1], labels, weights))
    for row, threshold in enumerate(own):
        expected = metrics.count(scores > threshold, labels, weights[row])
        np.testing.assert_array_equal([part[row] for part in counts["own"]], np.broadcast_arrays(*expected))


def test_an_interval_contains_the_mean_as_often_as_its_level_states():
    """Accuracy of 200 coins that show heads with 0.8: its interval holds 0.8 in about 95 % of trials."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        right = rng.random((200, 1)) < 0.8
        samples = [
            metrics.accuracy_of(metrics.count(right, np.ones_like(right), w)) for w in metrics.resamples(200, 200)
        ]
        low, high = metrics.interval(np.concatenate(samples))
        held += low[0] <= 0.8 <= high[0]
    assert 0.90 <= held / 200 <= 0.99


def test_pointing_game_counts_centres_in_the_true_box():
    found = np.array([[0, 0, 4, 4.0], [4, 0, 8, 4.0]])
    np.testing.assert_array_equal(metrics.pointing_game(found, np.array([[1, 1, 3, 3.0]])), [True, False])


def random_split(faces=300, attributes=4, seed=0):
    """Scores with ties, and labels that go with them."""
    rng = np.random.default_rng(seed)
    labels = rng.random((faces, attributes)) < 0.3
    return np.round(rng.normal(size=(faces, attributes)) + 1.5 * labels - 0.5, 1), labels


def test_measures_equal_those_of_scikit_learn():
    scores, labels = random_split()
    decisions = scores > 0
    pairs = (
        (metrics.accuracy, sklearn.metrics.accuracy_score, decisions),
        (metrics.balanced_accuracy, sklearn.metrics.balanced_accuracy_score, decisions),
        (metrics.f1, sklearn.metrics.f1_score, decisions),
        (metrics.average_precision, sklearn.metrics.average_precision_score, scores),
    )
    for ours, theirs, given in pairs:
        expected = [theirs(label, column) for label, column in zip(labels.T, given.T)]
        np.testing.assert_allclose(ours(given, labels), expected, rtol=1e-5)
