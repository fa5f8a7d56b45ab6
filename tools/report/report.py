"""Write the report of a run's evaluation, or the comparison of two: one HTML file that needs no network.

    face-cascade report --run build/run
    face-cascade report build/one build/two         their differences, to comparison.html in the second
    face-cascade report --evaluation build/evaluation --out report.html

Reads RUN/evaluation, as evaluate wrote it, the faces of its LMDBs, and the logs RUN/*/train.log.
"""

import pathlib

from data_prep.files import write_bytes
from tools import record
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

DEFAULT_RUN = "build/run"


def make(evaluation, run=None):
    """The page, as text. evaluation: folder that evaluate wrote; run: folder with the stages' logs, or None.

    Raises ToolError, OSError.
    """
    opened = Opened(evaluation, run)
    logs = run if opened.run or not run or not runs.Run.exists(run) else None
    faces = Faces(opened)
    sections = {
        "Summary": headline.headline(opened),
        "Attributes": per_attribute(opened),
        "One attribute": details(opened),
        "Regions": regions(opened, faces),
        "Worst errors": worst(opened, faces),
        "Groups": by_group(opened),
        "Training": training(logs, opened.attributes, opened.run) if logs else "",
        "The paper": beside_the_paper(opened),
        "Model card": card(opened),
    }
    lead = page.facts(headline.facts(opened)) + faces.definitions()
    return page.page(headline.title(opened), lead, sections)


def check_run(run, evaluation):
    """Raise ToolError where an evaluation is not of the weights that a run has now."""
    if not run.done("evaluate"):
        raise ToolError(f"{run.folder}: not evaluated yet; run: {runs.command(run, 'evaluate')}")
    inputs = run.stages["evaluate"].inputs
    for stage in record.TRAINED:
        evaluated = inputs.get(f"weights of {stage}")
        if evaluated and not run.done(stage):
            state = run.stages[stage].state if stage in run.stages else "not begun"
            raise ToolError(
                f"{evaluation}: stage {stage} is {state}, so the weights that were evaluated are no longer those of "
                f"the run; when it is done, evaluate again: {runs.command(run, 'evaluate')}"
            )
        if run.done(stage) and evaluated != run.stages[stage].checksum:
            raise ToolError(
                f"{evaluation}: {stage} was trained after it was evaluated; run: {runs.command(run, 'evaluate')}"
            )


def report(run=DEFAULT_RUN, evaluation=None, out=None):
    """Write the report of a run, and return its path.

    run: folder of a run, or one with the stages' logs alone; evaluation: folder, by default the run's; out: file,
    by default report.html in the run. Raises ToolError, OSError.
    """
    run = pathlib.Path(run)
    if evaluation is None:
        evaluation = run / "evaluation"
        if runs.Run.exists(run):
            check_run(runs.Run.read(run), evaluation)
    out = pathlib.Path(out) if out else run / "report.html"
    text = make(evaluation, run)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode(errors="replace"))
    return out


def comparison(one, two, out=None):
    """Write the comparison of two runs, and return its path. out: file, by default comparison.html in the second run.

    Raises ToolError, OSError.
    """
    opened = []
    for folder in map(pathlib.Path, (one, two)):
        run = runs.Run.read(folder)
        check_run(run, folder / "evaluation")
        opened.append(Opened(folder / "evaluation", folder))
        if opened[-1].run is None:
            raise ToolError(
                f"{folder}: its evaluation is of other weights than those of the run, so it cannot be compared; "
                f"evaluate again: {runs.command(run, 'evaluate')}"
            )
    out = pathlib.Path(out) if out else pathlib.Path(two) / "comparison.html"
    text = compare.make(*opened)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode(errors="replace"))
    return out


def add_arguments(parser):
    """The options of `face-cascade report`."""
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="The folder of a run, as --run, or the folders of two runs to compare.")
    add("--run", metavar="FOLDER", help=f"The folder of the run (default: {DEFAULT_RUN}).")
    add("--evaluation", metavar="FOLDER", help="The folder that evaluate wrote (default: the one in the run).")
    add(
        "--out",
        metavar="FILE",
        help="The file to write (default: report.html in the run, or comparison.html in the second of two runs).",
    )


def run(arguments):
    """`face-cascade report`: the exit status. Raises ToolError, OSError."""
    if len(arguments.runs) > 2:
        raise ToolError(f"report takes one run or two, not {len(arguments.runs)}; give two folders to compare them")
    if arguments.runs and arguments.run:
        raise ToolError(f"--run {arguments.run}: the run is given twice, also as {arguments.runs[0]}; give it once")
    if len(arguments.runs) == 2:
        if arguments.evaluation:
            raise ToolError("--evaluation is for a report of one run; leave it out to compare two")
        out = comparison(*arguments.runs, arguments.out)
    else:
        chosen = arguments.runs[0] if arguments.runs else arguments.run or DEFAULT_RUN
        out = report(chosen, arguments.evaluation, arguments.out)
    print(f"{out}: {out.stat().st_size / MILLION:.1f} MB; open it in a browser")
    return 0
