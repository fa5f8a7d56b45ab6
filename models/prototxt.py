"""The text of prototxts: strings, numbers, messages and the layers that several parts of the networks use."""

import json

# Escapes of protocol buffers' text format; all other characters are written as UTF-8.
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def number(value):
    """A number as text: six significant digits if they are exact, else all digits."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def quoted(text, mark='"'):
    """A string value in quotation marks, escaped; mark: the quotation mark, " or '."""
    return mark + "".join(_escaped(character, mark) for character in text) + mark


def _escaped(character, mark):
    if character == mark:
        return "\\" + mark
    if character < " " or character == "\x7f":
        return _ESCAPES.get(character, f"\\{ord(character):03o}")
    return _ESCAPES.get(character, character)


def banner(head, *lines):
    """A heading: a ruled line, and comments below it."""
    return f"\n#---- {head} ".ljust(100, "-") + "\n" + "".join(f"# {line}\n" for line in lines)


def block(name, *fields):
    """A nested message in one line."""
    return f"{name} {{ {' '.join(fields)} }}"


def lines_block(name, *fields):
    """A nested message with a field per line."""
    return f"{name} {{\n" + "".join(f"  {field}\n" for field in fields) + "}"


def in_phase(phase):
    """The field that keeps a layer to one phase, "TRAIN" or "TEST"."""
    return block("include", f"phase: {phase}")


def layer(name, kind, bottoms, tops, *body):
    """The text of a layer; `body` holds further fields, one per line."""
    lines = [f'name: "{name}"', f'type: "{kind}"']
    lines += [f'bottom: "{bottom}"' for bottom in bottoms]
    lines += [f'top: "{top}"' for top in tops]
    lines += [line for part in body for line in part.split("\n")]
    return lines_block("layer", *lines) + "\n"


def python(name, module, cls, bottoms, tops, parameters, *body):
    """A Python layer of class `cls` in python_layers.<module>; parameters: dict, written as JSON."""
    fields = (
        f'module: "python_layers.{module}"',
        f'layer: "{cls}"',
        f"param_str: {quoted(json.dumps(parameters, allow_nan=False), mark=chr(39))}",
    )
    return layer(name, "Python", bottoms, tops, *body, lines_block("python_param", *fields))


def reshape(name, bottom, top, *dims, phase=None):
    """A Reshape to `dims`, in one phase if given."""
    body = [block("reshape_param", block("shape", *(f"dim: {d}" for d in dims)))]
    if phase:
        body.insert(0, in_phase(phase))
    return layer(name, "Reshape", [bottom], [top], *body)


def global_max(name, bottom, top):
    """The largest number of every channel's map."""
    return layer(name, "Pooling", [bottom], [top], block("pooling_param", "pool: MAX", "global_pooling: true"))


def difference(name, first, second, top, *body):
    """first - second, element by element."""
    minus = block("eltwise_param", "operation: SUM", "coeff: 1", "coeff: -1")
    return layer(name, "Eltwise", [first, second], [top], *body, minus)
