"""The results of an evaluation, evaluation.json and NAME.npz: their writer, and their reader, which checks them."""

import dataclasses
import pathlib
import typing
import zipfile
import zlib

import numpy as np

from data_prep import files
from data_prep.settings import setting, to_json
from data_prep.store import manifest
from models.options import NETWORKS, attributes_fault
from tools import record
from tools.errors import ToolError
from tools.evaluate import calibration, metrics
from tools.evaluate.calibration import DECISIONS, TUNED, ScoreCalibration

NAME = "evaluation.json"
VERSION = 6
# Score of a network -> blob of its deploy net; the last one that a network has is its answer.
SCORES = {"task one": "max_d", "full network": "logits"}
MEAN = "mean"
RAW, REVISED = "raw", "revised"
INPUTS = "inputs"  # in NAME.npz: what its arrays were made from, and by what
# What the reader of a damaged .npz file raises.
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def share(**declared):
    """A field that holds a number from 0 to 1."""
    return setting(least=0, most=1, **declared)


@dataclasses.dataclass
class Estimate:
    """A measure with the ends of its 95 % interval; None where it is not defined, such as without positives.

    Raises ValueError for an interval that does not hold the value.
    """

    value: typing.Optional[float] = setting(None, least=-1, most=1)
    low: typing.Optional[float] = setting(None, least=-1, most=1)
    high: typing.Optional[float] = setting(None, least=-1, most=1)

    def __post_init__(self):
        if None not in (self.value, self.low, self.high) and not self.low <= self.value <= self.high:
            raise ValueError(f"an interval from {self.low} to {self.high} does not hold its value {self.value}")

    def __neg__(self):
        low, high = (None if end is None else -end for end in (self.high, self.low))
        return Estimate(None if self.value is None else -self.value, low, high)

    @classmethod
    def of(cls, value, resampled, least=-1):
        """The Estimate of a measured value and its values on resamples, (R,); see metrics.interval."""
        return cls.of_many([value], np.asarray(resampled)[:, np.newaxis], least)[0]

    @classmethod
    def of_many(cls, values, resampled, least=0):
        """The same of several measures, (M,) and (R, M): a list."""
        rows = zip(values, *metrics.interval(np.asarray(values), resampled, least))
        return [cls(*(float(number) if np.isfinite(number) else None for number in row)) for row in rows]


@dataclasses.dataclass
class Measures:
    """The measures of decisions, and average precision, which needs no decision."""

    accuracy: Estimate
    balanced_accuracy: Estimate
    f1: Estimate = setting(heading="F1")
    average_precision: Estimate = setting()


NAMES = tuple(field.name for field in dataclasses.fields(Measures))


def heading(field):
    """The heading of a field in tables."""
    return field.metadata.get("heading", field.name.replace("_", " "))


@dataclasses.dataclass
class Row(Measures):
    """One score of one network under one decision, of one attribute or (MEAN) the means over attributes.

    positive: share of positives; majority: accuracy of always giving the more frequent answer
    """

    score: str = setting(choices=tuple(SCORES))
    attribute: str = setting()
    decision: str = setting(choices=DECISIONS)
    positive: float = share()
    majority: float = share()


@dataclasses.dataclass
class Difference(Measures):
    """Means of the answer of one network less those of another under one decision, on the same resamples."""

    network: str = setting(choices=NETWORKS)
    minus: str = setting(choices=NETWORKS)
    decision: str = setting(choices=DECISIONS)


@dataclasses.dataclass
class RegionRow:
    """Measures of one attribute's regions against true boxes; attribute MEAN holds the means over attributes.

    response: RAW or REVISED by the average region; faces: positives with a true box; area: share of the patch
    """

    attribute: str
    response: str = setting(choices=(RAW, REVISED))
    faces: int = setting(least=0)
    iou: float = share(heading="IoU")
    coverage: float = share(heading="box coverage")
    pointing_game: float = share(heading="pointing-game accuracy")
    area: float = share(heading="region area")


@dataclasses.dataclass
class NetworkResult:
    """The results of one network.

    file: of its weights, from the run's folder; checksum: of that file; faces_per_second: reading included; arrays:
    checksum of NAME.npz; calibration: by blob; rows: of each score; regions: None without true boxes
    """

    file: str
    checksum: str
    engine: str
    device: str
    cores: int = setting(least=1)
    faces_per_second: float = setting(least=0)
    arrays: str = setting()
    calibration: dict[str, ScoreCalibration] = setting()
    rows: list[Row] = setting()
    regions: typing.Optional[list[RegionRow]] = setting()


def _networks_fault(networks):
    wrong = next((name for name in networks if name not in NETWORKS), None)
    return None if networks and wrong is None else f"must hold networks, of {', '.join(NETWORKS)}, not {wrong!r}"


@dataclasses.dataclass
class EvaluationResult:
    """An evaluation of one or more networks on a split. Raises ValueError where its parts do not fit together.

    date: of the evaluation, UTC; commit: of the project then; lmdb: the LMDB folder, as a run's record has it; data:
    its manifest's checksum; source: kind of data set, "" where unknown; faces: evaluated; persons: how many they are
    of, 0 where that is not known; prior: of each attribute, see evaluation.training_prior; tuned_for: the measure that
    thresholds were tuned for; synthetic: whether the faces are rendered; networks: by name
    """

    version: int
    date: str
    commit: str
    lmdb: str
    data: str
    source: str
    split: str = setting(choices=manifest.SPLITS)
    faces: int = setting(least=1)
    persons: int = setting(least=0)
    attributes: list[str] = setting(fault=attributes_fault)
    prior: list[float] = setting(above=0, most=1)
    tuned_for: str = setting(choices=tuple(metrics.MEASURES))
    resamples: int = setting(least=1)
    synthetic: bool = setting()
    networks: dict[str, NetworkResult] = setting(fault=_networks_fault)
    differences: list[Difference] = setting()

    def __post_init__(self):
        if not self.attributes or len(self.prior) != len(self.attributes) or max(self.prior) >= 1:
            raise ValueError("key 'prior' must hold a share in (0, 1) per attribute")
        if self.persons > self.faces:
            raise ValueError(f"{self.persons} persons on {self.faces} faces")
        for name, network in self.networks.items():
            try:
                calibration.check(network.calibration, self.attributes)
                check_rows(network, self.attributes)
            except ValueError as error:
                raise ValueError(f"networks: {name}: {error}")


def check_rows(network, attributes):
    """Raise ValueError unless a NetworkResult has all rows of its scores, in order, and its answer's calibration."""
    if not network.rows or SCORES[answer(network)] not in network.calibration:
        raise ValueError("the calibration of its answer is missing")
    for score in scores(network):
        for decision in DECISIONS:
            if [row.attribute for row in rows(network, decision, score)] != [*attributes, MEAN]:
                raise ValueError("must hold a row per decision and attribute, and their mean")
    for row in network.rows:
        for name in NAMES:
            value = getattr(row, name).value
            needed = row.attribute == MEAN and name == "accuracy"
            if value is None and needed or value is not None and value < 0:
                raise ValueError(f"{name} of {row.attribute} must be a number from 0 to 1")


def scores(network):
    """The scores of a NetworkResult, its answer last."""
    return list(dict.fromkeys(row.score for row in network.rows))


def answer(network):
    """The score that a NetworkResult answers with: its last."""
    return network.rows[-1].score


def rows(network, decision=TUNED, score=None):
    """Rows of a score of a NetworkResult, its answer by default, under one decision: the attributes', their mean."""
    score = score or answer(network)
    return [row for row in network.rows if row.score == score and row.decision == decision]


def mean(network, decision=TUNED, score=None):
    """The last of these `rows`: the means over attributes."""
    return rows(network, decision, score)[-1]


def write(folder, result):
    """Write evaluation.json. Raises OSError."""
    files.write_json(pathlib.Path(folder) / NAME, to_json(result))


def read(folder, checksum=None):
    """The EvaluationResult in a folder. Raises ToolError when there is none, a damaged or a changed one.

    checksum: SHA-256 that the file must have, as the run's record says
    """
    folder = pathlib.Path(folder)
    try:
        return record.read(EvaluationResult, folder / NAME, VERSION, "evaluate again", checksum)
    except FileNotFoundError:
        of_run = f" --run {folder.parent}" if folder.name == "evaluation" else ""
        raise ToolError(f"{folder}: no {NAME} in it; evaluate first: face-cascade evaluate{of_run}")


# Arrays -----------------------------------------------------------------------------------------------------


def write_arrays(path, **arrays):
    """Write arrays as a compressed .npz file, completely or not at all. Raises OSError."""
    with files.replacing(path) as file:
        np.savez_compressed(file, **arrays)


def load_arrays(path):
    """The arrays of an .npz file. Raises one of UNREADABLE."""
    with files.opened(path) as file, np.load(file, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def kept_arrays(path, inputs):
    """The arrays of an .npz file if they were made from these inputs, list of strings; else None."""
    try:
        arrays = load_arrays(path)
        return arrays if arrays[INPUTS].tolist() == inputs else None
    except UNREADABLE:
        return None


def read_arrays(folder, name, result):
    """Scores, labels and responses of a network of an EvaluationResult: dict name -> array. Raises ToolError.

    labels (N, A) bool; persons (N,), see scoring.Faces; by blob: max_d, logits (N, A), rois_image (N, A, 4), response
    (N, A, 4, 4); unless the split is the validation split, the same of its faces (M, ...) as validation_NAME; and of
    the RegionMapper: average (A, 4, 4), rectangles (A, 4, 4, 4), threshold, average_weight; inputs (strings, see
    kept_arrays) and faces_per_second.
    """
    path = pathlib.Path(folder) / f"{name}.npz"
    try:
        if files.sha256(path) != result.networks[name].arrays:
            raise ToolError(f"{path}: damaged, or not of this {NAME} (its checksum differs); evaluate again")
        return load_arrays(path)
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}; evaluate again")
