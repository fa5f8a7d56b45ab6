"""Readers of the files of runs: JSON and logs."""

import mutations
from reading import Reader, sane

from tools.errors import ToolError
from tools.record import TRAINED
from tools.report import training
from tools.run import Run
from tools.train import caffe_log


def run_record(path):
    """A run's record, and everything that a training reads from it."""
    run = Run.read(path.parent)
    sane(run.attributes and run.settings.engine, "no attributes, or no engine")
    run.network()
    asked = [run.solver_changes(), run.solvers()]
    for stage in TRAINED:
        asked += [run.inputs(stage), run.images(stage), run.done(stage)]
    asked.append(run.inputs("average"))
    return asked, vars(run.settings), {name: vars(stage) for name, stage in run.stages.items()}


def curves(path):
    return training.stage(path.parent.name, caffe_log.read(path.read_text(errors="replace").splitlines()), ["Male"])


READERS = [
    Reader("run.json", "run", ("run.json",), run_record, (ToolError,), mutations.of_json, share=2),
    Reader("train.log", "logs", ("*.log",), curves, (), mutations.of_text),
]
