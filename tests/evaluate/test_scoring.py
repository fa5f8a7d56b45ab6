"""Scores under the three decisions, their intervals over persons and seeds, and the thresholds that are tuned."""

import numpy as np
import pytest
import scipy.optimize

from tools.evaluate import calibration, metrics, scoring
from tools.evaluate.calibration import DECISIONS, TUNED
from tools.report import seeds

PRIOR, LOW = np.array([0.3]), np.array([0.2])


def test_intervals_over_persons_are_wider_where_faces_of_a_person_are_alike():
    """100 persons of 9 faces each, all right or all wrong: the standard error is three times that of 900 faces."""
    rng = np.random.default_rng(0)
    right = rng.random(100) < 0.8
    persons = np.repeat(np.arange(100), 9)
    labels = np.tile([[False], [True], [True]], (300, 1))
    scores = np.where(labels == np.repeat(right, 9)[:, np.newaxis], 3.0, -3.0)
    for known, number in (({}, 900), ({"persons": persons}, 100)):
        arrays = {"logits": scores, "labels": labels, **known}
        scored = scoring.Scored(arrays, "logits", np.array([0.5]), resampled=400)
        accuracy = scored.values["p > 0.5", "accuracy"][0]
        low, high = metrics.interval(accuracy, scored.samples["p > 0.5", "accuracy"][:, 0])
        assert accuracy == pytest.approx(right.mean()) and low < accuracy < high
        expected = np.sqrt(accuracy * (1 - accuracy) / number)
        assert (high - low) / 2 / 1.96 == pytest.approx(expected, rel=0.15)


def test_persons_without_a_face_in_a_part_are_left_out():
    """Of the first faces of a split (--faces) only some persons are there; others must not be drawn instead."""
    persons = scoring.persons({"labels": np.ones((4, 1)), "persons": np.array([7, 7, 2, 90])})
    assert persons.tolist() == [1, 1, 0, 2]
    counts = np.concatenate(list(metrics.resamples(persons, 50)))
    assert (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_values_and_rows_follow_from_scores_and_labels():
    rng = np.random.default_rng(1)
    arrays = {}
    for prefix, faces in (("validation_", 200), ("", 100)):
        labels = rng.random((faces, 1)) < 0.3
        arrays.update({f"{prefix}logits": rng.normal(size=(faces, 1)) + 1.5 * labels, f"{prefix}labels": labels})
    scored = scoring.Scored(arrays, "logits", PRIOR, resampled=20)
    rows = scored.rows("task one", ["Male"])
    assert [(row.attribute, row.decision) for row in rows] == [(a, d) for a in ("Male", "mean") for d in DECISIONS]
    tuned, _, _ = calibration.fit(arrays["validation_logits"], arrays["validation_labels"], PRIOR)
    for row, cut in zip(rows, (0, np.log(0.7 / 0.3), tuned)):
        decided = arrays["logits"] > cut
        assert row.accuracy.value == pytest.approx((decided == labels).mean())
        assert (scored.decided[row.decision] == decided).all()
        assert row.positive == labels.mean() and row.majority == 1 - row.positive
        assert row.accuracy.low <= row.accuracy.value <= row.accuracy.high
    other = scoring.Scored({**arrays, "logits": -arrays["logits"]}, "logits", PRIOR, resampled=20)
    (difference, tuned) = scoring.differences({"region": scored, "cascade": other})
    assert (difference.network, difference.minus, tuned.decision) == ("cascade", "region", TUNED)
    expected = rows[4].accuracy.value - other.rows("task one", ["Male"])[4].accuracy.value
    assert difference.accuracy.value == pytest.approx(-expected)


# Several seeds ----------------------------------------------------------------------------------------------


def constant(samples, value):
    """A Scored whose accuracy is known, on resamples too."""
    made = object.__new__(scoring.Scored)
    made.values = {"key": np.array([value, value])}
    made.samples = {"key": np.repeat(np.asarray(samples, float)[:, np.newaxis], 2, axis=1)}
    return made


def test_a_difference_over_seeds_is_their_mean_with_both_intervals():
    """Of independent seeds and independent faces the variances add up: over persons only that of the faces counts."""
    rng = np.random.default_rng(0)
    faces = rng.normal(0, 0.01, 4000)  # the same for all seeds, as resamples are
    by_seed = [0.01, 0.03, 0.05]
    ours, theirs = [constant(faces + value, value) for value in by_seed], [constant(faces * 0, 0)] * 3
    found = seeds.over_seeds(ours, theirs, "key")
    assert found["by seed"] == "+0.0100 +0.0300 +0.0500" and found["difference"] == pytest.approx(0.03)
    half = (found["difference high"] - found["difference low"]) / 2
    assert half == pytest.approx(1.96 * 0.01, rel=0.05)
    # The standard error of the mean of three seeds with a standard deviation of 0.02 is 0.02 / sqrt(3).
    samples = np.stack([faces + value for value in by_seed])
    chosen = np.random.RandomState(0).randint(3, size=(2, 4000))
    both = np.take_along_axis(samples, chosen, axis=0).mean(axis=0)
    assert both.std() == pytest.approx(np.hypot(0.01, 0.02 / np.sqrt(3)), rel=0.05)
    ends = np.quantile(both, (0.025, 0.975)) + 0.03 - both.mean()
    assert [found["low seeds too"], found["high seeds too"]] == pytest.approx(ends)
    one = seeds.over_seeds(ours[:1], theirs[:1], "key")
    assert one["low seeds too"] is None and one["by seed"] == "+0.0100"


# Platt scaling and decision thresholds ----------------------------------------------------------------------


def column(*values):
    return np.array(values, dtype=float)[:, np.newaxis]


def random_scores(faces=200):
    """Scores and labels of three attributes; 30 % are present."""
    rng = np.random.default_rng(1)
    labels = rng.random((faces, 3)) < 0.3
    return rng.normal(size=(faces, 3)) * [1, 2, 5] + labels * [2, 1, 8], labels


def test_threshold_for_accuracy_is_where_the_probability_is_one_half():
    scores, labels = random_scores()
    threshold, slope, offset = calibration.fit(scores, labels, np.full(3, 0.3))
    np.testing.assert_allclose(calibration.probability(threshold, slope, offset), 0.5)
    # Equal spreads on both sides of 3, so that this is where the classes meet.
    scores, labels = column(*[1, 2, 3, 3.5, 4] * 4, *[2, 2.5, 3, 4, 5] * 4), column(*[0] * 20, *[1] * 20) > 0
    np.testing.assert_allclose(calibration.fit(scores, labels, LOW)[0], 3, atol=1e-6)
    # With too few positives, the threshold is that of the prior.
    threshold, slope, offset = calibration.fit(scores[:24], labels[:24], LOW)
    np.testing.assert_allclose([*threshold, *slope, *offset], [np.log(4), 1, -np.log(4)])


@pytest.mark.parametrize("measure", metrics.MEASURES)
def test_no_threshold_has_a_better_expected_value(measure):
    scores, labels = random_scores()
    threshold, slope, offset = calibration.fit(scores, labels, np.full(3, 0.3), measure)
    p = calibration.probability(scores, slope, offset)

    def expected(threshold):
        """The measure of the expected counts, if p are the probabilities of "present"."""
        present = scores > threshold
        cells = p * present, (1 - p) * present, p * ~present, (1 - p) * ~present
        return metrics.MEASURES[measure](metrics.Counts(*(cell.sum(axis=0) for cell in cells)))

    best = np.nanmax([expected(each) for each in np.sort(scores, axis=0)], axis=0)
    assert (expected(threshold) >= best - 1e-9).all()


@pytest.mark.parametrize("measure", metrics.MEASURES)
@pytest.mark.parametrize("faces", (300, 3000))
def test_a_fit_to_resamples_is_nearly_that_of_the_faces_drawn(measure, faces):
    scores, labels = random_scores(faces)
    scores[0] += faces // 100  # an outlier among many, which widens all groups
    labels[:, 2] = np.arange(faces) < 6  # in some of the resamples too few for a fit
    scores[:6, 2] += 10
    prior = np.array([0.3, 0.3, 0.1])
    (weights,) = metrics.resamples(np.arange(faces), 10)
    found = calibration.fit(scores, labels, prior, measure, weights)
    few = weights[:, :6].sum(axis=1) < calibration.LEAST
    assert 0 < few.sum() < 10 and (found[1][few, 2] == 1).all() and (found[1][~few, 2] != 1).all()
    for number, counts in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(faces), counts)
        alone = calibration.fit(scores[drawn], labels[drawn], prior, measure)
        assert (np.abs(found[0][number] - alone[0])[:2] < 0.05 * scores.std(axis=0)[:2]).all()
        np.testing.assert_allclose(found[1][number, :2], alone[1][:2], rtol=0.02)


def test_probabilities_stay_finite_for_separable_and_for_constant_scores():
    labels = column(*[0] * 20, *[1] * 20) > 0
    threshold, slope, offset = calibration.fit(np.where(labels, 1000.0, -1000.0), labels, LOW)
    p = calibration.probability(column(-1000, 1000), slope, offset)
    assert p[0] < 0.1 and p[1] > 0.9 and np.isfinite([*slope, *offset]).all()
    np.testing.assert_allclose(threshold, 0, atol=1e-3)
    (weights,) = metrics.resamples(np.arange(40), 3)
    for chosen in (None, weights):
        _, slope, offset = calibration.fit(np.full((40, 1), 7.0), labels, LOW, weights=chosen)
        share = 0.5 if chosen is None else (chosen @ labels / 40)
        np.testing.assert_allclose(
            calibration.probability(column(6, 7, 8)[:, np.newaxis], slope, offset) - share, 0, atol=0.01
        )


@pytest.mark.parametrize("measure", metrics.MEASURES)
@pytest.mark.parametrize("positives", (10, 20, 30))
def test_misordered_scores_get_one_answer_for_all_faces(measure, positives):
    """Once a defect: reversed scores were decided by a threshold in their middle, each of them wrongly."""
    labels = column(*[0] * (40 - positives), *[1] * positives) > 0
    scores = np.where(labels, -1.0, 1.0) + np.linspace(0, 0.5, 40)[:, np.newaxis]
    threshold, slope, offset = calibration.fit(scores, labels, LOW, measure)
    decided = np.unique(scores > threshold)
    assert len(decided) == 1
    if measure == "accuracy":
        assert positives == 20 or decided[0] == (positives > 20)
    np.testing.assert_allclose(calibration.probability(scores, slope, offset), positives / 40, atol=2e-3)


def test_the_line_has_the_least_loss_also_for_scores_that_hardly_vary():
    """Once a defect: Newton's steps went back and forth, and the line of the start was returned."""
    rng = np.random.default_rng(4)

    def loss(line, score, target):
        logit = line[0] * score + line[1]
        return np.sum(np.logaddexp(0, logit) - target * logit)

    scores = np.where(rng.random((471, 40)) < 0.97, 0.0, 5 * rng.normal(size=(471, 40)))
    labels = rng.random((471, 40)) < 0.3
    _, slopes, offsets = calibration.fit(scores, labels, np.full(40, 0.3))
    rising = 0
    for score, label, slope, offset in zip(scores.T, labels.T, slopes, offsets):
        positive, negative = label.sum(), (~label).sum()
        target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))
        best = scipy.optimize.minimize(loss, [0, np.log(positive / negative)], (score, target), method="BFGS")
        if best.x[0] > 0.01:
            rising += 1
            assert loss((slope, offset), score, target) == pytest.approx(best.fun, abs=1e-3)
        elif best.x[0] < 0:
            assert slope < 0.01
    assert 10 < rising < 30
