"""The page: templates, style and script from files beside this one, and the pieces that sections are made of.

Templates are Jinja2's with autoescape on: every text is escaped unless it is Markup, which only templates and charts
make.
"""

import base64
import dataclasses
import functools
import pathlib

import cv2
import jinja2
from markupsafe import Markup, escape

TEMPLATES = pathlib.Path(__file__).with_name("templates")
MINUS = "\u2212"
UNKNOWN = "\u2013"  # what is not defined
NAMES = {"region": "task one alone", "cascade": "cascade", "whole_face": "whole face", "average": "average region"}


# Words and numbers ------------------------------------------------------------------------------------------


def human(name):
    """The name of an attribute or of a network as people write it."""
    return NAMES.get(name, name.replace("_", " "))


def heading(name):
    """The same at the beginning of a heading."""
    shown = human(name)
    return shown[:1].upper() + shown[1:]


def share(value):
    """A share as tables show it: .972; 1.000; a dash where it is not defined."""
    if value is None:
        return UNKNOWN
    return signed(value)[1:] if value >= 0 else signed(value)


def signed(value):
    """A difference as tables show it: +.003."""
    text = f"{abs(value):.3f}"
    return f"{MINUS if value < 0 and float(text) else '+'}{text.removeprefix('0')}"


def between(low, high, write=share):
    """An interval: (.957 - .985), or (-.001 to +.006) of signed numbers; empty where it is not known."""
    if low is None or high is None:
        return ""
    return f"({write(low)} {'-' if write is share else 'to'} {write(high)})"


@dataclasses.dataclass
class Cell:
    """A cell of a table: what it shows, what it is sorted by, and the interval that stands after it."""

    text: str
    order: object = None
    interval: str = ""


def number(value, low=None, high=None, write=share):
    """The Cell of a share or difference (write=signed), with its interval if there is one."""
    if value is None:
        return Cell(UNKNOWN, -1)
    return Cell(write(value), round(float(value), 6), between(low, high, write))


def measure(row, name):
    """The Cell of a measure of a results.Row or Difference with its interval; name: of the field."""
    write = share if hasattr(row, "attribute") else signed
    estimate = getattr(row, name)
    return number(estimate.value, estimate.low, estimate.high, write)


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
    made.filters.update(human=human, heading=heading)
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


def facts(pairs):
    """A list of terms: dict of term -> text."""
    parts = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in pairs.items())
    return Markup(f"<dl>{parts}</dl>")


def picker(label, panels, kind="attribute"):
    """Panels of which one is shown, chosen from a list: dict name -> HTML; without a script all are shown.

    kind: lists of one kind follow each other, so that an attribute is chosen once
    """
    return render("picker.html", label=label, panels=panels, kind=kind)


def data_uri(image, quality=82):
    """An image (B G R) as the address that holds its own data."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
