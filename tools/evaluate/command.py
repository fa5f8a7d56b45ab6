"""Evaluate the trained networks of a run on a split of its data: the numbers of table 2, and regions.

    face-cascade evaluate                   every stage of build/run that is done
    face-cascade evaluate --run .           networks trained with Caffe's own commands, to build/evaluation

Training batches are balanced and the test set is not, so three decisions are reported: p > 0.5; the logit corrected by
the prior of the training set (prior-corrected); decision thresholds tuned on the validation split (tuned). For each
decision: accuracy, balanced accuracy (mean of the accuracies on positives and on negatives) and F1; and average
precision, which needs no decision. The 95 % intervals are those of bootstrap resamples of the persons on the faces (of
the faces, where persons are not known), those of the validation split included; all scores see the same resamples, so
that differences are paired.

Written to RUN/evaluation: evaluation.csv (measures of every network and attribute), evaluation.json and NAME.npz (read
by report), and, where a network maps regions, regions.png (found regions; white: true boxes). Decision thresholds and
the calibration of probabilities go to calibration.json beside the weights, for predict and export; those of a quick
look (--faces) only where there are none of all faces.

Outputs that were computed before from the same weights and data are used again: after an interruption, with another
stage trained, or with another --tune or --resamples.
"""

import dataclasses

from data_prep.settings import add_options, given, setting
from tools import run as runs
from tools.evaluate import metrics
from tools.locking import locked


@dataclasses.dataclass
class EvaluateSettings:
    """The settings of an evaluation, as a user gives them."""

    split: str = setting("test", "The split to evaluate on", choices=("val", "test"))
    faces: int = setting(0, "Use only the first N faces of a split, for a quick look; 0 for all", least=0)
    tune: str = setting(
        "accuracy",
        "The measure that decision thresholds are tuned for, from probabilities calibrated on the validation split; "
        "for accuracy the threshold is where the probability is 0.5",
        choices=tuple(metrics.MEASURES),
    )
    resamples: int = setting(1000, "The number of bootstrap resamples", least=1)
    batch: int = setting(16, "Faces per forward pass; lower it to save memory", least=1)


def add_arguments(parser):
    """Add the options of `face-cascade evaluate` to a parser."""
    runs.add_argument(parser, "of the run whose trained stages are evaluated")
    add_options(parser, EvaluateSettings)
    add = parser.add_argument
    add(
        "--lmdb",
        metavar="FOLDER",
        help="Where the run's LMDBs are now, if they were moved, which is recorded; of a model that was handed on, the "
        "LMDBs to evaluate it on.",
    )
    add("--restart", action="store_true", help="Compute everything again (default: use what was computed before).")
    add("--device", help="The device: cpu, cuda or cuda:N (default: the run's).")


def run(arguments):
    """Run `face-cascade evaluate`; returns the exit status. Raises ToolError, OSError."""
    from tools.evaluate import evaluate

    with locked(runs.Run.read(arguments.run).output):
        found = runs.Run.read(arguments.run)  # again, because another process may have changed it before
        if arguments.lmdb:
            found.use_data(arguments.lmdb)
            found.write()
        settings = EvaluateSettings(**given(arguments, EvaluateSettings))
        evaluate.evaluate(found, settings, arguments.device, arguments.restart)
    return 0
