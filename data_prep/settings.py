"""Settings and records: dataclasses whose fields are declared once, with type, range and help.

`setting` declares a field. From that declaration come the check of every value (`check`), the reader and writer of JSON
files (`from_json`, `to_json`), and the options of a command (`add_options`, `given`).

A field's type is str, bool, int, float, dict, another such dataclass, or Optional, list, tuple or dict of these. Runs
on Python 3.9 too.
"""

import argparse
import dataclasses
import fractions
import math
import typing

from data_prep.errors import DataError
from data_prep.spelling import did_you_mean, either

_KINDS = {str: "a string", bool: "true or false", int: "a whole number", float: "a number", dict: "an object"}


def setting(default=dataclasses.MISSING, help="", *, factory=dataclasses.MISSING, **declared):
    """A field of a dataclass: its default, and the sentence that explains it in --help and in the docs.

    factory: makes the default, for lists and dicts
    declared: what else is known of the values:
      choices  those accepted; least, most, above, even: of numbers, or of the numbers in a list
      fault    function of a value that returns what is wrong with it, such as "must be ...", or None
      metavar, shown  the value and the default as --help shows them
    """
    return dataclasses.field(default=default, default_factory=factory, metadata={"help": help, **declared})


def like(cls, name):
    """A field declared as field `name` of another dataclass."""
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    return dataclasses.field(default=field.default, default_factory=field.default_factory, metadata=field.metadata)


# Checks -----------------------------------------------------------------------------------------------------


class Refused(ValueError):
    """What is wrong with a value: "must be ..., not ..."."""


def accepted(kind, value, declared, where="", complete=True):
    """A value as a field's type has it. Raises Refused, and ValueError for an entry of a dataclass inside.

    kind: the type; declared: the field's metadata; where, complete: see from_json
    """
    origin, parts, inside = typing.get_origin(kind), typing.get_args(kind), {**declared, "fault": None}
    if origin is typing.Union:  # Optional
        made = None if value is None else accepted(parts[0], value, inside, where, complete)
    elif dataclasses.is_dataclass(kind):
        made = value if isinstance(value, kind) else from_json(kind, value, where, complete)
    elif origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise Refused(f"must be a list, not {_shown(value)}")
        made = origin(accepted(parts[0], item, inside, f"{where}: {n}", complete) for n, item in enumerate(value, 1))
    elif origin is dict:
        if not isinstance(value, dict):
            raise Refused(f"must be an object, not {_shown(value)}")
        made = {name: accepted(parts[1], item, inside, f"{where}: {name}", complete) for name, item in value.items()}
    elif _is_kind(kind, value) and _within(value, declared):
        made = value
    else:
        hint = did_you_mean(value, declared["choices"]) if "choices" in declared else ""
        raise Refused(f"must be {_description(kind, declared)}, not {_shown(value)}{hint}")
    wrong = declared["fault"](made) if declared.get("fault") else None
    if wrong:
        raise Refused(wrong)
    return made


def _is_kind(kind, value):
    if kind in (int, float):
        try:
            return isinstance(value, (int, kind)) and not isinstance(value, bool) and math.isfinite(value)
        except OverflowError:  # an integer too large for a float
            return kind is int
    return isinstance(value, kind)


def _within(value, declared):
    if "choices" in declared:
        return value in declared["choices"]
    if isinstance(value, (int, float)):
        inside = declared.get("least", -math.inf) <= value <= declared.get("most", math.inf)
        return inside and value > declared.get("above", -math.inf) and not (declared.get("even") and value % 2)
    return True


def _description(kind, declared):
    if "choices" in declared:
        return either([str(choice) for choice in declared["choices"]])
    words = "an even number" if declared.get("even") else _KINDS.get(kind, "a value")
    if "above" in declared:
        words += f" above {declared['above']:g}"
    if "least" in declared and "most" in declared:
        return f"{words} from {declared['least']:g} to {declared['most']:g}"
    if "least" in declared:
        return f"{words} of at least {declared['least']:g}"
    return f"{words} and at most {declared['most']:g}" if "most" in declared else words


def _shown(value, most=60):
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def check(instance):
    """Raise ValueError, one line that names the field, unless all fields of a dataclass have values they accept."""
    kinds = typing.get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        try:
            accepted(kinds[field.name], getattr(instance, field.name), field.metadata)
        except Refused as error:
            raise ValueError(f"{field.name}: {error}")


# JSON -------------------------------------------------------------------------------------------------------


def to_json(value):
    """A dataclass, or lists and dicts of them, as values that JSON can hold."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items()}
    return [to_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def from_json(cls, value, where, complete=True):
    """An object of a dataclass from JSON values, every field checked.

    where: file and place, for the error; complete: whether a missing key is an error, else it takes its default
    Raises ValueError, one line that names file and key, for an unknown or missing key or a value that is not accepted.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where}: damaged, must be a JSON object, not {_shown(value)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = next((name for name in value if name not in fields), None)
    if unknown is not None:
        raise ValueError(f"{where}: damaged or of another version of face-cascade, unknown key {_shown(unknown)}")
    kinds, made = typing.get_type_hints(cls), {}
    for name, field in fields.items():
        needed = complete or (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)
        if name in value:
            try:
                place = f"{where}: {name}"
                made[name] = accepted(kinds[field.name], value[name], field.metadata, place, complete)
            except Refused as error:
                raise ValueError(f"{where}: damaged, key {name!r} {error}")
        elif needed:
            raise ValueError(f"{where}: damaged, key {name!r} is missing")
    try:
        return cls(**made)
    except ValueError as error:  # of a class that checks how its fields fit together
        raise ValueError(f"{where}: damaged, {error}")


# Command line -----------------------------------------------------------------------------------------------


def add_options(parser, cls, names=None, shown=()):
    """Add an option for the fields of a dataclass that have a help, or for those named, to an argparse parser.

    shown: dict name -> default that --help is to show, where a command has one of its own
    An option that is not given is None in the parsed arguments; `given` leaves it out.
    """
    kinds, shown = typing.get_type_hints(cls), dict(shown)
    for field in dataclasses.fields(cls):
        declared, kind = field.metadata, kinds[field.name]
        if not declared.get("help") or (names is not None and field.name not in names):
            continue
        default = shown.get(field.name, _shown_default(field))
        words = {"help": f"{declared['help']} (default: {default}).".replace("%", "%%")}
        if kind is bool:
            words.update(action="store_const", const=not field.default)
        else:
            many = typing.get_origin(kind) in (list, tuple)
            usual = "A,B,..." if many else {int: "N", float: "NUMBER"}.get(kind, "TEXT")
            if "choices" in declared:
                usual = "{" + ",".join(map(str, declared["choices"])) + "}"
            words.update(type=_parser(field, kind), metavar=declared.get("metavar", usual))
        parser.add_argument(f"--{field.name.replace('_', '-')}", **words)


def _shown_default(field):
    """The default of a field as --help shows it."""
    if "shown" in field.metadata:
        return field.metadata["shown"]
    if isinstance(field.default, bool):
        return "yes" if field.default else "no"
    return "none" if field.default in ("", None, dataclasses.MISSING) else f"{field.default}"


def _parser(field, kind):
    """The function that turns an option's text into a value. It raises ArgumentTypeError with the reason."""
    many = typing.get_origin(kind) in (list, tuple)
    plain = typing.get_args(kind)[0] if typing.get_origin(kind) else kind

    def parse(text):
        words = [word.strip() for word in text.split(",") if word.strip()] if many else [text]
        values = [_number(word) if plain in (int, float) else word for word in words]
        if not values:
            raise argparse.ArgumentTypeError("must not be empty")
        try:
            return accepted(kind, values if many else values[0], field.metadata)
        except Refused as error:
            raise argparse.ArgumentTypeError(str(error))

    return parse


def _number(text):
    """The number of an option's text, such as 1e-3 or 1/4; the text itself where it is none."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(fractions.Fraction(text) if "/" in text else text)
        return int(value) if value.is_integer() else value
    except (ValueError, ZeroDivisionError, OverflowError):
        return text


def given(arguments, cls, names=None):
    """The fields of a dataclass, or those named, that options were given for: dict name -> value."""
    known = (field.name for field in dataclasses.fields(cls) if field.metadata.get("help"))
    wanted = (name for name in known if names is None or name in names)
    return {name: getattr(arguments, name) for name in wanted if getattr(arguments, name, None) is not None}


def check_effect(chosen, idle):
    """Raise DataError for the first option that was given, but has no effect.

    chosen: as of `given`; idle: dict name -> why it has none
    """
    for name in chosen:
        if name in idle:
            raise DataError(f"--{name.replace('_', '-')} has no effect {idle[name]}")
