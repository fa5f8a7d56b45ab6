"""The section of a report on single attributes: confusion, ROC, precision and recall, reliability, behind a picker."""

import numpy as np

from tools.evaluate import metrics
from tools.report import charts, page

POINTS = 60  # of a curve at most
BINS = 10


def details(opened):
    """One panel per attribute, of the chosen network; curves of the other networks beside its own."""
    names = opened.ordered()
    decisions, probabilities = opened.answers(names[0])
    panels = {}
    for place, attribute in enumerate(opened.shown):
        label = opened.labels[:, place]
        table = confusion(decisions[:, place], label)
        counts = {name: metrics.curve(opened.scores(name)[:, place], label) for name in names}
        tuned = metrics.count(decisions[:, [place]], label[:, np.newaxis])
        calibration, error = reliability(probabilities[:, place], label)
        panels[attribute] = page.render(
            "curves.html",
            table=table,
            attribute=attribute,
            charts=[roc(counts, tuned), precision_recall(counts, tuned), calibration],
            error=error,
            both=label.any() and not label.all(),
        )
    return page.render("details.html", network=names[0], panels=page.picker("Attribute", panels))


def confusion(decided, label):
    """Counts of a confusion table: dict of (truth, answer) -> (faces, share of the faces with this truth)."""
    cells = {}
    for truth in (True, False):
        total = int((label == truth).sum())
        for answer in (True, False):
            faces = int(((label == truth) & (decided == answer)).sum())
            cells[truth, answer] = faces, page.share(faces / total) if total else page.UNKNOWN
    return cells


def thinned(points):
    """A curve of at most about POINTS points, its ends among them."""
    if len(points) <= POINTS:
        return points
    return [points[place] for place in np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))]


def curves(counts, tuned, title, x, y, measure, point, **options):
    """A chart of one curve per network, and the place of the tuned threshold of the first.

    counts: dict name -> metrics.curve; measure: gives points (list) and area; point: gives the tuned place of Counts
    """
    series = []
    for style, (name, curve) in enumerate(counts.items()):
        points, area = measure(*curve)
        series.append(charts.Series(f"{page.human(name)}, area {page.share(area)}", thinned(points), style))
    place = [float(value) for value in point(tuned)]
    if np.isfinite(place).all():
        series.append(charts.Series("tuned threshold", [tuple(place)], 3, dots=True, line=False))
    return charts.plot(series, charts.Axis(x, 0, 1), charts.Axis(y, 0, 1), title, **options)


def roc(counts, tuned):
    """Receiver operating characteristic; empty without both faces with and without the attribute."""
    if not all(tp[-1] and fp[-1] for tp, fp in counts.values()):
        return ""

    def measure(tp, fp):
        true, false = tp / tp[-1], fp / fp[-1]
        points = list(zip(false.tolist(), true.tolist()))
        area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
        return points, area

    title, x, y = "ROC: true over false positives", "false positive rate", "true positive rate"
    return curves(
        counts,
        tuned,
        title,
        x,
        y,
        measure,
        lambda c: (metrics.share(c.fp, c.fp + c.tn)[0], metrics.share(c.tp, c.tp + c.fn)[0]),
        diagonal=True,
    )


def precision_recall(counts, tuned):
    """Precision over recall; empty without a face that has the attribute."""
    if not all(tp[-1] for tp, _ in counts.values()):
        return ""

    def measure(tp, fp):
        recall, precision = tp[1:] / tp[-1], tp[1:] / (tp + fp)[1:]
        area = float((np.diff(recall, prepend=0) * precision).sum())
        return list(zip(recall.tolist(), precision.tolist())), area

    title, x, y = "Precision over recall", "recall", "precision"
    return curves(
        counts,
        tuned,
        title,
        x,
        y,
        measure,
        lambda c: (metrics.share(c.tp, c.tp + c.fn)[0], metrics.share(c.tp, c.tp + c.fp)[0]),
    )


def reliability(probability, label):
    """Reliability diagram of calibrated probabilities, and the expected calibration error.

    Faces are put into BINS bins of equal numbers, in order of probability. Intervals: Wilson (1927), 95 %.
    """
    order = np.argsort(probability, kind="stable")
    points, errors, error = [], [], 0.0
    for places in np.array_split(order, min(BINS, len(order))):
        mean, present, faces = float(probability[places].mean()), float(label[places].mean()), len(places)
        centre = (present + 1.92 / faces) / (1 + 3.84 / faces)
        half = 1.96 / (1 + 3.84 / faces) * np.sqrt(present * (1 - present) / faces + 0.96 / faces**2)
        points.append((mean, present))
        errors.append((mean, max(0.0, centre - half), min(1.0, centre + half)))
        error += abs(mean - present) * faces / len(order)
    series = charts.Series("share of faces with the attribute, 95 % interval", points, 0, True, errors, line=False)
    title = f"Reliability; calibration error {page.share(error)}"
    axes = charts.Axis("calibrated probability", 0, 1), charts.Axis("share", 0, 1)
    return charts.plot([series], *axes, title, diagonal=True), error
