"""Prototxts one or two of whose tokens are others, and a loop over examples: hypothesis for both rooms of tests."""

import re

import hypothesis
from hypothesis import strategies as st

STRANGE = ["", "0", "-1", "3", "2147483647", "4294967295", "1e999", "nan", '"', "{", "}", "[", "x" * 5000, "\0", "TEST"]
STRANGE += [r'"a\000/b"', '"HDF5Output"', '"Python"', '"Silence"', "force_backward: true", "#"]


def exchanged(text):
    """Strategy: the text of a prototxt with tokens of the same kind from elsewhere in it, or strange ones."""
    parts = re.findall(r"#.*|\"[^\"]*\"|[\w.+-]+|\s+|.", text)
    places = [place for place, part in enumerate(parts) if not part.isspace() and part[0] != "#"]

    def alike(place):
        same = [parts[other] for other in places if kind_of(parts[other]) == kind_of(parts[place])]
        return st.tuples(st.just(place), st.sampled_from(same) | st.sampled_from(STRANGE))

    changes = st.lists(st.sampled_from(places).flatmap(alike), min_size=1, max_size=2)
    return changes.map(lambda changes: "".join({**dict(enumerate(parts)), **dict(changes)}.values()))


def kind_of(token):
    """The kind of a token of a prototxt: text, number, word or sign."""
    return next(kind for kind in ('"', r"[\d-]", r"\w", "") if re.match(kind, token))


def each(strategy, examples, run):
    """Run a function of a strategy's values for a number of examples, the same ones every time."""
    options = {"derandomize": True, "deadline": None, "database": None}

    @hypothesis.settings(max_examples=examples, suppress_health_check=list(hypothesis.HealthCheck), **options)
    @hypothesis.given(strategy)
    def check(value):
        run(value)

    check()
