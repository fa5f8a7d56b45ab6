"""Differences between variants of an ablation, over the same faces and seeds, with intervals."""

import numpy as np

from tools.evaluate import results, scoring
from tools.evaluate.calibration import DECISIONS


def scores_of(run, network):
    """dict score -> scoring.Scored of an evaluated network of a run: its task one and its answer, where it has both.

    run: tools.run.Run; network: name of the stage that is evaluated. Raises ToolError.
    """
    folder = run.place("evaluate")
    result = results.read(folder)
    arrays = results.read_arrays(folder, network, result)
    return {title: scoring.of_arrays(arrays, blob, result) for title, blob in results.SCORES.items() if blob in arrays}


def difference(ones, others, decision):
    """Mean difference of two lists of scoring.Scored, one per seed, of the same faces: dict column -> number.

    decision: one of calibration.DECISIONS; average precision needs none
    The value is the mean over seeds of the difference of the means over attributes.
    The interval is that of bootstrap resamples of the test and validation persons, the same ones for all seeds and
    variants, each averaged over the seeds: what other faces would change. "Seeds too": seeds are resampled as well.
    `by seed` lists the difference of each.
    """
    columns = {}
    for key in ((decision, "accuracy"), (decision, "balanced_accuracy"), (None, scoring.PRECISION)):
        by_seed, faces, both = scoring.over_seeds(ones, others, key)
        measure = key[1].replace("_", " ")
        columns[measure] = float(np.mean(by_seed))
        columns[f"{measure} low"], columns[f"{measure} high"] = faces
        if len(by_seed) > 1:
            columns[f"{measure} low, seeds too"], columns[f"{measure} high, seeds too"] = both
        columns[f"{measure} by seed"] = " ".join(f"{value:+.4f}" for value in by_seed)
    return columns


def rows(scored, reference):
    """How much better the reference variant is than each other one, and than the task one inside it: list of dicts.

    There is one for each decision.
    scored: dict variant -> list, one per seed, of what scores_of returns; reference: a variant
    """
    answers = {name: [list(one.values())[-1] for one in ones] for name, ones in scored.items()}
    own = answers.pop(reference)
    if len(scored[reference][0]) > 1:
        answers = {"the task one inside it": [one["task one"] for one in scored[reference]], **answers}
    return [
        {"variant": reference, "minus": name, "decision": decision, **difference(own, others, decision)}
        for name, others in answers.items()
        for decision in DECISIONS
    ]
