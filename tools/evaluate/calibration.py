"""Decision thresholds and calibrated probabilities, fitted on the validation split and stored beside the weights.

Training batches are balanced and faces are not, so a score above 0 is not the best decision. calibration.json holds,
for each file of weights in its folder: the training priors, and per score and attribute the line from the score to the
logit of a probability and the decision threshold that follows from it (tools/evaluate/platt.py). A calibration is valid
for the weights and data that it was fitted with.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from data_prep import files
from data_prep.settings import from_json, setting, to_json
from models.options import attributes_fault
from tools.errors import ToolError
from tools.evaluate import metrics, platt

NAME = "calibration.json"
# With fewer validation faces of either class a fit is too uncertain, and the training prior is used instead.
LEAST = 5
PRIOR_CORRECTED, TUNED = "prior-corrected", "tuned"
DECISIONS = ("p > 0.5", PRIOR_CORRECTED, TUNED)

probability = platt.probability


@dataclasses.dataclass
class ScoreCalibration:
    """The calibration of one score, lists (A,) with an entry per attribute.

    threshold: scores above it mean "present"; slope, offset: sigmoid(slope * score + offset) is the probability
    """

    threshold: list[float]
    slope: list[float]
    offset: list[float]


NEUTRAL = ScoreCalibration(0.0, 1.0, 0.0)  # of weights that are not calibrated: the network's own probabilities


def check(scores, attributes):
    """Raise ValueError unless all lists of a dict of ScoreCalibration have an entry per attribute."""
    for name, score in scores.items():
        for field in dataclasses.fields(score):
            if len(getattr(score, field.name)) != len(attributes):
                raise ValueError(f"the calibration of {name} must have {len(attributes)} entries in {field.name!r}")


@dataclasses.dataclass
class Calibration:
    """The calibration of a file of weights, and the inputs it was fitted with.

    weights: checksum of the file; data: checksum of the LMDB folder's manifest; prior: shares of positives in training
    (A,), 0.5 if the scores need no correction; faces: number of validation faces used, 0 for all; scores: by blob of
    the deploy net; synthetic: whether the network was trained on rendered faces; checksum: of all of these in the file.
    Raises ValueError where these do not fit.
    """

    weights: str
    data: str
    attributes: list[str] = setting(fault=attributes_fault)
    prior: list[float] = setting(least=0, most=1)
    faces: int = setting(least=0)
    tuned_for: str = setting(choices=tuple(metrics.MEASURES))
    scores: dict[str, ScoreCalibration] = setting()
    synthetic: bool = False
    checksum: str = ""

    def __post_init__(self):
        if len(self.prior) != len(self.attributes):
            raise ValueError(f"key 'prior' must have {len(self.attributes)} entries")
        check(self.scores, self.attributes)

    def digest(self):
        """The checksum that the file must have: an edited one would change answers without a word."""
        content = to_json(dataclasses.replace(self, checksum=""))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# Fitting ----------------------------------------------------------------------------------------------------


def thresholds(prior, tuned):
    """The score above which each of DECISIONS says "present": dict name -> (A,), of the tuned one as it is given.

    prior: share of positives in training, (A,); tuned: (A,), or (R, A) of R resamples
    """
    return dict(zip(DECISIONS, (np.zeros(len(prior)), -metrics.prior_shift(prior), tuned)))


def fit(scores, labels, prior, measure="accuracy", weights=None):
    """Decision threshold, slope and offset of each attribute, (A,) each, or (R, A) of R resamples.

    An attribute with too few validation faces of a class gets slope 1 and the shift of the training prior.

    scores: (N, A); labels: (N, A) bool; prior: (A,); measure: that is to be best, name in metrics.MEASURES; weights:
    how often each face counts in each resample, (R, N)
    """
    counted = np.ones((1, len(labels))) if weights is None else weights.astype(np.float64)
    positive, shift = counted @ labels, metrics.prior_shift(prior)
    enough = np.minimum(positive, counted.sum(axis=1, keepdims=True) - positive) >= LEAST

    def of_attribute(place):
        found, usable = np.tile([-shift[place], 1.0, shift[place]], (len(counted), 1)), enough[:, place]
        if usable.any():
            score, label = scores[:, place].astype(np.float64), labels[:, place]
            found[usable] = platt.fit(score, label, measure, None if weights is None else counted[usable])
        return found

    with concurrent.futures.ThreadPoolExecutor() as pool:
        fitted = np.stack(list(pool.map(of_attribute, range(labels.shape[1]))), axis=-1)
    return tuple(fitted[0] if weights is None else fitted.swapaxes(0, 1))


# The file ---------------------------------------------------------------------------------------------------


def of_answer(weights, net, attributes):
    """The blob whose scores a deploy net answers with, its ScoreCalibration, and the Calibration, None without one.

    weights: path of the .caffemodel; net: the loaded net; attributes: their names. Raises ToolError, OSError.
    """
    blob, entry = "logits" if "logits" in net.blobs else "max_d", read(weights, list(attributes))
    if entry and blob not in entry.scores:
        raise ToolError(
            f"{pathlib.Path(weights).with_name(NAME)}: damaged, lacks {blob!r}; remove it and evaluate again"
        )
    return blob, entry.scores[blob] if entry else NEUTRAL, entry


def write(weights, calibration):
    """Store a Calibration in calibration.json beside a file of weights. Raises ToolError, OSError."""
    path = pathlib.Path(weights).with_name(NAME)
    entry = dataclasses.replace(calibration, checksum=calibration.digest())
    files.write_json(path, {**_entries(path), pathlib.Path(weights).name: to_json(entry)})


def read(weights, attributes=None):
    """The Calibration of a file of weights, None if there is none that fits.

    attributes: the names that it must be for, in order; None for any. Raises ToolError for a damaged file, OSError.
    """
    path, name = pathlib.Path(weights).with_name(NAME), pathlib.Path(weights).name
    entries = _entries(path)
    if name not in entries:
        return None
    try:
        entry = from_json(Calibration, entries[name], f"{path}: {name}")
        if entry.checksum != entry.digest():
            raise ValueError(f"{path}: {name}: changed since it was written")
    except ValueError as error:
        raise ToolError(f"{error}; remove the file and evaluate again")
    fits = entry.weights == files.sha256(weights) and attributes in (None, entry.attributes)
    return entry if fits else None


def _entries(path):
    try:
        return files.read_json(path)
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise ToolError(f"{error}; remove the file and evaluate again")
