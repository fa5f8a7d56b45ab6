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

    Attributes: run, folder, result (results.EvaluationResult), names (of its networks, the one that details are shown
    of first: the cascade where there is one), arrays (dict name -> results.read_arrays), labels (N, A) bool,
    attributes, shown (their names as people write them), lmdb, manifest. Raises ToolError for what is missing, damaged
    or changed since it was evaluated, and where the evaluation is not of the weights that the run has now.
    """

    def __init__(self, run):
        self.run, self.folder = run, run.place("evaluate")
        if run.recorded:
            check_stages(run, self.folder)
            run.check_data()
        self.result = results.read(self.folder, run.stages["evaluate"].checksum if run.recorded else None)
        self.names = sorted(self.result.networks, key=lambda name: name != "cascade")
        self.attributes, self.shown = self.result.attributes, list(map(page.human, self.result.attributes))
        self.arrays = {name: results.read_arrays(self.folder, name, self.result) for name in self.names}
        self.labels = self.arrays[self.names[0]]["labels"].astype(bool)
        self.lmdb = run.lmdb if run.recorded else runs.resolved(self.result.lmdb, run.folder)
        self.manifest = networks.manifest(self.lmdb)
        if manifest.checksum(self.lmdb) != self.result.data:
            raise ToolError(f"{self.lmdb}: the data changed since they were evaluated; evaluate again")

    @property
    def chosen(self):
        """The network that details are shown of."""
        return self.names[0]

    def mapper(self):
        """Name and localisation.Mapper of the network whose regions are shown, or None where none maps regions."""
        for name in self.names:
            if "average" in (arrays := self.arrays[name]):
                numbers = float(arrays["threshold"]), float(arrays["average_weight"])
                return name, localisation.Mapper(arrays["average"], arrays["rectangles"], *numbers)
        return None

    def boxes(self):
        """True boxes as localisation.read_boxes gives them, None where the data set has none. Raises ToolError."""
        return localisation.read_boxes(self.lmdb, self.result.split, len(self.labels))

    def blob(self, name):
        """The blob that holds the scores that a network answers with."""
        return results.SCORES[results.answer(self.result.networks[name])]

    def scores(self, name):
        """These scores, (N, A)."""
        return self.arrays[name][self.blob(name)]

    def scored(self, name, resampled, seed):
        """The scoring.Scored of these scores; resampled, seed: number and seed of the resamples of the faces."""
        return scoring.of_arrays(self.arrays[name], self.blob(name), self.result, resampled, seed)

    def answers(self, name):
        """Decisions (N, A) bool and calibrated probabilities (N, A) of a network, as predict gives them."""
        score, scores = self.result.networks[name].calibration[self.blob(name)], self.scores(name)
        with np.errstate(over="ignore", invalid="ignore"):
            line = np.array(score.slope), np.array(score.offset)
            probabilities = np.nan_to_num(calibration.probability(scores, *line), nan=0.5)
        return scores > np.array(score.threshold), probabilities

    def weights(self, name):
        """The file of weights of a network. Raises ToolError where it has changed since it was evaluated."""
        stage = self.run.evaluated().get(name)
        if stage is None or self.run.stages[stage].checksum != self.result.networks[name].checksum:
            raise ToolError(f"{self.folder}: the weights of {name} changed since they were evaluated; evaluate again")
        return self.run.weights(stage)

    def rows(self, name, decision):
        """Rows of a network's answer under a decision: the attributes', then their mean."""
        return results.rows(self.result.networks[name], decision)

    def patches(self, numbers):
        """Centre patches of the faces with these numbers. Raises ToolError."""
        return networks.chosen_patches(self.lmdb, self.result.split, numbers)


def check_stages(run, folder):
    """Raise ToolError unless the evaluation in a folder is of the weights that the run's record has now."""
    again = run.command("evaluate")
    if not run.done("evaluate"):
        raise ToolError(f"{run.folder}: not evaluated yet; run: {again}")
    evaluated, stages = run.stages["evaluate"].inputs, run.evaluated()
    names = dict.fromkeys([*stages, *(key[11:] for key in evaluated if key.startswith("weights of "))])
    for name in names:
        if name not in stages:
            state = run.stages[name].state if name in run.stages else "not begun"
            raise ToolError(
                f"{folder}: stage {name} is {state}, so the weights that were evaluated are no longer those of the "
                f"run; when it is done, evaluate again: {again}"
            )
        if evaluated.get(f"weights of {name}") != run.stages[stages[name]].checksum:
            raise ToolError(f"{folder}: {name} was trained after it was evaluated; run: {again}")
