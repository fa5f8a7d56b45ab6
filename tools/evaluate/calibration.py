"""Thresholds and calibrated probabilities, fitted on the validation split and stored beside the weights.

Training batches are balanced and faces are not, so a score above 0 is not the best decision. calibration.json holds,
for each file of weights in its folder: the training priors, and per score and attribute slope and offset from the score
to the logit of a probability (Platt 1999), and the threshold that is best if these probabilities are right; for
accuracy that is where the probability is 0.5. A calibration is valid for the weights and data that it was fitted with.
"""

import concurrent.futures
import dataclasses
import pathlib

import numpy as np

from data_prep import files
from data_prep.files import sha256
from data_prep.settings import from_json, setting, to_json
from models.options import attributes_fault
from tools.errors import ToolError
from tools.evaluate import metrics

NAME = "calibration.json"
# With fewer validation faces of either class a fit is too uncertain, and the training prior is used instead.
LEAST = 5
# In fits to resamples of more than MANY faces, those are one group whose scores are in the same interval of this width,
# in standard deviations of the scores. It moves thresholds by far less than other faces would.
MANY, GROUP = 1000, 1 / 32
PRIOR_CORRECTED, TUNED = "prior-corrected", "tuned"
DECISIONS = ("p > 0.5", PRIOR_CORRECTED, TUNED)


@dataclasses.dataclass
class ScoreCalibration:
    """The calibration of one score, lists (A,) with an entry per attribute.

    threshold: scores above it mean "present"; slope, offset: sigmoid(slope * score + offset) is the probability
    """

    threshold: list[float]
    slope: list[float]
    offset: list[float]


NEUTRAL = ScoreCalibration(0.0, 1.0, 0.0)  # of weights that are not calibrated: the network's own probabilities


@dataclasses.dataclass
class Calibration:
    """The calibration of a file of weights, and the inputs it was fitted with.

    weights: checksum of the file; data: checksum of the LMDB folder's manifest; prior: shares of positives in training
    (A,), 0.5 if the scores need no correction; faces: number of validation faces used, 0 for all; scores: by blob of
    the deploy net; synthetic: whether the network was trained on rendered faces. Raises ValueError where these do not
    fit.
    """

    weights: str
    data: str
    attributes: list[str] = setting(fault=attributes_fault)
    prior: list[float] = setting(least=0, most=1)
    faces: int = setting(least=0)
    tuned_for: str = setting(choices=tuple(metrics.MEASURES))
    scores: dict[str, ScoreCalibration] = setting()
    synthetic: bool = False

    def __post_init__(self):
        if len(self.prior) != len(self.attributes):
            raise ValueError(f"key 'prior' must have {len(self.attributes)} entries")
        check(self.scores, self.attributes, "scores")

    def equals(self, other):
        """Whether another Calibration has the same inputs, and numbers that differ by rounding only."""
        if dataclasses.replace(self, scores={}) != dataclasses.replace(other, scores={}):
            return False
        return set(other.scores) <= set(self.scores) and all(
            np.allclose(dataclasses.astuple(self.scores[name]), dataclasses.astuple(score), rtol=1e-4, atol=1e-4)
            for name, score in other.scores.items()
        )


def thresholds(prior, tuned):
    """The score above which each of DECISIONS says "present": dict name -> (A,), of the tuned one as it is given.

    prior: share of positives in training, (A,); tuned: (A,), or (R, A) of R resamples
    """
    return dict(zip(DECISIONS, (np.zeros(len(prior)), -metrics.prior_shift(prior), tuned)))


def decide(scores, prior, tuned):
    """The decisions of scores (N, A), logits of balanced training, under each of DECISIONS: dict name -> (N, A) bool.

    prior, tuned: as of `thresholds`, (A,) each
    """
    return {name: scores > threshold for name, threshold in thresholds(prior, tuned).items()}


def enough(labels, weights=None):
    """Whether validation labels (N, A) have enough faces of both classes: (A,) bool, (R, A) for weights (R, N)."""
    counts = metrics.count(labels, labels, weights)
    return np.minimum(counts.tp, counts.tn) >= LEAST


def of_answer(weights, net, attributes):
    """The blob whose scores a deploy net answers with, its ScoreCalibration, and the Calibration, None without one.

    weights: path of the .caffemodel; net: the loaded net; attributes: their names. Raises ToolError.
    """
    score, entry = "logits" if "logits" in net.blobs else "max_d", read(weights, list(attributes))
    if entry and score not in entry.scores:
        raise ToolError(
            f"{pathlib.Path(weights).with_name(NAME)}: damaged, lacks {score!r}; remove it and evaluate again"
        )
    return score, entry.scores[score] if entry else NEUTRAL, entry


def fit(scores, labels, prior, measure="accuracy", weights=None):
    """Fit a line from score to logit, and the threshold that follows from it: threshold, slope, offset, (A,) each.

    sigmoid(slope * score + offset) is the probability of "present" (Platt 1999). If these probabilities are right, the
    threshold gives the best expected value of the measure. A threshold chosen by its accuracy on the validation faces
    depends on the few faces next to it, and is less accurate (docs/evaluation.md).
    An attribute with too few validation faces of a class gets slope 1 and the shift of the training prior.

    scores: (N, A); labels: (N, A) bool; prior: (A,); measure: name in metrics.MEASURES
    weights: how often each face counts, (R, N) for R resamples, which give arrays (R, A); None for once each
    To save time, many faces are then put into groups of nearly equal scores (see GROUP).
    """
    of_resamples = np.ones((1, len(labels))) if weights is None else weights.astype(np.float64)
    usable, shift = enough(labels, of_resamples), metrics.prior_shift(prior)

    def fit_one(index):
        found = np.tile([-shift[index], 1.0, shift[index]], (len(usable), 1))
        rows = usable[:, index]
        if rows.any():
            width = GROUP if weights is not None and len(labels) > MANY else 0
            parts = _grouped(scores[:, index].astype(np.float64), labels[:, index], of_resamples[rows], width)
            found[rows] = _fitted(*parts, measure)
        return found

    with concurrent.futures.ThreadPoolExecutor() as pool:
        fitted = np.stack(list(pool.map(fit_one, range(labels.shape[1]))), axis=-1).swapaxes(0, 1)
    return tuple(fitted[:, 0] if weights is None else fitted)


def _grouped(score, label, weights, width):
    """Faces in groups of nearly equal score.

    score: (N,); label: (N,) bool; weights: (R, N); width: of a group, in standard deviations; 0: each face is a group
    Returns the mean score of each group, (G,), and how many faces and how many positives are in it: of the split,
    (1, G) each, and of the resamples, (R, G) each.
    """
    once = np.ones((1, len(score)))
    if not width * score.std():
        return score, (once, once * label), (weights, weights * label)
    order = np.argsort(score, kind="stable")
    score, label, weights = score[order], label[order], weights[:, order]
    group = np.floor((score - score.mean()) / (width * score.std()))
    starts = np.flatnonzero(np.append(True, np.diff(group) > 0))

    def sums(values):
        return np.add.reduceat(values, starts, axis=-1)

    faces = sums(once)
    return sums(score) / faces[0], (faces, sums(once * label)), (sums(weights), sums(weights * label))


def _fitted(score, split, resamples, measure):
    """Threshold, slope and offset (R, 3) of one attribute; arguments: what _grouped returns."""
    faces, positives = resamples
    # Scores in units of their spread make Newton's step well conditioned.
    weight = split[0][0] / split[0].sum()
    centre = weight @ score
    spread = max(np.sqrt(weight @ (score - centre) ** 2), 1e-6)
    inputs = (score - centre) / spread
    positive = split[1].sum()
    start = np.array([[1, np.log(positive / (split[0].sum() - positive))]])
    all_faces = _newton(inputs, *split, start, 1e-6)
    line = _newton(inputs, faces, positives, all_faces, 1e-2)
    # A negative slope means that the score misorders the faces: then all faces get the same answer, and nearly the same
    # probability. The slope stays positive, because higher scores mean "present" everywhere.
    share = positives.sum(axis=1) / faces.sum(axis=1)
    misordered = line[:, 0] < 1e-3
    flat = np.stack([np.full_like(share, 1e-3), np.log(share / (1 - share))], axis=1)
    line = np.where(misordered[:, np.newaxis], flat, line)
    cut = _cut(inputs, line, faces, measure)
    threshold = (np.log(cut / (1 - cut)) - line[:, 1]) / line[:, 0]
    beyond = 1000 * np.abs(inputs).max() + 1
    threshold = np.where(misordered, np.where(share > cut, -beyond, beyond), threshold)
    slope = line[:, 0] / spread
    return np.stack([centre + spread * threshold, slope, line[:, 1] - slope * centre], axis=1)


def _newton(inputs, faces, positives, start, tolerance):
    """The line (R, 2) with the least cross-entropy to Platt's smoothed targets, by Newton's method from a line `start`.

    inputs: (G,); faces, positives: how many of them have each input, (R, G); tolerance: the last step is shorter, and
    the error after it of the order of its square
    """
    negatives = faces - positives
    positive, negative = positives.sum(axis=1), negatives.sum(axis=1)
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)
    powers = np.stack([inputs**2, inputs, np.ones_like(inputs)], axis=1)
    # Sums of targets times inputs, and of targets.
    targets = high[:, np.newaxis] * (positives @ powers[:, 1:]) + low[:, np.newaxis] * (negatives @ powers[:, 1:])
    decay = 1e-3  # keeps the slope finite for separable classes
    line = np.tile(start, (len(faces) // len(start), 1))
    step, longest = np.zeros_like(line), np.full((len(line), 1), 4.0)
    for _ in range(100):
        p = probability(inputs, line[:, :1], line[:, 1:])
        expected = faces * p
        gradient = expected @ powers[:, 1:] - targets + decay * line
        curvature = ((expected * (1 - p)) @ powers)[:, [0, 1, 1, 2]].reshape(-1, 2, 2) + decay * np.eye(2)
        wanted = np.linalg.solve(curvature, gradient[..., np.newaxis])[..., 0]
        # Steps that turn back went too far: from there on they are at most half as long.
        longest = np.where((wanted * step).sum(axis=1, keepdims=True) < 0, longest / 2, longest)
        length = np.abs(wanted).max(axis=1, keepdims=True)
        step = wanted * longest / np.maximum(length, longest)
        line = line - step
        if length.max() < tolerance:
            break
    return line


def _cut(score, line, faces, measure):
    """The probability (R,) above which "present" gives the best expected value of a measure.

    score: (G,); line: slopes and offsets (R, 2); faces: how many have each score, (R, G)
    """
    if measure == "accuracy":
        return np.full(len(line), 0.5)
    p = probability(score, line[:, :1], line[:, 1:])
    expected = (faces * p).sum(axis=1)
    if measure == "balanced_accuracy":
        return expected / faces.sum(axis=1)
    # Half of the best expected F1 (Lipton, Elkan and Narayanaswamy 2014), which has the most probable faces "present".
    order = np.argsort(-p, axis=1, kind="stable")
    number = np.cumsum(np.take_along_axis(faces, order, axis=1), axis=1)
    found = np.cumsum(np.take_along_axis(faces * p, order, axis=1), axis=1)
    return (found / (number + expected[:, np.newaxis])).max(axis=1)


def probability(scores, slope, offset):
    """Calibrated probabilities of scores (N, A), or of any shape that slope and offset go with."""
    return 1 / (1 + np.exp(-np.clip(slope * scores + offset, -500, 500)))


def make(scores, labels, prior, measure):
    """Fit a ScoreCalibration to each score of the validation split: dict blob -> ScoreCalibration.

    scores: dict blob -> (N, A); labels: (N, A) bool; prior: (A,); measure: name in metrics.MEASURES
    """
    made = {}
    for name, values in scores.items():
        made[name] = ScoreCalibration(*(part.tolist() for part in fit(values, labels, prior, measure)))
    return made


def write(weights, calibration):
    """Store a Calibration in calibration.json beside a file of weights. Raises ToolError, OSError."""
    path = pathlib.Path(weights).with_name(NAME)
    files.write_json(path, {**_entries(path), pathlib.Path(weights).name: to_json(calibration)})


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
    except ValueError as error:
        raise ToolError(f"{error}; remove the file and evaluate again")
    fits = entry.weights == sha256(weights) and attributes in (None, entry.attributes)
    return entry if fits else None


def check(scores, attributes, where):
    """Raise ValueError unless all lists of a dict of ScoreCalibration have an entry per attribute."""
    for name, score in scores.items():
        for field in dataclasses.fields(score):
            if len(getattr(score, field.name)) != len(attributes):
                raise ValueError(f"{where}: {name}: key {field.name!r} must have {len(attributes)} entries")


def _entries(path):
    try:
        return files.read_json(path)
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise ToolError(f"{error}; remove the file and evaluate again")
