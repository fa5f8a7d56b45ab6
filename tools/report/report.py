"""Write the report of a run's evaluation: one HTML file that needs no network, to be opened from disk.

    face-cascade report --run build/run
    .venv/bin/python -m tools.report.report --evaluation build/evaluation --out report.html

Reads RUN/evaluation, as evaluate wrote it, the faces of its LMDBs, and the logs RUN/*/train.log.
"""

import pathlib

from data_prep.files import write_bytes
from tools import record
from tools import run as runs
from tools.errors import ToolError, standalone
from tools.report import page
from tools.report.card import MILLION, card
from tools.report.faces import examples, regions
from tools.report.numbers import beside_the_paper, overview, per_attribute, slices
from tools.report.opened import Opened
from tools.report.training import training

DEFAULT_RUN = "build/run"


def make(evaluation, run=None):
    """The page, as text. evaluation: folder that evaluate wrote; run: folder with the stages' logs, or None.

    Raises ToolError, OSError.
    """
    opened = Opened(evaluation)
    lead = f"{opened.result.faces:,} faces of the {opened.result.split} split of {opened.result.lmdb}"
    sections = {
        "Results": overview(opened),
        "Comparison with the paper": beside_the_paper(opened),
        "Attributes": per_attribute(opened),
        "Training": training(run, opened.attributes) if run else "",
        "Regions": regions(opened),
        "Groups": slices(opened),
        "Best and worst": examples(opened),
        "Model card": card(opened),
    }
    return page.page("Face attributes: report", lead, sections)


def check_run(run, evaluation):
    """Raise ToolError where an evaluation is not of the weights that a run has now."""
    if not run.done("evaluate"):
        raise ToolError(f"{run.folder}: not evaluated yet; run: {runs.command(run, 'evaluate')}")
    for stage in record.TRAINED:
        inputs = run.stages["evaluate"].inputs
        if run.done(stage) and inputs.get(f"weights of {stage}") != run.stages[stage].checksum:
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


def add_arguments(parser):
    """The options of `face-cascade report`."""
    add = parser.add_argument
    add("--run", default=DEFAULT_RUN, metavar="FOLDER", help=f"Folder of the run. Default: {DEFAULT_RUN}.")
    add("--evaluation", metavar="FOLDER", help="Folder that evaluate wrote. Default: the run's.")
    add("--out", metavar="FILE", help="File to write. Default: report.html in the run.")


def run(arguments):
    """`face-cascade report`: the exit status. Raises ToolError, OSError."""
    out = report(arguments.run, arguments.evaluation, arguments.out)
    print(f"{out}: {out.stat().st_size / MILLION:.1f} MB; open it in a browser")
    return 0


if __name__ == "__main__":
    standalone(__doc__, add_arguments, run)
