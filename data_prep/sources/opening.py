"""Open a data set of any layout: CelebA's, LFWA's, or a CSV file of the user's own."""

import pathlib

from data_prep.errors import DataError
from data_prep.sources import celeba, csv_table, lfwa
from data_prep.store.manifest import DEFAULTS, KINDS

_READERS = {"celeba": celeba.read, "lfwa": lfwa.read, "csv": csv_table.read}


def open_source(path, settings=DEFAULTS, expect=None):
    """The Source at a path: a folder as CelebA or LFWA is downloaded, a CSV file, or a folder with one.

    settings: manifest.Settings; expect: the only layout to accept, "celeba", "lfwa" or "csv"; None for any
    Raises DataError for missing or damaged files.
    """
    kind, place = find(pathlib.Path(path), expect)
    source = _READERS[kind](place, settings)
    if settings.frame == "none" or settings.detect:
        source.frame = source.size = None
    elif settings.eyes:
        source.frame, source.size = (settings.eyes[:2], settings.eyes[2:]), None
    return source


def reopen(manifest, path=None):
    """The data set that a Manifest was made from, opened in the same way. path: its place if it was moved.

    Raises DataError.
    """
    return open_source(path or manifest.source.path, manifest.settings, manifest.source.kind)


def find(path, expect=None):
    """The kind of data set at a path ("celeba", "lfwa" or "csv") and its location: the folder, or the CSV file.

    Raises DataError if there is none, or several, or another one than expected.
    """
    if path.is_dir():
        places = _in_folder(path)
    elif not path.exists():
        raise DataError(f"{path}: no such folder or CSV file")
    elif path.suffix.lower() != ".csv":
        raise DataError(f"{path}: neither a folder nor a CSV file")
    else:
        places = {"csv": path}
    if not places:
        raise DataError(
            f"{path}: no data set in it; looked for {celeba.LABELS[0]} or .csv (CelebA, also in Anno/), "
            f"{lfwa.ANNOTATION} (LFWA), and one CSV file of images and labels"
        )
    there = " and ".join(KINDS[kind] for kind in places)
    if expect and expect not in places:
        raise DataError(f"{path}: holds {there}, not {KINDS[expect]}; leave out --expect (make: use DATA=)")
    if not expect and len(places) > 1:
        raise DataError(f"{path}: holds {there}; keep only one of them in the folder")
    kind = expect or next(iter(places))
    return kind, places[kind]


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
