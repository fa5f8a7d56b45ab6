"""The rows of an evaluation: every score of every network under every decision, with bootstrap intervals."""

import dataclasses

import numpy as np
from tqdm import tqdm

from tools.evaluate import calibration, metrics, results
from tools.evaluate.calibration import PRIOR_CORRECTED, TUNED

PRECISION = "average_precision"


@dataclasses.dataclass
class Faces:
    """The faces of a split and one score of each: scores (N, A), labels (N, A) bool.

    groups: (N,), the number of each face's person; each face by itself where persons are not known
    """

    scores: np.ndarray
    labels: np.ndarray
    groups: np.ndarray = None

    def __post_init__(self):
        self.labels = self.labels.astype(bool)
        if self.groups is None:
            self.groups = np.arange(len(self.labels))


class Scored:
    """One score of one network on a split: its measures, and the same on resamples of the faces.

    faces: Faces of the split; prior: (A,); validation: the Faces that thresholds are tuned on, None where they are
    those of this split; measure: what they are tuned for; resampled: number of resamples; seed: of the resamples.
    With the same seed they are the same for all scores of a split, so that differences between scores are paired.
    Persons are resampled with all their faces, where they are known. The faces that thresholds are tuned on are
    resampled too, so that intervals include what the choice of the thresholds adds. Attributes: values, dict
    (decision, measure) -> (A,); samples, the same of the resamples -> (R, A). Average precision needs no decision:
    None. decided: the tuned decisions, (N, A) bool.
    """

    def __init__(self, faces, prior, validation=None, measure="accuracy", resampled=1000, seed=0):
        score, labels = faces.scores, faces.labels
        tuned_on = validation or faces
        fitted = tuned_on.scores, tuned_on.labels, prior, measure
        threshold, _, _ = calibration.fit(*fitted)
        decisions = calibration.decide(score, prior, threshold)
        self.values, samples, self.labels = {}, {}, labels
        for decision, decided in decisions.items():
            counts = metrics.count(decided, labels)
            for name, of in metrics.MEASURES.items():
                self.values[decision, name] = of(counts)
        self.values[None, PRECISION] = metrics.average_precision(score, labels)
        drawn = metrics.resamples(faces.groups, resampled, seed)
        validation_drawn = metrics.resamples(tuned_on.groups, resampled, seed + 1)
        with tqdm(total=resampled, desc="resamples", leave=False, disable=None) as bar:
            for weights, others in zip(drawn, validation_drawn):
                tuned, _, _ = calibration.fit(*fitted, weights if validation is None else others)
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
                measures = {key[1]: estimate(*(values[index] for values in cells[key])) for key in keys_of(decision)}
                shares = {"positive": float(positive[index]), "majority": float(majority[index])}
                rows.append(results.Row(score=title, attribute=attribute, decision=decision, **shares, **measures))
        return rows

    def cells(self, key):
        """Value, low and high of a measure, (A + 1,) each: attributes, then their mean."""
        values, samples = with_mean(self.values[key]), with_mean(self.samples[key])
        return (values, *metrics.interval(values, samples))

    def difference(self, other, key):
        """Mean over attributes of a measure, less that of another score of the same split: value, low, high."""
        value = with_mean(self.values[key])[-1] - with_mean(other.values[key])[-1]
        return (value, *metrics.interval(value, self.resampled_difference(other, key)))

    def resampled_difference(self, other, key):
        """`difference` on each of the resamples of the faces, (R,)."""
        return with_mean(self.samples[key])[:, -1] - with_mean(other.samples[key])[:, -1]


def of_arrays(arrays, blob, result, resampled=None, seed=0):
    """The Scored of one blob of a network that was evaluated.

    arrays: as results.read_arrays gives them; result: its results.EvaluationResult; resampled: None for as many
    resamples as there
    """
    return Scored(
        faces(arrays, blob),
        np.array(result.prior),
        faces(arrays, blob, "validation_") if result.split != "val" else None,
        result.tuned_for,
        resampled or result.resamples,
        seed,
    )


def faces(arrays, blob, prefix=""):
    """The Faces of one blob among the arrays of an evaluation. prefix: "validation_" for those of that split."""
    return Faces(*(arrays.get(f"{prefix}{name}") for name in (blob, "labels", "groups")))


def with_mean(values):
    """Values (..., A) and, behind them, their mean over the finite ones."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0).sum(axis=-1, keepdims=True)
    return np.concatenate([values, metrics.share(total, finite.sum(axis=-1, keepdims=True))], axis=-1)


def keys_of(decision):
    """The keys of a Scored's values that belong to a decision."""
    return [*((decision, name) for name in metrics.MEASURES), (None, PRECISION)]


def estimate(*numbers):
    """A results.Estimate of value, low and high, None for what is not defined."""
    return results.Estimate(*(float(value) if np.isfinite(value) else None for value in numbers))


def over_seeds(ones, others, key):
    """`difference` of two lists of Scored of the same faces, one per seed: those of the seeds, and two intervals.

    Both are of the mean over the seeds, (low, high) each: over other faces, on the same resamples for all seeds; and
    over other faces and other seeds, on resamples of both. Three seeds tell little of their spread: see those of the
    seeds.
    """
    pairs = list(zip(ones, others))
    by_seed = [float(one.difference(other, key)[0]) for one, other in pairs]
    resampled = np.stack([one.resampled_difference(other, key) for one, other in pairs])
    drawn = np.random.RandomState(0).randint(len(pairs), size=resampled.shape)
    both = np.take_along_axis(resampled, drawn, axis=0)
    intervals = (metrics.interval(np.mean(by_seed), part.mean(axis=0)) for part in (resampled, both))
    return (by_seed, *(tuple(map(float, ends)) for ends in intervals))


def differences(scored):
    """results.Difference of all pairs of a dict name -> Scored, under each decision that knows the prior."""
    rows, names = [], list(scored)
    for place, minus in enumerate(names):
        for name in names[place + 1 :]:
            for decision in (PRIOR_CORRECTED, TUNED):
                measures = {key[1]: estimate(*scored[name].difference(scored[minus], key)) for key in keys_of(decision)}
                rows.append(results.Difference(network=name, minus=minus, decision=decision, **measures))
    return rows
