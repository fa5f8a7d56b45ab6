"""Labels of synthetic faces: how frequent each attribute is, and which exclude each other."""

import numpy as np

from data_prep.attributes import CELEBA_ATTRIBUTES
from data_prep.errors import DataError

# Shares of positives in percent, close to CelebA's, in the order of CELEBA_ATTRIBUTES.
_PERCENT = (
    *(11.1, 26.7, 51.3, 20.5, 2.2, 15.2, 24.1, 23.5, 23.9, 14.8, 5.1, 20.5, 14.2, 5.8, 4.7, 6.5, 6.3, 4.2),
    *(38.7, 45.5, 41.7, 48.3, 4.2, 11.5, 83.5, 28.4, 4.3, 27.7, 8.0, 6.6, 5.7, 48.2, 20.8, 32.0, 18.9, 4.8),
    *(47.2, 12.3, 7.3, 77.4),
)
PREVALENCE = {name: percent / 100 for name, percent in zip(CELEBA_ATTRIBUTES, _PERCENT, strict=True)}

# Labels that contradict each other: of each group at most one is present ...
EXCLUSIVE = (
    ("Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"),
    ("Bald", "Straight_Hair", "Wavy_Hair"),
    ("Bald", "Bangs", "Receding_Hairline"),
    ("Wearing_Hat", "Bald"),  # a hat hides the scalp
    ("Wearing_Hat", "Receding_Hairline"),  # and the hairline
    ("Chubby", "Oval_Face"),
)
# ... and No_Beard is present exactly when none of these is.
BEARDS = ("5_o_Clock_Shadow", "Goatee", "Mustache", "Sideburns")


def prevalences(asked=None):
    """The forty shares of positives: the defaults, replaced by those asked for and reduced where they contradict.

    asked: dict of names to shares in [0, 1], or None. Raises DataError for an unknown name, a share outside [0, 1],
    and for mutually exclusive attributes whose shares sum to more than 1.
    """
    asked = dict(asked or {})
    for name, share in asked.items():
        if name not in PREVALENCE:
            raise DataError(f"unknown attribute {name!r} in the prevalences (names as in list_attr_celeba.txt)")
        if not 0 <= share <= 1:
            raise DataError(f"prevalence of {name} is {share}, outside [0, 1]")
    shares = {**PREVALENCE, **asked}
    for group in EXCLUSIVE:
        taken = sum(asked.get(name, 0) for name in group)
        if taken > 1 + 1e-9:
            names = ", ".join(name for name in group if name in asked)
            raise DataError(f"prevalences of {names} exclude each other and sum to {taken:g}, more than 1")
        rest = [name for name in group if name not in asked]
        room = (1 - taken) / max(1 - taken, sum(shares[name] for name in rest), 1e-9)
        shares.update({name: shares[name] * room for name in rest})
    return shares


def sample_labels(rng, shares, first=()):
    """Sample the labels of one face: dict of forty names to bool, without contradictions.

    shares: dict of all forty shares, from `prevalences`; first: names that are sampled first, so that mutually
    exclusive ones give way to them
    """
    uniform = dict(zip(CELEBA_ATTRIBUTES, rng.random(len(CELEBA_ATTRIBUTES)), strict=True))
    labels = {}
    for name in sorted(CELEBA_ATTRIBUTES, key=lambda name: name not in first):
        # The share is among all faces, so it must be larger among faces without the attributes that exclude it.
        free = 1.0
        for group in (group for group in EXCLUSIVE if name in group):
            earlier = [other for other in group if other in labels]
            free *= 1 - sum(shares[other] for other in earlier)
            free *= not any(labels[other] for other in earlier)
        labels[name] = bool(free > 1e-9 and uniform[name] < shares[name] / free)
    # Whether there is a beard, then its kinds; if no other kind is sampled, it is 5_o_Clock_Shadow.
    bearded = max(1 - shares["No_Beard"], *(shares[name] for name in BEARDS))
    of_bearded = {name: min(1.0, shares[name] / max(bearded, 1e-9)) for name in BEARDS}
    shadow, *kinds = BEARDS
    none = np.prod([1 - of_bearded[name] for name in kinds])
    has_beard = uniform["No_Beard"] >= 1 - bearded
    labels["No_Beard"] = not has_beard
    for name in kinds:
        labels[name] = bool(has_beard and uniform[name] < of_bearded[name])
    extra = max(0.0, (of_bearded[shadow] - none) / max(1 - none, 1e-9))
    labels[shadow] = bool(has_beard and (uniform[shadow] < extra or not any(labels[name] for name in kinds)))
    return labels
