"""The rows of an evaluation: every score of every net under every decision, with bootstrap intervals."""

import numpy as np

from tools.evaluate import metrics
from tools.evaluate.calibration import decide

PRECISION = "average_precision"


class Scored:
    """One score of one net on a split: its measures, and the same on resamples of the faces.

    score: (N, A) logits; labels: (N, A) bool; prior, threshold: (A,); resampled: number of resamples, the same ones
    for all scores of a split, so that differences between scores are paired
    Attributes: values, dict (rule, measure) -> (A,); draws, the same -> (R, A). Rule of average precision: None.
    """

    def __init__(self, score, labels, prior, threshold, resampled=1000):
        decisions = decide(score, prior, threshold)
        self.values, draws = {}, {}
        for rule, decided in decisions.items():
            counts = metrics.count(decided, labels)
            for name, measure in metrics.MEASURES.items():
                self.values[rule, name] = measure(counts)
        self.values[None, PRECISION] = metrics.average_precision(score, labels)
        for weights in metrics.resamples(len(labels), resampled):
            for rule, decided in decisions.items():
                counts = metrics.count(decided, labels, weights)
                for name, measure in metrics.MEASURES.items():
                    draws.setdefault((rule, name), []).append(measure(counts))
            draws.setdefault((None, PRECISION), []).append(metrics.average_precision(score, labels, weights))
        self.draws = {key: np.concatenate(parts) for key, parts in draws.items()}
        self.rules = list(decisions)

    def rows(self, attributes):
        """Rows per attribute, then the mean, and in each group per rule."""
        cells = {key: self.cells(key) for key in self.values}
        rows = []
        for index, attribute in enumerate([*attributes, "mean"]):
            for rule in self.rules:
                row = {"attribute": attribute, "rule": rule}
                for key in [(rule, name) for name in metrics.MEASURES] + [(None, PRECISION)]:
                    for suffix, values in zip(("", "_low", "_high"), cells[key]):
                        row[f"{key[1]}{suffix}"] = number(values[index])
                rows.append(row)
        return rows

    def cells(self, key):
        """Value, low and high of a measure, (A + 1,) each: attributes, then their mean."""
        values, draws = with_mean(self.values[key]), with_mean(self.draws[key])
        return values, *metrics.interval(draws)

    def difference(self, other, key):
        """Mean over attributes of a measure, less that of another score of the same split: value, low, high."""
        values = np.nanmean(self.values[key]) - np.nanmean(other.values[key])
        draws = with_mean(self.draws[key])[:, -1] - with_mean(other.draws[key])[:, -1]
        return values, *metrics.interval(draws)


def with_mean(values):
    """Values (..., A) and, behind them, their mean over what is known."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=-1, keepdims=True)
    return np.concatenate([values, metrics.share(total, known.sum(axis=-1, keepdims=True))], axis=-1)


def number(value):
    """A float as JSON and CSV hold it: None for what is not known."""
    return float(value) if np.isfinite(value) else None


def differences(scored):
    """What one net has over another: rows of all pairs of a dict name -> Scored, each decision tuned on validation."""
    rows, names = [], list(scored)
    for place, other in enumerate(names):
        for name in names[place + 1 :]:
            row = {"of": name, "over": other}
            for measure in metrics.MEASURES:
                cells = scored[name].difference(scored[other], ("tuned", measure))
                row.update({f"{measure}{suffix}": number(v) for suffix, v in zip(("", "_low", "_high"), cells)})
            rows.append(row)
    return rows
