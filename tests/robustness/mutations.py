"""Seeded damage: of bytes, of lines of text, of JSON values and of protobuf messages.

Every function takes a random.Random first, so the seed identifies a mutation.
"""

import json
import math
import struct

from google.protobuf.message import Message

# Whole numbers at the edges of the types that files are made of.
EDGES = (0, 1, 2, 127, 128, 255, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**64 - 1)
WORDS = ("0", "-1", "1e999", "nan", "inf", "null", "true", "9" * 25, "1.5", "", '"', "'", "\\", "{", "}", "[", ":", ",")
LONG = 100_000
CONTROLS = "\x1b[31m\r\n\u2028\0"


def difference(whole, damaged):
    """A short description of the difference, to judge whether it may be accepted."""
    try:
        before, after = dict(_leaves(json.loads(whole))), dict(_leaves(json.loads(damaged)))
        places = [place for place in {**before, **after} if before.get(place, "nothing") != after.get(place, "nothing")]
        some = (f"{p} {before.get(p, 'nothing')!r} -> {after.get(p, 'nothing')!r}"[:120] for p in places[:3])
        return "; ".join(some) if places else "the same values"
    except (ValueError, RecursionError):
        pass
    if b"\0" not in whole and (
        lines := [pair for pair in zip(whole.split(b"\n"), damaged.split(b"\n")) if len({*pair}) > 1]
    ):
        return f"{lines[0][0][:70]} -> {lines[0][1][:70]}"
    places = [place for place, (one, other) in enumerate(zip(whole, damaged)) if one != other]
    changed = f", {len(places)} differ from byte {places[0]} on" if places else ""
    return f"{len(damaged):,} bytes of {len(whole):,}{changed}"


def _leaves(value, place=""):
    """(place, value) of the leaves of a JSON value."""
    if not isinstance(value, (dict, list)) or not value:
        yield place or ".", value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(inner, f"{place}.{key}"[-60:])


# Bytes ------------------------------------------------------------------------------------------------------


def of_bytes(rng, data, others=()):
    """Damaged bytes. others: contents of other files of the kind, from which pieces are taken."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_BYTES)(rng, data, others)
    return data


def _place(rng, data):
    """A place in the bytes; the first ones, and the beginnings of pages, hold more than others."""
    if not data:
        return 0
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randrange(min(len(data), 64))
    if kind == 1:
        return min(len(data) - 1, rng.randrange((len(data) + 4095) // 4096) * 4096 + rng.randrange(64))
    return rng.randrange(len(data))


def _flip(rng, data, others):
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20)) if data else 0):
        changed[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng, data, others):
    if rng.random() < 0.3:
        piece = struct.pack(rng.choice("<>") + rng.choice("fd"), rng.choice((math.nan, math.inf, -1e30, 1e30)))
    else:
        size = rng.choice((1, 2, 4, 8))
        piece = (rng.choice(EDGES) % 256**size).to_bytes(size, rng.choice(("little", "big")))
    place = _place(rng, data)
    return data[:place] + piece + data[place + len(piece) :]


def _truncate(rng, data, others):
    return data[: rng.choice((0, rng.randrange(len(data) + 1), rng.randrange(len(data) + 1), max(0, len(data) - 1)))]


def _delete(rng, data, others):
    place = _place(rng, data)
    return data[:place] + data[place + rng.choice((1, 4, 100, 4096)) :]


def _duplicate(rng, data, others):
    start, place = _place(rng, data), _place(rng, data)
    return data[:place] + data[start : start + rng.choice((1, 4, 100, 4096))] * rng.choice((1, 1, 20)) + data[place:]


def _splice(rng, data, others):
    other = rng.choice(others) if others else data
    start, place, size = _place(rng, other), _place(rng, data), rng.choice((8, 100, 4096, 10**9))
    piece = other[start : start + size]
    return data[:place] + piece + data[place + (len(piece) if rng.random() < 0.5 else 0) :]


def _insert(rng, data, others):
    place = _place(rng, data)
    return data[:place] + rng.randbytes(rng.choice((1, 2, 8, 300))) + data[place:]


def _zeros(rng, data, others):
    place, size = _place(rng, data), rng.choice((8, 512, 4096))
    return data[:place] + bytes(min(size, len(data) - place)) + data[place + size :]


_BYTES = (_flip, _flip, _overwrite, _overwrite, _truncate, _delete, _duplicate, _splice, _insert, _zeros)


# Text -------------------------------------------------------------------------------------------------------


def of_text(rng, data, others=()):
    """Damaged text, as bytes: its lines and words, or its bytes."""
    if rng.random() < 0.3:
        return of_bytes(rng, data, others)
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(lines))
        lines[place : place + 1] = rng.choice(_LINES)(rng, lines[place], lines)
        lines = lines or [""]
    ending = rng.choice(("\n",) * 6 + ("\r\n", "\r"))
    return ending.join(lines).encode("utf-8", "surrogatepass")


def _word(rng, line, lines):
    """Replace one word of a line by another."""
    words = line.split(" ") if " " in line else line.split(",")
    words[rng.randrange(len(words))] = rng.choice((*WORDS, CONTROLS, rng.choice(lines), "x" * rng.choice((300, LONG))))
    return [(" " if " " in line else ",").join(words)]


def _character(rng, line, lines):
    place = rng.randrange(len(line) + 1)
    return [
        line[:place] + rng.choice(("\0", "\x1b", "\u2028", "\ufeff", "é", '"', ",", " ", "{", "\ud800")) + line[place:]
    ]


_LINES = (
    _word,
    _word,
    _word,
    _character,
    lambda rng, line, lines: [],
    lambda rng, line, lines: [line, line],
    lambda rng, line, lines: [line, rng.choice(lines)],
    lambda rng, line, lines: [rng.choice(lines)],
    lambda rng, line, lines: [line[: rng.randrange(len(line) + 1)]],
    lambda rng, line, lines: [line + rng.choice((" ", ",", "#", "x")) * rng.choice((1, 3, 2000))],
    lambda rng, line, lines: [rng.choice(("{", "[", "a {", '"')) * rng.choice((1, 50, 20_000)) + line],
)


# JSON -------------------------------------------------------------------------------------------------------

# What json.dumps does not write: the text that takes the place of a mark in it.
_RAW = ("NaN", "-Infinity", "1e999", "-1e400", "9" * 400, "9" * 5000, "[" * 60_000 + "]" * 60_000, "-0", "1E2")


def of_json(rng, data, others=()):
    """Damaged JSON: one of its values, its keys or its structure; or its text."""
    if rng.random() < 0.25:
        return of_text(rng, data, others)
    holder, raw = {"": json.loads(data)}, rng.choice(_RAW)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change_value(rng, *rng.choice(list(_places(holder))), holder)
    return json.dumps(holder[""]).replace('"@raw@"', raw).encode("utf-8", "surrogatepass")


def _places(value):
    """All (container, key) below a value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _change_value(rng, container, key, whole):
    old, kind = container[key], rng.randrange(8)
    if kind == 0 and container is not whole:
        del container[key]
    elif kind == 1 and isinstance(container, dict) and container is not whole:
        container[rng.choice(("extra", "", CONTROLS, "version", "\ud800"))] = old
    elif kind == 2 and isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), old)
    elif kind == 3:
        donor, place = rng.choice(list(_places(whole)))
        container[key] = json.loads(json.dumps(donor[place]))
    elif isinstance(old, (int, float)) and kind < 7:
        edge = rng.choice(EDGES)
        container[key] = rng.choice(
            (-1, 0.5, -old, old + 1, old * 1000, edge, -edge, 10**30, 1e308, bool(old), str(old))
        )
    elif isinstance(old, str) and kind < 7:
        container[key] = rng.choice((*WORDS, old + CONTROLS, old + "x", old.upper(), "../" * 9, "\ud800", "x" * 5000))
    else:
        values = (None, True, 0, -1, 1.5, "", "x", CONTROLS, [], {}, [None], [[]], {"": 1}, [old], "@raw@", "@raw@")
        container[key] = rng.choice(values)


# Protobuf ---------------------------------------------------------------------------------------------------


def of_message(rng, message):
    """Damage one to three fields of a protobuf message, in place: those that are set, or others of its kinds."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        _change_field(rng, rng.choice(list(_messages(message))))


def _messages(message):
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _messages(part)


def _change_field(rng, message):
    given = [field for field, _ in message.ListFields()]
    fields = given if given and rng.random() < 0.7 else message.DESCRIPTOR.fields
    if not fields:
        return
    field = rng.choice(fields)
    value = getattr(message, field.name)
    if isinstance(value, (bool, int, float, str, bytes)):
        setattr(message, field.name, _scalar(rng, field))
    elif isinstance(value, Message):
        message.ClearField(field.name) if rng.random() < 0.5 else value.SetInParent()
    elif value and rng.random() < 0.4:
        del value[rng.randrange(len(value))]
    elif field.message_type is not None:
        value.add().CopyFrom(rng.choice(list(value))) if value else value.add()
    elif value and rng.random() < 0.6:
        value[rng.randrange(len(value))] = _scalar(rng, field)
    else:
        value.append(_scalar(rng, field))


def _scalar(rng, field):
    """A value that a scalar field can hold."""
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return rng.choice((0.0, -1.0, 0.5, 1e30, -1e30, 1e-30, math.nan, math.inf))
    if field.cpp_type == field.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.cpp_type == field.CPPTYPE_STRING:
        word = rng.choice(("", "x", "data", "ip", "loss", "Convolution", "Python", "../x", "x" * 3000, CONTROLS))
        return word.encode() if field.type == field.TYPE_BYTES else word
    unsigned = field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
    limit = 2 ** (32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64)
    number = rng.choice((*EDGES, 3, 5, 1000)) % limit
    if unsigned:
        return number
    return rng.choice((1, 1, -1)) * (number % (limit // 2))
