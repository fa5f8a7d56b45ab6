"""Readers of the files of runs and evaluations: JSON, arrays and logs."""

import mutations
import numpy as np
from reading import Reader, sane

from data_prep import files
from tools.errors import ToolError
from tools.evaluate import calibration, json_records, results
from tools.record import TRAINED
from tools.report import training
from tools.run import Run

WEIGHTS = "region_iter_4.caffemodel"


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


def calibrated(path):
    entry = calibration.read(path.parent / WEIGHTS)
    if entry is None:
        return None
    numbers = [entry.prior, *(vars(score).values() for score in entry.scores.values())]
    sane(all(np.isfinite(np.array(list(row), float)).all() for row in numbers), "numbers that are not finite")
    sane(all(0 <= share <= 1 for share in entry.prior), f"prior {entry.prior}")
    return json_records.dump(entry)


def evaluated(path):
    result = results.read(path.parent)
    for network in result.networks.values():
        results.rows(network)
    sane(result.faces >= 0 and result.resamples >= 0, "a negative count")
    return json_records.dump(result)


def arrays(path):
    """Arrays of an evaluation that names the damaged file's checksum."""
    result = results.read(path.parent)
    result.networks[path.stem].arrays = files.sha256(path)
    return results.read_arrays(path.parent, path.stem, result)


def curves(path):
    return training.training(path.parent.parent, ["Male", "Smiling"])


READERS = [
    Reader("run.json", "run", ("run.json",), run_record, (ToolError,), mutations.of_json, share=2),
    Reader(
        "calibration.json", "calibration", ("*.json",), calibrated, (ToolError, OSError), mutations.of_json, share=2
    ),
    Reader("evaluation.json", "evaluated/evaluation", ("*.json",), evaluated, (ToolError,), mutations.of_json, share=2),
    Reader("arrays of an evaluation", "evaluated/evaluation", ("*.npz",), arrays, (ToolError,)),
    Reader("train.log", "logs", ("*.log",), curves, (), mutations.of_text),
]
