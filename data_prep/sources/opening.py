"""Open a data set of any layout: CelebA's, LFWA's, or a CSV file of the user's own."""

import pathlib

import numpy as np

from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.errors import DataError
from data_prep.sources import celeba, csv_table, lfwa

NAMES = {"celeba": "CelebA", "lfwa": "LFWA", "csv": "a CSV file"}


def open_source(path, images=None, need_images=True, validation=0.1, seed=0, frame="auto", expect=None):
    """The Source at a path: a folder as CelebA or LFWA is downloaded, a CSV file, or a folder with one.

    images: name of the folder, zip or tar with the images, None for the usual names; need_images: False for a dry run
    validation: LFWA: share of the training people who form the validation split; seed: of that split, or of a CSV's
    frame: "auto" (LFW's positions of the eyes for LFWA, otherwise aligned faces), "none" for aligned faces, or left and
    right eye (2, 2) in pixels of the images
    expect: the only layout to accept, "celeba", "lfwa" or "csv"; None for any
    Raises DataError.
    """
    path = pathlib.Path(path)
    kind, place = find(path, expect)
    options = {"images": images}
    if kind == "celeba":
        source = celeba.read(place, images, need_images)
    elif kind == "lfwa":
        source = lfwa.read(place, images, need_images, validation, seed)
        options.update(validation=validation, seed=seed)
    else:
        source = csv_table.read(place, images, need_images, seed)
        options.update(seed=seed)
    source.default_attributes = source.attributes if kind == "csv" else list(PAPER_ATTRIBUTES)
    if frame != "auto":
        source.size = None
        source.frame = None if frame == "none" else _eyes(frame)
        options.update(frame="none" if frame == "none" else np.array(source.frame).tolist())
    source.options = options
    return source


def _eyes(frame):
    """Left and right eye as ((x, y), (x, y)). Raises DataError."""
    try:
        eyes = np.asarray(frame, dtype=float)
    except (TypeError, ValueError):
        eyes = np.empty(0)
    if eyes.shape != (2, 2) or not np.isfinite(eyes).all() or eyes.min() < 0 or eyes[0, 0] >= eyes[1, 0]:
        raise DataError(f"eyes must be x1,y1,x2,y2 in pixels, the left one (as seen) first, not {frame}")
    return tuple(map(tuple, eyes.tolist()))


def find(path, expect=None):
    """The kind of data set at a path ("celeba", "lfwa" or "csv") and its location: the folder, or the CSV file.

    Raises DataError if there is none, or several, or another one than expected.
    """
    if path.is_file():
        if path.suffix.lower() != ".csv":
            raise DataError(f"{path}: neither a folder nor a CSV file")
        places = {"csv": path}
    elif path.is_dir():
        places = _in_folder(path)
    else:
        raise DataError(f"{path}: no such folder or CSV file")
    if not places:
        raise DataError(
            f"{path}: no data set in it; looked for {celeba.LABELS[0]} or .csv (CelebA, also in Anno/), "
            f"{lfwa.ANNOTATION} (LFWA), and one CSV file of images and labels"
        )
    if expect and expect not in places:
        there = " and ".join(NAMES[kind] for kind in places)
        raise DataError(f"{path}: holds {there}, not {NAMES[expect]}; leave out --expect (make: use DATA=)")
    kinds = [expect] if expect else list(places)
    if len(kinds) > 1:
        several = " and ".join(NAMES[kind] for kind in kinds)
        raise DataError(f"{path}: holds {several}; keep only one of them in the folder")
    return kinds[0], places[kinds[0]]


def _in_folder(folder):
    places = {}
    if (folder / lfwa.ANNOTATION).exists() or (folder / lfwa.INDICES).exists():
        places["lfwa"] = folder
    if any(celeba.find(folder, names) for names in (celeba.LABELS, celeba.PARTITION)):
        places["celeba"] = folder
    tables = [path for path in sorted(folder.glob("*.csv")) if path.name not in celeba.TABLES]
    if not places and len(tables) > 1:
        raise DataError(
            f"{folder}: several CSV files, {', '.join(path.name for path in tables)[:200]}; give the path of one"
        )
    if not places and tables:
        places["csv"] = tables[0]
    return places


def reopen(kind, path, options, where):
    """The Source that a manifest names, opened with the same options as when the manifest was written.

    kind, path, options: those of manifest.Source; where: the manifest, for errors
    Raises DataError, and ValueError for a damaged manifest.
    """
    if kind not in NAMES:
        raise ValueError(f"{where}: damaged, key 'kind' is {kind[:40]!r}, none of {', '.join(NAMES)}")
    try:
        return open_source(path, expect=kind, **options)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{where}: damaged, key 'options' ({error})")
