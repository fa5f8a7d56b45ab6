"""Scores of networks under every decision, with bootstrap intervals, and the differences between networks."""

import dataclasses

import numpy as np
from tqdm import tqdm

from tools.evaluate import calibration, metrics, results
from tools.evaluate.calibration import PRIOR_CORRECTED, TUNED
from tools.evaluate.metrics import PRECISION
from tools.evaluate.results import Difference, Estimate, Row


@dataclasses.dataclass
class Faces:
    """The faces of a split and one score of each: scores (N, A), labels (N, A) bool.

    persons: (N,), the same for all faces of a person; each face by itself where persons are not known
    """

    scores: np.ndarray
    labels: np.ndarray
    persons: np.ndarray = None

    def __post_init__(self):
        self.labels = self.labels.astype(bool)
        persons = np.arange(len(self.labels)) if self.persons is None else self.persons
        self.groups = np.unique(persons, return_inverse=True)[1].ravel()  # some persons may have no face in this part


class Scored:
    """One score of one network on a split: its measures, and the same on resamples of the faces.

    faces: Faces of the split; prior: (A,); validation: the Faces that thresholds are tuned on, None where they are
    those of this split; measure: what they are tuned for; resampled: number of resamples; seed: of the resamples.
    With the same seed they are the same for all scores of a split, so that differences between scores are paired.
    Persons are resampled with all their faces, where they are known. The faces that thresholds are tuned on are
    resampled too, so that intervals include what the choice of the thresholds adds.

    Attributes: values, dict (decision, measure) -> (A + 1,), the attributes' and their mean; samples, the same of the
    resamples -> (R, A + 1). Average precision needs no decision: its key is (None, PRECISION). labels: (N, A);
    decided: dict decision -> (N, A) bool; calibration: the ScoreCalibration that was tuned.
    """

    def __init__(self, faces, prior, validation=None, measure="accuracy", resampled=1000, seed=0):
        tuned_on, self.labels = validation or faces, faces.labels

        def measures(tuned, weights):
            cuts = calibration.thresholds(prior, tuned)
            found = metrics.measures(faces.scores, faces.labels, cuts, weights)
            return {key: with_mean(values) for key, values in found.items()}

        fitted = calibration.fit(tuned_on.scores, tuned_on.labels, prior, measure)
        tuned, self.calibration = fitted[0], calibration.ScoreCalibration(*(part.tolist() for part in fitted))
        self.decided = {name: faces.scores > cut for name, cut in calibration.thresholds(prior, tuned).items()}
        self.values = {key: rows[0] for key, rows in measures(tuned, np.ones((1, len(faces.labels)))).items()}
        parts = []
        chosen = metrics.resamples(faces.groups, resampled, seed)
        for_tuning = metrics.resamples(tuned_on.groups, resampled, seed + 1)
        with tqdm(total=resampled, desc="resamples", leave=False, disable=None) as bar:
            for weights, of_tuning in zip(chosen, for_tuning):
                of_tuning = of_tuning if validation else weights
                tuned, _, _ = calibration.fit(tuned_on.scores, tuned_on.labels, prior, measure, of_tuning)
                parts.append(measures(tuned, weights))
                bar.update(len(weights))
        self.samples = {key: np.concatenate([part[key] for part in parts]) for key in self.values}

    def rows(self, title, attributes):
        """results.Row per attribute, then of the mean, and in each group per decision."""
        estimates = {key: Estimate.of_many(self.values[key], self.samples[key]) for key in self.values}
        positive, majority = (with_mean(part) for part in (self.labels.mean(axis=0), metrics.majority(self.labels)))
        return [
            Row(
                score=title,
                attribute=attribute,
                decision=decision,
                positive=float(positive[place]),
                majority=float(majority[place]),
                **{name: estimates[key][place] for name, key in keys(decision).items()},
            )
            for place, attribute in enumerate([*attributes, results.MEAN])
            for decision in calibration.DECISIONS
        ]

    def minus(self, other, key):
        """The mean over attributes less that of another score of the same split: value, and of the resamples (R,)."""
        return self.values[key][-1] - other.values[key][-1], self.samples[key][:, -1] - other.samples[key][:, -1]


def of_arrays(arrays, blob, prior, measure, resampled, seed=0):
    """The Scored of one blob of a network. arrays: as results.read_arrays gives them; the others: as of Scored.

    Thresholds are tuned on the validation split, whose faces may be those of the split itself.
    """
    tuned_on = faces(arrays, blob, "validation_") if "validation_labels" in arrays else None
    return Scored(faces(arrays, blob), np.asarray(prior), tuned_on, measure, resampled, seed)


def of_network(arrays, *settings):
    """dict score -> Scored of a network's scores, its answer last; settings: further ones of `of_arrays`."""
    return {title: of_arrays(arrays, blob, *settings) for title, blob in results.SCORES.items() if blob in arrays}


def faces(arrays, blob, prefix=""):
    """The Faces of one blob among the arrays of an evaluation. prefix: "validation_" for those of that split."""
    return Faces(*(arrays.get(f"{prefix}{name}") for name in (blob, "labels", "persons")))


def with_mean(values):
    """Values (..., A) and, behind them, their mean over the finite ones."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0).sum(axis=-1, keepdims=True)
    return np.concatenate([values, metrics.share(total, finite.sum(axis=-1, keepdims=True))], axis=-1)


def keys(decision):
    """The keys of a Scored's values that belong to a decision: dict field of results.Measures -> key."""
    return {**{name: (decision, name) for name in metrics.MEASURES}, PRECISION: (None, PRECISION)}


def differences(scored):
    """results.Difference of all pairs of a dict name -> Scored, under each decision that knows the prior."""
    names = list(scored)
    return [
        Difference(
            network=name,
            minus=minus,
            decision=decision,
            **{field: Estimate.of(*scored[name].minus(scored[minus], key)) for field, key in keys(decision).items()},
        )
        for place, minus in enumerate(names)
        for name in names[place + 1 :]
        for decision in (PRIOR_CORRECTED, TUNED)
    ]


@dataclasses.dataclass
class SeedDifference:
    """A difference of one measure between two networks that were trained with several seeds each.

    difference: the mean over the seeds of the differences of the means over attributes, with the interval of resampled
    test and validation persons, the same for all seeds: what other faces would change; low_seeds_too, high_seeds_too:
    the interval of resampled persons and seeds, None of one seed; by_seed: the difference of each seed
    """

    network: str
    minus: str
    measure: str
    difference: Estimate
    low_seeds_too: float
    high_seeds_too: float
    by_seed: list


def over_seeds(ours, theirs, key):
    """Difference of two lists of Scored of the same faces, one per seed: the fields of a SeedDifference, a dict.

    key: of their values. For each resample of the seeds one seed less than there are is drawn, with replacement: means
    of S - 1 of S values have, on average, the spread of means of S new ones; those of S would have less (Rao and Wu
    1988).
    """
    pairs = [our.minus(their, key) for our, their in zip(ours, theirs)]
    by_seed, resampled = [float(value) for value, _ in pairs], np.stack([samples for _, samples in pairs])
    difference, both = Estimate.of(np.mean(by_seed), resampled.mean(axis=0)), Estimate()
    if len(pairs) > 1:
        chosen = np.random.RandomState(0).randint(len(pairs), size=(len(pairs) - 1, resampled.shape[1]))
        both = Estimate.of(np.mean(by_seed), np.take_along_axis(resampled, chosen, axis=0).mean(axis=0))
    return {"difference": difference, "low_seeds_too": both.low, "high_seeds_too": both.high, "by_seed": by_seed}
