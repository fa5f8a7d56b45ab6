"""Scores under the three decisions: persons, tuned decision thresholds and seeds in their intervals."""

import numpy as np
import pytest

from tools.evaluate import calibration, metrics, scoring
from tools.evaluate.calibration import DECISIONS, TUNED
from tools.report import seeds

PRIOR = np.array([0.3])


def test_intervals_over_persons_are_wider_where_faces_of_a_person_are_alike():
    """LFWA's kind of data: few persons have many faces each, with one answer for all of them.

    With 100 persons of 9 faces each that are all right or all wrong, the standard error by person is three times that
    by face; once all intervals were by face.
    """
    rng = np.random.default_rng(0)
    right = rng.random(100) < 0.8
    persons = np.repeat(np.arange(100), 9)
    labels = np.tile([[False], [True], [True]], (300, 1))
    scores = np.where(labels == np.repeat(right, 9)[:, np.newaxis], 3.0, -3.0)
    arrays, spread = {"logits": scores, "labels": labels}, {}
    for unit, known in {"face": {}, "person": {"persons": persons}}.items():
        scored = scoring.Scored({**arrays, **known}, "logits", np.array([0.5]), resampled=400)
        accuracy = scored.values["p > 0.5", "accuracy"][0]
        low, high = metrics.interval(accuracy, scored.samples["p > 0.5", "accuracy"][:, 0])
        assert accuracy == pytest.approx(right.mean()) and low < accuracy < high
        spread[unit] = (high - low) / 2 / 1.96
    variance = right.mean() * (1 - right.mean())
    assert spread["face"] == pytest.approx(np.sqrt(variance / 900), rel=0.15)
    assert spread["person"] == pytest.approx(np.sqrt(variance / 100), rel=0.15)
    assert 2.5 < spread["person"] / spread["face"] < 3.5


def test_persons_without_a_face_in_a_part_are_left_out():
    """Of the first faces of a split (--faces) only some persons are there; others must not be drawn instead."""
    persons = scoring.persons({"labels": np.ones((4, 1)), "persons": np.array([7, 7, 2, 90])})
    assert persons.tolist() == [1, 1, 0, 2]
    counts = np.concatenate(list(metrics.resamples(persons, 50)))
    assert (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()


def simulated(rng, validation, test):
    """Scores and labels of an attribute of three in ten faces, of two splits: arrays of an evaluation."""
    arrays = {}
    for prefix, faces in (("validation_", validation), ("", test)):
        labels = rng.random((faces, 1)) < 0.3
        arrays.update({f"{prefix}logits": rng.normal(size=(faces, 1)) + 1.5 * labels, f"{prefix}labels": labels})
    return arrays


def test_intervals_of_tuned_decisions_are_not_skewed():
    """Once ".709 (.689 to .713)": the ends of resamples, whose thresholds are fitted to resampled validation faces and
    so are a little worse. The interval must miss the true accuracy equally seldom at both sides."""
    rng = np.random.default_rng(0)
    found = []
    for trial in range(120):
        scored = scoring.Scored(simulated(rng, 80, 300), "logits", PRIOR, resampled=150, seed=trial)
        value, samples = scored.values[TUNED, "accuracy"][0], scored.samples[TUNED, "accuracy"][:, 0]
        low, high = metrics.interval(value, samples)
        found.append((value, low, high, *np.quantile(samples, (0.025, 0.975))))
    value, low, high, plain_low, plain_high = np.array(found).T
    true = value.mean()  # each accuracy is an unbiased estimate of what thresholds tuned on so many faces give
    assert (high < true).mean() <= 0.05 and (low > true).mean() <= 0.05
    skew = np.mean(high - value) / np.mean(value - low)
    assert 0.8 < skew < 1.25 and np.mean(plain_high - value) / np.mean(value - plain_low) < 0.78


def test_values_and_rows_follow_from_scores_and_labels():
    rng = np.random.default_rng(1)
    arrays = simulated(rng, 200, 100)
    scored, labels = scoring.Scored(arrays, "logits", PRIOR, resampled=20), arrays["labels"]
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
