"""What BalancedData needs of a folder of LMDBs, and the errors where it does not fit; without a Caffe that computes."""

import dataclasses
import pathlib
import typing

from data_prep.settings import like, setting
from data_prep.store import manifest
from data_prep.store.databases import read_labels
from data_prep.store.manifest import AUGMENT, SPLITS
from models.options import NetworkOptions


@dataclasses.dataclass
class Parameters:
    """The parameters of BalancedData.

    source: folder of LMDBs in the compact form
    attributes: those that the net is for, in order, the folder's by default
    batch: TRAIN: b, images per attribute, even; TEST: images
    split: "train" (balanced), "val" or "test" (in order); by default train in TRAIN and val in TEST
    seed: of sampling and augmentation, the folder's own by default
    augment: class whose patches are shifted and mirrored, the folder's own by default
    workers: processes that prepare batches; by default one per core, but no more than 16 or one for every 16 images
    of a batch, and at least two
    ahead: batches they prepare in advance
    """

    source: str = like(NetworkOptions, "lmdb")
    attributes: typing.Optional[list[str]] = None
    batch: int = setting(4, least=1)
    split: typing.Optional[str] = setting(None, choices=SPLITS)
    seed: typing.Optional[int] = setting(None, least=0)
    augment: typing.Optional[str] = setting(None, choices=AUGMENT)
    workers: typing.Optional[int] = setting(None, least=1)
    ahead: int = setting(2, least=1)


def read_folder(folder, split, attributes=None):
    """The Manifest of a folder in the compact form, and the labels (N, A) bool of a split.

    attributes: the names that a net needs, in order; None for any. Raises ValueError, one line with the remedy.
    """
    folder = pathlib.Path(folder)
    try:
        prepared = manifest.read(folder)
        if prepared.form != "compact":
            raise ValueError(
                f"{folder} holds the {prepared.form} form, and the net reads the compact one; write networks for this "
                f"data: make models LMDB={folder}"
            )
        if attributes not in (None, prepared.attributes):
            there, wanted = ", ".join(prepared.attributes), ", ".join(attributes)
            raise ValueError(
                f"{folder} holds {there}, and the net is for {wanted}; write networks for this data: make models "
                f"LMDB={folder}"
            )
        labels = read_labels(folder / f"{split}_labels", len(prepared.attributes))
    except (OSError, ValueError) as error:
        raise ValueError(f"BalancedData: {error}")
    return prepared, labels
