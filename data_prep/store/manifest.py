"""manifest.json, the record of what a folder of LMDBs holds and how it was made: its only reader and writer."""

import dataclasses
import pathlib
from typing import Optional

from data_prep import attributes, files
from data_prep.errors import DataError
from data_prep.settings import from_json, setting, to_json
from data_prep.store import image_list

NAME = "manifest.json"
FORMS = ("compact", "stream")
SPLITS = tuple(image_list.SPLITS)
KINDS = {"celeba": "CelebA", "lfwa": "LFWA", "csv": "a CSV file"}
AUGMENT = ("both", "minority", "none")


def _eyes_fault(eyes):
    wrong = eyes and (len(eyes) != 4 or min(eyes) < 0 or eyes[0] >= eyes[2])
    return "must be x1,y1,x2,y2 in pixels, the left eye (as seen) first" if wrong else None


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a data set is read and training data is made from it. dropped: images left out of training as duplicates."""

    images: str = setting(
        "",
        "The name of the folder, zip or tar in DATA that holds the images; needed where there are several",
        metavar="NAME",
        shown="the usual name",
    )
    validation: float = setting(
        0.1, "LFWA: the share of the people in the training half who form the validation split", above=0, most=0.99
    )
    seed: int = setting(0, "The seed of splits, and in the stream form of sampling and augmentation", least=0)
    eyes: tuple[float, ...] = setting(
        (),
        "The positions of the left and the right eye (as seen) in all images, in pixels, from which faces are aligned "
        "to CelebA's frame. Needed where images are framed differently from their data set's usual ones",
        fault=_eyes_fault,
        metavar="X1,Y1,X2,Y2",
        shown="as --frame says",
    )
    frame: str = setting(
        "auto",
        "How images are aligned: auto crops LFWA photos so that the face is where CelebA's faces have it, and takes "
        "other images as aligned, those of a CSV file after looking for their faces; none takes all images as aligned",
        choices=("auto", "none"),
    )
    detect: bool = setting(
        False,
        "Find and align the face in each image, as face-cascade predict does; images without a face, or with several "
        "of similar size, are left out and listed",
    )
    convert: bool = setting(
        False,
        "Convert grey, CMYK, 16-bit, transparent and rotated images, and those in other formats than JPEG and PNG, to "
        "upright 8-bit colour instead of stopping",
    )
    keep_duplicates: bool = setting(
        False, "Keep training images that are also in the validation or test split, instead of leaving them out"
    )
    augment: str = setting(
        "both",
        "The class whose patches are shifted by up to 5 % and mirrored: both; minority, the rarer class, as in the "
        "paper; or none",
        choices=AUGMENT,
    )
    sampling: str = setting(
        "balanced",
        "How batches are sampled: balanced gives every attribute as many positives as negatives; natural gives each "
        "class as often as it occurs, for comparison",
        choices=("balanced", "natural"),
    )
    records: int = setting(
        10000,
        "Stream form: the largest number of training images per attribute and class, 0 for all; lower it to save disk "
        "space",
        least=0,
    )
    encoding: str = setting(
        "jpg",
        "Stream form: how patches are stored; png is lossless but 5 times as large",
        choices=("jpg", "png"),
    )
    shards: int = setting(
        1, "Stream form: the number of solvers (GPUs of one Caffe) that will share the stream", least=1
    )
    dropped: int = setting(0, least=0)


@dataclasses.dataclass(frozen=True)
class Source:
    """The data set that the folder was made from.

    path: its folder or CSV file; files: label file -> {"bytes", "sha256"}; images: {"path", "count", "bytes",
    "blake2b"}; without_face: images that `detect` left out
    """

    kind: str = setting(choices=KINDS)
    path: str = setting()
    files: dict = setting(factory=dict)
    images: dict = setting(factory=dict)
    without_face: int = setting(0, least=0)


DEFAULTS = Settings()


@dataclasses.dataclass(frozen=True)
class Split:
    """The number of images of one split, and of those with each attribute."""

    images: int = setting(least=0)
    positive: dict[str, int] = setting(least=0)


def _frame_fault(eyes):
    right = eyes is None or (len(eyes) == 2 and all(len(eye) == 2 for eye in eyes) and eyes[0] != eyes[1])
    return None if right else "must be two different points [x, y], the left and the right eye"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder of LMDBs holds; all but `attributes` has defaults. Raises ValueError for impossible counts.

    form: "stream" or "compact"; attributes: their A names, in the order of the labels
    source: None where the folder was not made from a data set; splits: dict "train", "val", "test" -> Split
    train_records: records of the training database
    frame: left and right eye ((x, y), (x, y)) in pixels of the data set's images, which geometry.framed moves to
    CelebA's positions; None if the images are already aligned
    synthetic: whether the faces are rendered; checksums: SHA-256 of the folder's databases and lists, by path in it
    """

    attributes: list[str] = setting(fault=attributes.wrong_names)
    form: str = setting("stream", choices=FORMS)
    source: Optional[Source] = None
    settings: Settings = DEFAULTS
    splits: dict[str, Split] = setting(factory=dict)
    train_records: Optional[int] = setting(None, least=0)
    frame: Optional[tuple[tuple[float, ...], ...]] = setting(None, fault=_frame_fault)
    synthetic: bool = False
    checksums: dict[str, str] = setting(factory=dict)

    def __post_init__(self):
        for name, split in self.splits.items():
            if name not in SPLITS:
                raise ValueError(f"key 'splits' has {name[:60]!r}, none of {', '.join(SPLITS)}")
            if set(split.positive) != set(self.attributes) or max(split.positive.values(), default=0) > split.images:
                raise ValueError(f"the numbers of positives of split {name} do not fit attributes and images")

    @property
    def kind(self):
        """The data set: "celeba", "lfwa", "csv", or None if it is not known."""
        return self.source.kind if self.source else None


def exists(folder):
    """True where a folder has a manifest."""
    return (pathlib.Path(folder) / NAME).exists()


def checksum(folder):
    """The SHA-256 checksum of a folder's manifest, and so of all that its checksums cover. Raises OSError."""
    return files.sha256(pathlib.Path(folder) / NAME)


def checksums(folder):
    """The SHA-256 checksums of the files in a folder of LMDBs: dict path below it -> checksum. Raises OSError."""
    folder = pathlib.Path(folder)
    paths = [*folder.glob("*/data.mdb"), *folder.glob("*.csv"), *folder.glob("*.json")]
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return {name: files.sha256(folder / name) for name in names if name != NAME}


def changed(folder, manifest):
    """Yield the paths of files of a folder of LMDBs that are missing or not as they were built.

    1.7 GB, all of CelebA, take a second or two.
    """
    for name, expected in manifest.checksums.items():
        path = pathlib.Path(folder) / name
        try:
            same = files.sha256(path) == expected
        except OSError:
            same = False
        if not same:
            yield path


def check_files(folder, manifest):
    """Raise OSError for the first file of a folder of LMDBs that is missing or not as it was built."""
    for path in changed(folder, manifest):
        raise OSError(f"{path}: missing, changed or damaged since it was built; build the LMDBs again")


def write(folder, manifest):
    """Write a Manifest, completely or not at all. Raises OSError."""
    files.write_json(pathlib.Path(folder) / NAME, to_json(manifest))


def read(folder):
    """The Manifest of an LMDB folder.

    Only `attributes` is required; other missing keys take their defaults. Raises FileNotFoundError, OSError, and
    DataError that names file and key, for a value of the wrong type, length or range.
    """
    path = pathlib.Path(folder) / NAME
    try:
        return from_json(Manifest, files.read_json(path), path, complete=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: missing; face-cascade data (make lmdb) writes it")
    except OSError as error:
        raise OSError(f"{path}: {error.strerror}")
    except ValueError as error:
        raise DataError(error)
