"""An evaluation opened for a report: what evaluate wrote, and the faces it was measured on."""

import os
import pathlib

import numpy as np

from data_prep.files import sha256
from data_prep.store import manifest
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration, results


class Opened:
    """One evaluation, as tools.evaluate.evaluate left it in a folder.

    Attributes: result (results.EvaluationResult), names (of its networks), arrays (dict name -> results.read_arrays),
    labels (N, A), attributes, manifest (of its LMDB folder). Raises ToolError for what is missing, damaged or changed
    since it was evaluated.
    """

    def __init__(self, folder):
        self.folder, self.result = pathlib.Path(folder), results.read(folder)
        self.attributes, self.names = self.result.attributes, list(self.result.networks)
        self.arrays = {name: results.read_arrays(folder, name, self.result) for name in self.names}
        self.labels = self.arrays[self.names[0]]["labels"]
        self.manifest = networks.manifest(self.result.lmdb)
        if manifest.checksum(self.result.lmdb) != self.result.data:
            raise ToolError(f"{self.result.lmdb}: the data changed since they were evaluated; evaluate again")

    def chosen(self):
        """The network that details are shown of: a cascade where there is one, else the first."""
        cascades = [name for name in self.names if self.result.networks[name].network == "cascade"]
        return (cascades or self.names)[0]

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
        network = self.result.networks[name]
        blob = results.SCORES[results.answer(network)]
        score = network.calibration[blob]
        probabilities = calibration.probability(self.arrays[name][blob], np.array(score.slope), np.array(score.offset))
        return self.arrays[name][blob] > np.array(score.threshold), probabilities

    def rows(self, name):
        """Rows of a network's answer, tuned: the attributes', then their mean."""
        return results.rows(self.result.networks[name])

    def patches(self, numbers):
        """Centre patches of the faces with these numbers. Raises ToolError."""
        return networks.chosen_patches(self.result.lmdb, self.result.split, numbers)
