"""The section of a report on groups of faces: accuracy on the faces with and without any attribute."""

import numpy as np

from tools.evaluate import metrics
from tools.report import charts, page

# Groups that have names of their own, without and with the attribute; all others are named by the attribute.
NAMES = {"Male": ("women", "men"), "Young": ("older", "young")}
FIRST = ("Male", "Young")  # shown first where they are among the attributes


def names(attribute):
    """What the faces without and with an attribute are called."""
    shown = page.human(attribute)
    return NAMES.get(attribute, (f"without {shown}", f"with {shown}"))


def accuracies(right, labels, groups=None, resampled=1000):
    """Accuracy of each attribute on the faces without and with each attribute, with 95 % intervals.

    right: whether answers are right, (N, A) bool; labels: (N, A) bool; groups: number of each face's person, (N,), None
    where persons are not known. Returns value, low, high: (A groups, 2, A + 1)
    each, the mean over the other attributes last; NaN where a group has no face.
    """
    faces, count = labels.shape
    masks = np.stack([~labels, labels], axis=2).reshape(faces, 2 * count)  # of a group: without, with
    cells = (masks[:, :, np.newaxis] & right[:, np.newaxis]).reshape(faces, -1).astype(np.float32)
    sizes = masks.astype(np.float32)
    others = ~np.eye(count, dtype=bool)

    def measure(weights):
        each = (weights @ cells).reshape(-1, count, 2, count)
        each = metrics.share(each, (weights @ sizes).reshape(-1, count, 2, 1))
        mean = np.full((*each.shape[:-1], 1), np.nan)
        for group in range(count if count > 1 else 0):
            mean[:, group, :, 0] = each[:, group][..., others[group]].mean(axis=-1)
        return np.concatenate([each, mean], axis=-1)

    groups = np.arange(faces) if groups is None else groups
    samples = np.concatenate([measure(weights) for weights in metrics.resamples(groups, resampled)])
    value = measure(np.ones((1, faces), np.float32))[0]
    return (value, *metrics.interval(value, samples))


def by_group(opened):
    """One panel per attribute that divides the faces: accuracy of the other attributes on both sides."""
    count = len(opened.attributes)
    if count < 2:
        return ""
    decisions, _ = opened.answers(opened.chosen())
    persons = opened.arrays[opened.chosen()].get("groups")
    cells = accuracies(decisions == opened.labels, opened.labels, persons)
    order = sorted(range(count), key=lambda place: (opened.attributes[place] not in FIRST, place))
    panels = {}
    for group in order:
        sizes = [int((opened.labels[:, group] == side).sum()) for side in (False, True)]
        titles = names(opened.attributes[group])
        dots, rows = [], []
        for side, title in enumerate(titles):
            cell = [float(values[group, side, -1]) for values in cells]
            faces = f"{title} ({sizes[side]:,} faces)"
            dots.append((faces, [cell if np.isfinite(cell).all() else None], None))
        for place in [*(place for place in range(count) if place != group), count]:
            pair = [[float(values[group, side, place]) for values in cells] for side in (0, 1)]
            shown = [page.number(*cell) if np.isfinite(cell).all() else page.number(None) for cell in pair]
            difference = pair[0][0] - pair[1][0]
            name = "Mean" if place == count else opened.shown[place]
            last = page.number(difference, write=page.signed) if np.isfinite(difference) else page.number(None)
            rows.append([name, *shown, last])
        ends = [cell[0][1] for _, cell, _ in dots if cell[0]]
        low = min(float(np.floor(10 * min(ends, default=0.9)) / 10), 0.9)
        table = page.table(
            ["Attribute", *map(page.heading, titles), "Difference"],
            rows[:-1],
            rows[-1] if count > 2 else None,
            f"Accuracy by {opened.shown[group]}",
        )
        chart = charts.dots(dots, ["accuracy"], "Mean accuracy of the other attributes, 95 % intervals", low, 1.0)
        panels[opened.shown[group]] = page.render("group.html", chart=chart, table=table)
    return page.render("groups.html", network=opened.chosen(), panels=page.picker("Groups by", panels, "group"))
