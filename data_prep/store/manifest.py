"""manifest.json, the record of what a folder of LMDBs holds and how it was made: its only reader and writer."""

import dataclasses
import pathlib
from typing import Optional

import numpy as np

from data_prep import files, geometry
from data_prep.attributes import is_name

NAME = "manifest.json"
FORMS = ("stream", "compact")
SPLITS = ("train", "val", "test")
ENCODINGS = ("jpg", "png", "raw")
AUGMENT = ("minority", "both", "none")
SAMPLING = ("balanced", "natural")
_NUMBER = (int, float)
_OPTIONAL = (int, type(None))


@dataclasses.dataclass(frozen=True)
class Source:
    """The data set that the folder was made from.

    kind: "celeba", "lfwa" or "csv"; path: its folder or CSV file; options: the other arguments of open_source
    files: label file -> {"bytes", "sha256"}; images: {"path", "count", "bytes", "blake2b"}
    """

    kind: str
    path: str
    options: dict = dataclasses.field(default_factory=dict)
    files: dict = dataclasses.field(default_factory=dict)
    images: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that training data is made with.

    records: stream form: largest number of rounds of the plan, 0 for as many as the largest class has images
    seed: of sampling and augmentation; augment, sampling: see plan.balance.Plan
    encoding: stream form: of the patches, one of ENCODINGS; shards: stream form: number of solvers that share it
    convert: whether images other than plain 8-bit colour are converted instead of rejected
    keep_duplicates: whether training images that are also in the validation or test split are kept
    dropped: number of such images that were left out
    """

    records: int = 10000
    seed: int = 0
    encoding: str = "jpg"
    augment: str = "both"
    shards: int = 1
    sampling: str = "balanced"
    convert: bool = False
    keep_duplicates: bool = False
    dropped: int = 0


DEFAULTS = Settings()


@dataclasses.dataclass(frozen=True)
class Split:
    """The number of images of one split, and of those with each attribute."""

    images: int
    positive: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Means:
    """Mean blue, green and red (0 to 255) over the centre patches of some training faces."""

    faces: int
    bgr: list[float]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a folder of LMDBs holds; every field but `attributes` has a default.

    form: "stream" or "compact"; attributes: their A names, in the order of the labels
    source: None where the folder was not made from a data set; splits: dict "train", "val", "test" -> Split
    train_records: records of the training database; means: Means or None
    frame: left and right eye ((x, y), (x, y)) in pixels of the data set's images, which geometry.framed moves to
    CelebA's positions; None if the images are already aligned
    """

    attributes: list[str]
    form: str = "stream"
    source: Optional[Source] = None
    settings: Settings = DEFAULTS
    splits: dict[str, Split] = dataclasses.field(default_factory=dict)
    train_records: Optional[int] = None
    means: Optional[Means] = None
    frame: Optional[tuple[tuple[float, float], tuple[float, float]]] = None

    @property
    def sampling(self):
        """How training images are sampled: "balanced" (1:1 per attribute) or "natural"."""
        return self.settings.sampling

    @property
    def kind(self):
        """The data set: "celeba", "lfwa", "csv", or None if it is not known."""
        return self.source.kind if self.source else None

    @property
    def prior(self):
        """Share of positives of each attribute in the training images, (A,). Raises ValueError if it is not known."""
        train = self.splits.get("train")
        if train is None or not train.images:
            raise ValueError(f"{NAME}: key 'train' is missing, so the share of positives is not known")
        return np.array([train.positive[name] for name in self.attributes]) / train.images

    def patch(self, image):
        """The centre patch (224, 224, 3) of an image (height, width, 3) of the folder's image databases."""
        return geometry.patch(geometry.framed(image, self.frame)) if self.form == "compact" else image

    def to_json(self):
        """The manifest as a dict for JSON, in which each split is a key beside the others."""
        value = dataclasses.asdict(self)
        value.update(value.pop("splits"))
        return value


def exists(folder):
    """True where a folder has a manifest."""
    return (pathlib.Path(folder) / NAME).exists()


def checksum(folder):
    """The SHA-256 checksum of a folder's manifest. Raises OSError."""
    return files.sha256(pathlib.Path(folder) / NAME)


def write(folder, manifest):
    """Write a Manifest, completely or not at all. Raises OSError."""
    files.write_json(pathlib.Path(folder) / NAME, manifest.to_json())


def read(folder):
    """The Manifest of an LMDB folder.

    Only `attributes` is required; other missing keys take their defaults. Raises FileNotFoundError, OSError, and
    ValueError, with one line that names file and key, for a value of the wrong type, length or range.
    """
    path = pathlib.Path(folder) / NAME
    try:
        value = files.read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: missing; face-cascade data (make lmdb) writes it")
    except OSError as error:
        raise OSError(f"{path}: {error.strerror}")
    attributes = _attributes(value, path)
    return Manifest(
        attributes=attributes,
        form=_choice(value, "form", FORMS, path, "stream"),
        source=_source(value, path),
        settings=_settings(value, path),
        splits={name: _split(value[name], attributes, f"{path}: {name}") for name in SPLITS if name in value},
        train_records=_count(value, "train_records", path, _OPTIONAL) if "train_records" in value else None,
        means=_means(value, path),
        frame=_frame(value, path),
    )


def _attributes(value, path):
    names = files.member(value, "attributes", list, path)
    wrong = next((name for name in names if not is_name(name)), None)
    if wrong is not None or not names or len(set(names)) != len(names):
        what = "name of an attribute" if wrong is not None else "list of different names"
        raise ValueError(f"{path}: damaged, key 'attributes' holds {str(wrong or names)[:60]!r}, which is not a {what}")
    return names


def _choice(value, key, choices, where, default):
    if key not in value:
        return default
    chosen = files.member(value, key, str, where)
    if chosen not in choices:
        raise ValueError(f"{where}: damaged, key {key!r} is {chosen[:60]!r}, none of {', '.join(choices)}")
    return chosen


def _count(value, key, where, kind=int):
    number = files.member(value, key, kind, where)
    if number is not None and number < 0:
        raise ValueError(f"{where}: damaged, key {key!r} is {number}, less than 0")
    return number


def _part(value, key, path):
    """The dict under a key, empty if it is missing or null, and its location for errors."""
    if value.get(key) is None:
        return None, None
    return files.member(value, key, dict, path), f"{path}: {key}"


def _source(value, path):
    part, where = _part(value, "source", path)
    if part is None:
        return None
    words = [files.member(part, key, str, where) for key in ("kind", "path")]
    return Source(
        *words, *(files.member({key: {}, **part}, key, dict, where) for key in ("options", "files", "images"))
    )


def _settings(value, path):
    part, where = _part(value, "settings", path)
    if part is None:
        return DEFAULTS
    defaults = dataclasses.asdict(DEFAULTS)
    given = {key: part.get(key, default) for key, default in defaults.items()}
    for key in ("records", "seed", "shards", "dropped"):
        _count(given, key, where)
    for key, choices in (("encoding", ENCODINGS), ("augment", AUGMENT), ("sampling", SAMPLING)):
        _choice(given, key, choices, where, None)
    for key in ("convert", "keep_duplicates"):
        files.member(given, key, bool, where)
    if given["shards"] < 1:
        raise ValueError(f"{where}: damaged, key 'shards' is 0, less than 1")
    return Settings(**given)


def _split(part, attributes, where):
    images = _count(part, "images", where)
    positive = files.member(part, "positive", dict, where, len(attributes))
    for name in attributes:
        if _count(positive, name, f"{where}: positive") > images:
            raise ValueError(f"{where}: damaged, key {name!r} is {positive[name]}, more than its {images} images")
    return Split(images, positive)


def _means(value, path):
    part, where = _part(value, "means", path)
    if part is None:
        return None
    bgr = files.member(part, "bgr", list, where, 3)
    numbers = [files.member({"bgr": number}, "bgr", _NUMBER, where) for number in bgr]
    if not all(0 <= number <= 255 for number in numbers):
        raise ValueError(f"{where}: damaged, key 'bgr' is {numbers}, which must lie in [0, 255]")
    return Means(_count(part, "faces", where), numbers)


def _frame(value, path):
    if value.get("frame") is None:
        return None
    eyes = files.member(value, "frame", list, path, 2)
    points = [files.member({"frame": eye}, "frame", list, path, 2) for eye in eyes]
    points = tuple(tuple(files.member({"frame": side}, "frame", _NUMBER, path) for side in eye) for eye in points)
    if points[0] == points[1]:
        raise ValueError(f"{path}: damaged, key 'frame' has both eyes at the same point")
    return points
