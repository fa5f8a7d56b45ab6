"""The solvers of a run: the files in solver/ with the user's changes, checked against Caffe's SolverParameter.

The solver of a stage has the stage's name and trains the network of that name. Changes are represented as
dict stage -> dict field -> text; parse_changes reads them from text such as base_lr=0.01,region.max_iter=500.
"""

import math
import pathlib
import re

from caffe.proto import caffe_pb2
from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor

from data_prep.spelling import did_you_mean, either, suggestion
from models.options import NETWORKS
from models.prototxt import number, quoted

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "solver"
STAGES = NETWORKS
FIELDS = caffe_pb2.SolverParameter.DESCRIPTOR.fields_by_name
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
# Smallest and largest value of a field; (0, infinity) of all others.
RANGES = {
    **dict.fromkeys(("max_iter", "stepsize", "stepvalue", "iter_size", "average_loss"), (1, math.inf)),
    **dict.fromkeys(("test_iter", "test_interval"), (1, math.inf)),
    **dict.fromkeys(("momentum", "momentum2", "rms_decay"), (0, 0.999999)),
    "power": (-math.inf, math.inf),
    "random_seed": (-1, math.inf),  # -1: from the clock
}


def parse_changes(text):
    """Parse the changes to the solvers of a command line: dict of every stage -> dict field -> text.

    text: field=value or stage.field=value, separated by commas. A change without a stage applies to all stages; one
    with a stage takes precedence. stepvalue may be given several times.
    Raises ValueError, one line with a suggestion, for an unknown stage or field or an impossible value.
    """
    general, special = {}, {stage: {} for stage in STAGES}
    for change in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in change.partition("="))
        if not (name and equals and value and change.isprintable()):
            raise ValueError(
                f"{change[:60]!r}: give solver changes as field=value or stage.field=value, such as max_iter=500"
            )
        stage, dot, field = name.rpartition(".")
        if dot:
            _check_stage(stage, f"{name}: ")
        target, value = special[stage] if dot else general, _checked(name, field, value)
        if field in REPEATED and field in target:
            target[field] += f" {value}"
        elif target.setdefault(field, value) != value:
            raise ValueError(f"{name}: given twice, as {target[field]} and {value}")
    return check_changes({stage: {**general, **special[stage]} for stage in STAGES})


def check_changes(changes):
    """Changes, dict stage -> dict field -> value, with a dict of texts for every stage. Raises ValueError."""
    for stage in changes:
        _check_stage(stage)
    found = {}
    for stage in STAGES:
        values = changes.get(stage, {}).items()
        found[stage] = {field: _checked(f"{stage}.{field}", field, str(value)) for field, value in values}
        steps = list(map(int, found[stage].get("stepvalue", "").split()))
        if steps != sorted(set(steps)):
            raise ValueError(f"{stage}.stepvalue: iterations must increase, not {found[stage]['stepvalue']}")
    return found


def _check_stage(stage, where=""):
    if stage not in STAGES:
        raise ValueError(f"{where}unknown stage {stage!r}{suggestion(stage, STAGES, 'stages')}")


def _checked(name, field, words):
    """The value of a field as prototxt text without quotation marks; blanks separate values of a repeated field.

    name: the field as the user wrote it, for the error. Raises ValueError.
    """
    if field not in FIELDS:
        hint = did_you_mean(field, [other for other in FIELDS if other not in FIXED])
        hint = hint or "; fields are base_lr, max_iter, stepsize, snapshot and others"
        raise ValueError(f"{name}: Caffe's solver has no field {field!r}{hint}")
    if field in FIXED:
        raise ValueError(f"{name}: cannot be changed here; {FIXED[field]}")
    values = words.split() if field in REPEATED else [words]
    message = caffe_pb2.SolverParameter()
    try:
        text_format.Merge("\n".join(_line(field, value) for value in values), message)
        fits = [found.name for found, _ in message.ListFields()] == [field]
    except text_format.ParseError:
        fits = False
    choices = CHOICES.get(field) or _choices(field)
    if choices:
        if words not in choices:
            raise ValueError(f"{name}: must be {either(choices)}, not {words!r}{did_you_mean(words, choices)}")
        return words
    least, most = RANGES.get(field, (0, math.inf))
    whole = FIELDS[field].cpp_type != FieldDescriptor.CPPTYPE_FLOAT
    found = getattr(message, field)
    numbers = list(found) if field in REPEATED or hasattr(found, "append") else [found]
    # Python reads 1_0 as a number, and Caffe does not.
    fits = fits and "_" not in words and len(numbers) == len(values)
    fits = fits and all(math.isfinite(x) and least <= x <= most for x in numbers)
    if field == "clip_gradients":
        if words == "-1" or (fits and numbers[0] > 0):
            return words
        raise ValueError(f"{name}: must be a number above 0, or -1 for no clipping, not {words!r}")
    if not fits:
        ends = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
        raise ValueError(f"{name}: must be {'a whole number' if whole else 'a number'} {ends}, not {words!r}")
    return " ".join(map(str, numbers)) if whole else words  # in decimal, because 010 is 8 in a prototxt


def _choices(field):
    """The values that a field accepts if they are words; empty for a number."""
    if FIELDS[field].cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return ("true", "false")
    if FIELDS[field].cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return tuple(value.name for value in FIELDS[field].enum_type.values)
    return ()


def text(stage, paths, changes, attributes):
    """The solver prototxt of a stage: the file in solver/ with other paths and changed values, comments included.

    stage: "region", "cascade" or "whole_face"; paths: dict of `solver`, where the text will lie, of the fields net and
    snapshot_prefix, and of weights, "" for none, all as the program that trains is to see them
    changes: as for check_changes, or None; attributes: their number. Raises ValueError.
    """
    values = _values(stage, changes, attributes)
    values.update((field, path) for field, path in paths.items() if field in FIELDS)
    if not paths["weights"]:
        del values["weights"]
    lines, clip = [], clipping(attributes)
    for line in _template(stage):
        found = _LINE.match(line)
        if not found:
            lines.append(line.replace(f"solver/{stage}.prototxt", paths["solver"]))
            continue
        field, value = found["field"], values.pop(found["field"], None)
        if value is not None:
            # A comment explains the value in solver/ and goes with it; those of paths and of this rule stay true.
            kept = value == found["value"].strip('"') or field in paths or (field == "clip_gradients" and value == clip)
            lines.append(_line(field, value) + (line[found.end() :] if kept else ""))
    return "\n".join([*lines, *(_line(field, value) for field, value in values.items())]) + "\n"


def fields(stage, changes, attributes):
    """The values of a stage's solver: dict field -> number, bool, str or (stepvalue) list of numbers.

    Used for a run's record and time estimates, hence without paths, and always with iter_size.
    Arguments as in `text`. Raises ValueError.
    """
    values = {"iter_size": "1", **_values(stage, changes, attributes)}
    return {field: _typed(field, words) for field, words in values.items()}


def clipping(attributes):
    """The value of clip_gradients for a number of attributes, as text.

    The norm of the gradient grows with the square root of that number, because every attribute has its own branches.
    """
    return number(round(0.5 * attributes**0.5, 2))


def _template(stage):
    return (FOLDER / f"{stage}.prototxt").read_text(encoding="utf-8").splitlines()


def _values(stage, changes, attributes):
    """The fields of solver/<stage>.prototxt with the changes, without paths: dict field -> text."""
    _check_stage(stage)
    matches = map(_LINE.match, _template(stage))
    values = {match["field"]: match["value"].strip('"') for match in matches if match and match["field"] not in FIXED}
    return {**values, "clip_gradients": clipping(attributes), **check_changes(changes or {})[stage]}


def _line(field, words):
    """The prototxt line of a field with its value, or of a repeated field with all its values."""
    if FIELDS[field].cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return f"{field}: {quoted(words)}"
    return " ".join(f"{field}: {value}" for value in words.split())


def _typed(field, words):
    if field in CHOICES or _choices(field):
        return words == "true" if _choices(field) == ("true", "false") else words
    kind = float if FIELDS[field].cpp_type == FieldDescriptor.CPPTYPE_FLOAT else int
    return [kind(value) for value in words.split()] if field in REPEATED else kind(words)
