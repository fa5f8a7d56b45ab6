"""The solvers of a run: the files in solver/ with the user's changes, checked against Caffe's SolverParameter.

The solver of a stage has the stage's name and trains the network of that name. Changes are represented as
dict stage -> dict field -> text; parse_changes reads them from text such as base_lr=0.01,region.max_iter=500.
"""

import pathlib
import re

from caffe.proto import caffe_pb2
from google.protobuf.descriptor import FieldDescriptor

from data_prep.spelling import did_you_mean, either, suggestion
from models.options import NETWORKS
from models.prototxt import number, quoted

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "solver"
STAGES = NETWORKS
DESCRIPTOR = caffe_pb2.SolverParameter.DESCRIPTOR
_LINE = re.compile(r'(?P<field>\w+): *(?P<value>"[^"]*"|[^\s#]+)')

_NETWORK = "the run's networks are written from its own options"
_DEVICE = "the device is chosen when training starts (-gpu)"
FIXED = {
    **dict.fromkeys(("net", "train_net", "test_net", "net_param", "train_net_param", "test_net_param"), _NETWORK),
    **dict.fromkeys(("train_state", "test_state"), _NETWORK),
    **dict.fromkeys(("solver_mode", "device_id"), _DEVICE),
    "snapshot_format": "a run resumes from binary snapshots",
    "snapshot_after_train": "the next stage starts from the last snapshot",
    "snapshot_prefix": "snapshots go into the stage's folder of the run",
    "weights": "a stage starts from the weights of the stage before it",
    "solver_type": "Caffe replaced this field by type",
}
# Values of the fields that Caffe reads as free text.
CHOICES = {
    "type": ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"),
    "lr_policy": ("fixed", "step", "exp", "inv", "multistep", "sigmoid", "poly"),
    "regularization_type": ("L1", "L2"),
}
# Fields that may be given several times; Caffe's other repeated ones need exactly one value with these networks.
REPEATED = ("stepvalue",)
# Characters of one change.
LONGEST_CHANGE = 300
_INT = 2**31 - 1
_FLOAT = 3.4e38
# Smallest and largest value of a field; _WHOLE and _REAL are the ranges of all other fields.
RANGES = {
    **dict.fromkeys(("max_iter", "stepsize", "stepvalue", "iter_size", "average_loss"), (1, _INT)),
    **dict.fromkeys(("test_iter", "test_interval"), (1, _INT)),
    **dict.fromkeys(("momentum", "momentum2", "rms_decay"), (0, 0.999999)),
    "power": (-_FLOAT, _FLOAT),
    "random_seed": (-1, 2**63 - 1),  # -1: from the clock
}
_WHOLE = (0, _INT)
_REAL = (0, _FLOAT)


def parse_changes(text):
    """Parse the changes to the solvers of a command line: dict of every stage -> dict field -> text.

    text: field=value or stage.field=value, separated by commas. A change without a stage applies to all stages; one
    with a stage takes precedence. stepvalue may be given several times.
    Raises ValueError, one line with a suggestion, for an unknown stage or field or an impossible value.
    """
    pairs = []
    for change in filter(None, (part.strip() for part in text.split(","))):
        if len(change) > LONGEST_CHANGE or not change.isprintable():
            raise ValueError(f"{change[:60]!r}: not a solver change; give field=value, such as max_iter=500")
        name, equals, value = change.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ValueError(f"{change}: give solver changes as field=value or stage.field=value, such as max_iter=500")
        pairs.append((name.strip(), value.strip()))
    return _by_stage(pairs)


def check_changes(changes):
    """Check changes given as a dict; returns a dict as parse_changes does.

    changes: dict stage -> dict field -> value, or field or "stage.field" -> value. Raises ValueError.
    """
    pairs = []
    for name, value in changes.items():
        if isinstance(value, dict):
            pairs += [(f"{name}.{field}", _words(inner)) for field, inner in value.items()]
        else:
            pairs.append((name, _words(value)))
    return _by_stage(pairs)


def _words(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def _by_stage(pairs):
    """Check pairs (name, text); returns dict stage -> dict field -> text, with blanks between repeated values."""
    general, special = {}, {stage: {} for stage in STAGES}
    for name, words in pairs:
        stage, dot, field = name.rpartition(".")
        if dot:
            _check_stage(stage, f"{name}: ")
        value = _checked(name, field, words)
        target = special[stage] if dot else general
        if field in REPEATED and field in target:
            target[field] += f" {value}"
        elif target.setdefault(field, value) != value:
            raise ValueError(f"{name}: given twice, as {target[field]} and {value}")
    changes = {stage: {**general, **special[stage]} for stage in STAGES}
    for stage in STAGES:
        steps = list(map(int, changes[stage].get("stepvalue", "").split()))
        if steps != sorted(set(steps)):
            raise ValueError(f"{stage}.stepvalue: iterations must increase, not {changes[stage]['stepvalue']}")
    return changes


def _check_stage(stage, where=""):
    if stage not in STAGES:
        raise ValueError(f"{where}unknown stage {stage!r}{suggestion(stage, STAGES, 'stages')}")


def _checked(name, field, words):
    """The value of a field as prototxt text without quotation marks; blanks separate values of a repeated field.

    name: the field as the user wrote it, for the error. Raises ValueError.
    """
    if field not in DESCRIPTOR.fields_by_name:
        hint = did_you_mean(field, [other for other in DESCRIPTOR.fields_by_name if other not in FIXED])
        hint = hint or "; fields are base_lr, max_iter, stepsize, snapshot and others"
        raise ValueError(f"{name}: Caffe's solver has no field {field!r}{hint}")
    if field in FIXED:
        raise ValueError(f"{name}: cannot be changed here; {FIXED[field]}")
    choices = _choices(field)
    if choices and words not in choices:
        raise ValueError(f"{name}: must be {either(choices)}, not {words!r}{did_you_mean(words, choices)}")
    if choices or (field == "clip_gradients" and words == "-1"):  # -1: no clipping
        return words
    kind = float if _is_float(field) else int
    least, most = RANGES.get(field, _REAL if kind is float else _WHOLE)
    values = words.split() if field in REPEATED else [words]
    for value in values:
        if not _is_number(value, kind, least, most) or (field == "clip_gradients" and kind(value) == 0):
            what = f"a number from {least:g} to {most:g}" if kind is float else f"a whole number from {least} to {most}"
            if field == "clip_gradients":
                what = "a number above 0, or -1 for no clipping"
            raise ValueError(f"{name}: must be {what}, not {value!r}")
    return " ".join(values)


def _choices(field):
    """The values that a field accepts if they are words; empty for a number."""
    described = DESCRIPTOR.fields_by_name[field]
    if described.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return ("true", "false")
    if described.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return tuple(value.name for value in described.enum_type.values)
    return CHOICES.get(field, ())


def _is_float(field):
    return DESCRIPTOR.fields_by_name[field].cpp_type == FieldDescriptor.CPPTYPE_FLOAT


def _is_number(text, kind, least, most):
    """Whether a text is a number of the kind within its range, in a spelling that prototxts and Python accept."""
    spelling = r"-?(0|[1-9]\d*)" if kind is int else r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
    return len(text) <= 40 and bool(re.fullmatch(spelling, text, re.ASCII)) and least <= kind(text) <= most


def text(stage, folder, changes, attributes):
    """The solver prototxt of a stage in a run.

    stage: "region", "cascade" or "whole_face"; folder: that of the stage's train_val.prototxt and snapshots
    changes: as for check_changes, or None; attributes: their number. Raises ValueError.
    """
    places = {"net": f"{folder}/train_val.prototxt", "snapshot_prefix": f"{folder}/{stage}"}
    lines = [
        f"# Stage {stage} of a run: solver/{stage}.prototxt, which explains the values, with the changes of this run."
    ]
    lines += [f"{field}: {quoted(place)}" for field, place in places.items()]
    lines += [_line(field, words) for field, words in _values(stage, changes, attributes).items()]
    return "\n".join(lines) + "\n"


def fields(stage, changes, attributes):
    """The values of a stage's solver: dict field -> number, bool, str or (stepvalue) list of numbers.

    Used for a run's record and time estimates, hence without net and snapshot_prefix, and always with iter_size.
    Arguments as in `text`. Raises ValueError.
    """
    values = {"iter_size": "1", **_values(stage, changes, attributes)}
    return {field: _typed(field, words) for field, words in values.items()}


def clipping(attributes):
    """The value of clip_gradients for a number of attributes, as text.

    The norm of the gradient grows with the square root of that number, because every attribute has its own branches.
    """
    return number(round(0.5 * attributes**0.5, 2))


def _values(stage, changes, attributes):
    """The fields of solver/<stage>.prototxt with the changes, without paths: dict field -> text."""
    _check_stage(stage)
    matches = map(_LINE.match, (FOLDER / f"{stage}.prototxt").read_text(encoding="utf-8").splitlines())
    values = {match["field"]: match["value"].strip('"') for match in matches if match and match["field"] not in FIXED}
    return {**values, "clip_gradients": clipping(attributes), **check_changes(changes or {})[stage]}


def _line(field, words):
    """The prototxt line of a field with its value, or of a repeated field with all its values."""
    if DESCRIPTOR.fields_by_name[field].cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return f"{field}: {quoted(words)}"
    return " ".join(f"{field}: {value}" for value in words.split())


def _typed(field, words):
    choices = _choices(field)
    if choices:
        return words == "true" if choices == ("true", "false") else words
    kind = float if _is_float(field) else int
    return [kind(value) for value in words.split()] if field in REPEATED else kind(words)
