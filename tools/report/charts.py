"""Charts as inline SVG: lines over iterations, dots with intervals. Marks and dashes distinguish what colours do."""

import html
import math

from data_prep.pictures import PALETTE

# Okabe and Ito's colours, which colour-blind people can distinguish; the dashes repeat the distinction.
COLOURS = tuple(PALETTE[place] for place in (0, 5, 2, 3, 1, 4))
DASHES = ("", "6 3", "2 2", "8 3 2 3", "1 3", "10 4")
WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 34


def ticks(low, high, number=5):
    """Round numbers between low and high, about `number` of them."""
    span = (high - low) or 1
    step = 10 ** math.floor(math.log10(span / number))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= number)
    first = math.ceil(low / step - 1e-9)
    return [round(place * step, 10) for place in range(first, math.floor(high / step + 1e-9) + 1)]


def write(x, y, words, anchor="middle", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(str(words))}</text>'


def is_number(value):
    """Whether a value can be a point of a chart: NaN cannot, nor can the list of an output that has several values."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def lines(series, low=None, high=None, title=""):
    """Line chart with its legend: series, dict name -> list of (x, y). Values that are no numbers are left out."""
    series = {name: [point for point in points if is_number(point[1])] for name, points in series.items()}
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    low, high = min(ys) if low is None else low, max(ys) if high is None else high
    high = high if high > low else low + 1
    first, last = (min(xs), max(xs)) if max(xs) > min(xs) else (0, max(xs) or 1)

    def place(x, y):
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        return across, TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for y in ticks(low, high):
        _, down = place(first, y)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}" class="grid"/>')
        parts.append(write(LEFT - 6, down + 4, f"{y:g}", "end"))
    for x in ticks(first, last):
        across, _ = place(x, low)
        parts.append(write(across, HEIGHT - BOTTOM + 16, f"{x:g}"))
    parts.append(write((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 3, "iteration"))
    for number, points in enumerate(series.values()):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, min(max(y, low), high))) for x, y in points)
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        if len(points) < 4:  # a line of one point would not be seen
            parts += [mark(number, *map(float, point.split(",")), colour) for point in path.split()]
    return figure(parts, WIDTH, HEIGHT, list(series), title)


SMALL = (180, 96)


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
        return 30 + (x - first) / (last - first) * (width - 34), 6 + (high - y) / (high - low) * (foot - 10)

    charts = ""
    for label, cells, marks in rows:
        parts = []
        for y in (low, high):
            down = place(first, y)[1]
            parts.append(f'<line x1="30" x2="{width - 4}" y1="{down:.1f}" y2="{down:.1f}" class="grid"/>')
            parts.append(write(26, down + 4, f"{y:g}", "end"))
        for number, points in enumerate(cells):
            path = " ".join("{:.1f},{:.1f}".format(*place(x, min(max(y, low), high))) for x, y in points)
            style = f'stroke="{COLOURS[number]}" stroke-width="2" stroke-dasharray="{DASHES[number]}"'
            parts.append(f'<polyline points="{path}" fill="none" {style}/>')
            parts += [mark(number, *map(float, point.split(",")), COLOURS[number]) for point in path.split()[:1]]
        for (x, on), (end, _) in zip(marks, [*marks[1:], (last, False)]):
            if on and first <= x <= last:
                left, right = place(x, low)[0], place(min(max(end, x), last), low)[0]
                parts.append(f'<rect x="{left:.1f}" y="{foot + 2}" width="{max(right - left, 1.5):.1f}" height="8"/>')
        latest = ", ".join(f"{points[-1][1]:.3f}" for points in cells if points)
        words = html.escape(f"{label} {latest}")
        charts += (
            f'<figure><figcaption>{words}</figcaption><svg viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{words}">{"".join(parts)}</svg></figure>'
        )
    key = legend(names)
    if band:
        box = '<svg width="26" height="12" aria-hidden="true"><rect y="2" width="26" height="8"/></svg>'
        key += f"<span>{box} {html.escape(band)}</span>"
    return f'<p>{html.escape(title)}</p><div class="legend">{key}</div><div class="multiples">{charts}</div>'


def legend(names, marks=DASHES):
    """What each colour and dash stands for."""
    entries = ""
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        dash = marks[number % len(marks)]
        line = f'<line x1="0" x2="26" y1="6" y2="6" stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/>'
        entries += f'<span><svg width="26" height="12" aria-hidden="true">{line}</svg> {html.escape(name)}</span>'
    return entries


def figure(parts, width, height, names, title, marks=DASHES):
    """A figure of SVG parts, its legend under it."""
    label = html.escape(title)
    return (
        f'<figure><figcaption>{label}</figcaption><svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'{"".join(parts)}</svg><div class="legend">{legend(names, marks)}</div></figure>'
    )


def dots(rows, names, title, low, high):
    """Dots with intervals, a line per label.

    rows: list of (label, list of (value, low, high) or None, one per name)
    """
    row, left, right, width = 16 * len(names) + 14, 160, 30, 520
    height = row * len(rows) + 30

    def across(value):
        return left + (min(max(value, low), high) - low) / (high - low) * (width - left - right)

    parts = []
    for value in ticks(low, high):
        x = across(value)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 24}" class="grid"/>')
        parts.append(write(x, height - 8, f"{100 * value:g} %"))
    for place, (label, cells) in enumerate(rows):
        top = place * row + 8
        parts.append(write(left - 8, top + row / 2, label, "end"))
        for number, cell in enumerate(cells):
            if cell is None or cell[0] is None:
                continue
            y, colour = top + 8 + 16 * number, COLOURS[number % len(COLOURS)]
            value, least, most = cell
            if least is not None:
                ends = f'x1="{across(least):.1f}" x2="{across(most):.1f}" y1="{y}" y2="{y}"'
                parts.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
            parts.append(mark(number, across(value), y, colour))
    return figure(parts, width, height, [f"{'●■▲◆'[n % 4]} {name}" for n, name in enumerate(names)], title, ("",))


def mark(number, x, y, colour):
    """A dot, square, triangle or diamond: the shape distinguishes what the colour does."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"/>',
        f'<rect x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9" fill="{colour}"/>',
        f'<path d="M{x:.1f} {y - 6}l6 10h-12z" fill="{colour}"/>',
        f'<path d="M{x:.1f} {y - 6}l6 6-6 6-6-6z" fill="{colour}"/>',
    )
    return shapes[number % 4]
