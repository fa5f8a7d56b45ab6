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
    learning rate; value: a number, or a list where the output has several. The log of a resumed training has some
    iterations twice, of which the later counts.
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


def changes(points):
    """Where a value changed, such as how many attributes still train: list of (iteration, before, after)."""
    steps = zip(points, points[1:])
    return [(iteration, before, after) for (_, before), (iteration, after) in steps if before != after]
