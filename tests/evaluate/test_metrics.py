"""Measures equal those of scikit-learn, also on resamples; intervals, and boxes worked out by hand."""

import numpy as np
import pytest
import sklearn.metrics

from tools.evaluate import metrics


def random_split(faces=300, attributes=4, seed=0):
    """Scores with ties, and labels that go with them."""
    rng = np.random.default_rng(seed)
    labels = rng.random((faces, attributes)) < 0.3
    return np.round(rng.normal(size=(faces, attributes)) + 1.5 * labels - 0.5, 1), labels


def test_baseline_prior_and_measures_that_are_not_defined():
    labels = np.array([[1, 1], [0, 1], [0, 0], [0, 0]], dtype=bool)
    np.testing.assert_allclose(metrics.majority(labels), [0.75, 0.5])
    nothing = metrics.count(np.zeros((3, 1), bool), np.zeros((3, 1), bool))
    assert np.isnan([metrics.balanced_accuracy(nothing), metrics.f1(nothing)]).all()
    # A face that balanced training gives p = 0.9 (odds 9) has odds 9 * 0.1 / 0.9 = 1 where 10 % are positive.
    np.testing.assert_allclose(np.log(9) + metrics.prior_shift(np.array([0.1])), [0], atol=1e-12)


def test_measures_equal_those_of_scikit_learn():
    scores, labels = random_split()
    found = metrics.measures(scores, labels, {"zero": np.zeros(4)}, np.ones((1, 300)))
    for (decision, name), ours in found.items():
        theirs = getattr(sklearn.metrics, f"{name}_score")
        columns = scores if decision is None else scores > 0
        expected = [theirs(label, column) for label, column in zip(labels.T, columns.T)]
        np.testing.assert_allclose(ours[0], expected, rtol=1e-5, err_msg=name)


def test_measures_of_resamples_equal_those_of_the_repeated_faces():
    scores, labels = random_split(faces=60, attributes=3)  # with equal scores, and scores equal to a threshold
    (weights,) = metrics.resamples(np.arange(60), 4, seed=3)
    assert weights.shape == (4, 60) and (weights.sum(axis=1) == 60).all()
    own = np.array([[0.3, 99, -99]] * 3 + [[-0.5, 0.2, 0.1]])  # also above and below all scores
    found = metrics.measures(scores, labels, {"same": np.array([0, 0.5, -0.1]), "own": own}, weights)
    for row, weight in enumerate(weights):
        taken = np.repeat(np.arange(60), weight.astype(int))
        cuts = {"same": np.array([0, 0.5, -0.1]), "own": own[row]}
        expected = metrics.measures(scores[taken], labels[taken], cuts, np.ones((1, 60)))
        for key, values in found.items():
            np.testing.assert_allclose(values[row], expected[key][0], rtol=1e-5, err_msg=str(key))
    counts = metrics.count(scores > own[3], labels)
    everyone = metrics.measures(scores, labels, {"own": own[3]}, np.ones((1, 60)))
    np.testing.assert_allclose(everyone["own", "f1"][0], metrics.f1(counts))


def test_boxes_have_the_expected_measures():
    true = np.array([[0, 0, 4, 4.0]])
    assert metrics.iou(np.array([[2, 0, 6, 4.0]]), true) == 8 / 24
    assert metrics.coverage(np.array([[2, 0, 6, 4.0]]), true) == 0.5
    assert metrics.iou(np.array([[5, 5, 6, 6.0]]), true) == 0
    assert metrics.area(np.array([[3, 3, 1, 9.0]])) == 0
    found = np.array([[0, 0, 4, 4.0], [4, 0, 8, 4.0]])
    np.testing.assert_array_equal(metrics.pointing_game(found, np.array([[1, 1, 3, 3.0]])), [True, False])


# Resamples and intervals ------------------------------------------------------------------------------------


def test_persons_are_resampled_with_all_their_faces():
    groups = np.array([2, 0, 0, 1, 2, 0])
    counts = np.concatenate(list(metrics.resamples(groups, 320)))
    assert counts.shape == (320, 6)
    of_person = [counts[:, groups == person] for person in range(3)]
    assert all((part == part[:, :1]).all() for part in of_person)
    drawn = np.stack([part[:, 0] for part in of_person], axis=1)
    assert (drawn.sum(axis=1) == 3).all() and drawn.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.15)


def test_an_interval_is_that_of_the_resamples_with_their_mean_at_the_value():
    resampled = np.arange(101.0)[:, np.newaxis] / 200 + [0, 0.2]  # 0 to 0.5 and 0.2 to 0.7, in steps of 0.005
    low, high = metrics.interval(np.array([0.3, 0.45]), resampled, least=0)
    # The percentiles are 2.5 and 97.5 steps; the means of the columns are 0.25 and 0.45.
    np.testing.assert_allclose([low, high], [[0.0625, 0.2125], [0.5375, 0.6875]])
    low, high = metrics.interval(np.array([0.99, np.nan]), resampled, least=0)
    assert high[0] == 1 and np.isnan([low[1], high[1]]).all()  # no accuracy is above 1
    mostly_equal = np.append(np.zeros(99), 0.4)[:, np.newaxis]
    low, high = metrics.interval(np.zeros(1), mostly_equal)
    assert low[0] <= 0 <= high[0]  # holds the value, though percentiles and mean do not
