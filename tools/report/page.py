"""The page: templates, style and script from files beside this one, and the pieces that sections are made of.

Templates are Jinja2's with autoescape on: every text is escaped unless it is Markup, which only templates make.
"""

import base64
import os
import pathlib
import re

import cv2
import jinja2
from markupsafe import Markup

from data_prep.store import manifest
from tools.evaluate import results
from tools.run import REPOSITORY, in_clone

TEMPLATES = pathlib.Path(__file__).with_name("templates")
INTENDED = "studying and reproducing the paper; not for decisions about a person"
NAMES = {"region": "task one alone", "whole_face": "whole face", "average": "average region", results.MEAN: "Mean"}
SOURCES = {**manifest.KINDS, "": "an unknown data set"}


# Words ------------------------------------------------------------------------------------------------------


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


def short(value):
    """A commit or checksum as people write it, other values as text; "+" at the end of a commit says that files
    differed from it."""
    return re.sub(r"^([0-9a-f]{10})[0-9a-f]{30,}(\+?)$", r"\1\2", str(value))


# Pieces -----------------------------------------------------------------------------------------------------

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals.update(INTENDED=INTENDED, SOURCES=SOURCES)
ENVIRONMENT.filters.update(human=human, heading=heading, place=place, short=short)
ENVIRONMENT.filters.update(interval=results.interval, number=results.cell)


def render(template, /, **values):
    """A template with its values, as Markup."""
    return Markup(ENVIRONMENT.get_template(template).render(**values))


def page(title, lead, sections):
    """The whole document, as text. title: text; lead: HTML before the sections; sections: dict heading -> HTML.

    Sections that are empty are left out.
    """
    sections = {heading: body for heading, body in sections.items() if body}
    return str(render("page.html", title=title, lead=lead, sections=sections))


def table(heads, rows, words, mean=False):
    """A sortable table.

    heads: list of text, the first of the rows' names; rows: lists of text and numbers, which may be followed by an
    interval in brackets; words: what is in it, for screen readers; mean: the last row is the mean, which stays in sight
    and is not sorted; of one attribute it is left out
    """
    foot = rows[-1] if mean and len(rows) > 2 else None
    return render("table.html", heads=heads, rows=rows[:-1] if mean else rows, foot=foot, words=words) if rows else ""


def measured(heads, rows, words):
    """A table of all measures with their intervals.

    heads: of the first cells; rows: list of (first cells, row or difference of an evaluation); words: as of `table`
    """
    cells = []
    for first, row in rows:
        sign = "+" if "minus" in row else ""
        cells.append([*first, *(results.interval(row[name], sign) for name in results.NAMES)])
    return table([*heads, *(heading(results.heading(name)) for name in results.NAMES)], cells, words)


def picker(label, panels, kind="attribute"):
    """Panels of which one is shown, chosen from a list: dict name -> HTML; without a script all are shown.

    kind: lists of one kind follow each other, so that an attribute is chosen once
    """
    return render("picker.html", label=label, panels=panels, kind=kind)


def data_uri(image):
    """An image (B G R) as the address that holds its own data."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
