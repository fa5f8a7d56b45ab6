"""The settings of the networks that table 1 leaves open, and which networks each setting changes."""

import dataclasses
import os

from data_prep import attributes as names
from data_prep.spelling import did_you_mean, either
from data_prep.store import manifest
from models import table1

NETWORKS = ("region", "cascade", "whole_face")
L1_FORMS = ("log", "linear")
ROI_GRADIENTS = ("none", "soft")

_ALL = ("attributes", "batch", "lmdb", "early_stopping_range", "test_batch", "form")
# Network -> options that change its train_val.prototxt. A stage trained with other values of these must be trained
# again; the other options do not affect it.
FIELDS_OF = {
    "region": (*_ALL, "l1", "alpha"),
    "cascade": (*_ALL, "l1", "alpha", "beta", "task_two_loss", "threshold", "average_weight", "roi_gradient"),
    "whole_face": (*_ALL, "beta"),
}

# A blob of Caffe holds at most this many numbers; these bounds of the batches follow from table 1.
_LARGEST_BLOB = 2**31 - 1
_SHARED_NUMBERS = max(row.channels * row.output**2 for row in table1.SHARED)
_ATTRIBUTE_NUMBERS = max(row.channels * row.output**2 for row in (table1.CONV3, *table1.TASK_ONE, *table1.TASK_TWO))
_ATTRIBUTE_WEIGHTS = table1.CONV3.channels * table1.TASK_ONE[0].channels * table1.TASK_ONE[0].kernel ** 2
MOST_ATTRIBUTES = _LARGEST_BLOB // _ATTRIBUTE_WEIGHTS
_LARGEST_WEIGHT = 1e6


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The options of the networks. Raises ValueError, with one line, for a value that no network can have.

    attributes: names, in the order of the groups of the grouped convolutions; CelebA's or others (see check_attributes)
    batch: b, training images per attribute in one mini-batch; even, half of them positive
    lmdb: folder with train, val_images and val_labels
    l1: form of eq. 1, "log" (cross-entropy of the largest response) or "linear" (as printed)
    alpha, beta: weights of the two tasks' losses, eq. 6
    task_two_loss: weight of a further loss, on task two's own score, which the paper does not have; 0 = none
    threshold: response above which a point belongs to the region (section 3.2)
    average_weight: share of the average response in the revised response; 0 = no revision
    roi_gradient: "none" (thresholding has zero gradient) or "soft" (an estimate, see RegionMapper)
    early_stopping_range: standard deviation of losses below which epsilon is fixed; 0 = no early stopping
    test_batch: images per mini-batch in the TEST phase
    form: form of the training data, "stream" (stock Data layers) or "compact" (BalancedData)
    """

    attributes: tuple = names.PAPER_ATTRIBUTES
    batch: int = 4
    lmdb: str = "data/lmdb"
    l1: str = "log"
    alpha: float = 1.0
    beta: float = 1.0
    task_two_loss: float = 0.0
    threshold: float = 0.5
    average_weight: float = 0.5
    roi_gradient: str = "none"
    early_stopping_range: float = 0.1
    test_batch: int = 20
    form: str = "stream"

    def __post_init__(self):
        object.__setattr__(self, "attributes", check_attributes(self.attributes))
        object.__setattr__(self, "lmdb", _path(self.lmdb))
        count = len(self.attributes)
        self._choice("l1", L1_FORMS)
        self._choice("roi_gradient", ROI_GRADIENTS)
        self._choice("form", manifest.FORMS)
        for name, most in (
            ("alpha", _LARGEST_WEIGHT),
            ("beta", _LARGEST_WEIGHT),
            ("task_two_loss", _LARGEST_WEIGHT),
            ("threshold", 1),
            ("average_weight", 1),
            ("early_stopping_range", _LARGEST_WEIGHT),
        ):
            self._number(name, most)
        most = _LARGEST_BLOB // (_SHARED_NUMBERS * count) // 2 * 2
        if not _is_whole(self.batch, 2, most) or self.batch % 2:
            raise ValueError(
                f"batch: b, images per attribute in one mini-batch, must be an even number from 2 to {most} for "
                f"{count} attributes (half of them are positive), not {self.batch!r}"
            )
        most = _LARGEST_BLOB // max(_SHARED_NUMBERS, _ATTRIBUTE_NUMBERS * count)
        if not _is_whole(self.test_batch, 1, most):
            raise ValueError(
                f"test_batch: must be a whole number from 1 to {most} for {count} attributes, not {self.test_batch!r}"
            )

    def _choice(self, name, values):
        value = getattr(self, name)
        if value not in values:
            raise ValueError(f"{name}: must be {either(values)}, not {value!r}{did_you_mean(value, values)}")

    def _number(self, name, most):
        value = getattr(self, name)
        # NaN compares false with everything.
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
            raise ValueError(f"{name}: must be a number from 0 to {most:g}, not {value!r}")

    def to_dict(self):
        """All options as a dict that JSON can hold."""
        return dict(dataclasses.asdict(self), attributes=list(self.attributes))

    @classmethod
    def from_dict(cls, values):
        """The inverse of to_dict. Raises ValueError for a missing, unknown or impossible entry."""
        if not isinstance(values, dict):
            raise ValueError(f"network options: must be a dict, not {values!r}")
        fields = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in fields:
                raise ValueError(f"network options: no option {name!r}{did_you_mean(name, fields)}")
        missing = [name for name in fields if name not in values]
        if missing:
            raise ValueError(f"network options: {missing[0]!r} is missing")
        return cls(**values)


def check_attributes(attributes):
    """Attribute names as a tuple of str. Raises ValueError, one line.

    At least one name, none twice, see data_prep.attributes.is_name.
    """
    if isinstance(attributes, str) or not hasattr(attributes, "__iter__"):
        raise ValueError(f"attributes: must be a list of names, not {attributes!r}")
    attributes = tuple(attributes)
    if not attributes:
        raise ValueError("attributes: give at least one name, for example Eyeglasses")
    for name in attributes:
        if not names.is_name(name):
            raise ValueError(f"attributes: {name!r} cannot be a name; {names.NAMES}")
        if attributes.count(name) > 1:
            raise ValueError(f"attributes: {name} is given twice")
    if len(attributes) > MOST_ATTRIBUTES:
        raise ValueError(f"attributes: a network holds at most {MOST_ATTRIBUTES}, not {len(attributes)}")
    return attributes


def _is_whole(value, least, most):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _path(value):
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ValueError(f"lmdb: must be the path of a folder, not {value!r}")
    path = os.fspath(value)
    try:
        path.encode()
    except (UnicodeEncodeError, AttributeError):
        raise ValueError(f"lmdb: {path!r} is not valid UTF-8, which prototxts are written in; rename the folder")
    if "\0" in path:
        raise ValueError(f"lmdb: {path!r} cannot be a path")
    return path
