"""The parts of a report that are numbers: means, differences, per attribute, by groups, beside the paper."""

import html
import itertools

import numpy as np

from tools.evaluate import metrics, published, summary
from tools.evaluate.tables import as_dicts
from tools.report import charts, page

# Attributes whose groups are compared.
GROUPS = {"Male": ("women", "men"), "Young": ("older", "young")}


def overview(opened):
    """Mean accuracies as large numbers, and differences between the networks."""
    cells = []
    for name in opened.names:
        mean = opened.rows(name)[-1]
        words = f"{name}: mean accuracy (95 % interval {interval(mean)})"
        if mean.balanced_accuracy is not None:
            words += f"; balanced accuracy {mean.balanced_accuracy:.3f}"
        cells.append((f"{100 * mean.accuracy:.1f} %", words))
    body = page.tiles(cells)
    body += "<p>Means over attributes under three decisions: p &gt; 0.5; the logit corrected by the training prior; "
    body += "thresholds tuned on the validation split.</p>" + page.table(summary.overview(opened.result))
    if opened.result.differences:
        body += "<h3>Differences of means</h3><p>Thresholds tuned; with 95 % intervals of paired bootstrap resamples."
        body += "</p>" + page.table(as_dicts(opened.result.differences))
    return body


def interval(row):
    """The ends of the interval of a row's accuracy, in percent."""
    if row.accuracy_low is None:
        return "unknown"
    return f"{100 * row.accuracy_low:.1f} to {100 * row.accuracy_high:.1f}"


def beside_the_paper(opened):
    """Accuracies beside those of table 2."""
    rows = summary.published_rows(opened.result)
    if not rows:
        return ""
    body = "<p>Accuracies, thresholds tuned. Columns marked “published” are table 2 of the paper on the same data set"
    body += "; <b>the faces here are synthetic, the published ones are photos</b>" * opened.result.synthetic_faces
    return body + ".</p>" + page.table(rows) + f"<p>{html.escape(published.note(opened.result.source))}</p>"


def per_attribute(opened):
    """Accuracy of every network per attribute with intervals: a chart, then tables with everything."""
    tables = {name: opened.rows(name) for name in opened.names}
    rows = []
    for place, attribute in enumerate([*opened.attributes, "mean"]):
        cells = [tables[name][place] for name in opened.names]
        rows.append((attribute, [(row.accuracy, row.accuracy_low, row.accuracy_high) for row in cells]))
    ends = [row.accuracy_low for part in tables.values() for row in part if row.accuracy_low is not None]
    low = np.floor(10 * min(ends, default=0)) / 10
    body = charts.dots(rows, opened.names, "Accuracy (tuned) and 95 % intervals", float(min(low, 0.9)), 1.0)
    for name in opened.names:
        part = page.table(as_dicts(opened.result.networks[name].rows))
        body += f"<details><summary>All measures of {html.escape(name)}</summary>{part}</details>"
    return body


def slices(opened):
    """Accuracy by groups of Male and Young, with intervals."""
    known = [name for name in GROUPS if name in opened.attributes]
    if not known:
        return "<p>Neither Male nor Young is among the attributes, so there are no groups to compare.</p>"
    decisions, _ = opened.answers(opened.chosen())
    others = [i for i, name in enumerate(opened.attributes) if name not in known]
    rows = []
    for values in itertools.product((False, True), repeat=len(known)):
        inside = np.ones(len(opened.labels), bool)
        for name, value in zip(known, values):
            inside &= opened.labels[:, opened.attributes.index(name)] == value
        group = ", ".join(GROUPS[name][value] for name, value in zip(known, values))
        row = {"group": group, "faces": int(inside.sum())}
        if inside.any() and others:
            decided, labels = decisions[inside][:, others], opened.labels[inside][:, others]
            samples = [
                metrics.accuracy_of(metrics.count(decided, labels, weights)).mean(axis=-1)
                for weights in metrics.resamples(len(labels), 1000)
            ]
            low, high = metrics.interval(np.concatenate(samples))
            row.update(accuracy=float((decided == labels).mean()), low=float(low), high=float(high))
            each = (decided == labels).mean(axis=0)
            row.update({opened.attributes[i]: float(share) for i, share in zip(others, each)})
        rows.append(row)
    shown = [(row["group"], [(row["accuracy"], row["low"], row["high"])]) for row in rows if "accuracy" in row]
    low = min([np.floor(10 * cells[0][1]) / 10 for _, cells in shown] or [0.0])
    words = f"Mean accuracy (tuned) of the other attributes by {' and '.join(known)}, 95 % intervals"
    heads = {key: key for row in rows for key in row}
    return charts.dots(shown, ["accuracy"], words, float(min(low, 0.9)), 1.0) + page.table(rows, heads)
