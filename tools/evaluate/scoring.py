"""Scores of networks under every decision, with bootstrap intervals, and the differences between networks."""

import numpy as np
from tqdm import tqdm

from tools.evaluate import calibration, metrics, results
from tools.evaluate.calibration import PRIOR_CORRECTED, TUNED
from tools.evaluate.metrics import PRECISION

ORDER = ("cascade", "whole_face", "region")  # of networks, the one that a reader asks about first


def persons(arrays, prefix=""):
    """The number of each face's person, (N,), from 0 without gaps; each face by itself where persons are not known.

    arrays: as results.read_arrays gives them; prefix: "validation_" for the faces of that split
    """
    numbers = arrays.get(f"{prefix}persons", np.arange(len(arrays[f"{prefix}labels"])))
    return np.unique(numbers, return_inverse=True)[1].ravel()  # some persons may have no face in this part


class Scored:
    """One score of one network on a split: its measures, and the same on resamples of the faces.

    arrays: as results.read_arrays gives them; blob: of the score; prior: (A,); measure: what thresholds are tuned for,
    on the validation split, whose faces may be those of the split itself; resampled: number of resamples. They are the
    same for all scores of a split, so that differences between scores are paired. Persons are resampled with all their
    faces, where they are known. The faces that thresholds are tuned on are resampled too, so that intervals include
    what the choice of the thresholds adds.

    Attributes: values, dict (decision, measure) -> (A + 1,), the attributes' and their mean; samples, the same of the
    resamples -> (R, A + 1). Average precision needs no decision: its key is (None, PRECISION). labels: (N, A);
    decided: dict decision -> (N, A) bool; calibration: what was fitted, threshold, slope and offset, lists (A,).
    """

    def __init__(self, arrays, blob, prior, measure="accuracy", resampled=1000):
        other = "validation_" if "validation_labels" in arrays else ""
        scores, tuned_on = arrays[blob], arrays[other + blob]
        self.labels, tuned_labels = (arrays[f"{prefix}labels"].astype(bool) for prefix in ("", other))
        prior = np.asarray(prior)

        def measures(tuned, weights):
            cuts = calibration.thresholds(prior, tuned)
            found = metrics.measures(scores, self.labels, cuts, weights)
            return {key: with_mean(values) for key, values in found.items()}

        fitted = calibration.fit(tuned_on, tuned_labels, prior, measure)
        tuned, names = fitted[0], ("threshold", "slope", "offset")
        self.calibration = results.Entry(zip(names, (part.tolist() for part in fitted)))
        self.decided = {name: scores > cut for name, cut in calibration.thresholds(prior, tuned).items()}
        self.values = {key: rows[0] for key, rows in measures(tuned, np.ones((1, len(scores)))).items()}
        parts = []
        chosen = metrics.resamples(persons(arrays), resampled)
        for_tuning = metrics.resamples(persons(arrays, other), resampled, seed=1)
        with tqdm(total=resampled, desc="resamples", leave=False, disable=None) as bar:
            for weights, of_tuning in zip(chosen, for_tuning):
                tuned, _, _ = calibration.fit(tuned_on, tuned_labels, prior, measure, of_tuning if other else weights)
                parts.append(measures(tuned, weights))
                bar.update(len(weights))
        self.samples = {key: np.concatenate([part[key] for part in parts]) for key in self.values}

    def rows(self, title, attributes):
        """Rows of evaluation.json: per attribute, then of the mean, and in each group per decision."""
        found = {key: results.estimates(self.values[key], self.samples[key]) for key in self.values}
        positive, majority = (with_mean(part) for part in (self.labels.mean(axis=0), metrics.majority(self.labels)))
        return [
            results.Entry(
                score=title,
                attribute=attribute,
                decision=decision,
                positive=float(positive[place]),
                majority=float(majority[place]),
                **{name: found[key][place] for name, key in keys(decision).items()},
            )
            for place, attribute in enumerate([*attributes, results.MEAN])
            for decision in calibration.DECISIONS
        ]

    def minus(self, other, key):
        """The mean over attributes less that of another score of the same split: value, and of the resamples (R,)."""
        return self.values[key][-1] - other.values[key][-1], self.samples[key][:, -1] - other.samples[key][:, -1]


def of_network(arrays, *settings):
    """dict score -> Scored of a network's scores, its answer last; settings: further ones of Scored."""
    return {title: Scored(arrays, blob, *settings) for title, blob in results.SCORES.items() if blob in arrays}


def with_mean(values):
    """Values (..., A) and, behind them, their mean over the finite ones."""
    finite = np.isfinite(values)
    total = np.where(finite, values, 0).sum(axis=-1, keepdims=True)
    return np.concatenate([values, metrics.share(total, finite.sum(axis=-1, keepdims=True))], axis=-1)


def keys(decision):
    """The keys of a Scored's values that belong to a decision: dict measure -> key."""
    return {name: (None if name == PRECISION else decision, name) for name in results.NAMES}


def differences(scored):
    """The differences of evaluation.json: of all pairs of a dict name -> Scored, under decisions that know the prior.

    Those of the first of ORDER come first.
    """
    names = [name for name in ORDER if name in scored]
    return [
        results.Entry(
            network=name,
            minus=minus,
            decision=decision,
            **{
                field: results.difference(*scored[name].minus(scored[minus], key))
                for field, key in keys(decision).items()
            },
        )
        for place, name in enumerate(names)
        for minus in names[place + 1 :]
        for decision in (PRIOR_CORRECTED, TUNED)
    ]
