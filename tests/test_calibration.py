"""Thresholds and calibrated probabilities: expected values, exhaustive search, and comparison with scikit-learn."""

import dataclasses

import numpy as np
import pytest
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


def test_threshold_lies_between_the_expected_scores():
    scores = column(-9, -8, -7, -6, -5, 1, 2, 3, 4, 5)
    labels = column(0, 0, 0, 0, 1, 0, 1, 1, 1, 1) > 0
    # One face is wrong from 1.5 on, or from -5.5 on: the first of the best thresholds is chosen, midway between scores.
    assert calibration.tune(scores, labels, PRIOR) == [-5.5]
    # With too few positives, the threshold is that of the prior.
    np.testing.assert_allclose(calibration.tune(scores[:4], labels[:4], PRIOR), np.log([4]))


@pytest.mark.parametrize("measure", metrics.MEASURES)
def test_no_threshold_is_better(measure):
    rng = np.random.default_rng(1)
    labels = rng.random((80, 2)) < 0.3
    scores = np.round(rng.normal(size=(80, 2)) + labels, 1)
    tuned = calibration.tune(scores, labels, np.array([0.3, 0.3]), measure)
    of = metrics.MEASURES[measure]
    best = np.nanmax([of(metrics.count(scores > t, labels)) for t in np.arange(-5, 6, 0.05)], axis=0)
    np.testing.assert_allclose(of(metrics.count(scores > tuned, labels)), best, rtol=1e-6)


def test_probabilities_equal_those_of_scikit_learn():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(4000, 1)) * 2
    labels = rng.random((4000, 1)) < 1 / (1 + np.exp(-(1.5 * truth - 2)))
    slope, offset = calibration.fit(truth, labels, PRIOR)
    model = sklearn.linear_model.LogisticRegression(C=np.inf).fit(truth, labels.ravel())
    # Platt's targets are a little above 0 and below 1, so the two differ in the third digit.
    np.testing.assert_allclose([slope[0], offset[0]], [model.coef_[0, 0], model.intercept_[0]], rtol=2e-2)
    p = calibration.probability(truth, slope, offset)
    for low in (0.1, 0.4, 0.7):
        among = (p > low) & (p < low + 0.2)
        assert abs(labels[among].mean() - p[among].mean()) < 0.05


def test_probabilities_stay_finite_for_separable_and_for_constant_scores():
    labels = column(*[0] * 20, *[1] * 20) > 0
    slope, offset = calibration.fit(np.where(labels, 1000.0, -1000.0), labels, PRIOR)
    p = calibration.probability(column(-1000, 1000), slope, offset)
    assert p[0] < 0.1 and p[1] > 0.9 and np.isfinite([*slope, *offset]).all()
    slope, offset = calibration.fit(np.where(labels, -1.0, 1.0), labels, PRIOR)  # scores in the wrong order
    np.testing.assert_allclose(calibration.probability(column(-1, 1), slope, offset), 0.5)


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
    scored = scoring.Scored(rng.normal(size=(40, 3)), labels, np.full(3, 0.5), np.zeros(3), 10)
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
