"""Open a data set of any layout: CelebA's, LFWA's, or a CSV file of the user's own."""

import pathlib

from data_prep.errors import DataError
from data_prep.sources import celeba, csv_table, lfwa
from data_prep.store.manifest import DEFAULTS, KINDS

_READERS = {"celeba": celeba.read, "lfwa": lfwa.read, "csv": csv_table.read}


def open_source(path, settings=DEFAULTS, expect=None, remedy="leave out --expect (make: use DATA=)"):
    """The Source at a path: a folder as CelebA or LFWA is downloaded, a CSV file, or a folder with one.

    settings: manifest.Settings; expect: the only layout to accept, "celeba", "lfwa" or "csv"; None for any;
    remedy: what to do about another
    Raises DataError for missing or damaged files.
    """
    places = find(pathlib.Path(path))
    there = " and ".join(KINDS[kind] for kind in places)
    if expect and expect not in places:
        raise DataError(f"{path}: holds {there}, not {KINDS[expect]}; {remedy}")
    if not expect and len(places) > 1:
        raise DataError(f"{path}: holds {there}; keep only one of them in the folder")
    kind = expect or next(iter(places))
    source = _READERS[kind](places[kind], settings)
    if settings.frame == "none" or settings.detect:
        source.frame = source.size = None
    elif settings.eyes:
        source.frame, source.size = (settings.eyes[:2], settings.eyes[2:]), None
    return source


def reopen(manifest, path=None):
    """The data set that a Manifest was made from, opened in the same way. path: its place if it was moved.

    Raises DataError.
    """
    return open_source(
        path or manifest.source.path, manifest.settings, manifest.source.kind, "the LMDBs were made from that"
    )


def find(path):
    """The data sets at a path: dict "celeba", "lfwa" or "csv" -> its folder, or the CSV file. Raises DataError."""
    if not path.exists():
        raise DataError(f"{path}: no such folder or CSV file")
    if not path.is_dir():
        if path.suffix.lower() != ".csv":
            raise DataError(f"{path}: neither a folder nor a CSV file")
        return {"csv": path}
    signs = {
        "lfwa": any((path / name).exists() for name in (lfwa.ANNOTATION, lfwa.INDICES)),
        "celeba": any(celeba.find(path, names) for names in (celeba.LABELS, celeba.PARTITION)),
    }
    places = {kind: path for kind, there in signs.items() if there}
    tables = [table for table in sorted(path.glob("*.csv")) if table.name not in celeba.TABLES]
    if places:
        return places
    if len(tables) > 1:
        names = ", ".join(table.name for table in tables)[:200]
        raise DataError(f"{path}: several CSV files, {names}; give the path of one")
    if not tables:
        raise DataError(
            f"{path}: no data set in it; looked for {celeba.LABELS[0]} or .csv (CelebA, also in Anno/), "
            f"{lfwa.ANNOTATION} (LFWA), and one CSV file of images and labels"
        )
    return {"csv": tables[0]}
