"""Prototxts one or two of whose tokens are others, a loop over examples, and a full disk: for both rooms of tests."""

import contextlib
import re
import resource

import hypothesis
from hypothesis import strategies as st

STRANGE = ["", "0", "-1", "3", "2147483647", "4294967295", "1e999", "nan", '"', "{", "}", "[", "x" * 5000, "\0", "TEST"]
STRANGE += [r'"a\000/b"', '"HDF5Output"', '"Python"', '"Silence"', "force_backward: true", "#"]


def exchanged(text):
    """Strategy: the text of a prototxt with tokens from elsewhere in it, of numbers for numbers, or strange ones."""
    parts = re.findall(r"\"[^\"]*\"|[\w.+-]+|\s+|.", text)
    numbers, others = ([n for n, part in enumerate(parts) if part[0].isdigit() == digit] for digit in (True, False))

    def change(places):
        other = st.sampled_from(places).map(parts.__getitem__) | st.sampled_from(STRANGE)
        return st.tuples(st.sampled_from(places), other)

    changes = st.lists(change(numbers) | change(others), min_size=1, max_size=2)
    return changes.map(lambda changes: "".join({**dict(enumerate(parts)), **dict(changes)}.values()))


def each(strategy, examples, run):
    """Run a function of a strategy's values for a number of examples, the same ones every time."""
    options = {"derandomize": True, "deadline": None, "database": None}

    @hypothesis.settings(max_examples=examples, suppress_health_check=list(hypothesis.HealthCheck), **options)
    @hypothesis.given(strategy)
    def check(value):
        run(value)

    check()


@contextlib.contextmanager
def full_disk(size):
    """No file can grow beyond so many bytes, which stands for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
