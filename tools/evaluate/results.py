"""The results of an evaluation, evaluation.json and NAME.npz: their writer, and their reader, which checks them."""

import dataclasses
import pathlib
import typing
import zipfile
import zlib

import numpy as np

from data_prep import files
from data_prep.store import manifest
from models import table1
from models.options import NETWORKS
from tools.errors import ToolError
from tools.evaluate import calibration, json_records, localisation, metrics

NAME = "evaluation.json"
VERSION = 4
# Score of a network -> blob of its deploy net; the last one that a network has is its answer.
SCORES = {"task one": "max_d", "full network": "logits"}
MEAN = "mean"
INPUTS = "inputs"  # in NAME.npz: what its arrays were made from, and by what
# What the reader of a damaged .npz file raises.
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass
class Row:
    """One score of one network under one decision, of one attribute or (MEAN) the means over attributes.

    positive: share of positives; majority: accuracy of the majority baseline; _low, _high: ends of the 95 % interval;
    None where a measure is not defined, e.g. without positives
    """

    score: str
    attribute: str
    positive: float
    majority: float
    decision: str
    accuracy: typing.Optional[float]
    accuracy_low: typing.Optional[float]
    accuracy_high: typing.Optional[float]
    balanced_accuracy: typing.Optional[float]
    balanced_accuracy_low: typing.Optional[float]
    balanced_accuracy_high: typing.Optional[float]
    f1: typing.Optional[float] = json_records.key("F1")
    f1_low: typing.Optional[float] = json_records.key("F1 low")
    f1_high: typing.Optional[float] = json_records.key("F1 high")
    average_precision: typing.Optional[float]
    average_precision_low: typing.Optional[float]
    average_precision_high: typing.Optional[float]


@dataclasses.dataclass
class Difference:
    """Means of the tuned answer of one network less those of another, with 95 % intervals of paired resamples.

    Average precision needs no decision.
    """

    network: str
    minus: str
    accuracy: typing.Optional[float]
    accuracy_low: typing.Optional[float]
    accuracy_high: typing.Optional[float]
    balanced_accuracy: typing.Optional[float]
    balanced_accuracy_low: typing.Optional[float]
    balanced_accuracy_high: typing.Optional[float]
    f1: typing.Optional[float] = json_records.key("F1")
    f1_low: typing.Optional[float] = json_records.key("F1 low")
    f1_high: typing.Optional[float] = json_records.key("F1 high")
    average_precision: typing.Optional[float]
    average_precision_low: typing.Optional[float]
    average_precision_high: typing.Optional[float]


@dataclasses.dataclass
class Published:
    """Tuned accuracies of one attribute, or (MEAN) of all, beside those of table 2: by column's title."""

    attribute: str
    accuracy: dict[str, typing.Optional[float]]


@dataclasses.dataclass
class NetworkResult:
    """The results of one file of weights.

    file: path from the evaluation's folder, so that a run may be moved; checksum: of it; network: "region", "cascade"
    or "whole_face"; faces_per_second: reading included; arrays: checksum of NAME.npz; calibration: by blob; rows: of
    each score; regions: None without true boxes
    """

    file: str
    checksum: str
    network: str
    engine: str
    device: str
    cores: int
    faces_per_second: float
    arrays: str
    calibration: dict[str, calibration.ScoreCalibration]
    rows: list[Row]
    regions: typing.Optional[list[localisation.RegionRow]]


@dataclasses.dataclass
class EvaluationResult:
    """An evaluation of one or more networks on a split.

    date: of the evaluation, UTC; commit: of the project then; lmdb, data: the LMDB folder and its manifest's checksum;
    source: kind of data set, "" where unknown; faces: evaluated; prior: of each attribute, see evaluation.Data;
    tuned_for: the measure that thresholds were tuned for; networks: by the name they were given
    """

    version: int
    date: str
    commit: str
    lmdb: str
    data: str
    source: str
    split: str
    faces: int
    attributes: list[str]
    prior: list[float]
    tuned_for: str
    resamples: int
    synthetic_faces: bool
    networks: dict[str, NetworkResult]
    differences: list[Difference]
    published: list[Published]


@dataclasses.dataclass
class Means:
    """Means over attributes of a network's tuned answer; low, high: ends of the accuracy's 95 % interval."""

    accuracy: float
    low: float
    high: float
    balanced: float
    f1: float
    average_precision: float
    majority: float


def is_name(name):
    """Whether a network of an evaluation may be called so: the name of NAME.npz, so no path."""
    return bool(name) and not name.startswith(".") and "/" not in name and "\0" not in name and len(name) < 200


def write(folder, result):
    """Write evaluation.json. Raises OSError."""
    files.write_json(pathlib.Path(folder) / NAME, json_records.dump(result))


def read(folder):
    """The EvaluationResult in a folder. Raises ToolError when there is none, or a damaged one."""
    folder = pathlib.Path(folder)
    path = folder / NAME
    try:
        record = files.read_json(path)
        version = files.member(record, "version", int, path)
        if version != VERSION:
            raise ValueError(f"{path}: written by another version of face-cascade ({version}, not {VERSION})")
        result = json_records.parse(EvaluationResult, record, path)
        _check(result, path)
    except FileNotFoundError:
        of_run = f" --run {folder.parent}" if folder.name == "evaluation" else ""
        raise ToolError(f"{folder}: no {NAME} in it; evaluate first: face-cascade evaluate{of_run}")
    except ValueError as error:
        raise ToolError(f"{error}; evaluate again")
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}")
    return result


def _check(result, path):
    """Raise ValueError where the parts of an EvaluationResult do not fit together."""
    if not result.networks or not result.attributes:
        raise ValueError(f"{path}: damaged, key {'networks' if result.attributes else 'attributes'!r} is empty")
    if result.split not in manifest.SPLITS:
        raise ValueError(f"{path}: damaged, key 'split' must be one of {', '.join(manifest.SPLITS)}")
    if len(result.prior) != len(result.attributes) or not all(0 < share < 1 for share in result.prior):
        raise ValueError(f"{path}: damaged, key 'prior' must hold a share in (0, 1) per attribute")
    if result.tuned_for not in metrics.MEASURES:
        raise ValueError(f"{path}: damaged, key 'tuned for' must be one of {', '.join(metrics.MEASURES)}")
    expected = [*result.attributes, MEAN]
    for name, network in result.networks.items():
        where = f"{path}: networks: {name}"
        if not is_name(name):
            raise ValueError(f"{path}: damaged, key 'networks' has the name {name!r}, which cannot be a file's")
        if network.network not in NETWORKS:
            raise ValueError(f"{where}: damaged, key 'network' must be one of {', '.join(NETWORKS)}")
        calibration.check(network.calibration, result.attributes, f"{where}: calibration")
        if not network.rows or answer(network) not in SCORES:
            raise ValueError(f"{where}: damaged, key 'rows' must hold rows of {' or '.join(SCORES)}")
        if SCORES[answer(network)] not in network.calibration:
            raise ValueError(f"{where}: damaged, key 'calibration' lacks {SCORES[answer(network)]!r}")
        words = {"score": SCORES, "attribute": expected, "decision": calibration.DECISIONS}
        for number, row in enumerate(network.rows, 1):
            _check_row(row, words, f"{where}: rows: {number}")
        words = {"attribute": expected, "response": (localisation.RAW, localisation.REVISED)}
        for number, row in enumerate(network.regions or [], 1):
            _check_row(row, words, f"{where}: regions: {number}")
        tuned = rows(network)
        if [row.attribute for row in tuned] != expected:
            raise ValueError(f"{where}: damaged, key 'rows' must hold a tuned row per attribute and their mean")
        if tuned[-1].accuracy is None:
            raise ValueError(f"{where}: damaged, key 'accuracy' of the mean must be a number, not null")


def _check_row(row, words, where):
    """Raise ValueError where a measure of a Row or RegionRow is not a share, or a word none of those there are."""
    for name, allowed in words.items():
        if getattr(row, name) not in allowed:
            raise ValueError(f"{where}: damaged, key {name!r} is {getattr(row, name)[:60]!r}, none of those there are")
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError(f"{where}: damaged, key {json_records.words(field)!r} must lie in [0, 1]")


def answer(network):
    """The score that a NetworkResult answers with: its last."""
    return network.rows[-1].score


def rows(network, decision=calibration.TUNED):
    """Rows of a NetworkResult's answer under one decision: the attributes', then their mean."""
    return [row for row in network.rows if row.score == answer(network) and row.decision == decision]


def means(run):
    """Means of a run's evaluated stages: dict stage -> Means, from RUN/evaluation. Raises ToolError.

    run: its folder
    """
    of_stages = {}
    for name, network in read(pathlib.Path(run) / "evaluation").networks.items():
        row = rows(network)[-1]
        ends = row.accuracy, row.accuracy_low, row.accuracy_high
        more = row.balanced_accuracy, row.f1, row.average_precision, row.majority
        of_stages[name] = Means(*(float("nan") if value is None else value for value in (*ends, *more)))
    return of_stages


# Arrays -----------------------------------------------------------------------------------------------------


def arrays_path(folder, name, complete=True):
    """The .npz file of a network of an evaluation; complete: False while other networks are still to be evaluated."""
    return pathlib.Path(folder) / f"{'' if complete else '.'}{name}.npz"


def write_arrays(path, **arrays):
    """Write arrays as a compressed .npz file, completely or not at all. Raises OSError."""
    with files.replacing(path) as file:
        np.savez_compressed(file, **arrays)


def kept_arrays(paths, inputs):
    """The arrays of the first of some .npz files that was made from these inputs, list of strings, and its path.

    None, None if there is none.
    """
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as file:
                if file[INPUTS].tolist() == inputs:
                    return {key: file[key] for key in file.files}, path
        except UNREADABLE:
            continue
    return None, None


def read_arrays(folder, name, result):
    """Scores, labels and responses of a network of an EvaluationResult: dict name -> array, shapes checked.

    labels (N, A) bool; by blob: max_d, logits (N, A), rois_image (N, A, 4), response (N, A, 4, 4); unless the split is
    the validation split, validation_labels, validation_max_d and validation_logits of its faces (M, A); and of the
    RegionMapper: average (A, 4, 4), rectangles (A, 4, 4, 4), threshold, average_weight; inputs (strings, see
    kept_arrays) and faces_per_second. Raises ToolError.
    """
    path = arrays_path(folder, name)
    try:
        if files.sha256(path) != result.networks[name].arrays:
            raise ToolError(f"{path}: damaged, or not of this {NAME} (its checksum differs); evaluate again")
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}; evaluate again")
    except UNREADABLE as error:
        raise ToolError(f"{path}: damaged, no readable arrays ({error}); evaluate again")
    faces, attributes, size = result.faces, len(result.attributes), table1.RESPONSE_SIZE
    shapes = {"labels": (faces, attributes), SCORES[answer(result.networks[name])]: (faces, attributes)}
    if result.split != "val":
        rows = arrays["validation_labels"].shape[:1] if "validation_labels" in arrays else (1,)
        of_faces = ["labels", *(blob for blob in SCORES.values() if blob in arrays)]
        shapes.update((f"validation_{key}", (*rows, attributes)) for key in of_faces)
    if "average" in arrays:
        shapes.update(response=(faces, attributes, size, size), rois_image=(faces, attributes, 4))
        shapes.update(average=(attributes, size, size), rectangles=(attributes, size, size, 4))
        shapes.update(threshold=(), average_weight=())
    for key, shape in shapes.items():
        if key not in arrays or arrays[key].shape != shape or arrays[key].dtype.kind not in "bfiu":
            raise ToolError(f"{path}: damaged, array {key!r} must be of shape {shape}; evaluate again")
        if not np.isfinite(arrays[key]).all():
            raise ToolError(f"{path}: damaged, array {key!r} holds values that are not finite; evaluate again")
    return arrays
