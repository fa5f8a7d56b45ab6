"""Write the report of a run's evaluation, or the comparison of two: one HTML file that needs no network.

    face-cascade report                                             of build/run, to build/run/report.html
    face-cascade report --run build/two --compare build/one         what differs, to build/two/comparison.html

Reads RUN/evaluation, as evaluate wrote it, the faces of its LMDBs, and the logs RUN/*/train.log.
"""

import pathlib
import shlex

import numpy as np

from data_prep.files import write_bytes
from data_prep.store import manifest
from models import table1
from tools import model_files, networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, results, scoring
from tools.report import accuracy, compare, faces, page
from tools.report.curves import details
from tools.report.training import training
from tools.train import plan


class Opened:
    """The evaluation of a tools.run.Run, as tools.evaluate.evaluate left it.

    Attributes: run, result (of results.read), names (of its networks), chosen (the one that details are shown
    of: the cascade where there is one), arrays (dict name -> results.read_arrays), labels (N, A) bool, attributes,
    shown (their names as people write them), lmdb, manifest, images (their checksum), boxes (as of
    localisation.read_boxes). Raises DataError or OSError for what is missing, damaged or changed since it was
    evaluated, and where the evaluation is not of the weights that the run has now.
    """

    def __init__(self, run):
        self.run, folder = run, run.place("evaluate")
        self.result = results.read(folder)
        check_weights(run, self.result)
        if run.recorded:
            run.check_data()
        self.names = [name for name in scoring.ORDER if name in self.result.networks]
        self.chosen = self.names[0]
        self.attributes, self.shown = self.result.attributes, list(map(page.human, self.result.attributes))
        self.arrays = {name: results.read_arrays(folder, name, self.result) for name in self.names}
        self.labels = self.arrays[self.chosen]["labels"].astype(bool)
        self.lmdb = run.lmdb if run.recorded else runs.resolved(self.result.lmdb, run.folder)
        self.manifest = manifest.read(self.lmdb)
        if manifest.checksum(self.lmdb) != self.result.data:
            raise ToolError(f"{self.lmdb}: the data changed since they were evaluated; evaluate again")
        self.images = self.manifest.checksums.get(f"{self.result.split}_images/data.mdb", self.result.data)
        self.boxes = localisation.read_boxes(self.lmdb, self.result.split)

    def blob(self, name):
        """The blob that holds the scores that a network answers with."""
        return results.SCORES[results.answer(self.result.networks[name])]

    def scored(self, name):
        """The scoring.Scored of these scores."""
        settings = self.result.prior, self.result.tuned_for, self.result.resamples
        return scoring.Scored(self.arrays[name], self.blob(name), *settings)

    def answers(self, name):
        """Decisions (N, A) bool and calibrated probabilities (N, A) of a network, as predict gives them."""
        score, scores = self.result.networks[name].calibration[self.blob(name)], self.arrays[name][self.blob(name)]
        return scores > score.threshold, calibration.probability(scores, np.array(score.slope), score.offset)

    def rows(self, name, decision):
        """Rows of a network's answer under a decision: the attributes', then their mean."""
        return results.rows(self.result.networks[name], decision)

    def patches(self, numbers):
        """Centre patches of the faces with these numbers, a list. Raises DataError, OSError."""
        return list(networks.patches(self.lmdb, self.result.split, numbers))


def check_weights(run, result):
    """Raise ToolError unless an evaluation is of the networks and weights that a run has now."""
    stages = run.evaluated()
    for name in dict.fromkeys([*stages, *result.networks]):
        stage = stages.get(name, name)
        evaluated = result.networks.get(name)
        if name not in stages or evaluated is None or evaluated.checksum != run.stages[stage].checksum:
            raise ToolError(
                f"{run.folder}: the evaluation is not of the weights that the run has now: stage {stage} is "
                f"{run.state(stage)}; when all is trained, evaluate again: {run.command('evaluate')}"
            )


def card(opened):
    """The model card of the chosen network. Raises ToolError."""
    path, train = opened.run.weights(opened.run.evaluated()[opened.chosen]), opened.manifest.splits.get("train")
    layers = {
        layer.name: layer for layer in model_files.read_weights(path).layer if layer.name not in networks.OPTIONAL
    }
    width = layers["conv1"].blobs[0].shape.dim[0] / table1.SHARED[0].channels
    of_parts, attributes = plan.parts(width), len(opened.attributes)
    # Multiply-adds of one face.
    operations = {part: of_parts[part] * (1 if part == "shared" else attributes) for part in plan.PARTS[opened.chosen]}
    return page.render(
        "card.html",
        opened=opened,
        quoted=shlex.quote(page.place(opened.run.folder)),
        parameters=sum(len(blob.data) for layer in layers.values() for blob in layer.blobs),
        bytes=path.stat().st_size,
        train=train.images if train else None,
        operations=operations,
        width=width,
        size=table1.INPUT_SIZE,
    )


def make(run):
    """The page of a run, as text. Raises ToolError, OSError."""
    opened, shown = Opened(run), set()
    sections = {
        "Summary": accuracy.headline(opened),
        "Attributes": accuracy.per_attribute(opened),
        "One attribute": details(opened),
        "Regions": faces.regions(opened, shown),
        "Worst errors": faces.worst(opened, shown),
        "Groups": accuracy.by_group(opened),
        "Training": training(opened),
        "The paper": accuracy.beside_the_paper(opened),
        "Model card": card(opened),
    }
    lead = accuracy.facts(opened) + faces.definitions(opened, shown)
    return page.page(f"Report: {page.place(run.folder)}", lead, sections)


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
        text = compare.make(Opened(runs.Run.read(arguments.compare)), Opened(reported))
    else:
        text = make(reported)
    out = pathlib.Path(arguments.out or reported.output / f"{'comparison' if arguments.compare else 'report'}.html")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, text.encode(errors="replace"))
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return 0
