"""The content of run.json as dataclasses: the data of a run, its settings, and the state of its stages."""

import dataclasses
import hashlib
import json
import re
import typing

from data_prep import attributes, files
from data_prep.settings import like, setting
from data_prep.store import manifest
from models import solvers
from models.options import NETWORKS, NetworkOptions

VERSION = 3
TRAINED = NETWORKS
STAGES = ("region", "average", "cascade", "whole_face")
DEVICE = re.compile(r"cpu|cuda(:\d+(,\d+)*)?")


def _device_fault(device):
    if not DEVICE.fullmatch(device):
        return f"must be cpu, cuda, cuda:N, or cuda:0,1 to train on several GPUs, not {device[:60]!r}"
    return None


def _solver_fault(changes):
    try:
        solvers.check_changes(changes)
    except (ValueError, AttributeError) as error:
        return str(error)
    return None


@dataclasses.dataclass
class Data:
    """The LMDB folder of a run, and what its manifest says of the faces in it.

    lmdb: from the run's folder; checksum: SHA-256 of its manifest.json; synthetic, frame: see manifest.Manifest
    """

    lmdb: str
    checksum: str
    attributes: list[str] = setting(fault=attributes.wrong_names)
    form: str = setting(choices=manifest.FORMS)
    synthetic: bool = False
    frame: typing.Optional[tuple[tuple[float, ...], ...]] = like(manifest.Manifest, "frame")


@dataclasses.dataclass
class Average:
    """The settings of the average region, see tools.train.average."""

    rectangles: str = setting(
        "measured",
        "The rectangle of each response point: measured on training faces; theoretical, its receptive field as in the "
        "paper; or, to see what regions are worth, whole (the whole map), other (those of another attribute) or random",
        choices=("measured", "theoretical", "whole", "other", "random"),
    )
    faces: int = setting(200, "Positive faces per attribute to average over", least=1)
    min_firings: int = setting(
        10,
        "The number of faces for which a response point must fire to get a rectangle of its own; a point with fewer "
        "gets the rectangle of its attribute",
        least=1,
    )


@dataclasses.dataclass
class Settings:
    """The user's settings of a run.

    network: the options of models.options.USERS that were given; solver: dict stage -> dict field -> text, changes to
    the files in solver/; start_checksum: SHA-256 of start_from
    """

    network: dict = setting(factory=dict)
    solver: dict = setting(factory=dict, fault=_solver_fault)
    average: Average = setting(factory=Average)
    seed: int = like(NetworkOptions, "seed")
    engine: str = setting("bvlc", choices=("bvlc", "torch"))
    precision: str = setting(
        "float32",
        "The arithmetic of convolutions and inner products; bfloat16 is faster on recent processors and GPUs, and "
        "needs the engine",
        choices=("float32", "tf32", "bfloat16"),
    )
    device: str = setting(
        "cpu",
        "The device: cpu, cuda, cuda:N, or cuda:0,1 for two GPUs",
        metavar="DEVICE",
        fault=_device_fault,
    )
    threads: int = setting(0, "The number of CPU threads, 0 for one per core", least=0)
    keep_snapshots: int = setting(
        3,
        "Keep only the N newest snapshots of each stage, 0 for all; a snapshot of twenty attributes takes 0.6 GB",
        least=0,
    )
    start_from: str = setting(
        "",
        "The .caffemodel that region and whole_face start from: of the same attributes and width, such as a cascade "
        "trained on another data set",
        metavar="FILE",
        shown="random weights",
    )
    start_checksum: str = setting("")


@dataclasses.dataclass
class Stage:
    """The state and results of a stage.

    inputs: dict of everything the result depends on; weights: file below the run's folder, or None; checksum: of that
    file; deploy: checksum of the deploy prototxt; iterations: done; images: training images seen per attribute, also in
    earlier stages that this one started from; seconds: of computing, over all interruptions; message: why it failed
    """

    inputs: dict
    state: str = setting("running", choices=("running", "interrupted", "failed", "done"))
    weights: typing.Optional[str] = None
    checksum: typing.Optional[str] = None
    deploy: typing.Optional[str] = None
    iterations: int = setting(0, least=0)
    images: int = setting(0, least=0)
    seconds: float = setting(0.0, least=0)
    images_per_second: float = setting(0.0, least=0)
    made_with: dict = setting(factory=dict)
    message: str = ""


def _stages_fault(stages):
    for name, stage in stages.items():
        if name not in STAGES:
            return f"has an unknown stage {name[:60]!r}; stages are {', '.join(STAGES)}"
        if stage.state == "done" and not (stage.weights and stage.checksum):
            return f"has stage {name} done without 'weights' and 'checksum'"
    return None


@dataclasses.dataclass
class Record:
    """run.json."""

    version: int
    data: Data
    settings: Settings
    stages: dict[str, Stage] = setting(factory=dict, fault=_stages_fault)


def read(path, version):
    """The content of a JSON file that is a record of this version. Raises ValueError for another one, OSError."""
    value = files.read_json(path)
    if value.get("version") != version:
        found = value.get("version")
        raise ValueError(f"{path}: written by another version of face-cascade ({found}, not {version})")
    return value


class Entry(dict):
    """An object of JSON: its values are attributes, too."""

    __slots__ = ()

    def __getattr__(self, key):
        if key not in self:
            raise AttributeError(key)
        return self[key]

    @classmethod
    def of(cls, value):
        """JSON values with all objects in them as Entries."""
        if isinstance(value, dict):
            return cls((key, cls.of(item)) for key, item in value.items())
        return list(map(cls.of, value)) if isinstance(value, list) else value


def sealed(content):
    """A dict of JSON values with a checksum of all of them as "checksum", for `unsealed`."""
    content = {**content, "checksum": ""}
    return {**content, "checksum": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}


def unsealed(content, where):
    """What `sealed` gave, as an Entry. Raises ValueError, which names `where`, for what was edited or damaged since:
    it would change answers without a word."""
    if not isinstance(content, dict) or content != sealed(content):
        raise ValueError(f"{where}: damaged or changed since it was written")
    return Entry.of(content)
