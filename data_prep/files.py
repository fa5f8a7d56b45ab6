"""Files: checksums, JSON with errors that name the file and the key, and writing that leaves a whole file or none."""

import contextlib
import hashlib
import json
import math
import os
import pathlib


def sha256(path):
    """The SHA-256 checksum of a file, as hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path, mode="wb", **options):
    """A file to write that takes the place of `path` when all of it is on the disk; after an error `path` is as before.

    mode, options: as of open. Raises OSError.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def write_bytes(path, data):
    """Write a file whole or not at all. Raises OSError."""
    with replacing(path) as file:
        file.write(data)


def write_json(path, value):
    """Write a value as JSON, whole or not at all; NaN and infinity are refused with ValueError. Raises OSError."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def read_json(path, kind=dict):
    """The value in a JSON file. Raises FileNotFoundError, OSError, and ValueError that names the file and the fault.

    kind: the type that the file's value must have
    """
    path = pathlib.Path(path)
    try:
        value = json.loads(path.read_bytes().decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, not readable as JSON ({error})")
    if not isinstance(value, kind):
        raise ValueError(f"{path}: damaged, must hold a JSON {_NAMES[kind]}, not {_NAMES.get(type(value), 'null')}")
    return value


def _is_finite(number):
    try:
        return number is None or math.isfinite(number)
    except OverflowError:  # a whole number that no float can hold
        return False


def one_line(message, most=1000):
    """A message as a terminal can show it in one line: control characters escaped, the middle of a long one left out.

    Names, labels and keys that come from a file may hold line breaks and escape sequences.
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(message))
    half = most // 2 - 3
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


_NAMES = {dict: "object", list: "list", str: "string", int: "number", float: "number", bool: "true or false"}


def _no_number(word):
    raise ValueError(f"{word} is no number")


def member(value, key, kind, where, length=None):
    """Entry `key` of a dict read from JSON, checked: its type, that numbers are finite, and the length of a list.

    kind: a type or a tuple of types; where: file and place, for the error. Raises ValueError.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, dict) or key not in value:
        raise ValueError(f"{where}: damaged, key {key!r} is missing")
    entry = value[key]
    fits = isinstance(entry, kinds) and not (isinstance(entry, bool) and bool not in kinds)
    if not fits or (float in kinds and not isinstance(entry, (str, list, dict)) and not _is_finite(entry)):
        names = " or ".join(dict.fromkeys(_NAMES.get(one, "null") for one in kinds))
        article = "an" if names.startswith("o") else "a"
        raise ValueError(f"{where}: damaged, key {key!r} must be {article} {names}, not {json.dumps(entry)[:60]}")
    if length is not None and len(entry) != length:
        raise ValueError(f"{where}: damaged, key {key!r} must have {length} entries, not {len(entry)}")
    return entry
