"""The content of run.json as dataclasses, and its reader, which checks keys, types and finite numbers."""

import dataclasses
import re
import typing

from data_prep import files
from models import solvers

VERSION = 2
TRAINED = ("region", "cascade", "whole_face")
STAGES = ("region", "average", "cascade", "whole_face", "evaluate")
STATES = ("running", "interrupted", "failed", "done")
ENGINES = ("bvlc", "torch")
PRECISIONS = ("float32", "tf32", "bfloat16")
RECTANGLES = ("theoretical", "measured")
# Settings that records of earlier commits do not have, and what they trained with.
ADDED = {"start_from": "", "start_checksum": "", "keep_snapshots": 0}
DEVICE = re.compile(r"cpu|cuda(:\d+(,\d+)*)?")


@dataclasses.dataclass
class Data:
    """The LMDB folder of a run. checksum: SHA-256 of its manifest.json."""

    lmdb: str
    checksum: str
    attributes: list[str]
    form: str


@dataclasses.dataclass
class Average:
    """The settings of the average region, see tools.train.average_region."""

    rectangles: str = "measured"
    faces: int = 200
    min_firings: int = 10


@dataclasses.dataclass
class Settings:
    """The user's settings of a run.

    network: the fields of models.options.NetworkOptions that do not come from the data; solver: dict stage -> dict
    field -> text, changes to the files in solver/; device: "cpu", "cuda:0" or "cuda:0,1"; threads: 0 for one per core
    start_from: path of the weights that region and whole_face start from, "" for random ones; start_checksum: its
    SHA-256; keep_snapshots: how many of a stage are kept, 0 for all
    """

    network: dict = dataclasses.field(default_factory=dict)
    solver: dict = dataclasses.field(default_factory=dict)
    average: Average = dataclasses.field(default_factory=Average)
    seed: int = 1
    engine: str = ""
    precision: str = "float32"
    device: str = "cpu"
    threads: int = 0
    keep_snapshots: int = 3
    start_from: str = ""
    start_checksum: str = ""


@dataclasses.dataclass
class Stage:
    """The state and results of a stage.

    inputs: dict of everything the result depends on; state: one of STATES; weights: file below the run's folder, or
    None; checksum: of that file; iterations: done; images: training images seen per attribute, also in earlier
    stages that this one started from; seconds: of computing, over all interruptions; message: why it failed
    """

    inputs: dict
    state: str = "running"
    weights: typing.Optional[str] = None
    checksum: typing.Optional[str] = None
    iterations: int = 0
    images: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    made_with: dict = dataclasses.field(default_factory=dict)
    message: str = ""


def copied(settings):
    """A deep copy of Settings."""
    made = dataclasses.asdict(settings)
    return Settings(**{**made, "average": Average(**made["average"])})


def parse(record, path):
    """Data, Settings and Stages of a record read from JSON. Raises ValueError that names file and key."""
    version = files.member(record, "version", int, path)
    if version != VERSION:
        raise ValueError(
            f"{path}: written by another version of face-cascade ({version}, not {VERSION}); "
            "use another --run (make: RUN=)"
        )
    data = fields(Data, files.member(record, "data", dict, path), f"{path}: data")
    if not data.attributes or not all(isinstance(name, str) for name in data.attributes):
        raise ValueError(f"{path}: data: damaged, key 'attributes' must be a list of names")
    given = files.member(record, "settings", dict, path)
    average = fields(Average, files.member(given, "average", dict, f"{path}: settings"), f"{path}: settings: average")
    settings = fields(Settings, {**ADDED, **given, "average": average}, f"{path}: settings")
    _check_solver(settings.solver, f"{path}: settings: solver")
    _check_solver({stage: {"random_seed": settings.seed} for stage in TRAINED}, f"{path}: settings: seed")
    if not DEVICE.fullmatch(settings.device):
        raise ValueError(f"{path}: settings: damaged, key 'device' is {settings.device[:60]!r}, not a device")
    if settings.keep_snapshots < 0:
        raise ValueError(f"{path}: settings: damaged, key 'keep_snapshots' must be at least 0")
    for key, allowed in (("engine", ENGINES), ("precision", PRECISIONS)):
        if getattr(settings, key) not in allowed:
            raise ValueError(f"{path}: settings: damaged, key {key!r} must be one of {', '.join(allowed)}")
    stages = {}
    for name, stage in files.member(record, "stages", dict, path).items():
        where = f"{path}: stages: {name}"
        if name not in STAGES:
            raise ValueError(f"{where}: damaged, unknown stage; stages are {', '.join(STAGES)}")
        stages[name] = fields(Stage, stage, where)
        if stages[name].state not in STATES:
            raise ValueError(f"{where}: damaged, key 'state' must be one of {', '.join(STATES)}")
        if stages[name].state == "done" and name != "evaluate" and not (stages[name].weights and stages[name].checksum):
            raise ValueError(f"{where}: damaged, a stage that is done needs 'weights' and 'checksum'")
    return data, settings, stages


def _check_solver(changes, where):
    """Raise ValueError unless changes to solvers are those of stages, with values that the fields can have."""
    for stage in changes:
        files.member(changes, stage, dict, where)
    try:
        solvers.check_changes(changes)
    except ValueError as error:
        raise ValueError(f"{where}: damaged, {error}")


_KINDS = {
    str: str,
    int: int,
    float: (float, int),
    dict: dict,
    list[str]: list,
    typing.Optional[str]: (str, type(None)),
    Average: Average,
}


def fields(kind, value, where):
    """A dataclass from a dict read from JSON. Raises ValueError for a missing, unknown or mistyped field."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: damaged, must be a JSON object")
    names = {field.name: _KINDS[field.type] for field in dataclasses.fields(kind)}
    for key in value:
        if key not in names:
            raise ValueError(f"{where}: damaged, unknown key {key!r}")
    return kind(**{key: files.member(value, key, expected, where) for key, expected in names.items()})
