"""The settings of the networks that table 1 leaves open, and which networks each setting changes."""

import dataclasses
import os

from data_prep import attributes as names
from data_prep.settings import check, setting
from data_prep.store import manifest
from models import table1

NETWORKS = ("region", "cascade", "whole_face")
L1_FORMS = ("log", "linear")
ROI_GRADIENTS = ("none", "soft")

ONE, BOTH = ("region", "cascade"), ("cascade", "whole_face")
_LARGEST_WEIGHT = 1e6


def _path_fault(value):
    """What is wrong with the path of a folder that a prototxt is to hold, or None."""
    if not value or "\0" in value:
        return f"must be the path of a folder, not {value!r}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{value!r} is not valid UTF-8, which prototxts are written in; rename the folder"
    return None


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The options of the networks. Raises ValueError, with one line, for a value that no network can have.

    The first four come from the data and from the run, the others are the user's; `nets` of a declaration are the
    networks whose train_val.prototxt the option changes, all by default.
    """

    attributes: tuple[str, ...] = setting(
        names.PAPER_ATTRIBUTES,
        "The attributes, separated by commas",
        fault=names.wrong_names,
        shown="those in the LMDB folder, else the paper's twenty",
    )
    lmdb: str = setting("data/lmdb", "The LMDB folder to train on", metavar="FOLDER", fault=_path_fault)
    form: str = setting("compact", "The form of the training data, see face-cascade data", choices=manifest.FORMS)
    seed: int = setting(
        1,
        "The seed of initial weights, and in the compact form of order, crops and mirroring; change it to see the "
        "spread of results",
        least=0,
        most=2**63 - 1,
    )
    width: float = setting(
        1,
        "The share of table 1's channels that the network has: 1, the paper's, 1/2, 1/4, 1/8 or 1/16",
        metavar="SHARE",
    )
    batch: int = setting(4, "Images per attribute in a mini-batch, half of them positive", least=2, even=True)
    l1: str = setting(
        "log",
        "The form of L1, eq. 1: log is the cross-entropy of the largest response, linear its distance to the label",
        choices=L1_FORMS,
        nets=ONE,
    )
    alpha: float = setting(
        1.0, "The weight of task one's loss in eq. 6", least=0, most=_LARGEST_WEIGHT, metavar="WEIGHT", nets=ONE
    )
    beta: float = setting(
        1.0, "The weight of task two's loss in eq. 6", least=0, most=_LARGEST_WEIGHT, metavar="WEIGHT", nets=BOTH
    )
    task_two_loss: float = setting(
        0.0,
        "The weight of a further loss, on task two's own score, which the paper does not have; 0 for none",
        least=0,
        most=_LARGEST_WEIGHT,
        metavar="WEIGHT",
        nets=("cascade",),
    )
    threshold: float = setting(
        0.5,
        "The response, 0 to 1, above which a point is in the region (section 3.2)",
        least=0,
        most=1,
        metavar="RESPONSE",
        nets=("cascade",),
    )
    average_weight: float = setting(
        0.5,
        "The share of the average response in the revised response, 0 to 1; 0 switches it off",
        least=0,
        most=1,
        metavar="SHARE",
        nets=("cascade",),
    )
    roi_gradient: str = setting(
        "none",
        "The gradient through the thresholding: none, as in the paper, or soft, an estimate",
        choices=ROI_GRADIENTS,
        nets=("cascade",),
    )
    early_stopping_range: float = setting(
        0.1,
        "Early stopping takes effect when the standard deviation of an attribute's last 200 losses is at most this "
        "times the sum of their weights, and their mean is below half the loss of chance; 0 switches it off",
        least=0,
        most=_LARGEST_WEIGHT,
        metavar="RANGE",
    )
    test_batch: int = setting(20, "Images per mini-batch in validation", least=1)

    def __post_init__(self):
        for name in ("attributes", "lmdb"):  # lists and Paths are welcome too
            value = getattr(self, name)
            if isinstance(value, os.PathLike):
                object.__setattr__(self, name, os.fspath(value))
            elif isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        check(self)
        first = table1.scaled(self.width).shared[0]  # raises ValueError
        values = len(self.attributes) * max(first.channels * first.output**2, 3 * table1.INPUT_SIZE**2)
        most = (2**31 - 1) // values
        for name in ("batch", "test_batch"):
            if getattr(self, name) > most:
                raise ValueError(f"{name}: must be at most {most}: a blob of Caffe holds less than 2^31 values")


FROM_RUN = ("attributes", "lmdb", "form", "seed")
# The options that a user gives to a command that trains.
USERS = tuple(field.name for field in dataclasses.fields(NetworkOptions) if field.name not in FROM_RUN)
# Network -> options that change its train_val.prototxt. A stage trained with other values of these must be trained
# again; the other options do not affect it.
FIELDS_OF = {
    net: tuple(f.name for f in dataclasses.fields(NetworkOptions) if net in f.metadata.get("nets", NETWORKS))
    for net in NETWORKS
}
