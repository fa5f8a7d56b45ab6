"""Charts as inline SVG: curves, and dots with intervals. This module has the scales, templates draw.

Colours are the CSS variables --s0 ... of style.css, which fit light and dark pages; dashes and the shapes of marks
repeat what colours distinguish. Text is 12 units high in drawings that are as wide as a telephone, so that it stays
legible there. Matplotlib's SVG is six times as large, has one set of colours, and needs nine packages.
"""

import dataclasses
import math

from markupsafe import Markup

from data_prep.pictures import PALETTE
from tools.report import page

FEW = 4
WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 350, 10, 194  # edges of what is inside of the axes
# Of the drawing of differences: pixels for names, for each measure, behind it, of a line, and above the first.
NAMES, PANEL, GAP, LINE, ABOVE = 250, 300, 30, 34, 64


@dataclasses.dataclass
class Axis:
    """What is drawn along an axis, from where to where, and where these ends are in the drawing."""

    label: str
    low: float
    high: float
    start: float = 0
    end: float = 100

    def place(self, value):
        """Where a value is in the drawing; one outside of the axis at its end."""
        inside = min(max(value, self.low), self.high) - self.low
        return self.start + inside / ((self.high - self.low) or 1) * (self.end - self.start)

    def ticks(self):
        """About five round values between the ends."""
        span = (self.high - self.low) or 1
        step = 10 ** math.floor(math.log10(span / 5))
        step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5)
        first = math.ceil(self.low / step - 1e-9)
        return [round(place * step, 10) for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def is_number(value):
    """Whether a value can be a point of a chart: NaN cannot, nor can the list of an output that has several values."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def curve(name, points, style=0, errors=(), line=True):
    """A curve of `plot`: its name, its points (x, y), and which colour, dash and mark it has: dict.

    errors: list of (x, low, high), vertical intervals; line: whether the points are connected; they are marked where
    they are not, or few, because a line of one point would not be seen
    """
    points = [(x, y) for x, y in points if is_number(y)]
    dots = not line or len(points) < FEW
    return {"name": name, "points": points, "style": style, "dots": dots, "errors": errors, "line": line}


def plot(series, x, y, title, steps=(), diagonal=False):
    """A chart of curves with its legend: list of `curve`, Axis x, Axis y. Empty where no curve has a point.

    title: says what is seen, also to a screen reader; steps: list of (x, words), vertical lines; diagonal: draw it,
    as the line of chance or of perfect calibration
    """
    series = [one for one in series if one["points"]]
    x, y = dataclasses.replace(x, start=LEFT, end=RIGHT), dataclasses.replace(y, start=BOTTOM, end=TOP)
    steps = [step for step in steps if x.low <= step[0] <= x.high]
    chart = {"series": series, "x": x, "y": y, "title": title, "steps": steps, "diagonal": diagonal}
    return page.render("plot.html", width=WIDTH, height=HEIGHT, **chart) if series else Markup("")


def lines(series, low=None, high=None, title="", steps=()):
    """Chart of values over iterations: dict name -> list of (iteration, value).

    low, high: ends of the vertical axis, by default those of the values
    """
    curves = [curve(name, points, style) for style, (name, points) in enumerate(series.items())]
    points = [point for one in curves for point in one["points"]]
    if not points:
        return Markup("")
    xs, ys = zip(*points)
    high = max(ys) if high is None else high
    if low is None:
        low = min(ys) if min(ys) < high else high - 1
    first = min(xs) if max(xs) > min(xs) else 0
    axes = Axis("iteration", first, max(*xs, first + 1)), Axis("", low, high if high > low else low + 1)
    return plot(curves, *axes, title, steps)


def dots(rows, names, title, low=None, high=1.0, baseline="", values=True):
    """Dots with intervals on one scale, a line per label, as wide as the page.

    rows: list of (label, list of estimates, one per name; value of the baseline or None); low, high: ends of the
    scale, which begins at a tenth of at most 0.9 by default; baseline: what the vertical tick of each row means;
    values: write each value beside its dot where a row has one
    """
    if low is None:
        shown = [end for _, cells, base in rows for cell in cells for end in (cell.value, cell.low, base)]
        low = min([0.9, *(math.floor(10 * end) / 10 for end in shown if end is not None)])
    axis = Axis("", low, high)
    return page.render("dots.html", rows=rows, names=names, title=title, axis=axis, baseline=baseline, values=values)


def differences(title, panels):
    """Differences between networks as an SVG file of its own, as text: a line for each, with intervals and seeds.

    panels: dict measure -> rows of differences.csv, list of dicts
    """
    drawn = []
    for number, (measure, rows) in enumerate(panels.items()):
        ends = ("difference low", "difference high", "low seeds too", "high seeds too")
        shown = [row[end] for row in rows for end in ends if row[end] is not None]
        shown += [float(value) for row in rows for value in row["by seed"].split()]
        reach = 1.05 * max(0.001, *map(abs, shown))
        left = NAMES + number * (PANEL + GAP)
        drawn.append((Axis(measure, -reach, reach, left, left + PANEL), rows))
    size = {"width": left + PANEL + GAP, "bottom": ABOVE + LINE * len(rows), "top": ABOVE, "step": LINE}
    return str(page.render("differences.svg", title=title, panels=drawn, blue=PALETTE[0], red=PALETTE[5], **size))
