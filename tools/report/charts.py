"""Charts as inline SVG without a library: curves, small multiples, dots with intervals.

Colours are the CSS variables --s0 ... of style.css, which fit light and dark pages; dashes and the shapes of marks
repeat what colours distinguish. Text is 12 units high in drawings that are as wide as a telephone, so that it stays
legible there.
"""

import dataclasses
import math

from markupsafe import Markup, escape

DASHES = ("", "7 3", "2 2", "9 3 2 3")
WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36
SMALL = (176, 92)  # of one of many small charts


@dataclasses.dataclass
class Axis:
    """What is drawn along an axis, and from where to where."""

    label: str
    low: float
    high: float


@dataclasses.dataclass
class Series:
    """A curve: its name, its points (x, y), and which colour and dash it has.

    dots: mark the points; errors: list of (x, low, high), vertical intervals; line: connect the points
    """

    name: str
    points: list
    style: int = 0
    dots: bool = False
    errors: list = dataclasses.field(default_factory=list)
    line: bool = True


def ticks(low, high, number=5):
    """Round numbers between low and high, about `number` of them."""
    span = (high - low) or 1
    step = 10 ** math.floor(math.log10(span / number))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= number)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def is_number(value):
    """Whether a value can be a point of a chart: NaN cannot, nor can the list of an output that has several values."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def write(x, y, words, anchor="middle"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def mark(style, x, y):
    """A dot, square, triangle or diamond round a place: the shape distinguishes what the colour does."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"',
        f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"',
        f'<path d="M{x:.1f} {y - 5:.1f}l5 9h-10z"',
        f'<path d="M{x:.1f} {y - 5:.1f}l5 5-5 5-5-5z"',
    )
    return f'{shapes[style % len(shapes)]} class="mark s{style % len(DASHES)}"/>'


def plot(series, x, y, title, steps=(), diagonal=False):
    """A chart of curves with its legend: list of Series, Axis x, Axis y. Empty where no series has a point.

    title: says what is seen, also to a screen reader; steps: list of (x, words), vertical lines; diagonal: draw it,
    as the line of chance or of perfect calibration. Points outside of the axes are drawn at their ends.
    """
    series = [dataclasses.replace(one, points=[p for p in one.points if is_number(p[1])]) for one in series]
    series = [one for one in series if one.points]
    if not series:
        return Markup("")
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(a, b):
        a, b = min(max(a, x.low), x.high), min(max(b, y.low), y.high)
        across = LEFT + (a - x.low) / ((x.high - x.low) or 1) * (right - LEFT)
        return across, TOP + (y.high - b) / ((y.high - y.low) or 1) * (bottom - TOP)

    parts = []
    for value in ticks(y.low, y.high):
        _, down = place(x.low, value)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{down:.1f}" y2="{down:.1f}" class="grid"/>')
        parts.append(write(LEFT - 6, down + 4, f"{value:g}", "end"))
    for value in ticks(x.low, x.high):
        parts.append(write(place(value, y.low)[0], bottom + 15, f"{value:g}"))
    parts.append(write((LEFT + right) / 2, HEIGHT - 4, x.label))
    if diagonal:
        (x1, y1), (x2, y2) = place(x.low, y.low), place(x.high, y.high)
        parts.append(f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" class="reference"/>')
    for number, (value, words) in enumerate(steps):
        across, _ = place(value, y.low)
        parts.append(f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{TOP}" y2="{bottom}" class="reference"/>')
        beyond = across > WIDTH * 0.6
        parts.append(
            write(across + (-4 if beyond else 4), TOP + 11 + 14 * (number % 3), words, "end" if beyond else "start")
        )
    for one in series:
        style = one.style % len(DASHES)
        for across, low, high in one.errors:
            (x1, y1), (_, y2) = place(across, low), place(across, high)
            parts.append(f'<line x1="{x1:.1f}" x2="{x1:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" class="line s{style}"/>')
        places = [place(*point) for point in one.points]
        if one.line:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
            parts.append(f'<polyline points="{path}" class="line s{style}" stroke-dasharray="{DASHES[style]}"/>')
        if one.dots or len(places) < 4:  # a line of one point would not be seen
            parts += [mark(style, *point) for point in places]
    label = escape(f"{title}; {y.label} over {x.label}" if y.label else title)
    shown = [one for one in series if one.name]
    return Markup(
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}">{"".join(parts)}</svg>'
        f"{legend([(one.style, one.name, one.line) for one in shown]) if shown else ''}</figure>"
    )


def lines(series, low=None, high=None, title="", steps=()):
    """Chart of values over iterations: dict name -> list of (iteration, value).

    Values that are no numbers are left out. low, high: ends of the vertical axis, by default those of the values
    """
    named = {name: [point for point in points if is_number(point[1])] for name, points in series.items()}
    xs = [x for points in named.values() for x, _ in points]
    ys = [y for points in named.values() for _, y in points]
    if not xs:
        return Markup("")
    low, high = min(ys) if low is None else low, max(ys) if high is None else high
    first, last = (min(xs), max(xs)) if max(xs) > min(xs) else (0, max(xs) or 1)
    curves = [Series(name, points, style) for style, (name, points) in enumerate(named.items())]
    axes = Axis("iteration", first, last), Axis("", low, high if high > low else low + 1)
    return plot(curves, *axes, title, [step for step in steps if first <= step[0] <= last])


def multiples(rows, names, title, low, high, band=""):
    """Small line charts on one scale, one per row, with one legend.

    rows: list of (label, list of points [(x, y), ...] per name, list of (x, on): where the band at its foot is filled)
    band: what the band means, for the legend; "" without one
    """
    xs = [x for _, cells, _ in rows for points in cells for x, _ in points]
    first, last = (min(xs), max(xs)) if xs and max(xs) > min(xs) else (0, max(xs, default=0) or 1)
    width, height = SMALL
    foot = height - (14 if band else 4)

    def place(x, y):
        return 28 + (x - first) / (last - first) * (width - 34), 8 + (high - y) / (high - low) * (foot - 12)

    charts = ""
    for label, cells, marks in rows:
        parts = []
        for y in (low, high):
            down = place(first, y)[1]
            parts.append(f'<line x1="28" x2="{width - 4}" y1="{down:.1f}" y2="{down:.1f}" class="grid"/>')
            parts.append(write(24, down + 4, f"{y:g}", "end"))
        for style, points in enumerate(cells):
            places = [place(x, min(max(y, low), high)) for x, y in points]
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
            dash = DASHES[style % len(DASHES)]
            parts.append(f'<polyline points="{path}" class="line s{style % 4}" stroke-dasharray="{dash}"/>')
            parts += [mark(style, *point) for point in places[-1:]]
        for (x, on), (end, _) in zip(marks, [*marks[1:], (last, False)]):
            if on and first <= x <= last:
                left, right = place(x, low)[0], place(min(max(end, x), last), low)[0]
                box = f'x="{left:.1f}" y="{foot + 2}" width="{max(right - left, 1.5):.1f}"'
                parts.append(f'<rect {box} height="8" class="band"/>')
        latest = ", ".join(f"{points[-1][1]:.3f}" for points in cells if points)
        view = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)} {latest}"'
        charts += (
            f"<figure><figcaption>{escape(label)}<br/>{latest}</figcaption><svg {view}>{''.join(parts)}</svg></figure>"
        )
    key = legend([(style, name, True) for style, name in enumerate(names)], band)
    return Markup(f'<p class="pale">{escape(title)}</p>{key}<div class="multiples">{charts}</div>')


def legend(entries, band=""):
    """What colours, dashes and marks stand for: list of (style, name, whether it is a line rather than a mark)."""
    parts = ""
    for style, name, is_line in entries:
        style %= len(DASHES)
        drawn = f'<line x2="26" y1="6" y2="6" class="line s{style}" stroke-dasharray="{DASHES[style]}"/>'
        drawn = drawn if is_line else mark(style, 13, 6)
        parts += f'<span><svg width="26" height="12" aria-hidden="true">{drawn}</svg> {escape(name)}</span>'
    if band:
        box = '<svg width="26" height="12" aria-hidden="true"><rect y="2" width="26" height="8" class="band"/></svg>'
        parts += f"<span>{box} {escape(band)}</span>"
    return Markup(f'<div class="legend">{parts}</div>')


def dots(rows, names, title, low, high, baseline="", values=True):
    """Dots with intervals on one scale, a line per label, as wide as the page.

    rows: list of (label, list of (value, low, high) or None, one per name, value of the baseline or None)
    baseline: what the vertical tick of each row means; values: write each value beside its dot where a row has one
    """

    def across(value):
        return 100 * (min(max(value, low), high) - low) / ((high - low) or 1)

    grid = "".join(
        f'<line x1="{across(value):.2f}%" x2="{across(value):.2f}%" y2="100%" class="grid"/>'
        for value in ticks(low, high)
    )
    body = ""
    for label, cells, base in rows:
        height = 14 * len(cells) + 10
        parts = grid
        if base is not None:
            parts += f'<line x1="{across(base):.2f}%" x2="{across(base):.2f}%" y1="2" y2="{height - 2}" class="base"/>'
        said = []
        for style, cell in enumerate(cells):
            if cell is None or cell[0] is None:
                continue
            y, (value, least, most) = 12 + 14 * style, cell
            if least is not None:
                ends = f'x1="{across(least):.2f}%" x2="{across(most):.2f}%" y1="{y}" y2="{y}"'
                parts += f'<line {ends} class="line s{style % 4}"/>'
            # A nested drawing, because a path cannot stand at a place in percent.
            parts += f'<svg x="{across(value):.2f}%" overflow="visible">{mark(style, 0, y)}</svg>'
            said.append(f"{names[style]} {value:.3f}" + (f" ({least:.3f} to {most:.3f})" if least is not None else ""))
        words = escape(f"{label}: {', '.join(said)}")
        value = f"<span>{escape(said[0].removeprefix(names[0]).strip())}</span>" if values and len(said) == 1 else ""
        drawn = f'<svg height="{height}" role="img" aria-label="{words}">{parts}</svg>'
        body += f'<div class="row"><span>{escape(label)}</span>{drawn}{value}</div>'
    labels = "".join(f'<i style="left:{across(value):.2f}%">{value:g}</i>' for value in ticks(low, high))
    key = legend([(style, name, False) for style, name in enumerate(names)]) if len(names) > 1 else Markup("")
    if baseline:
        tick = '<svg width="12" height="14" aria-hidden="true"><line x1="6" x2="6" y2="14" class="base"/></svg>'
        key += Markup(f'<div class="legend"><span>{tick} {escape(baseline)}</span></div>')
    kind = "dots valued" if values else "dots"
    return Markup(
        f'<figure class="{kind}"><figcaption>{escape(title)}</figcaption>{key}{body}'
        f'<div class="row axis"><span></span><span class="scale">{labels}</span></div></figure>'
    )
