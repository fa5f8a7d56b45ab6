"""Build the LMDBs that the networks read: from CelebA or LFWA as downloaded, or from a CSV file of your own.

    face-cascade data CELEBA_FOLDER --out data/lmdb
    face-cascade data LFWA_FOLDER --out data/lfwa --attributes Eyeglasses,Male
    face-cascade data faces.csv --out data/faces
    face-cascade data CELEBA_FOLDER --dry-run          # disk space and time of both forms

A CelebA folder holds list_attr_celeba and list_eval_partition (.txt or .csv) and img_align_celeba/ or the zip, also in
the download's Anno/, Eval/ and Img/. An LFWA folder holds lfw_att_40.mat, indices_train_test.mat and lfw/ or lfw.tgz. A
CSV file has a column `image` with paths and a column of 1 and 0 for each attribute; see data_prep/sources/csv_table.py.

The compact form consists of train_images, val_images and test_images (each face once, in its original encoding) and
their *_labels. The stream form consists of train (the balanced, augmented sequence), val_images and test_images with
*_labels in the same order, and train_plan.npy (image and crop of every training record). Both have images.csv (image
and content hash of every record), sheets/ (pictures of the training data), test_boxes.json where the data set has true
boxes, and manifest.json.

The command prints the disk space and time that the build takes, and stops if the disk cannot hold it. It examines every
image before it writes anything, and OUT appears only when everything is done. An error leaves nothing behind. If the
build is interrupted, even by a kill or a power cut, run the same command again to resume.
"""

import argparse
import os
import signal
import sys

from data_prep.build import estimate
from data_prep.build.builder import build
from data_prep.errors import DataError
from data_prep.plan.forms import Job
from data_prep.sources.opening import open_source
from data_prep.store import manifest


def add_arguments(parser):
    """Add the command's arguments to an argparse parser, or to a subcommand's."""
    add = parser.add_argument
    default = manifest.DEFAULTS
    add(
        "data",
        metavar="DATA",
        help="The data set: a folder as CelebA or LFWA is downloaded, or a CSV file of your own.",
    )
    add(
        "--out",
        default="data/lmdb",
        metavar="FOLDER",
        help="The folder to write, which must not exist yet (default: data/lmdb).",
    )
    add(
        "--expect",
        choices=("celeba", "lfwa", "csv"),
        help="Stop with an error if the data set has another layout than this one (default: accept every layout).",
    )
    add(
        "--form",
        choices=manifest.FORMS,
        default="compact",
        help="How training data is stored: compact holds each face once and crops patches during training; stream "
        "holds every training patch, for Caffe's own Data layer, and takes 5 times the disk space for all "
        "of CelebA, 80 times with --records 0 (default: compact).",
    )
    add(
        "--attributes",
        metavar="A,B,...",
        help="The attributes to learn, separated by commas (default: the paper's twenty, or all columns of a CSV).",
    )
    add(
        "--records",
        type=int,
        default=default.records,
        metavar="N",
        help="Stream form: the largest number of training images per attribute and class, 0 for all; lower it to save "
        f"disk space (default: {default.records}).",
    )
    add("--seed", type=int, default=default.seed, help="The seed of sampling, augmentation and splits (default: 0).")
    add(
        "--encoding",
        choices=manifest.ENCODINGS,
        default=default.encoding,
        help="Stream form: how patches are stored; png and raw are lossless but 5 and 9 times as large (default: jpg).",
    )
    add(
        "--augment",
        choices=manifest.AUGMENT,
        default=default.augment,
        help="The class whose patches are shifted by up to 5 %% and mirrored: both; minority, the rarer class, as in "
        "the paper; or none (default: both).",
    )
    add(
        "--sampling",
        choices=manifest.SAMPLING,
        default=default.sampling,
        help="How batches are sampled: balanced gives every attribute as many positives as negatives; natural gives "
        "each class as often as it occurs, for comparison (default: balanced).",
    )
    add(
        "--shards",
        type=int,
        default=default.shards,
        metavar="N",
        help="Stream form: the number of solvers (GPUs of one Caffe) that will share the stream (default: 1).",
    )
    add(
        "--images",
        metavar="NAME",
        help="The name of the folder, zip or tar in DATA that holds the images; needed where there are several "
        "(default: the usual name).",
    )
    add(
        "--validation",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="LFWA: the share of the people in the training half who form the validation split (default: 0.1).",
    )
    add(
        "--eyes",
        metavar="X1,Y1,X2,Y2",
        help="The positions of the left and the right eye (as seen) in all images, in pixels, from which faces are "
        "aligned to CelebA's frame. Needed where images are framed differently from their data set's usual ones "
        "(default: as --frame says).",
    )
    add(
        "--frame",
        choices=("auto", "none"),
        default="auto",
        help="How images are aligned: auto crops LFWA photos so that the face is where CelebA's faces have it, and "
        "takes other images as aligned; none takes all images as aligned (default: auto).",
    )
    add(
        "--convert",
        action="store_true",
        help="Convert grey, CMYK, 16-bit, transparent and rotated images to upright 8-bit colour (default: stop with "
        "an error).",
    )
    add(
        "--keep-duplicates",
        action="store_true",
        help="Keep training images that are also in the validation or test split (default: leave them out).",
    )
    add("--workers", type=int, metavar="N", help="The number of threads that prepare images (default: one per core).")
    add(
        "--dry-run",
        action="store_true",
        help="Only print the disk space and time that both forms take (default: build).",
    )


def _settings(arguments):
    """The manifest.Settings that the arguments ask for. Raises DataError for numbers out of range."""
    for name, least in (("records", 0), ("seed", 0), ("shards", 1), ("workers", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            raise DataError(f"--{name} must be at least {least}, not {value}")
    return manifest.Settings(
        records=arguments.records,
        seed=arguments.seed,
        encoding=arguments.encoding,
        augment=arguments.augment,
        shards=arguments.shards,
        sampling=arguments.sampling,
        convert=arguments.convert,
        keep_duplicates=arguments.keep_duplicates,
    )


def _frame(arguments):
    """The `frame` argument of open_source. Raises DataError unless --eyes holds four numbers."""
    if arguments.eyes is None:
        return arguments.frame
    try:
        x1, y1, x2, y2 = map(float, arguments.eyes.split(","))
    except ValueError:
        raise DataError(f"--eyes must be four numbers x1,y1,x2,y2 in pixels, not {arguments.eyes!r}")
    return [[x1, y1], [x2, y2]]


def dry_run(source, attributes, settings, workers):
    """Print the disk space and time that both forms take; writes nothing. Raises DataError."""
    sampled = source.images is not None and not str(source.images.path).endswith("gz")
    if sampled:
        source.open()
    for form in manifest.FORMS:
        job = Job(source, form, attributes, settings)
        print(f"{form}: {len(attributes)} attributes, {len(job.members['train']):,} training images")
        print(estimate.table(estimate.costs(job, workers, sampled)))
    print(
        "sizes and times: "
        + ("estimated from a sample of the images" if sampled else "typical of CelebA; no image was read")
    )


def run(arguments):
    """The command, with arguments as of `add_arguments`; returns its exit status. Errors are one line each."""
    try:
        settings = _settings(arguments)
        source = open_source(
            arguments.data,
            arguments.images,
            need_images=not arguments.dry_run,
            validation=arguments.validation,
            seed=arguments.seed,
            frame=_frame(arguments),
            expect=arguments.expect,
        )
        source.convert = settings.convert
        attributes = source.default_attributes
        if arguments.attributes is not None:
            attributes = [name.strip() for name in arguments.attributes.split(",") if name.strip()]
        if arguments.dry_run:
            dry_run(source, attributes, settings, arguments.workers or len(os.sched_getaffinity(0)))
            return 0
        built = build(source, arguments.out, attributes, settings, arguments.form, arguments.workers)
    except (DataError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; run the same command again to resume {arguments.out}", file=sys.stderr)
        return 130
    print(f"{arguments.out}: ready, {built.train_records:,} training records; pictures in {arguments.out}/sheets")
    return 0


def main(arguments=None):
    """The command by itself; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build.build_lmdb",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
