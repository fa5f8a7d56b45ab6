"""Parameters of the Python layers: JSON in `param_str`, declared as a dataclass of data_prep.settings per layer."""

import dataclasses
import functools
import json
import sys

from data_prep.settings import check
from data_prep.spelling import suggestion


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


def read_parameters(layer, declared):
    """The parameters of a layer: an object of the dataclass `declared`, its defaults overridden by the param_str.

    layer: the Caffe layer, whose class name appears in the errors
    Raises ValueError that names the layer, the parameter and the values it takes.
    """
    return parsed(layer.param_str, declared, type(layer).__name__)


def parsed(text, declared, name):
    """The parameters in a param_str, text or None, of the layer that errors are to name; see `read_parameters`."""
    text, names = (text or "").strip() or "{}", [field.name for field in dataclasses.fields(declared)]
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: param_str is not JSON ({error}): {text[:80]}")
    if not isinstance(given, dict):
        example = json.dumps(dataclasses.asdict(declared()))
        raise ValueError(f"{name}: param_str must be a JSON object such as {example}, not {text[:80]}")
    for key in given:
        if key not in names:
            raise ValueError(f"{name}: unknown parameter {key!r}{suggestion(key, names, 'parameters')}")
    parameters = declared(**given)
    try:
        check(parameters)
    except ValueError as error:
        raise ValueError(f"{name}: {error}")
    return parameters


def check_count(layer, what, blobs, counts, meaning):
    """Raise ValueError unless the number of a layer's blobs is one of `counts`.

    what: "bottom" or "top"; meaning: names of the blobs, for the error
    """
    if len(blobs) not in counts:
        allowed = " or ".join(str(count) for count in counts)
        raise ValueError(f"{type(layer).__name__}: takes {allowed} {what} blobs ({meaning}), not {len(blobs)}")
