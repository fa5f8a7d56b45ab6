"""A chart of differences as an SVG file: a line for each network, with its intervals and the values of its seeds."""

import dataclasses
import html
import math

from data_prep.files import write_bytes
from data_prep.pictures import PALETTE

NAMES, PANEL, GAP, LINE, TOP = 250, 300, 30, 34, 64  # widths, and heights, in pixels
STYLE = (
    "text{font:13px sans-serif;fill:#1b1b1b}.title{font-weight:bold}.small{font-size:11px;fill:#444}"
    f"line{{stroke:#ccc}}line.zero{{stroke:#1b1b1b}}line.persons{{stroke:{PALETTE[0]};stroke-width:5}}"
    f"line.both{{stroke:{PALETTE[0]};stroke-width:1.5}}circle{{fill:{PALETTE[0]};stroke:#fff;stroke-width:1.5}}"
    f"line.seed{{stroke:{PALETTE[5]};stroke-width:1.5}}"
)
WORDS = "thick: 95 % interval over persons; thin: over persons and seeds; short strokes: the seeds"


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

    def ticks(self, number=5):
        """About `number` round values between the ends."""
        span = (self.high - self.low) or 1
        step = 10 ** math.floor(math.log10(span / number))
        step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= number)
        first = math.ceil(self.low / step - 1e-9)
        return [round(place * step, 10) for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def write(path, title, panels):
    """Write the chart. panels: dict measure -> list of its scoring.SeedDifference, a line each. Raises OSError."""
    write_bytes(path, svg(title, panels).encode())


def svg(title, panels):
    """The chart that `write` writes, as text."""
    names = [row.minus for row in next(iter(panels.values()))]
    width, bottom = NAMES + len(panels) * (PANEL + GAP), TOP + LINE * len(names)
    parts = [text(10, 22, title, "title", "start"), text(10, bottom + 42, WORDS, "small", "start")]
    parts += [text(NAMES - 15, TOP + LINE * (row + 0.5) + 4, name, "", "end") for row, name in enumerate(names)]
    for number, (measure, differences) in enumerate(panels.items()):
        left = NAMES + number * (PANEL + GAP)
        parts.append(text(left + PANEL / 2, 44, measure, "title"))
        parts += panel(left, bottom, differences)
    size = f'viewBox="0 0 {width} {bottom + 54}" width="{width}" height="{bottom + 54}"'
    ground = f'<rect width="{width}" height="{bottom + 54}" fill="#fff"/>'
    first = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><title>{html.escape(title)}</title>'
    return "\n".join([first, f"<style>{STYLE}</style>", ground, *parts, "</svg>", ""])


def panel(left, bottom, differences):
    """The lines of one measure: list of SVG elements."""
    intervals = [
        {"both": (row.low_seeds_too, row.high_seeds_too), "persons": (row.difference.low, row.difference.high)}
        for row in differences
    ]
    shown = [value for row in differences for value in row.by_seed]
    shown += [value for row in intervals for ends in row.values() for value in ends if value is not None]
    reach = 1.05 * max(0.001, *map(abs, shown))
    axis, parts = Axis("", -reach, reach, left, left + PANEL), []
    for value in axis.ticks():
        x = axis.place(value)
        parts.append(line(x, TOP, x, bottom, "" if value else "zero"))
        parts.append(text(x, bottom + 18, f"{value:+g}" if value else "0", "small"))
    for row, (difference, ends_of) in enumerate(zip(differences, intervals)):
        y = TOP + LINE * (row + 0.5)
        for kind, ends in ends_of.items():
            if None not in ends:
                parts.append(line(axis.place(ends[0]), y, axis.place(ends[1]), y, kind))
        parts += [line(axis.place(value), y - 9, axis.place(value), y + 9, "seed") for value in difference.by_seed]
        parts.append(f'<circle cx="{axis.place(difference.difference.value):.1f}" cy="{y:.1f}" r="5"/>')
    return parts


def text(x, y, words, kind="", anchor="middle"):
    """A text element."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    """A line element."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'
