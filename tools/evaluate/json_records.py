"""Dataclasses stored as JSON and checked field by field when they are read.

Fields may be str, bool, int, float, Optional, List and Dict[str, ...] of these, and other such dataclasses. The key in
the file is the field's name with blanks for underscores, or the one given with `key`.
"""

import dataclasses
import typing

from data_prep import files


def key(words):
    """A dataclass field with these words as its key in the file."""
    return dataclasses.field(metadata={"key": words})


def words(field):
    """The key of a dataclass field in the file; also its heading in tables."""
    return field.metadata.get("key", field.name.replace("_", " "))


def dump(value):
    """A dataclass, or lists and dicts of them, as JSON values."""
    if dataclasses.is_dataclass(value):
        return {words(field): dump(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: dump(item) for name, item in value.items()}
    return [dump(item) for item in value] if isinstance(value, list) else value


def parse(kind, value, where):
    """An object of dataclass `kind` from JSON values.

    where: file and key, for the error. Raises ValueError that names both for a missing or unknown key, or a value of
    the wrong type or not finite.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{where}: damaged, must be a JSON object")
    fields = {words(field): field.name for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise ValueError(f"{where}: damaged or of another version of face-cascade, unknown key {name!r}")
    hints = typing.get_type_hints(kind)
    return kind(**{field: _member(hints[field], value, name, where) for name, field in fields.items()})


def _member(kind, holder, name, where):
    """Entry `name` of a dict as a value of type `kind`."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return parse(kind, files.member(holder, name, dict, where), f"{where}: {name}")
    if origin is typing.Union:  # Optional
        return None if name in holder and holder[name] is None else _member(parts[0], holder, name, where)
    if origin is list:
        items = dict(enumerate(files.member(holder, name, list, where), 1))
        return [_member(parts[0], items, number, f"{where}: {name}") for number in items]
    if origin is dict:
        items = files.member(holder, name, dict, where)
        return {item: _member(parts[1], items, item, f"{where}: {name}") for item in items}
    if kind is float:
        return float(files.member(holder, name, (float, int), where))
    return files.member(holder, name, kind, where)
