"""Verify that a folder of LMDBs is complete and agrees with its data set and its manifest.

    face-cascade check data/lmdb
    face-cascade check data/lmdb --source /elsewhere/CelebA
    face-cascade check data/lmdb --no-source      # the data set is no longer here

The checks: every file is as it was built, by its checksum; every database is complete; labels are as the manifest
counts them; every batch is 1:1 for every attribute; labels agree with the data set; images and labels are in the same
order; patches are crops of the right faces, shifted by at most 5 % (--sample of them); only the classes that --augment
named are augmented; no face of the validation or test split is in training, by name or by content. Each check prints
one line; the exit status is 1 if one fails. Contact sheets are written to --out: look at them.
"""

import dataclasses
import pathlib
import tempfile

from data_prep.build.prepared import Prepared
from data_prep.build.sheets import FOLDER, write_sheets
from data_prep.check.checks import Check
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
        False, "Check without the data set; labels and pixels are then not compared with it", shown="compare"
    )
    sample: int = setting(
        1000,
        "Stream form: the number of records per database whose pixels are compared; raise it for a thorough but "
        "slower check",
        least=1,
    )
    out: str = setting("", "The folder for the contact sheets", metavar="FOLDER", shown=f"{FOLDER}/ in LMDB")


def add_arguments(parser):
    """Add the arguments of `face-cascade check` to an argparse parser."""
    parser.add_argument("lmdb", metavar="LMDB", help="The folder of LMDBs to check.")
    add_options(parser, Options)


def run(arguments):
    """`face-cascade check`: the exit status. Raises DataError, OSError, ValueError."""
    options = Options(**given(arguments, Options))
    data = Prepared(arguments.lmdb)
    out = pathlib.Path(options.out or data.folder / FOLDER)
    out.mkdir(parents=True, exist_ok=True)
    # A tar is unpacked beside the sheets, because the disk for temporary files may be small.
    with tempfile.TemporaryDirectory(prefix=".check-", dir=out) as scratch:
        if not options.no_source:
            data.source = reopen(data.manifest, options.source)
            data.source.open(scratch)
        check = Check(data, options.sample)
        samples = check.run()
        if samples is not None and not check.failures:
            write_sheets(data, samples, out)
            print(f"{out}: contact sheets of {len(data.attributes)} attributes, augmentation.png")
        if data.source:
            data.source.images.close()
    print(f"{data.folder}: {f'checks failed: {check.failures}' if check.failures else 'all checks passed'}")
    return 1 if check.failures else 0
