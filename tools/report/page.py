"""The page: templates, style and script from files beside this one, and the pieces that sections are made of.

Templates are Jinja2's with autoescape on: every text is escaped unless it is Markup, which only templates make.
"""

import base64
import dataclasses
import functools
import os
import pathlib
import re

import cv2
import jinja2
from markupsafe import Markup

from tools.evaluate import results, summary
from tools.evaluate.results import Difference, Estimate
from tools.run import REPOSITORY, in_clone

TEMPLATES = pathlib.Path(__file__).with_name("templates")
UNKNOWN = "\u2013"  # what is not defined
INTENDED = "studying and reproducing the paper; not for decisions about a person"
NAMES = {"region": "task one alone", "cascade": "cascade", "whole_face": "whole face", "average": "average region"}
SOURCES = {"celeba": "CelebA", "lfwa": "LFWA", "csv": "a CSV file", "": "an unknown data set"}


# Words and numbers ------------------------------------------------------------------------------------------


def human(name):
    """The name of an attribute or of a network as people write it."""
    return NAMES.get(name, name.replace("_", " "))


def heading(name):
    """The same at the beginning of a heading."""
    shown = human(name)
    return shown[:1].upper() + shown[1:]


def place(path):
    """A folder or file as a page names it: its path in the clone, elsewhere only its name.

    A page may be passed on, and paths of a machine are nobody else's business.
    """
    path = os.path.abspath(path)
    return os.path.relpath(path, REPOSITORY) if in_clone(path) else os.path.basename(path)


def short(commit):
    """A commit as people write it; "+" at the end says that files differed from it."""
    return re.sub(r"^([0-9a-f]{10})[0-9a-f]{30}(\+?)$", r"\1\2", str(commit))


@dataclasses.dataclass
class Cell:
    """A cell of a table: what it shows, what it is sorted by, and the interval that stands after it."""

    text: str
    order: object = None
    interval: str = ""


def number(value, sign=""):
    """The Cell of a number or a results.Estimate, or of None, what is not defined. sign: "+" for differences."""
    estimate = value if isinstance(value, Estimate) else Estimate(value)
    if estimate.value is None:
        return Cell(UNKNOWN, -1)
    text, _, interval = summary.interval(estimate, sign).partition(" ")
    return Cell(text, round(estimate.value, 6), interval)


def measured(heads, rows, words):
    """A table of all measures with their intervals.

    heads: of the first cells of a row; rows: list of (first cells, results.Row or Difference); words: see `table`
    """
    cells = [
        [*first, *(number(getattr(row, name), "+" if isinstance(row, Difference) else "") for name in results.NAMES)]
        for first, row in rows
    ]
    return table([*heads, *headings(results.Measures).values()], cells, words=words)


def headings(record):
    """The headings of the fields of a kind of results: dict name -> text."""
    return {field.name: heading(results.heading(field)) for field in dataclasses.fields(record)}


# Pieces -----------------------------------------------------------------------------------------------------


@functools.cache
def environment():
    """The templates' environment."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(INTENDED=INTENDED, SOURCES=SOURCES)
    made.filters.update(human=human, heading=heading, place=place, short=short)
    made.filters.update(interval=summary.interval, number=summary.cell)
    return made


def render(template, /, **values):
    """A template with its values, as Markup."""
    return Markup(environment().get_template(template).render(**values))


def source(name):
    """A style or script beside the templates, as it is."""
    return Markup((TEMPLATES / name).read_text())


def page(title, lead, sections):
    """The whole document, as text. title: text; lead: HTML before the sections; sections: dict heading -> HTML.

    Sections that are empty are left out.
    """
    sections = {heading: body for heading, body in sections.items() if body}
    style, script = source("style.css"), source("page.js")
    return str(render("page.html", title=title, lead=lead, sections=sections, style=style, script=script))


def table(heads, rows, foot=None, words=""):
    """A sortable table.

    heads: list of text, the first of the rows' names; rows: lists of text or Cell; foot: a row that stays in sight and
    is not sorted; words: what is in it, for screen readers
    """
    if not rows and not foot:
        return Markup("")
    cells = [[cell if isinstance(cell, Cell) else Cell(str(cell), cell) for cell in row] for row in [*rows, foot or []]]
    return render("table.html", heads=heads, rows=cells[:-1], foot=cells[-1], words=words)


def with_mean(heads, rows, words):
    """A `table` whose last row, the mean, stays in sight; of one attribute the mean is left out."""
    return table(heads, rows[:-1], rows[-1] if len(rows) > 2 else None, words)


def picker(label, panels, kind="attribute"):
    """Panels of which one is shown, chosen from a list: dict name -> HTML; without a script all are shown.

    kind: lists of one kind follow each other, so that an attribute is chosen once
    """
    return render("picker.html", label=label, panels=panels, kind=kind)


def data_uri(image):
    """An image (B G R) as the address that holds its own data."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
