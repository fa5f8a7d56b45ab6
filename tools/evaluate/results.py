"""The results of an evaluation, evaluation.json and NAME.npz: their writer, their reader, and tables of them as text.

evaluation.json is an object with
  version, checksum        of the format, and of all else (record.sealed)
  date, commit             of the evaluation (UTC) and of the project then
  lmdb, data, source       the LMDB folder as a run's record has it, its manifest's checksum, its kind or ""
  split, faces, persons    what was evaluated; persons: how many the faces are of, 0 where that is not known
  attributes, prior        their names, and the share of positives of each, see evaluate.training_prior
  tuned_for, resamples     the measure that thresholds were tuned for, and the number of bootstrap resamples
  synthetic                whether the faces are rendered
  networks                 by name: file of the weights, from the run's folder, and its checksum; engine, device, cores,
                           faces_per_second (reading included); arrays, checksum of those in NAME.npz; calibration,
                           scores by blob as in calibration.json; rows and regions
  differences              rows of network less `minus`: means over attributes of their answers, on the same resamples
A row has the measures NAMES of one score, attribute (MEAN: the means over attributes) and decision; positive, the share
of positives; majority, the accuracy of always giving the more frequent answer. A measure has a value and the ends of
its 95 % interval, low and high, null where they are not defined, such as without positives. A row of regions has the
measures of one attribute's regions against true boxes: response, RAW or REVISED by the average region; faces, positives
with a true box; area, share of the patch. Without true boxes regions is null.
"""

import csv
import hashlib
import pathlib

import numpy as np

from data_prep import files
from data_prep.attributes import MEAN
from tools import record
from tools.errors import ToolError
from tools.evaluate import metrics
from tools.evaluate.calibration import PRIOR_CORRECTED, TUNED
from tools.record import Entry

NAME = "evaluation.json"
VERSION = 6
# Score of a network -> blob of its deploy net; the last one that a network has is its answer.
SCORES = {"task one": "max_d", "full network": "logits"}
NAMES = (*metrics.MEASURES, metrics.PRECISION)
RAW, REVISED = "raw", "revised"
INPUTS = "inputs"  # in NAME.npz: what its arrays were made from, and by what; the last is their checksum
# Headings of keys in tables; of the others they are the keys.
HEADINGS = {
    "f1": "F1",
    "iou": "IoU",
    "coverage": "box coverage",
    "pointing_game": "pointing-game accuracy",
    "area": "region area",
}


def heading(key):
    """The heading of a key in tables."""
    return HEADINGS.get(key, key.replace("_", " "))


def estimate(value=None, low=None, high=None):
    """A measure with the ends of its 95 % interval: an Entry."""
    return Entry(value=value, low=low, high=high)


def estimates(values, resampled, least=0):
    """The same of several measures, (M,), and of their values on resamples, (R, M): a list; see metrics.interval."""
    rows = zip(values, *metrics.interval(np.asarray(values), resampled, least))
    return [estimate(*(float(number) if np.isfinite(number) else None for number in row)) for row in rows]


def difference(value, resampled):
    """The same of one difference of measures and its values on resamples, (R,)."""
    return estimates([value], np.asarray(resampled)[:, np.newaxis], least=-1)[0]


def scores(network):
    """The scores of a network of an evaluation, its answer last."""
    return list(dict.fromkeys(row.score for row in network.rows))


def answer(network):
    """The score that a network answers with: its last."""
    return network.rows[-1].score


def rows(network, decision=TUNED, score=None):
    """Rows of a score of a network, its answer by default, under one decision: the attributes', then their mean."""
    score = score or answer(network)
    return [row for row in network.rows if row.score == score and row.decision == decision]


def mean(network, decision=TUNED, score=None):
    """The last of these `rows`: the means over attributes."""
    return rows(network, decision, score)[-1]


def write(folder, result):
    """Write evaluation.json. Raises OSError."""
    files.write_json(pathlib.Path(folder) / NAME, record.sealed(result))


def read(folder):
    """The content of evaluation.json, an Entry. Raises ToolError when there is none, a damaged or a changed one."""
    folder = pathlib.Path(folder)
    path = folder / NAME
    try:
        return record.unsealed(record.read(path, VERSION), path)
    except FileNotFoundError:
        of_run = f" --run {folder.parent}" if folder.name == "evaluation" else ""
        raise ToolError(f"{folder}: no {NAME} in it; evaluate first: face-cascade evaluate{of_run}")
    except (OSError, ValueError) as error:
        raise ToolError(f"{error}; evaluate again")


# Arrays -----------------------------------------------------------------------------------------------------


def write_arrays(path, inputs, arrays):
    """Write arrays made from inputs, a list of strings, as a .npz file, completely or not at all.

    Returns them with INPUTS, as load_arrays does. Raises OSError.
    """
    arrays = {**arrays, INPUTS: np.array([*inputs, checksum(arrays)])}
    with files.replacing(path) as file:
        np.savez_compressed(file, **arrays)
    return arrays


def checksum(arrays):
    """The checksum of a dict of arrays without INPUTS, which holds it."""
    found = hashlib.sha256()
    for name, values in sorted((name, np.asarray(values)) for name, values in arrays.items() if name != INPUTS):
        found.update(f"{name} {values.dtype} {values.shape}".encode() + values.tobytes())
    return found.hexdigest()


def load_arrays(path):
    """The arrays of an .npz file that write_arrays wrote. Raises ToolError for a missing, damaged or edited one."""
    try:
        with files.opened(path) as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        if arrays[INPUTS][-1] == checksum(arrays):
            return arrays
        fault = "changed since it was written"
    except Exception as error:  # of every kind for damaged files
        fault = getattr(error, "strerror", None) or "damaged"
    raise ToolError(f"{path}: {fault}; evaluate again")


def read_arrays(folder, name, result):
    """Scores, labels and responses of a network of an evaluation: dict name -> array. Raises ToolError.

    labels (N, A) bool; persons (N,), their numbers, where they are known; by blob: max_d, logits (N, A), rois_image
    (N, A, 4), response (N, A, 4, 4); unless the split is the validation split, the same of its faces (M, ...) as
    validation_NAME; and of the RegionMapper: average (A, 4, 4), rectangles (A, 4, 4, 4), threshold, average_weight;
    INPUTS and faces_per_second.
    """
    path = pathlib.Path(folder) / f"{name}.npz"
    arrays = load_arrays(path)
    if arrays[INPUTS][-1] != result.networks[name].arrays:
        raise ToolError(f"{path}: not of this {NAME} (its checksum differs); evaluate again")
    return arrays


# Text -------------------------------------------------------------------------------------------------------


def short(result):
    """Means with intervals and differences, a line each."""
    number, unit = len(result.attributes), "persons" if result.persons else "faces (persons are not known)"
    persons = f" of {result.persons:,} persons" if result.persons else ""
    lines = [
        f"Means over {number} attribute{'s' * (number > 1)} on {result.faces:,} {result.split} faces{persons}, with "
        f"95 % intervals over {unit}; prior-corrected / tuned on validation:"
    ]
    for name, network in result.networks.items():
        for score in scores(network):
            prior, tuned = (mean(network, decision, score) for decision in (PRIOR_CORRECTED, TUNED))
            lines.append(
                f"  {name}, {score}: accuracy {interval(prior.accuracy)} / {interval(tuned.accuracy)}, average "
                f"precision {cell(tuned.average_precision.value)}; majority baseline {tuned.majority:.3f}"
            )
    for prior, tuned in zip(result.differences[::2], result.differences[1::2]):
        difference = f"{interval(prior.accuracy, '+')} / {interval(tuned.accuracy, '+')}"
        lines.append(f"  {prior.network} minus {prior.minus}: accuracy {difference}")
    for name, network in result.networks.items():
        for row in network.regions or []:
            if row.attribute == MEAN and row.response == REVISED:
                lines.append(
                    f"  {name}, regions: IoU {row.iou:.3f}, box coverage {row.coverage:.3f}, pointing-game accuracy "
                    f"{row.pointing_game:.3f}"
                )
    return "\n".join(lines)


def interval(estimate, sign=""):
    """An estimate as text."""
    value, low, high = (cell(number, sign) for number in (estimate.value, estimate.low, estimate.high))
    return value if estimate.low is None else f"{value} ({low} to {high})"


def cell(value, sign=""):
    """A number as text, also if it is None (not defined)."""
    return "-" if value is None else f"{value:{sign}.3f}"


def csv_rows(result):
    """All rows of all networks by the headings of their keys, a measure as its value, low and high: list of dicts."""
    rows = []
    for network, of_network in result.networks.items():
        for row in of_network.rows:
            cells = {"network": network}
            for key, value in row.items():
                title = heading(key)
                if isinstance(value, dict):
                    cells.update({title: value.value, f"{title} low": value.low, f"{title} high": value.high})
                else:
                    cells[title] = value
            rows.append(cells)
    return rows


def aligned(rows, keys, digits=3):
    """Rows, a list of dicts, as an aligned table; long headings are broken into lines. keys: the columns."""

    def text(value):
        return "-" if value is None else f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    words = [key.split() for key in keys]
    heads = [[word[line] if line < len(word) else "" for word in words] for line in range(max(map(len, words)))]
    cells = [*heads, *([text(row.get(key)) for key in keys] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(keys))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip()
        for row in cells
    )


def write_csv(path, rows):
    """Write rows, a list of dicts, their keys in the order they first come up. Raises OSError."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with files.replacing(path, "w", newline="") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
