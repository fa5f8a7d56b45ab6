"""Metrics, worked out by hand."""

import numpy as np

from tools import metrics

# Attribute 0: 3 of 4 right, of 1 positive 1 right, of 3 negatives 2. Attribute 1: nothing right.
DECISIONS = np.array([[1, 0], [0, 0], [0, 1], [1, 1]], dtype=bool)
LABELS = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=bool)


def test_accuracies():
    np.testing.assert_allclose(metrics.accuracy(DECISIONS, LABELS), [0.75, 0])
    np.testing.assert_allclose(metrics.balanced_accuracy(DECISIONS, LABELS), [(1 + 2 / 3) / 2, 0])
    np.testing.assert_allclose(metrics.majority(LABELS), [0.75, 0.5])
    assert np.isnan(metrics.balanced_accuracy(DECISIONS[:, :1], np.zeros((4, 1), dtype=bool))).all()


def test_prior_shift_turns_balanced_odds_into_natural_ones():
    # A face that balanced training gives p = 0.9 (odds 9) has odds 9 * 0.1 / 0.9 = 1 where 10 % are positive.
    np.testing.assert_allclose(np.log(9) + metrics.prior_shift(np.array([0.1])), [0], atol=1e-12)


def test_overlap_and_coverage():
    true = np.array([[0, 0, 4, 4.0]])
    assert metrics.overlap(np.array([[2, 0, 6, 4.0]]), true) == 8 / 24
    assert metrics.coverage(np.array([[2, 0, 6, 4.0]]), true) == 0.5
    assert metrics.overlap(np.array([[5, 5, 6, 6.0]]), true) == 0
    assert metrics.area(np.array([[3, 3, 1, 9.0]])) == 0
