"""Read the log of `caffe train`, of a real Caffe or of the engine: losses, outputs, tests, in order of iterations."""

import collections
import re

NUMBER = r"([-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf))"
LOSS = re.compile(rf"Iteration (\d+)(?: \(.*?\))?, loss = {NUMBER}")
RATE = re.compile(rf"Iteration (\d+), lr = {NUMBER}")
TESTING = re.compile(r"Iteration (\d+), Testing net")
OUTPUT = re.compile(rf"(Train|Test) net output #\d+: (\S+) = {NUMBER}")


def read(lines):
    """Series of a log: dict (phase, name) -> list of (iteration, value).

    phase: "train" or "test"; name: of the net's output, "loss" for the solver's own, averaged loss, or "lr" for its
    learning rate; value: a number, or a list where the output has several. A run that was resumed says some iterations
    twice: the later word counts.
    """
    series = collections.defaultdict(dict)
    iteration, said = 0, set()
    for line in lines:
        if found := TESTING.search(line) or LOSS.search(line):
            iteration, said = int(found[1]), set()
            if found.re is LOSS:
                series["train", "loss"][iteration] = [float(found[2])]
        elif found := RATE.search(line):
            series["train", "lr"][int(found[1])] = [float(found[2])]
        elif found := OUTPUT.search(line):
            key = found[1].lower(), found[2]
            if key not in said:
                series[key][iteration] = []
            series[key][iteration].append(float(found[3]))
            said.add(key)
    return {
        key: [(i, value if len(value) > 1 else value[0]) for i, value in sorted(values.items())]
        for key, values in series.items()
    }


def pauses(series):
    """Where a count or a flag of what still trains changed: list of (iteration, before, after)."""
    found = []
    for (_, before), (iteration, after) in zip(series, series[1:]):
        if before != after:
            found.append((iteration, int(before), int(after)))
    return found
