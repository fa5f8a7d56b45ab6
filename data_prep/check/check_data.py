"""Verify that a folder of LMDBs is complete and agrees with its data set and its manifest.

    face-cascade check data/lmdb
    face-cascade check data/lmdb --source /elsewhere/CelebA
    face-cascade check data/lmdb --no-source      # the data set is no longer here

The checks: every file is as it was built, by its checksum; every database is complete; labels are as the manifest
counts them; every batch is 1:1 for every attribute; no face of the validation or test split is in training, by name or
by content. With the data set: its images are unchanged, and every record is what it gives (of the stream form --sample
of them): the right face, cropped and labelled as planned. Each check prints one line; the exit status is 1 if one
fails.
"""

import dataclasses
import pathlib

from data_prep.check.checks import Check, read_manifest
from data_prep.settings import add_options, given, setting
from data_prep.sources.opening import reopen


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command."""

    source: str = setting(
        "",
        "The data set that LMDB was made from; needed if it was moved",
        metavar="DATA",
        shown="its place in the manifest",
    )
    no_source: bool = setting(
        False, "Check without the data set, with which records are then not compared", shown="compare"
    )
    sample: int = setting(
        1000,
        "Stream form: the number of records per database that are compared; raise it for a thorough but slower check",
        least=1,
    )


def add_arguments(parser):
    """Add the arguments of `face-cascade check` to an argparse parser."""
    parser.add_argument("lmdb", metavar="LMDB", help="The folder of LMDBs to check.")
    add_options(parser, Options)


def run(arguments):
    """`face-cascade check`: the exit status. Raises DataError, OSError, ValueError."""
    options, folder = Options(**given(arguments, Options)), pathlib.Path(arguments.lmdb)
    found, source = read_manifest(folder), None
    if not options.no_source:
        source = reopen(found, options.source)
        source.open()
    check = Check(folder, found, source, options.sample)
    check.run()
    print(f"{folder}: {f'checks failed: {check.failures}' if check.failures else 'all checks passed'}")
    return 1 if check.failures else 0
