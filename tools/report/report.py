"""Write the report of a run's evaluation, or the comparison of two: one HTML file that needs no network.

    face-cascade report                                             of build/run, to build/run/report.html
    face-cascade report --run build/two --compare build/one         what differs, to build/two/comparison.html

Reads RUN/evaluation, as evaluate wrote it, the faces of its LMDBs, and the logs RUN/*/train.log.
"""

import pathlib

from data_prep.files import write_bytes
from tools import run as runs
from tools.report import compare, headline, page
from tools.report.attributes import beside_the_paper, per_attribute
from tools.report.card import card
from tools.report.curves import details
from tools.report.faces import Faces, worst
from tools.report.groups import by_group
from tools.report.opened import Opened
from tools.report.regions import regions
from tools.report.training import training


def make(run):
    """The page of a run, as text. Raises ToolError, OSError."""
    opened = Opened(run)
    faces = Faces(opened)
    sections = {
        "Summary": headline.headline(opened),
        "Attributes": per_attribute(opened),
        "One attribute": details(opened),
        "Regions": regions(opened, faces),
        "Worst errors": worst(opened, faces),
        "Groups": by_group(opened),
        "Training": training(opened),
        "The paper": beside_the_paper(opened),
        "Model card": card(opened),
    }
    return page.page(f"Report: {page.place(run.folder)}", headline.facts(opened) + faces.definitions(), sections)


def report(run, out=None):
    """Write the report of a run, and return its path. out: file, by default report.html in the run.

    Raises ToolError, OSError.
    """
    return write(out or run.output / "report.html", make(run))


def comparison(first, second, out=None):
    """Write the comparison of two runs, and return its path. out: file, by default comparison.html in the second run.

    Raises ToolError, OSError.
    """
    return write(out or second.output / "comparison.html", compare.make(Opened(first), Opened(second)))


def write(out, text):
    """Write a page, and return its path. Raises OSError."""
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode(errors="replace"))
    return out


def add_arguments(parser):
    """The options of `face-cascade report`."""
    add = parser.add_argument
    runs.add_argument(parser)
    add("--compare", metavar="RUN", help="The folder of another run, A, that the run, B, is compared with.")
    add(
        "--out",
        metavar="FILE",
        help="The file to write (default: report.html in the run, or comparison.html if runs are compared).",
    )


def run(arguments):
    """`face-cascade report`: the exit status. Raises ToolError, OSError."""
    reported = runs.Run.read(arguments.run)
    if arguments.compare:
        out = comparison(runs.Run.read(arguments.compare), reported, arguments.out)
    else:
        out = report(reported, arguments.out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return 0
