"""Build the LMDBs that the networks read: from CelebA or LFWA as downloaded, or from a CSV file of your own.

    face-cascade data CELEBA_FOLDER
    face-cascade data LFWA_FOLDER --out data/lfwa --attributes Eyeglasses,Male
    face-cascade data photos.csv --detect              # photos of your own: each face is found and aligned

A CSV file has a column `image` with paths and a column of 1 and 0 for each attribute. The compact form holds each face
once, in its own encoding; the stream form holds the balanced, augmented training patches for Caffe's own Data layer.
docs/data.md describes data sets, forms and files.

Every image is examined before anything is written, and the folder appears only when everything is done. An error leaves
nothing behind. If the build is interrupted, even by a kill or a power cut, run the same command again.
"""

import dataclasses

from data_prep.build.builder import build
from data_prep.settings import add_options, check_effect, given, setting
from data_prep.sources.opening import open_source
from data_prep.store import manifest


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command beside manifest.Settings."""

    out: str = setting("data/lmdb", "The folder to write, which must not exist yet", metavar="FOLDER")
    attributes: tuple[str, ...] = setting(
        (),
        "The attributes to learn, separated by commas",
        shown="the paper's twenty, or all columns of a CSV",
    )
    form: str = setting(
        "compact",
        "How training data is stored: compact holds each face once and crops patches during training; stream holds "
        "every training patch, for Caffe's own Data layer, and takes 5 times the disk space for all of CelebA, 80 "
        "times with --records 0",
        choices=manifest.FORMS,
    )
    expect: str = setting(
        "",
        "Stop with an error if the data set has another layout than this one",
        choices=manifest.KINDS,
        shown="accept every layout",
    )


def add_arguments(parser):
    """Add the arguments of `face-cascade data` to an argparse parser."""
    layouts = "a folder as CelebA or LFWA is downloaded, or a CSV file of your own"
    parser.add_argument("data", metavar="DATA", help=f"The data set: {layouts}.")
    add_options(parser, Options)
    add_options(parser, manifest.Settings)


def run(arguments):
    """`face-cascade data`: the exit status. Raises DataError, OSError."""
    options = Options(**given(arguments, Options))
    source = opened(arguments.data, given(arguments, manifest.Settings), options.expect, options.form)
    built = build(source, options.out, options.attributes or source.default_attributes, options.form)
    print(f"{options.out}: ready, {built.train_records:,} training records; pictures in {options.out}/sheets")
    return 0


def opened(place, chosen, expect=None, form="compact"):
    """The Source at a place. Raises DataError, also for a setting that has no effect on it in this form.

    chosen: the fields of manifest.Settings that were given, dict name -> value; expect: see open_source
    """
    source, idle = open_source(place, manifest.Settings(**chosen), expect), {}
    if form != "stream":
        idle.update(dict.fromkeys(("records", "encoding", "shards"), "in the compact form; --form stream uses it"))
    if source.kind != "lfwa":
        idle["validation"] = "here; only LFWA's validation split is made by it"
    if source.settings.detect or source.settings.frame == "none":
        idle["eyes"] = "with --detect or --frame none, which align the faces otherwise or not at all"
    check_effect(chosen, idle)
    return source
