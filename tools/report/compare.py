"""The comparison of two runs: what they differ in, whether one is better, and for which attributes."""

import dataclasses

import numpy as np

from tools.errors import ToolError
from tools.evaluate import metrics, scoring
from tools.evaluate.calibration import TUNED
from tools.report import charts, headline, page

KINDS = ("cascade", "whole_face", "region")
RESAMPLES = 1000
OTHER_SEED = 2  # of the resamples of a run on other faces


def shared(one, two):
    """Names of networks in both evaluations that are of one kind, the cascade first: list of (name, name)."""
    pairs = []
    for kind in KINDS:
        first, second = (
            [name for name in opened.names if opened.result.networks[name].network == kind] for opened in (one, two)
        )
        pairs += [(first[0], second[0])] if first and second else []
    if not pairs:
        raise ToolError(
            f"{one.folder} and {two.folder}: no network of one kind in both; evaluate the same stages of both runs"
        )
    return pairs


def paired(one, two):
    """Whether two evaluations are of the same faces with the same labels, so that their answers are paired."""
    same = one.attributes == two.attributes and one.result.split == two.result.split
    return same and one.result.data == two.result.data and np.array_equal(one.labels, two.labels)


def columns(opened, name, attributes, seed):
    """Tuned answers of a network to these attributes: whether each is right, (N, A) bool, and accuracies of resamples.

    seed: of the resamples, (R, A)
    """
    places = [opened.attributes.index(attribute) for attribute in attributes]
    scored = opened.scored(name, RESAMPLES, seed)
    return (scored.decided == scored.labels)[:, places], scored.samples[TUNED, "accuracy"][:, places]


def differences(first, second):
    """Accuracy of `second` less that of `first`: value, low, high, (A + 1,) each, the mean last.

    first, second: as `columns` returns them, with the same seed where both are of the same faces
    """
    value = second[0].mean(axis=0) - first[0].mean(axis=0)
    value = scoring.with_mean(value)
    return (value, *metrics.interval(value, scoring.with_mean(second[1] - first[1])))


def settings(one, two):
    """Table of the settings, data and stages in which two runs differ; empty where they are the same."""

    def flat(prefix, value):
        if isinstance(value, dict):
            return {k: v for key, item in value.items() for k, v in flat(f"{prefix} {key}".strip(), item).items()}
        return {prefix: value}

    sides = []
    for opened in (one, two):
        found = flat("", dataclasses.asdict(opened.run.settings))
        found.update(
            flat("network", {k: v for k, v in dataclasses.asdict(opened.run.network()).items() if k != "lmdb"})
        )
        found.update({"data": str(opened.run.lmdb), "data checksum": opened.run.data.checksum[:10]})
        for name in headline.STAGES:
            if opened.run.done(name):
                found[f"{page.human(name)}: iterations"] = opened.run.stages[name].iterations
                found[f"{page.human(name)}: training images per attribute"] = opened.run.stages[name].images
                commit = str(opened.run.stages[name].made_with.get("commit", "unknown"))
                found[f"{page.human(name)}: commit"] = headline.short(commit)
        found["evaluation: commit"] = headline.short(opened.result.commit)
        sides.append(found)
    keys = [key for key in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(key) != sides[1].get(key)]
    rows = [[page.human(key), *(said(side.get(key, page.UNKNOWN)) for side in sides)] for key in keys]
    return page.table(["Setting", "A", "B"], rows, words="What the runs differ in")


def said(value):
    """A setting as text."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def answer(name, cells, means, are_paired):
    """One sentence: which run is better."""
    value, low, high = (float(part[-1]) for part in cells)
    text = (
        f"The {page.human(name)} of B has a mean accuracy of {means[1]:.3f} against {means[0]:.3f} of A, a difference "
    )
    text += f"of {value:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
    if low > 0:
        return f"{text}, so B is better."
    return f"{text}, so A is better." if high < 0 else f"{text}, so neither is shown to be better."


def make(one, two):
    """The page, as text. one, two: Opened, with runs. Raises ToolError."""
    attributes = [name for name in one.attributes if name in two.attributes]
    if not attributes:
        raise ToolError(f"{one.folder} and {two.folder}: no attribute in common, so there is nothing to compare")
    are_paired, sections, text = paired(one, two), {}, ""
    for names in shared(one, two):
        seeds = (0, 0 if are_paired else OTHER_SEED)
        sides = [columns(opened, name, attributes, seed) for opened, name, seed in zip((one, two), names, seeds)]
        cells, (first, second) = differences(*sides), (side[0] for side in sides)
        each = [(*map(float, part),) for part in zip(*cells)]
        rows, dots = [], []
        shown = [*map(page.human, attributes), "Mean"]
        for place, attribute in enumerate(shown if len(attributes) > 1 else shown[:1]):
            pair = [
                float(part[:, place].mean() if place < len(attributes) else part.mean()) for part in (first, second)
            ]
            extra = []
            if are_paired:
                fixed, broken = (~first & second, first & ~second)
                column = slice(None) if place == len(attributes) else place
                extra = [int(fixed[:, column].sum()), int(broken[:, column].sum())]
            rows.append([attribute, *map(page.number, pair), page.number(*each[place], write=page.signed), *extra])
            dots.append((attribute, [each[place]], 0.0))
        foot = rows.pop() if len(rows) > 1 else None
        heads = ["Attribute", "A", "B", "B minus A", *["Only B right", "Only A right"][: 2 * are_paired]]
        widest = max(abs(value) for part in each for value in part) or 0.01
        body = page.render(
            "comparison.html",
            paired=are_paired,
            table=page.table(heads, rows, foot, "Accuracy of both runs"),
            chart=charts.dots(
                dots, ["B minus A"], "Difference of accuracies, B minus A", -widest, widest, "no difference", False
            ),
        )
        sections[page.heading(names[0])] = body
        text = text or answer(names[0], cells, (first.mean(), second.mean()), are_paired)
    return page.page("Comparison of two runs", lead(one, two, text), {**sections, "What differs": settings(one, two)})


def lead(one, two, text):
    """What is compared, and the answer."""
    facts = {}
    for letter, opened in zip("AB", (one, two)):
        result = opened.result
        facts[letter] = (
            f"{opened.run.folder}: {result.faces:,} faces of the {result.split} split of {result.lmdb}, evaluated "
            f"{result.date}, commit {headline.short(result.commit)}"
        )
    return page.render("lead.html", facts=page.facts(facts), answer=text)
