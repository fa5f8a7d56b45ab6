"""A chart of differences as an SVG file: a line for each network, with its intervals and the values of its seeds."""

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


def write(path, title, panels):
    """Write the chart. panels: dict measure -> list of its scoring.SeedDifference, a line each. Raises OSError."""
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
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}><title>{html.escape(title)}</title>', ground, *parts]
    write_bytes(path, "\n".join([svg[0], f"<style>{STYLE}</style>", *svg[1:], "</svg>", ""]).encode())


def panel(left, bottom, differences):
    """The lines of one measure: list of SVG elements."""
    rows = []
    for one in differences:
        intervals = {
            "both": (one.low_seeds_too, one.high_seeds_too),
            "persons": (one.difference.low, one.difference.high),
        }
        rows.append({kind: ends for kind, ends in intervals.items() if None not in ends})
    shown = [value for ends in rows for pair in ends.values() for value in pair]
    shown += [value for one in differences for value in one.by_seed]
    reach = 1.05 * max(0.001, *map(abs, shown))

    def across(value):
        return left + PANEL * (value / reach + 1) / 2

    power = 10 ** math.floor(math.log10(reach / 2))
    step, parts = next(factor * power for factor in (5, 2, 1) if factor * power <= reach / 2), []
    for number in (-2, -1, 0, 1, 2):
        parts.append(line(across(number * step), TOP, across(number * step), bottom, "" if number else "zero"))
        parts.append(text(across(number * step), bottom + 18, f"{number * step:+g}" if number else "0", "small"))
    for row, (one, intervals) in enumerate(zip(differences, rows)):
        y = TOP + LINE * (row + 0.5)
        parts += [line(across(low), y, across(high), y, kind) for kind, (low, high) in intervals.items()]
        parts += [line(across(value), y - 9, across(value), y + 9, "seed") for value in one.by_seed]
        parts.append(f'<circle cx="{across(one.difference.value):.1f}" cy="{y:.1f}" r="5"/>')
    return parts


def text(x, y, words, kind="", anchor="middle"):
    """A text element."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    """A line element."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'
