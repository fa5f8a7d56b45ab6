"""The section of a report on groups of faces: accuracy on the faces with and without any attribute."""

import numpy as np

from tools.evaluate import metrics, scoring
from tools.evaluate.results import estimates
from tools.evaluate.summary import cell, interval
from tools.report import charts, page

# Groups that have names of their own, without and with the attribute, and come first; all others are named by the
# attribute.
NAMES = {"Male": ("women", "men"), "Young": ("older", "young")}


def accuracies(right, labels, persons, resampled):
    """Accuracy of each attribute on the faces without and with each attribute: estimates [group][side][attribute].

    right: whether answers are right, (N, A) bool; labels: (N, A) bool; persons: of the faces, (N,), which are
    resampled; resampled: how often. The mean over the other attributes comes last; values are None where a group has
    no face.
    """
    count = labels.shape[1]
    sides = np.stack([~labels, labels], axis=2).reshape(len(labels), 2 * count).astype(np.float32)
    answers = (sides[:, :, np.newaxis] * right[:, np.newaxis]).reshape(len(labels), -1)
    itself = np.eye(count, dtype=bool)[np.newaxis, :, np.newaxis]

    def measure(weights):
        each = (weights @ answers).reshape(-1, count, 2, count)
        each = metrics.share(each, (weights @ sides).reshape(-1, count, 2, 1))
        mean = scoring.with_mean(np.where(itself, np.nan, each))[..., -1:]
        return np.concatenate([each, mean], axis=-1)

    samples = np.concatenate([measure(weights) for weights in metrics.resamples(persons, resampled)])
    values = measure(np.ones((1, len(labels)), np.float32))[0]
    return [[estimates(values[group, side], samples[:, group, side]) for side in (0, 1)] for group in range(count)]


def by_group(opened):
    """One panel per attribute that divides the faces: accuracy of the other attributes on both sides."""
    count = len(opened.attributes)
    if count < 2:
        return ""
    decisions, _ = opened.answers(opened.chosen)
    persons = scoring.persons(opened.arrays[opened.chosen])
    found = accuracies(decisions == opened.labels, opened.labels, persons, opened.result.resamples)
    panels = {}
    for group in sorted(range(count), key=lambda place: (opened.attributes[place] not in NAMES, place)):
        (without, having), shown, rows = found[group], opened.shown[group], []
        titles = NAMES.get(opened.attributes[group], (f"without {shown}", f"with {shown}"))
        for place, name in enumerate([*opened.shown, "Mean"]):
            if place != group:
                both = without[place].value, having[place].value
                difference = None if None in both else both[0] - both[1]
                rows.append([name, interval(without[place]), interval(having[place]), cell(difference, "+")])
        sizes = [int((opened.labels[:, group] == side).sum()) for side in (False, True)]
        dots = [
            (f"{title} ({size:,} faces)", [side[-1]], None) for title, size, side in zip(titles, sizes, found[group])
        ]
        heads = ["Attribute", *map(page.heading, titles), "Difference"]
        chart = charts.dots(dots, ["accuracy"], "Mean accuracy of the other attributes, 95 % intervals")
        panels[shown] = chart + page.table(heads, rows, f"Accuracy by {shown}", mean=True)
    return page.render("groups.html", network=opened.chosen, panels=page.picker("Groups by", panels, "group"))
