"""The rows of an evaluation: every score of every network under every decision, with bootstrap intervals."""

import numpy as np
from tqdm import tqdm

from tools.evaluate import calibration, metrics, results
from tools.evaluate.calibration import TUNED

PRECISION = "average_precision"
SUFFIXES = ("", "_low", "_high")


class Scored:
    """One score of one network on a split: its measures, and the same on resamples of the faces.

    score: (N, A) logits; labels: (N, A) bool; prior: (A,); validation: the scores and labels, (M, A) each, that
    thresholds are tuned on, None where they are those of this split; measure: what they are tuned for; resampled:
    number of resamples; seed: of the resamples. With the same seed they are the same for all scores of a split, so that
    differences between scores are paired.
    The faces that thresholds are tuned on are resampled too, so that intervals include what the choice of the
    thresholds adds.
    Attributes: values, dict (decision, measure) -> (A,); samples, the same of the resamples -> (R, A). Average
    precision needs no decision: None. decided: the tuned decisions, (N, A) bool.
    """

    def __init__(self, score, labels, prior, validation=None, measure="accuracy", resampled=1000, seed=0):
        tuned_on = (score, labels) if validation is None else validation
        threshold, _, _ = calibration.fit(*tuned_on, prior, measure)
        decisions = calibration.decide(score, prior, threshold)
        self.values, samples, self.labels = {}, {}, labels
        for decision, decided in decisions.items():
            counts = metrics.count(decided, labels)
            for name, of in metrics.MEASURES.items():
                self.values[decision, name] = of(counts)
        self.values[None, PRECISION] = metrics.average_precision(score, labels)
        drawn = metrics.resamples(len(labels), resampled, seed)
        validation_drawn = metrics.resamples(len(tuned_on[1]), resampled, seed + 1)
        with tqdm(total=resampled, desc="resamples", leave=False, disable=None) as bar:
            for weights, others in zip(drawn, validation_drawn):
                tuned, _, _ = calibration.fit(*tuned_on, prior, measure, weights if validation is None else others)
                precision, counts = metrics.at_thresholds(score, labels, calibration.thresholds(prior, tuned), weights)
                samples.setdefault((None, PRECISION), []).append(precision)
                for decision, cells in counts.items():
                    for name, of in metrics.MEASURES.items():
                        samples.setdefault((decision, name), []).append(of(cells))
                bar.update(len(weights))
        self.samples = {key: np.concatenate(parts) for key, parts in samples.items()}
        self.decisions, self.decided = list(decisions), decisions[TUNED]

    def rows(self, title, attributes):
        """results.Row per attribute, then of the mean, and in each group per decision."""
        cells = {key: self.cells(key) for key in self.values}
        positive, majority = (with_mean(values) for values in (self.labels.mean(axis=0), metrics.majority(self.labels)))
        rows = []
        for index, attribute in enumerate([*attributes, results.MEAN]):
            for decision in self.decisions:
                measures = {}
                for key in [(decision, name) for name in metrics.MEASURES] + [(None, PRECISION)]:
                    for suffix, values in zip(SUFFIXES, cells[key]):
                        measures[f"{key[1]}{suffix}"] = number(values[index])
                shares = float(positive[index]), float(majority[index])
                rows.append(results.Row(title, attribute, *shares, decision, **measures))
        return rows

    def cells(self, key):
        """Value, low and high of a measure, (A + 1,) each: attributes, then their mean."""
        values, samples = with_mean(self.values[key]), with_mean(self.samples[key])
        return values, *metrics.interval(samples)

    def difference(self, other, key):
        """Mean over attributes of a measure, less that of another score of the same split: value, low, high."""
        value = with_mean(self.values[key])[-1] - with_mean(other.values[key])[-1]
        return value, *metrics.interval(self.resampled_difference(other, key))

    def resampled_difference(self, other, key):
        """`difference` on each of the resamples of the faces, (R,)."""
        return with_mean(self.samples[key])[:, -1] - with_mean(other.samples[key])[:, -1]


def of_arrays(arrays, blob, result, resampled=None, seed=0):
    """The Scored of one blob of a network that was evaluated.

    arrays: as results.read_arrays gives them; result: its results.EvaluationResult; resampled: None for as many
    resamples as there
    """
    validation = None
    if result.split != "val":
        validation = arrays[f"validation_{blob}"], arrays["validation_labels"].astype(bool)
    labels, prior = arrays["labels"].astype(bool), np.array(result.prior)
    return Scored(arrays[blob], labels, prior, validation, result.tuned_for, resampled or result.resamples, seed)


def with_mean(values):
    """Values (..., A) and, behind them, their mean over the finite ones."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0).sum(axis=-1, keepdims=True)
    return np.concatenate([values, metrics.share(total, finite.sum(axis=-1, keepdims=True))], axis=-1)


def number(value):
    """A float as JSON and CSV hold it: None for what is not defined."""
    return float(value) if np.isfinite(value) else None


def over_seeds(ones, others, key):
    """`difference` of two lists of Scored of the same faces, one per seed: those of the seeds, low, high.

    low, high: of the mean over the seeds, on the same resamples of the faces for all of them
    """
    pairs = list(zip(ones, others))
    by_seed = [one.difference(other, key)[0] for one, other in pairs]
    low, high = metrics.interval(np.mean([one.resampled_difference(other, key) for one, other in pairs], axis=0))
    return by_seed, float(low), float(high)


def differences(scored):
    """results.Difference of all pairs of a dict name -> Scored, each with thresholds tuned on validation."""
    rows, names = [], list(scored)
    for place, minus in enumerate(names):
        for name in names[place + 1 :]:
            measures = {}
            for decision, measure in [*((TUNED, measure) for measure in metrics.MEASURES), (None, PRECISION)]:
                cells = scored[name].difference(scored[minus], (decision, measure))
                measures.update({f"{measure}{suffix}": number(v) for suffix, v in zip(SUFFIXES, cells)})
            rows.append(results.Difference(name, minus, **measures))
    return rows
