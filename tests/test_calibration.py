"""Thresholds and calibrated probabilities: expected values, exhaustive search, and comparison with scikit-learn."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import sklearn.linear_model

from data_prep.files import sha256
from tools.errors import ToolError
from tools.evaluate import calibration, metrics, published, results, scoring

PRIOR = np.array([0.2])


def column(*values):
    return np.array(values, dtype=float)[:, np.newaxis]


def test_three_decisions_have_the_expected_thresholds():
    # 20 % positive in training: the prior lowers a logit by log 4 = 1.39.
    decisions = calibration.decide(column(-1, 1, 2), PRIOR, np.array([-2.0]))
    found = {name: decided.ravel().tolist() for name, decided in decisions.items()}
    assert found == {"p > 0.5": [0, 1, 1], "prior-corrected": [0, 0, 1], "tuned": [1, 1, 1]}


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
    np.testing.assert_allclose(calibration.fit(scores, labels, PRIOR)[0], 3, atol=1e-6)
    # With too few positives, the threshold is that of the prior.
    threshold, slope, offset = calibration.fit(scores[:24], labels[:24], PRIOR)
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
def test_a_fit_to_resamples_equals_fits_to_the_faces_drawn(measure):
    scores, labels = random_scores()
    labels[:, 2] = np.arange(200) < 6  # in some of the resamples too few for a fit
    scores[:6, 2] += 10
    prior = np.array([0.3, 0.3, 0.1])
    (weights,) = metrics.resamples(200, 20)
    found = calibration.fit(scores, labels, prior, measure, weights)
    few = weights[:, :6].sum(axis=1) < calibration.LEAST
    assert 0 < few.sum() < 20 and (found[1][few, 2] == 1).all() and (found[1][~few, 2] != 1).all()
    for number, counts in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(200), counts)
        for part, alone in zip(found, calibration.fit(scores[drawn], labels[drawn], prior, measure)):
            np.testing.assert_allclose(part[number], alone, rtol=1e-3)


@pytest.mark.parametrize("measure", metrics.MEASURES)
def test_a_fit_to_resamples_of_many_faces_groups_them_and_is_nearly_the_same(measure):
    scores, labels = random_scores(3000)
    scores[0] = 100  # one outlier, which widens all groups
    (weights,) = metrics.resamples(3000, 5)
    found = calibration.fit(scores, labels, np.full(3, 0.3), measure, weights)
    for number, counts in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(3000), counts)
        alone = calibration.fit(scores[drawn], labels[drawn], np.full(3, 0.3), measure)
        assert (np.abs(found[0][number] - alone[0]) < 0.02 * scores.std(axis=0)).all()
        np.testing.assert_allclose(found[1][number], alone[1], rtol=0.02)


def test_probabilities_equal_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(4000, 1)) * 2
    labels = rng.random((4000, 1)) < 1 / (1 + np.exp(-(1.5 * truth - 2)))
    _, slope, offset = calibration.fit(truth, labels, PRIOR)
    model = sklearn.linear_model.LogisticRegression(C=np.inf).fit(truth, labels.ravel())
    # Platt's targets are a little above 0 and below 1, so the two differ in the third digit.
    np.testing.assert_allclose([slope[0], offset[0]], [model.coef_[0, 0], model.intercept_[0]], rtol=2e-2)
    p = calibration.probability(truth, slope, offset)
    for low in (0.1, 0.4, 0.7):
        among = (p > low) & (p < low + 0.2)
        assert abs(labels[among].mean() - p[among].mean()) < 0.05


def test_probabilities_stay_finite_for_separable_and_for_constant_scores():
    labels = column(*[0] * 20, *[1] * 20) > 0
    threshold, slope, offset = calibration.fit(np.where(labels, 1000.0, -1000.0), labels, PRIOR)
    p = calibration.probability(column(-1000, 1000), slope, offset)
    assert p[0] < 0.1 and p[1] > 0.9 and np.isfinite([*slope, *offset]).all()
    np.testing.assert_allclose(threshold, 0, atol=1e-3)
    fitted = calibration.fit(np.where(labels, -1.0, 1.0), labels, PRIOR)  # scores in the wrong order
    np.testing.assert_allclose(calibration.probability(column(-1, 1), *fitted[1:]), 0.5, atol=1e-3)
    assert np.isfinite(calibration.fit(np.zeros((40, 1)), labels, PRIOR)).all()


@pytest.mark.parametrize("measure", metrics.MEASURES)
@pytest.mark.parametrize("positives", (10, 20, 30))
def test_misordered_scores_get_one_answer_for_all_faces(measure, positives):
    """Once a defect: reversed scores were decided by a threshold in their middle, each of them wrongly."""
    labels = column(*[0] * (40 - positives), *[1] * positives) > 0
    scores = np.where(labels, -1.0, 1.0) + np.linspace(0, 0.5, 40)[:, np.newaxis]
    threshold, _, _ = calibration.fit(scores, labels, PRIOR, measure)
    decided = np.unique(scores > threshold)
    assert len(decided) == 1
    if measure == "accuracy":
        assert positives == 20 or decided[0] == (positives > 20)


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
        start = [0, np.log(positive / negative)]
        best = scipy.optimize.minimize(loss, start, (score, target), method="BFGS")
        if best.x[0] > 0.01:
            rising += 1
            assert loss((slope, offset), score, target) == pytest.approx(best.fun, abs=1e-3)
        elif best.x[0] < 0:
            assert slope < 0.01
    assert 10 < rising < 30


def test_calibration_is_stored_beside_the_weights(tmp_path):
    weights, other = tmp_path / "a.caffemodel", tmp_path / "b.caffemodel"
    weights.write_bytes(b"weights")
    other.write_bytes(b"others")
    score = calibration.ScoreCalibration([0.5], [1.0], [0.0])
    made = calibration.Calibration(sha256(weights), "data", ["Male"], PRIOR.tolist(), 7, "f1", {"logits": score})
    calibration.write(weights, made)
    calibration.write(other, dataclasses.replace(made, weights=sha256(other)))
    assert calibration.read(weights, ["Male"]) == made == calibration.read(weights)
    assert calibration.read(weights, ["Young"]) is None
    weights.write_bytes(b"trained anew")
    assert calibration.read(weights) is None and calibration.read(other) is not None
    (tmp_path / calibration.NAME).write_text("{")
    with pytest.raises(ToolError, match="damaged"):
        calibration.read(weights, ["Male"])


def test_averages_printed_in_table_2_are_recomputed():
    table = published.read()
    means = {key: 100 * published.mean(published.rows(key[0])[key[1]]) for key in table}
    expected = {
        "celeba": {"FaceTracer": 80.05, "PANDA-w": 79.6, "PANDA-l": 85.5, "LNets+ANet": 87.55, "Paper": 90.185},
        "lfwa": {"FaceTracer": 76.45, "PANDA-w": 75.35, "PANDA-l": 83.2, "LNets+ANet": 86.3, "Paper": 87.835},
    }
    flat = {(dataset, method): mean for dataset, row in expected.items() for method, mean in row.items()}
    assert means == pytest.approx(flat)
    # The paper's averages are over these twenty attributes; those of the other methods are over forty, and most differ.
    for dataset in expected:
        assert means[dataset, "Paper"] == pytest.approx(100 * table[dataset, "Paper"]["printed_average"], abs=0.05)
        assert means[dataset, "LNets+ANet"] > 100 * table[dataset, "LNets+ANet"]["printed_average"] + 0.5
    assert "87.55" in published.note("celeba") and "86.30" in published.note("lfwa")


def test_accuracies_are_listed_beside_the_published_ones():
    rng = np.random.default_rng(0)
    attributes = ["Male", "Eyeglasses", "Own_Attribute"]
    labels = rng.random((40, 3)) < 0.5
    scored = scoring.Scored(rng.normal(size=(40, 3)), labels, np.full(3, 0.5), resampled=10)
    rows = [row for row in scored.rows("task one", attributes) if row.decision == "tuned"]
    male, glasses, mean = published.beside({"mine": rows}, "celeba")
    assert [male.attribute, glasses.attribute, mean.attribute] == ["Male", "Eyeglasses", results.MEAN]
    table = published.rows("celeba")["Paper"]
    assert male.accuracy == {
        "mine (here)": rows[0].accuracy,
        "LNets+ANet (published)": pytest.approx(0.98),
        "Paper (published)": table["Male"],
    }
    assert mean.accuracy["mine (here)"] == pytest.approx((rows[0].accuracy + rows[1].accuracy) / 2)
    assert mean.accuracy["Paper (published)"] == pytest.approx((table["Male"] + table["Eyeglasses"]) / 2)
    assert published.beside({"mine": rows}, "csv") == [] == published.beside({"mine": rows[2:]}, "celeba")
