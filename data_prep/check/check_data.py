"""Verify that a folder of LMDBs is complete and agrees with its data set and its manifest.

    face-cascade check data/lmdb
    face-cascade check data/lmdb --source /elsewhere/CelebA
    face-cascade check data/lmdb --no-source      # the data set is no longer here

The checks: every database is complete; every batch is 1:1 for every attribute; labels agree with the data set; images
and labels are in the same order; patches are crops of the right faces, shifted by at most 5 % (--sample of them); only
the classes that --augment named are augmented; no face of the validation or test split is in training, by name or by
content. Each check prints one line; the exit status is 1 if one fails. Contact sheets are written to --out: look at
them.
"""

import argparse
import pathlib
import sys
import tempfile

from data_prep.build.prepared import Prepared
from data_prep.build.sheets import FOLDER, write_sheets
from data_prep.check.checks import Check
from data_prep.errors import DataError
from data_prep.sources.opening import reopen
from data_prep.store import manifest


def add_arguments(parser):
    """Add the command's arguments to an argparse parser, or to a subcommand's."""
    add = parser.add_argument
    add("lmdb", metavar="LMDB", help="The folder of LMDBs to check.")
    add(
        "--source",
        metavar="DATA",
        help="The data set that LMDB was made from; needed if it was moved (default: its place in the manifest).",
    )
    add(
        "--no-source",
        action="store_true",
        help="Check without the data set; labels and pixels are then not compared with it (default: compare).",
    )
    add(
        "--sample",
        type=int,
        default=1000,
        metavar="N",
        help="Stream form: the number of records per database whose pixels are compared; raise it for a thorough but "
        "slower check (default: 1000).",
    )
    add(
        "--out",
        type=pathlib.Path,
        metavar="FOLDER",
        help=f"The folder for the contact sheets (default: {FOLDER}/ in LMDB).",
    )


def _open_source(data, path, scratch):
    """The opened Source of a Prepared folder. path: its place, None for the manifest's. Raises DataError, OSError."""
    origin = data.manifest.source
    source = reopen(origin.kind, path or origin.path, origin.options, data.folder / manifest.NAME)
    source.convert = data.settings.convert
    source.open(scratch)
    return source


def run(arguments):
    """The command, with arguments as of `add_arguments`; returns its exit status. Errors are one line each."""
    out = arguments.out or pathlib.Path(arguments.lmdb) / FOLDER
    try:
        if arguments.sample < 1:
            raise DataError(f"--sample must be at least 1, not {arguments.sample}")
        data = Prepared(arguments.lmdb)
        out.mkdir(parents=True, exist_ok=True)
        # A compressed tar is unpacked beside the sheets, because the disk for temporary files may be small.
        with tempfile.TemporaryDirectory(prefix=".check-", dir=out) as scratch:
            if not arguments.no_source:
                data.source = _open_source(data, arguments.source, scratch)
            check = Check(data, arguments.sample)
            samples = check.run()
            if samples is not None and not check.failures:
                write_sheets(data, samples, out)
                print(f"{out}: contact sheets of {len(data.attributes)} attributes, augmentation.png")
            if data.source:
                data.source.images.close()
    except (DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was changed", file=sys.stderr)
        return 130
    print(f"{arguments.lmdb}: {f'checks failed: {check.failures}' if check.failures else 'all checks passed'}")
    return 1 if check.failures else 0


def main(arguments=None):
    """The command by itself; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.check.check_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
