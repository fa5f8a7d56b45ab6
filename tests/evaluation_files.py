"""Runs that are evaluated without training: networks with random weights, on patterns in place of known persons."""

import shutil

import numpy as np
from cascade_files import write_run

from data_prep.files import write_json
from data_prep.geometry import PATCH_SIZE
from data_prep.store import databases, image_list, manifest
from tools import run as runs
from tools.evaluate import evaluate
from tools.evaluate.command import EvaluateSettings

ATTRIBUTES = ("Eyeglasses", "Male")
FACES = {"train": 8, "val": 12, "test": 24}
OF_PERSON = 3  # faces of one person
BOX = [0, 0, 100, 100]
SETTINGS = EvaluateSettings(resamples=20)
ALL = ("region", "average", "cascade", "whole_face")


def labels(split, attributes=ATTRIBUTES):
    """Labels (N, A) bool of a split: the first attribute of every second face, the others of two in three."""
    faces = np.arange(FACES[split])[:, np.newaxis] + np.arange(len(attributes))
    return np.concatenate([faces[:, :1] % 2 == 0, faces[:, 1:] % 3 > 0], axis=1)


def write_lmdb(folder, attributes=ATTRIBUTES, persons=True, boxes=True, **described):
    """Write LMDBs in the stream form, without training records; described: further fields of the Manifest."""
    folder.mkdir(parents=True)
    rng, names, parts = np.random.default_rng(0), [], []
    for split, faces in FACES.items():
        names += [f"{split} {number}" for number in range(faces)]
        parts += [image_list.SPLITS[split]] * faces
        if split == "train":
            continue
        rows = labels(split, attributes)
        blocks = rng.uniform(0, 150, (faces, 7, 7, 3)) + 100 * rows[:, :1, np.newaxis, np.newaxis]
        pictures = blocks.astype(np.uint8).repeat(PATCH_SIZE // 7, axis=1).repeat(PATCH_SIZE // 7, axis=2)
        images = [databases.image_datum(picture, "png") for picture in pictures]
        databases.write_lmdb(folder / f"{split}_images", images, faces, split)
        databases.write_lmdb(folder / f"{split}_labels", map(databases.label_datum, rows.astype(int)), faces, split)
        if boxes:
            true = [{name: BOX for name, present in zip(attributes, row) if present} for row in rows]
            write_json(folder / f"{split}_boxes.json", true)
    of = [f"{name.split()[0]} {int(name.split()[1]) // OF_PERSON}" if persons else "" for name in names]
    hashes = [f"{number:032x}" for number in range(len(names))]
    image_list.write(folder, image_list.ImageList(names, of, hashes, np.array(parts, np.uint8)))
    write_manifest(folder, attributes, **described)
    return folder


def write_manifest(folder, attributes=ATTRIBUTES, **described):
    """Write the manifest of such LMDBs, with the checksums of its files."""
    splits = {
        split: manifest.Split(faces, dict(zip(attributes, map(int, labels(split, attributes).sum(axis=0)))))
        for split, faces in FACES.items()
    }
    described = {"source": manifest.Source("celeba", "faces"), "synthetic": True, **described}
    checksums = manifest.checksums(folder)
    manifest.write(folder, manifest.Manifest(list(attributes), splits=splits, checksums=checksums, **described))


def make(folder, stages=ALL, settings=SETTINGS, **described):
    """An evaluated run in a folder; described: as of write_lmdb."""
    run = write_run(folder / "run", write_lmdb(folder / "lmdb", **described), stages)
    evaluate.evaluate(run, settings)
    return run


def copied(folder, place):
    """The Run in a copy of a folder that holds `run` and its LMDBs `lmdb`."""
    shutil.copytree(folder, place, dirs_exist_ok=True)
    run = runs.Run.read(place / "run")
    run.data.lmdb = str(place / "lmdb")
    run.write()
    return run
