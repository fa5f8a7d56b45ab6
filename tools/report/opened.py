"""An evaluation opened for a report: what evaluate wrote, and the faces it was measured on."""

import os
import pathlib

import numpy as np

from data_prep.files import sha256
from data_prep.store import manifest
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, results, scoring
from tools.report import page


class Opened:
    """One evaluation, as tools.evaluate.evaluate left it in a folder.

    run: the Run that it is of; checksum: that of evaluation.json in its record, None without one
    Attributes: result (results.EvaluationResult), names (of its networks), arrays (dict name -> results.read_arrays),
    labels (N, A) bool, attributes, shown (their names as people write them), manifest (of its LMDB folder), lmdb (its
    path). Raises ToolError for what is missing, damaged or changed since it was evaluated.
    """

    def __init__(self, folder, run=None, checksum=None):
        self.folder, self.result = pathlib.Path(folder), results.read(folder, checksum)
        self.lmdb = runs.resolved(self.result.lmdb, self.folder)
        self.attributes, self.names = self.result.attributes, list(self.result.networks)
        self.arrays = {name: results.read_arrays(folder, name, self.result) for name in self.names}
        self.labels = self.arrays[self.names[0]]["labels"].astype(bool)
        self.run = run
        self.shown = list(map(page.human, self.attributes))
        self.manifest = networks.manifest(self.lmdb)
        if manifest.checksum(self.lmdb) != self.result.data:
            raise ToolError(f"{self.lmdb}: the data changed since they were evaluated; evaluate again")

    def chosen(self):
        """The network that details are shown of: a cascade where there is one, else the first."""
        cascades = [name for name in self.names if self.result.networks[name].network == "cascade"]
        return (cascades or self.names)[0]

    def ordered(self):
        """Names of the networks, the chosen one first: the order in which charts and tables show them."""
        return [self.chosen(), *(name for name in self.names if name != self.chosen())]

    def mapper(self):
        """Name and localisation.Mapper of the network whose regions are shown, or None where none maps regions."""
        for name in self.ordered():
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

    def thresholds(self, name):
        """Thresholds (A,) of these scores, tuned on validation."""
        return np.array(self.result.networks[name].calibration[self.blob(name)].threshold)

    def weights(self, name):
        """The file of weights of a network. Raises ToolError where it has changed since it was evaluated."""
        network = self.result.networks[name]
        path = pathlib.Path(os.path.normpath(self.folder / network.file))
        if not path.exists():
            raise ToolError(f"{path}: missing, though it was evaluated; evaluate again")
        if sha256(path) != network.checksum:
            raise ToolError(f"{path}: changed since it was evaluated; evaluate again")
        return path

    def answers(self, name):
        """Decisions (N, A) bool, tuned on validation, and calibrated probabilities (N, A) of a network."""
        score = self.result.networks[name].calibration[self.blob(name)]
        with np.errstate(over="ignore", invalid="ignore"):
            line = np.array(score.slope), np.array(score.offset)
            probabilities = np.nan_to_num(calibration.probability(self.scores(name), *line), nan=0.5)
        return self.scores(name) > self.thresholds(name), probabilities

    def rows(self, name, decision=calibration.TUNED):
        """Rows of a network's answer under a decision: the attributes', then their mean."""
        return results.rows(self.result.networks[name], decision)

    def patches(self, numbers):
        """Centre patches of the faces with these numbers. Raises ToolError."""
        return networks.chosen_patches(self.lmdb, self.result.split, numbers)
