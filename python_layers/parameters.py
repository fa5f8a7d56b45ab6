"""Parameters of the Python layers: JSON in `param_str`, with defaults, and errors that name the accepted values."""

import functools
import json
import sys


def logs_errors(method):
    """Decorator of setup and reshape that prints an error, because Caffe's own program exits without showing it."""

    @functools.wraps(method)
    def wrapper(self, bottom, top):
        try:
            return method(self, bottom, top)
        except Exception as error:
            if getattr(sys, "argv", [""]) == [""]:  # embedded in Caffe's own program
                print(f"error: {error}", file=sys.stderr, flush=True)
            raise

    return wrapper


def read_parameters(layer, defaults, checks):
    """The parameters of a layer: `defaults` overridden by the JSON object in its param_str.

    layer: the Caffe layer, whose class name appears in the errors
    defaults: dict of all parameters and their default values
    checks: dict of parameter -> (predicate, description of the values it takes)
    Raises ValueError that names the layer, the parameter and the values it takes.
    """
    name = type(layer).__name__
    text = (layer.param_str or "").strip() or "{}"
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: param_str is not JSON ({error}): {text[:80]}")
    if not isinstance(given, dict):
        raise ValueError(f"{name}: param_str must be a JSON object such as {json.dumps(defaults)}, not {text[:80]}")
    for key, value in given.items():
        if key not in defaults:
            raise ValueError(f"{name}: unknown parameter {key!r}; parameters are {', '.join(sorted(defaults))}")
        allowed, description = checks[key]
        if not allowed(value):
            raise ValueError(f"{name}: {key} must be {description}, not {json.dumps(value)[:80]}")
    return dict(defaults, **given)


def check_count(layer, what, blobs, counts, meaning):
    """Raise ValueError unless the number of a layer's blobs is one of `counts`.

    what: "bottom" or "top"; meaning: names of the blobs, for the error
    """
    if len(blobs) not in counts:
        allowed = " or ".join(str(count) for count in counts)
        raise ValueError(f"{type(layer).__name__}: takes {allowed} {what} blobs ({meaning}), not {len(blobs)}")


def is_number(value, least, most=sys.float_info.max):
    """True for a finite number (not a bool) in [least, most]."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def is_whole(value, least):
    """True for an int (not a bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
