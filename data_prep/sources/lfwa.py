"""LFWA: an LFW image tree (folder or tar) with the annotation files lfw_att_40.mat and indices_train_test.mat.

According to public readers of these files (MATLAB version 7.3) they hold: `name`, 13,143 strings like
Some_One\\Some_One_0001.jpg; `AttrName`, 40 strings; `label`, 13,143 x 40 of 0 and 1; indices_img_train and
indices_img_test, numbers of images counted from 1.

LFW's photos show much more than the face. In all trees of 250 x 250 pixels (lfw, lfw-funneled, lfw-deepfunneled, lfwa)
the photo was cropped by the same rule from the face detector's box, so that the eyes are at geometry.LFW_EYES on
average: closely in the deep-funneled tree, which is recommended, with more scatter in the plain one. Trees of another
size (cropped ones) are rejected unless the positions of the eyes are given.
"""

import re

import numpy as np

from data_prep import geometry
from data_prep.errors import DataError
from data_prep.sources import tables
from data_prep.sources.images import Images
from data_prep.sources.mat import read_mat
from data_prep.sources.source import Source
from data_prep.sources.splits import TEST, TRAIN, VAL, seeded_order

ANNOTATION, INDICES = "lfw_att_40.mat", "indices_train_test.mat"
_IMAGES = re.compile(r"lfw([-_]?(deep)?funneled|a|cropped)?(\.tar|\.tgz|\.tar\.gz)?", re.IGNORECASE)
_NUMBERED = re.compile(r"^(.*)_0*(\d+)$")


def key(path):
    """The name that identifies an image, "Person_Name/number", whatever blanks, slashes and zeros its path has."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    stem = "_".join(parts[-1].rpartition(".")[0].replace("_", " ").split()) if parts else ""
    numbered = _NUMBERED.match(stem)
    return f"{numbered[1]}/{int(numbered[2])}" if numbered else stem


def read(folder, settings):
    """A Source from a folder in LFWA's layout; arguments as of sources.opening. Raises DataError.

    LFWA has no validation split: a share of the people in the training half, settings.validation, forms it. Whole
    people are taken so that nobody is in two splits, from training so that the test half is unchanged.
    """
    table = read_annotation(folder / ANNOTATION)
    persons = [name.rpartition("/")[0] for name in table.names]
    partition = read_indices(folder / INDICES, table.names)
    split_validation(partition, np.array(persons), settings.validation, settings.seed)
    return Source(
        **vars(table),
        kind="lfwa",
        path=folder,
        partition=partition,
        images=Images(find_images(folder, settings.images), key),
        files=[folder / ANNOTATION, folder / INDICES],
        persons=persons,
        settings=settings,
        frame=tuple(map(tuple, geometry.LFW_EYES.tolist())),
        size=(geometry.LFW_SIZE, geometry.LFW_SIZE),
    )


def find_images(folder, name=None):
    """The image tree or tar of an LFWA folder. Raises DataError when there is none, or several to choose from."""
    there = [folder / name] if name else sorted(path for path in folder.iterdir() if _IMAGES.fullmatch(path.name))
    if not there or not there[0].exists():
        raise DataError(f"{folder}: no {name or 'lfw/ or lfw.tgz'} in it")
    if len(there) > 1:
        several = " and in ".join(path.name for path in there)
        raise DataError(f"{folder}: holds images in {several}; choose one with --images")
    return there[0]


def _variable(variables, name, kind, path):
    if not isinstance(variables.get(name), kind):
        what = "cell of strings" if kind is list else "matrix of numbers"
        raise DataError(f"{path}: no {what} {name!r} in it, but {', '.join(sorted(variables)) or 'nothing'}")
    return variables[name]


def read_annotation(path):
    """The tables.Table of lfw_att_40.mat, whose names are "Person_Name/number". Raises DataError."""
    variables = read_mat(path)
    names, attributes = (_variable(variables, name, list, path) for name in ("name", "AttrName"))
    labels, shape = _variable(variables, "label", np.ndarray, path), (len(names), len(attributes))
    if labels.shape == shape[::-1]:
        labels = labels.T
    if labels.shape != shape:
        raise DataError(f"{path}: label is {labels.shape}, but there are {shape[0]} names and {shape[1]} attributes")
    rows = ((f"name {row}", [name, *map("{:g}".format, labels[row - 1])]) for row, name in enumerate(names, 1))
    return tables.read(path, ["name", *attributes], rows, key=key)


def read_indices(path, names):
    """Read indices_train_test.mat: (N,) of TRAIN and TEST. Raises DataError unless the two make up all images."""
    variables, count = read_mat(path), len(names)
    parts = [_variable(variables, f"indices_img_{part}", np.ndarray, path).ravel() for part in ("train", "test")]
    if not np.array_equal(np.sort(np.concatenate(parts)), np.arange(1, count + 1)):
        raise DataError(f"{path}: indices_img_train and indices_img_test must hold each number from 1 to {count} once")
    partition = np.full(count, TEST, np.uint8)
    partition[parts[0].astype(int) - 1] = TRAIN
    return partition


def split_validation(partition, person, share, seed):
    """Change TRAIN to VAL, in place, for a seeded `share` of the people who are in training only.

    Raises DataError when that leaves either split empty.
    """
    people = np.setdiff1d(person[partition == TRAIN], person[partition == TEST])
    chosen = people[seeded_order(len(people), seed, len(people))[: max(1, round(share * len(people)))]]
    partition[np.isin(person, chosen) & (partition == TRAIN)] = VAL
    for value, name in ((TRAIN, "training"), (VAL, "validation")):
        if not (partition == value).any():
            raise DataError(f"a validation share of {share:g} leaves no {name} images; change --validation")
