"""Decision thresholds and calibrated probabilities, fitted on the validation split and stored beside the weights.

Training batches are balanced and faces are not, so a score above 0 is not the best decision. calibration.json has an
entry for each file of weights in its folder (record.sealed):
  weights, data   checksums of the file, and of the manifest of the data
  attributes, synthetic   of the data
  faces           number of validation faces used, 0 for all
  scores          by blob of the deploy net an object of lists (A,): slope and offset of the line from the score to the
                  logit of a probability (Platt scaling, 1999), and threshold: scores above it mean "present"

The line has the least cross-entropy to Platt's smoothed targets. The threshold follows from it: if its probabilities
are right, no other one has a better expected value of the measure. A threshold chosen by its accuracy on the validation
faces themselves depends on the few faces next to it, and is less accurate.
"""

import concurrent.futures
import contextlib
import pathlib

import numpy as np

from data_prep import files
from tools import record
from tools.errors import ToolError
from tools.evaluate import metrics
from tools.record import Entry

NAME = "calibration.json"
# With fewer validation faces of either class a fit is too uncertain, and the training prior is used instead.
LEAST = 5
PRIOR_CORRECTED, TUNED = "prior-corrected", "tuned"
DECISIONS = ("p > 0.5", PRIOR_CORRECTED, TUNED)

# Faces whose scores lie in the same interval of this width, in standard deviations of the scores, are one group in fits
# to resamples. It saves time, and moves decision thresholds by far less than other faces would.
GROUP = 1 / 32
DECAY = 1e-3  # of slope and offset: scores that are all alike get a slope of 0
FLATTEST = 1e-3  # slope for scores in units of their standard deviation


# Of weights that are not calibrated: the network's own probabilities.
NEUTRAL = Entry(threshold=0.0, slope=1.0, offset=0.0)


# Fitting ----------------------------------------------------------------------------------------------------


def probability(score, slope, offset):
    """The probability of "present": arrays of any shapes that go together."""
    return 1 / (1 + np.exp(-np.clip(slope * score + offset, -500, 500)))


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
            found[usable] = fit_one(score, label, measure, None if weights is None else counted[usable])
        return found

    with concurrent.futures.ThreadPoolExecutor() as pool:
        fitted = np.stack(list(pool.map(of_attribute, range(labels.shape[1]))), axis=-1)
    return tuple(fitted[0] if weights is None else fitted.swapaxes(0, 1))


def fit_one(score, label, measure, weights=None):
    """The same of one attribute, (R, 3), R = 1 without weights.

    score: (N,); label: (N,) bool, both classes in every resample; measure: name in metrics.MEASURES; weights: how often
    each face counts, (R, N), None for once each
    """
    # In units of their standard deviation scores make Newton's step well conditioned.
    centre, spread = score.mean(), score.std() if score.std() > 1e-6 else 1.0
    inputs, faces = (score - centre) / spread, np.ones((1, len(score)))
    positives = faces * label
    if weights is not None:
        inputs, faces, positives = grouped(inputs, label, weights)
    line = lines(inputs, faces, positives)
    # A negative slope means that the score misorders the faces: then all of them get the same decision, and nearly the
    # same probability. The slope stays positive, because higher scores mean "present" everywhere.
    present = positives.sum(axis=1) / faces.sum(axis=1)
    flat = np.stack([np.full_like(present, FLATTEST), np.log(present / (1 - present))], axis=1)
    misordered = line[:, 0] < FLATTEST
    line = np.where(misordered[:, np.newaxis], flat, line)
    cut = best_cut(probability(inputs, line[:, :1], line[:, 1:]), faces, measure)
    threshold = (np.log(cut / (1 - cut)) - line[:, 1]) / line[:, 0]
    beyond = 1000 * np.abs(inputs).max() + 1
    threshold = np.where(misordered, np.where(present > cut, -beyond, beyond), threshold)
    slope = line[:, 0] / spread
    return np.stack([centre + spread * threshold, slope, line[:, 1] - slope * centre], axis=1)


def grouped(inputs, label, weights):
    """Groups of nearly equal inputs: their means (G,), and faces and positives of each resample in them (R, G)."""
    order = np.argsort(inputs, kind="stable")
    inputs, positives, weights = inputs[order], weights[:, order] * label[order], weights[:, order]
    starts = np.flatnonzero(np.append(True, np.diff(np.floor(inputs / GROUP)) > 0))
    mean = np.add.reduceat(inputs, starts) / np.diff(np.append(starts, len(inputs)))
    return mean, np.add.reduceat(weights, starts, axis=1), np.add.reduceat(positives, starts, axis=1)


def lines(inputs, faces, positives):
    """Slope and offset (R, 2) of the least cross-entropy, by Newton's method.

    inputs: (G,); faces, positives: how many of each resample are in each group, (R, G)
    """
    positive, negative = positives.sum(axis=1), (faces - positives).sum(axis=1)
    line = np.stack([np.ones_like(positive), np.log(positive / negative)], axis=1)
    high, low = (positive + 1) / (positive + 2), 1 / (negative + 2)  # Platt's targets for "present" and "absent"
    targets = high[:, np.newaxis] * positives + low[:, np.newaxis] * (faces - positives)
    powers = np.stack([inputs**2, inputs, np.ones_like(inputs)], axis=1)
    targets = targets @ powers[:, 1:]
    step, longest = np.zeros_like(line), np.full((len(line), 1), 4.0)
    for _ in range(100):
        p = probability(inputs, line[:, :1], line[:, 1:])
        gradient = (faces * p) @ powers[:, 1:] - targets + DECAY * line
        curvature = ((faces * p * (1 - p)) @ powers)[:, [0, 1, 1, 2]].reshape(-1, 2, 2) + DECAY * np.eye(2)
        wanted = np.linalg.solve(curvature, gradient[..., np.newaxis])[..., 0]
        # Steps that turn back went too far: from there on they are at most half as long.
        longest = np.where((wanted * step).sum(axis=1, keepdims=True) < 0, longest / 2, longest)
        length = np.abs(wanted).max(axis=1, keepdims=True)
        step = wanted * longest / np.maximum(length, longest)
        line = line - step
        if length.max() < 1e-6:
            break
    return line


def best_cut(p, faces, measure):
    """The probability (R,) above which "present" gives the best expected value of a measure.

    p: probability of each group, (R, G); faces: how many are in it, (R, G)
    """
    if measure == "accuracy":
        return np.full(len(p), 0.5)
    expected = (faces * p).sum(axis=1)
    if measure == "balanced_accuracy":
        return expected / faces.sum(axis=1)
    # Half of the best expected F1 (Lipton, Elkan and Narayanaswamy 2014), which has the most probable faces "present".
    order = np.argsort(-p, axis=1, kind="stable")
    present = np.cumsum(np.take_along_axis(faces, order, axis=1), axis=1)
    right = np.cumsum(np.take_along_axis(faces * p, order, axis=1), axis=1)
    return (right / (present + expected[:, np.newaxis])).max(axis=1)


# The file ---------------------------------------------------------------------------------------------------


def of_answer(weights, net, attributes):
    """The blob whose scores a deploy net answers with, the line and threshold of these, and the entry of the weights in
    calibration.json, None without one.

    weights: path of the .caffemodel; net: the loaded net; attributes: their names. Raises ToolError, OSError.
    """
    blob, entry = "logits" if "logits" in net.blobs else "max_d", read(weights, list(attributes))
    return blob, entry.scores[blob] if entry else NEUTRAL, entry


def write(weights, entry):
    """Store the entry of a file of weights in calibration.json beside it, also in place of a damaged file.

    Raises OSError.
    """
    path, others = pathlib.Path(weights).with_name(NAME), {}
    with contextlib.suppress(ToolError):
        others = _entries(path)
    files.write_json(path, {**others, pathlib.Path(weights).name: record.sealed(entry)})


def read(weights, attributes=None):
    """The entry of a file of weights, None if there is none that fits.

    attributes: the names that it must be for, in order; None for any. Raises ToolError for a damaged file, OSError.
    """
    path, name = pathlib.Path(weights).with_name(NAME), pathlib.Path(weights).name
    entries = _entries(path)
    if name not in entries:
        return None
    try:
        entry = record.unsealed(entries[name], f"{path}: {name}")
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
