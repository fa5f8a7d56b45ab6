"""Write the report of a run's evaluation, or the comparison of two: one HTML file that needs no network.

    face-cascade report --run build/run
    face-cascade report build/one build/two         their differences, to comparison.html in the second

Reads RUN/evaluation, as evaluate wrote it, the faces of its LMDBs, and the logs RUN/*/train.log.
"""

import pathlib

from data_prep.files import write_bytes
from tools import run as runs
from tools.errors import ToolError
from tools.report import compare, headline, page
from tools.report.attributes import beside_the_paper, per_attribute
from tools.report.card import MILLION, card
from tools.report.curves import details
from tools.report.errors import worst
from tools.report.faces import Faces
from tools.report.groups import by_group
from tools.report.opened import Opened
from tools.report.regions import regions
from tools.report.training import training


def make(run):
    """The page of a run, as text. Raises ToolError, OSError."""
    opened = open_run(run)
    faces = Faces(opened)
    sections = {
        "Summary": headline.headline(opened),
        "Attributes": per_attribute(opened),
        "One attribute": details(opened),
        "Regions": regions(opened, faces),
        "Worst errors": worst(opened, faces),
        "Groups": by_group(opened),
        "Training": training(run.folder, opened.attributes, run),
        "The paper": beside_the_paper(opened),
        "Model card": card(opened),
    }
    lead = page.facts(headline.facts(opened)) + faces.definitions()
    return page.page(headline.title(opened), lead, sections)


def open_run(run):
    """The evaluation of a run, Opened. Raises ToolError where it is not of the weights that the run has now."""
    evaluation, again = run.place("evaluate"), run.command("evaluate")
    if not run.recorded:
        return Opened(evaluation, run)
    if not run.done("evaluate"):
        raise ToolError(f"{run.folder}: not evaluated yet; run: {again}")
    inputs, now = run.stages["evaluate"].inputs, {}
    for name, stage in run.evaluated().items():
        now[f"weights of {name}"] = run.stages[stage].checksum
    for key in dict.fromkeys([*now, *(key for key in inputs if key.startswith("weights of "))]):
        name = key.rpartition(" ")[2]
        if key not in now:
            state = run.stages[name].state if name in run.stages else "not begun"
            raise ToolError(
                f"{evaluation}: stage {name} is {state}, so the weights that were evaluated are no longer those of "
                f"the run; when it is done, evaluate again: {again}"
            )
        if inputs.get(key) != now[key]:
            raise ToolError(f"{evaluation}: {name} was trained after it was evaluated; run: {again}")
    return Opened(evaluation, run, run.stages["evaluate"].checksum)


def report(run, out=None):
    """Write the report of a run, and return its path. out: file, by default report.html in the run.

    Raises ToolError, OSError.
    """
    return write(out or run.output / "report.html", make(run))


def comparison(one, two, out=None):
    """Write the comparison of two runs, and return its path. out: file, by default comparison.html in the second run.

    Raises ToolError, OSError.
    """
    return write(out or two.output / "comparison.html", compare.make(open_run(one), open_run(two)))


def write(out, text):
    """Write a page, and return its path. Raises OSError."""
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode(errors="replace"))
    return out


def add_arguments(parser):
    """The options of `face-cascade report`."""
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="The folder of a run, as --run, or the folders of two runs to compare.")
    runs.add_argument(parser, default=None)
    add(
        "--out",
        metavar="FILE",
        help="The file to write (default: report.html in the run, or comparison.html in the second of two runs).",
    )


def run(arguments):
    """`face-cascade report`: the exit status. Raises ToolError, OSError."""
    folders = arguments.runs or [arguments.run or runs.DEFAULT]
    if len(folders) > 2:
        raise ToolError(f"report takes one run or two, not {len(folders)}; give two folders to compare them")
    if arguments.runs and arguments.run:
        raise ToolError(f"--run {arguments.run}: the run is given twice, also as {folders[0]}; give it once")
    found = [runs.Run.read(folder) for folder in folders]
    out = comparison(*found, arguments.out) if len(found) == 2 else report(found[0], arguments.out)
    print(f"{out}: {out.stat().st_size / MILLION:.1f} MB; open it in a browser")
    return 0
