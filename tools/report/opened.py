"""An evaluation opened for a report: what evaluate wrote, and the faces it was measured on."""

import numpy as np

from data_prep.store import manifest
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, results, scoring
from tools.report import page


class Opened:
    """The evaluation of a tools.run.Run, as tools.evaluate.evaluate left it.

    Attributes: run, result (results.EvaluationResult), names (of its networks), chosen (the one that details are shown
    of: the cascade where there is one), arrays (dict name -> results.read_arrays), labels (N, A) bool, attributes,
    shown (their names as people write them), lmdb, manifest. Raises DataError or OSError for what is missing, damaged
    or changed since it was evaluated, and where the evaluation is not of the weights that the run has now.
    """

    def __init__(self, run):
        self.run, folder = run, run.place("evaluate")
        if run.recorded and not run.done("evaluate"):
            raise ToolError(f"{run.folder}: not evaluated yet; run: {run.command('evaluate')}")
        self.result = results.read(folder, run.stages["evaluate"].checksum if run.recorded else None)
        check_weights(run, self.result)
        if run.recorded:
            run.check_data()
        self.names = sorted(self.result.networks, key=lambda name: name != "cascade")
        self.chosen = self.names[0]
        self.attributes, self.shown = self.result.attributes, list(map(page.human, self.result.attributes))
        self.arrays = {name: results.read_arrays(folder, name, self.result) for name in self.names}
        self.labels = self.arrays[self.chosen]["labels"].astype(bool)
        self.lmdb = run.lmdb if run.recorded else runs.resolved(self.result.lmdb, run.folder)
        self.manifest = manifest.read(self.lmdb)
        if manifest.checksum(self.lmdb) != self.result.data:
            raise ToolError(f"{self.lmdb}: the data changed since they were evaluated; evaluate again")

    def boxes(self):
        """True boxes as localisation.read_boxes gives them, None where the data set has none. Raises DataError."""
        return localisation.read_boxes(self.lmdb, self.result.split, len(self.labels))

    def blob(self, name):
        """The blob that holds the scores that a network answers with."""
        return results.SCORES[results.answer(self.result.networks[name])]

    def scored(self, name, seed):
        """The scoring.Scored of these scores; seed: of the resamples of the faces."""
        settings = self.result.prior, self.result.tuned_for, self.result.resamples
        return scoring.of_arrays(self.arrays[name], self.blob(name), *settings, seed)

    def answers(self, name):
        """Decisions (N, A) bool and calibrated probabilities (N, A) of a network, as predict gives them."""
        score, scores = self.result.networks[name].calibration[self.blob(name)], self.arrays[name][self.blob(name)]
        with np.errstate(over="ignore", invalid="ignore"):
            line = np.array(score.slope), np.array(score.offset)
            probabilities = np.nan_to_num(calibration.probability(scores, *line), nan=0.5)
        return scores > np.array(score.threshold), probabilities

    def rows(self, name, decision):
        """Rows of a network's answer under a decision: the attributes', then their mean."""
        return results.rows(self.result.networks[name], decision)

    def patches(self, numbers):
        """Centre patches of the faces with these numbers, a list. Raises DataError, OSError."""
        return list(networks.patches(self.lmdb, self.result.split, numbers))


def check_weights(run, result):
    """Raise ToolError unless an evaluation is of the networks and weights that a run has now."""
    stages, again = run.evaluated(), run.command("evaluate")
    for name in dict.fromkeys([*stages, *result.networks]):
        if name not in stages:
            raise ToolError(
                f"{run.folder}: stage {name} is {run.state(name)}, so the weights that were evaluated are no longer "
                f"those of the run; when it is done, evaluate again: {again}"
            )
        evaluated = result.networks.get(name)
        if evaluated is None or evaluated.checksum != run.stages[stages[name]].checksum:
            raise ToolError(f"{run.folder}: {name} was trained after it was evaluated; run: {again}")
