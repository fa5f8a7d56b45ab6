"""The settings of an evaluation, as a user gives them."""

import dataclasses

from data_prep.settings import setting
from tools.evaluate import metrics


@dataclasses.dataclass
class EvaluateSettings:
    """The user's settings of an evaluation."""

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
