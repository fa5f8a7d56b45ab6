"""Damage at random, seeded: strategies of hypothesis for bytes and JSON, and what readers may do with it."""

import functools
import json
import operator

import pytest
from hypothesis import strategies as st
from tokens import full_disk  # noqa: F401

from data_prep.errors import DataError

WORDS = [b"", b"0", b"-1", b"2", b"1e999", b"nan", b'"', b"\0", b"\x1b[31m", b"\xff", b"\xe2\x80\xa8", b"9" * 30]
WORDS += [b"x" * 9000, b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(8), b"\xff" * 8]
LONGEST = 1100  # characters of a message
LIMIT = 2 << 20  # kB, of a reader's memory


def damaged(data):
    """Strategy: bytes one to four parts of which, or words of a line, are other bytes, or ones from elsewhere."""
    separator = b"," if b"," in data[:200] else b" "

    def apply(changes):
        result = data
        for start, size, piece, is_word in changes:
            if is_word:
                lines = result.split(b"\n")
                row = start % len(lines)
                words = lines[row].split(separator)
                words[size % len(words)] = piece
                result = b"\n".join([*lines[:row], separator.join(words), *lines[row + 1 :]])
            else:
                result = result[:start] + piece + result[start + size :]
        return result

    start, size = st.integers(0, max(len(data) - 1, 0)), st.integers(0, 300) | st.just(len(data))
    piece = st.binary(max_size=20) | st.sampled_from(WORDS) | start.map(lambda place: data[place : place + 60])
    change = st.tuples(start, size, piece, st.sampled_from([False, False, True]))
    return st.lists(change, min_size=1, max_size=4).map(apply)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "\x1b", "\ud800", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Male", "images"]), inner, max_size=2),
    max_leaves=6,
)


def places(value, path=()):
    """The paths of all values inside of a JSON value; of a list those of the first two."""
    for key in value if isinstance(value, dict) else range(len(value))[:2]:
        yield (*path, key)
        if isinstance(value[key], (dict, list)):
            yield from places(value[key], (*path, key))


def at(value, path):
    """The value at a path inside of a JSON value."""
    return functools.reduce(operator.getitem, path, value)


def changed(record, path, value):
    """A copy of JSON with the value at a path replaced, or left out where it is `...`."""
    copy = json.loads(json.dumps(record))
    inner = at(copy, path[:-1])
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def records(original):
    """Strategy: bytes of a JSON file one value of which is another, one of elsewhere in the file, or missing."""
    found = list(places(original))
    values = JSON | st.just(...) | st.sampled_from(found).map(lambda path: at(original, path))
    change = st.tuples(st.sampled_from(found), values)
    text = change.map(lambda change: json.dumps(changed(original, *change)).encode("utf-8", "surrogatepass"))
    return text | text | text | damaged(json.dumps(original, indent=1).encode())


def attempt(read, name, promised=(DataError,)):
    """What a reader returns, None where it refuses in one printable line that holds a name."""
    try:
        return read()
    except promised as error:
        words = str(error)
        assert words.isprintable() and len(words) <= LONGEST and str(name) in words, words
        return None


def few(number, many):
    """Parameters: a small number of examples, and a large one in the slow run."""
    return pytest.mark.parametrize("examples", [number, pytest.param(many, marks=pytest.mark.slow)])
