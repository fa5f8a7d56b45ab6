"""A run: the folder of one training, from which every command reads attributes, networks, weights and calibration.

    RUN/run.json           its record: data, settings, and the state of each stage (tools/record.py)
    RUN/region/            task one: prototxts, solver, train.log, snapshots
    RUN/average/           weights of task one with the average region, from which the cascade starts
    RUN/cascade/           both tasks
    RUN/whole_face/        the ablation without regions
    RUN/evaluation/        what `face-cascade evaluate` measured

Settings are given once; the record supplies those that a command leaves out. Weights that were trained from other
inputs than the record says are never used. Networks that were trained with Caffe's own commands are a run too, without
a record: the project's folder, with models/, solver/ and build/ (tools/by_hand.py). A model that was handed on has a
record to read, which is never written.
"""

import os
import pathlib
import shlex

from data_prep import files
from data_prep.settings import from_json, to_json
from data_prep.store import environment, manifest
from models import generate, options, solvers
from tools import by_hand, record
from tools.errors import ToolError
from tools.record import TRAINED, VERSION, Data, Record, Settings

REPOSITORY = generate.REPOSITORY
NAME = "run.json"
DEFAULT = "build/run"
# Stages in the order in which their weights answer for photos; the average region belongs to task one.
ANSWERING = ("cascade", "average", "region", "whole_face")
# Stage -> the stage whose weights it starts from, and the input that is their checksum.
STARTS_FROM = {
    "average": ("region", "weights of region"),
    "cascade": ("average", "weights with the average region"),
}


class Run:
    """One run: its folder, Data, Settings and Stages.

    output: the folder for what commands write, RUN by default; places: function network -> dict of its files, where
    they do not lie as models.generate.in_run says, and no record keeps what is done. Attribute recorded: whether
    run.json does.
    """

    def __init__(self, folder, data, settings=None, stages=None, output=None, places=None):
        self.folder = pathlib.Path(folder)
        self.output, self.recorded = pathlib.Path(output or folder), places is None
        self.data, self.settings, self.stages = data, settings or Settings(), stages or {}
        self._places = places

    # Reading and writing ------------------------------------------------------------------------------------

    @classmethod
    def read(cls, folder):
        """The run in a folder, with or without a record. Raises ToolError."""
        asked = pathlib.Path(folder)
        folder = asked.parent if asked.suffix == by_hand.SUFFIX and asked.with_name(NAME).exists() else asked
        path = folder / NAME
        if not path.exists():
            return cls(**by_hand.read(folder))
        try:
            found = from_json(Record, record.read(path, VERSION), path)
        except (OSError, ValueError) as error:
            raise ToolError(f"{error}; train in another run (--run)")
        weights = [stage.weights for stage in found.stages.values()]
        if folder != asked and asked.name not in weights:
            raise ToolError(f"{asked}: not the weights that {path} describes; give those, or move the file elsewhere")
        # The weights of a model that was handed on lie beside the record: tools/export/zoo.py.
        is_flat = any(place and os.path.dirname(place) == "" for place in weights)
        if is_flat:
            by_hand.check_names(folder / by_hand.DEPLOY, found.data.attributes)
        places = (lambda _: {"deploy": by_hand.DEPLOY}) if is_flat else None
        run = cls(folder, found.data, found.settings, found.stages, places=places)
        try:
            run.network()
        except ToolError as error:
            raise ToolError(f"{path}: damaged, describes an impossible network ({error})")
        return run

    @staticmethod
    def exists(folder):
        """Whether a folder holds a run's record, valid or damaged."""
        return (pathlib.Path(folder) / NAME).exists()

    @classmethod
    def create(cls, folder, lmdb, settings=None):
        """A new run on an LMDB folder; nothing is written yet. Raises ToolError."""
        return cls(folder, read_data(lmdb, folder), settings)

    def write(self):
        """Write the record, completely or not at all. Raises OSError."""
        if self.recorded:
            self.folder.mkdir(parents=True, exist_ok=True)
            content = Record(VERSION, self.data, self.settings, self.stages)
            files.write_json(self.folder / NAME, to_json(content))

    # What commands read -------------------------------------------------------------------------------------

    @property
    def attributes(self):
        return self.data.attributes

    @property
    def lmdb(self):
        """The LMDB folder, as a path from the current folder."""
        return resolved(self.data.lmdb, self.folder)

    def network(self):
        """The NetworkOptions of this run. Raises ToolError."""
        try:
            return options.NetworkOptions(
                attributes=tuple(self.attributes),
                lmdb=self.data.lmdb,
                form=self.data.form,
                seed=self.settings.seed,
                **self.settings.network,
            )
        except (TypeError, ValueError) as error:
            raise ToolError(str(error))

    def places(self, name):
        """The places of a network's files relative to the run's folder, see models.generate."""
        if self._places:
            return self._places(name)
        places = generate.in_run(name)
        if self.settings.start_from and name != "cascade":
            places["weights"] = f"{name}/initial.caffemodel"
        return places

    def place(self, stage):
        """The folder of a stage."""
        return self.output / ("evaluation" if stage == "evaluate" else stage)

    def train_val(self, stage):
        """The train_val prototxt of a trained network."""
        return self.folder / self.places(stage)["net"]

    def deploy(self, stage):
        """The deploy prototxt of a trained network; that of region also serves the average region. Raises ToolError.

        It must be the one that the stage was trained with: an edited one would change answers without a word.
        """
        path = self.folder / self.places("region" if stage == "average" else stage)["deploy"]
        return self._verified(stage, path, self.stages[stage].deploy if stage in self.stages else None)

    def done(self, name):
        """Whether a stage is done, and of the weights that the stages before it have now."""
        return name in self.stages and self.stages[name].state == "done" and not self.outdated(name)

    def outdated(self, name):
        """Whether a stage started from other weights than the stages before it have now, as far as is recorded."""
        before, key = STARTS_FROM.get(name, (None, None))
        if name not in self.stages or before not in self.stages:
            return False
        used = self.stages[name].inputs.get(key)
        return used is not None and used != self.stages[before].checksum or self.outdated(before)

    def state(self, name):
        """The state of a stage, in words."""
        if self.outdated(name):
            before, _ = STARTS_FROM[name]
            return f"outdated, because {before} {'is' if self.outdated(before) else 'was done again'}"
        return self.stages[name].state if name in self.stages else "not begun"

    def answering(self):
        """The stage whose weights answer for photos: the first of ANSWERING that is done."""
        return next((stage for stage in ANSWERING if self.done(stage)), ANSWERING[0])

    def passed_over(self):
        """Why a stage that was begun does not answer, in words, although it would come first; None where none is."""
        answering = self.answering()
        earlier = ANSWERING[: ANSWERING.index(answering)]
        return next(
            (f"{name} is {self.state(name)}; {answering} answers" for name in earlier if name in self.stages), None
        )

    def evaluated(self):
        """The networks that can be evaluated: dict network -> the stage whose weights stand for it.

        Task one has the average region in its weights once that has been measured.
        """
        stages = {name: name for name in TRAINED if self.done(name)}
        return {**stages, "region": "average"} if "region" in stages and self.done("average") else stages

    def weights(self, name):
        """The weights file of a stage that is done, its checksum verified. Raises ToolError."""
        if not self.done(name):
            if self.handed_on():
                raise ToolError(
                    f"{self.folder}: a model that was handed on, of {', '.join(self.stages)}, not of {name}"
                )
            again = " --restart" if self.outdated(name) else ""
            raise ToolError(f"{self.folder}: stage {name} is {self.state(name)}; run: {self.command(name)}{again}")
        stage = self.stages[name]
        return self._verified(name, inside(self.folder, stage.weights), stage.checksum)

    def _verified(self, stage, path, checksum):
        """A file of a stage that has the recorded checksum, where there is one. Raises ToolError for another."""
        if checksum and (not path.is_file() or files.sha256(path) != checksum):
            what = "changed since" if path.exists() else "missing, though"
            again = f"run {self.command(stage)} --restart, or " if self.recorded else ""
            raise ToolError(f"{path}: {what} {stage} was done; {again}bring the file back")
        return path

    def use_data(self, lmdb):
        """Take LMDBs that may have been moved. Raises DataError or OSError for others than the run was made from."""
        found = read_data(lmdb, self.folder)
        if found.attributes != self.attributes:
            there, own = ", ".join(found.attributes), ", ".join(self.attributes)
            raise ToolError(f"{lmdb}: holds {there}, and {self.folder} is for {own}, in this order")
        if self.data.checksum not in ("", found.checksum):  # weights that were handed on only tell their attributes
            raise ToolError(
                f"{self.folder}: was made from other data than {lmdb} holds now; give another folder with --run"
            )
        self.data = found

    def check_data(self):
        """Raise DataError or OSError if the LMDBs are missing, damaged, or other ones than the run was trained on."""
        found = read_data(self.lmdb, self.folder)
        manifest.check_files(self.lmdb, manifest.read(self.lmdb))
        for path in sorted(self.lmdb.glob("*/data.mdb")):
            environment.open_lmdb(path.parent).close()  # Caffe's own Data layer would end with a bus error
        if found.checksum != self.data.checksum:
            raise ToolError(f"{self.lmdb}: the data changed since {self.folder} was made; train in another run (--run)")

    def handed_on(self):
        """Whether this is a model without the training that made it, which cannot go on here."""
        return not self.recorded and not by_hand.is_repository(self.folder)

    def device(self):
        """The device for tools that use one only: the first of the run's."""
        return self.settings.device.split(",")[0]

    def solver_changes(self):
        """Changes to the solvers, with the seed: dict stage -> dict field -> text."""
        return {
            name: {"random_seed": str(self.settings.seed), **self.settings.solver.get(name, {})} for name in TRAINED
        }

    def solver_fields(self, name):
        """The solver of a stage with all changes: dict field -> value."""
        return solvers.fields(name, {name: self.solver_changes()[name]}, len(self.attributes))

    def command(self, name):
        """The command that runs a stage of this run, as text."""
        if not self.recorded and name != "evaluate":
            return "make average" if name == "average" else f"caffe train -solver solver/{name}.prototxt"
        words = [name] if name in ("average", "evaluate") else ["train", name]
        folder = [] if str(self.folder) == DEFAULT else ["--run", shlex.quote(str(self.folder))]
        return " ".join(["face-cascade", *words, *folder])


def add_argument(parser, holds="of the run"):
    """Add the option --run to a parser. holds: what is in the folder, for the help."""
    parser.add_argument(
        "--run",
        default=DEFAULT,
        metavar="FOLDER",
        help=f"The folder {holds}; . is the project's folder, for networks trained with Caffe's own commands "
        f"(default: {DEFAULT}).",
    )


def read_data(lmdb, folder):
    """The Data of an LMDB folder for a run in a folder. Raises DataError, OSError."""
    if not manifest.exists(lmdb):
        raise ToolError(
            f"{lmdb}: no LMDBs in it; build them first: make lmdb CELEBA=/path/to/CelebA, or face-cascade data; if "
            "they were moved, evaluate --lmdb tells the run where they are"
        )
    found, place = manifest.read(lmdb), os.path.abspath(lmdb)
    relative = os.path.relpath(place, folder)
    # Within the clone the record then holds where the clone is moved to. Through a link `..` may lead elsewhere.
    leads_there = os.path.realpath(os.path.join(folder, relative)) == os.path.realpath(place)
    if in_clone(place) and in_clone(os.path.abspath(folder)) and leads_there:
        place = relative
    return Data(place, manifest.checksum(lmdb), found.attributes, found.form, found.synthetic, found.frame)


# Paths in the record ----------------------------------------------------------------------------------------


def in_clone(path):
    """Whether an absolute path is in the clone of the project."""
    return os.path.commonpath([REPOSITORY, path]) == str(REPOSITORY)


def resolved(path, folder):
    """A path from a run's record, as a path from the current folder."""
    path = pathlib.Path(path)
    return path if path.is_absolute() else pathlib.Path(os.path.normpath(pathlib.Path(folder) / path))


def inside(folder, path):
    """A file below a folder, of which only the path below it is recorded. Raises ToolError when it is elsewhere."""
    ends = os.path.abspath(folder), os.path.abspath(folder / path)
    if os.path.commonpath(ends) != ends[0]:
        raise ToolError(
            f"{folder / NAME}: names {path}, which is not inside of the run; a run's weights are in its folder"
        )
    return folder / path
