"""The exception of the engine, raised for errors that end the process in BVLC Caffe (its CHECK macros)."""

import importlib


class CaffeError(RuntimeError):
    """An error that the user can correct; the message is one line that names the layer, blob, field or file."""

    def __init__(self, message):
        # Names and text that come from a file may hold line breaks, escape sequences, or megabytes.
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(message))
        super().__init__(text if len(text) <= 1000 else f"{text[:497]} ... {text[-497:]}")


def check(condition, message):
    """Raise CaffeError(message) unless the condition holds."""
    if not condition:
        raise CaffeError(message)


def optional_package(name, use, source=None):
    """A package that only some nets and files need. Raises CaffeError, which says how it is installed.

    use: what needs it, with its verb; source: the name under which pip finds it, if it is another one
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise CaffeError(f"{use} the package {name}: pip install {source or name}")
