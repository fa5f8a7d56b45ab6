"""One network on a split of an LMDB folder: its scores, calibration, measures and regions."""

import dataclasses
import os
import pathlib
import time

import numpy as np
from tqdm import tqdm

from data_prep.files import sha256
from data_prep.store import image_list
from data_prep.store import manifest as manifests
from tools import model_files, networks
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, results, scoring

BLOBS = (*results.SCORES.values(), "rois_image", "response")


@dataclasses.dataclass
class Data:
    """The LMDB folder that networks are evaluated on.

    checksum: that of its manifest; prior: share of positives (A,) that logits are corrected for: the training set's, or
    0.5 for natural batches, whose scores need no correction; source: kind of data set, "" if unknown; synthetic:
    whether its faces are rendered
    """

    lmdb: pathlib.Path
    checksum: str
    attributes: list[str]
    prior: np.ndarray
    source: str
    synthetic: bool


def read_data(lmdb):
    """The Data of an LMDB folder. Raises ToolError."""
    manifest = networks.manifest(lmdb)
    prior = np.full(len(manifest.attributes), 0.5)
    if manifest.sampling == "balanced":
        try:
            prior = manifest.prior
        except ValueError as error:
            raise ToolError(f"{lmdb}: {error}")
    if not ((prior > 0) & (prior < 1)).all():
        raise ToolError(f"{lmdb}: an attribute has no positive or no negative training image; build the LMDBs again")
    kind = manifest.kind or ""
    attributes = list(manifest.attributes)
    return Data(pathlib.Path(lmdb), manifests.checksum(lmdb), attributes, prior, kind, manifest.synthetic)


def read_labels(data, split, settings):
    """The labels of the faces of a split that the settings ask for, (N, A) bool. Raises ToolError."""
    return networks.read_labels(data.lmdb, split, len(data.attributes))[: settings.faces or None]


def read_groups(data, split, settings):
    """For each face of a split the number of its person, (N,), or None where persons are unknown. Raises ToolError."""
    try:
        groups = image_list.read(data.lmdb).groups(split)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ToolError(str(error))
    return None if groups is None else groups[: settings.faces or None]


def responses(net, data, split, settings, blobs=BLOBS):
    """Scores and regions of a split: dict blob -> (N, ...) array, and the labels (N, A) bool. Raises ToolError.

    blobs: names of the blobs to keep; those that the net does not have are left out
    """
    blobs = [name for name in blobs if name in net.blobs]
    labels = read_labels(data, split, settings)
    images = (patch for _, patch in zip(range(len(labels)), networks.patches(data.lmdb, split)))
    parts = []
    with tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for patches in networks.batches(images, settings.batch):
            parts.append(networks.forward(net, patches, blobs))
            bar.update(len(patches))
    images = sum(len(part[blobs[0]]) for part in parts)
    if images != len(labels):
        raise ToolError(f"{data.lmdb}: {split} has {len(labels)} labels and {images} images; build the LMDBs again")
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in blobs}
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise ToolError(
                f"{data.lmdb}: {split}: output {name} of the network is not finite; use an earlier snapshot"
            )
    return outputs, labels


def engine():
    """The name of the Caffe that this process computes with."""
    return "BVLC Caffe" if networks.is_bvlc() else "engine on PyTorch"


class Evaluation:
    """One file of weights on a split. model: its deploy prototxt; data: Data; settings: EvaluateSettings; device: its
    name; kept: paths of .npz files of earlier evaluations, which are used again if they had the same inputs

    Attributes: network (its kind), checksum (of the weights), arrays (what NAME.npz holds), path (the file among `kept`
    that they are from, or None), blobs (dict blob -> (N, ...)), labels (N, A), calibration, scored (dict score ->
    scoring.Scored), mapper (localisation.Mapper or None).
    Writes calibration.json, see is_for_users. Raises ToolError, OSError.
    """

    def __init__(self, model, weights, data, settings, device="cpu", kept=()):
        net = networks.load(model, weights)
        if networks.attributes_of(net) != len(data.attributes):
            raise ToolError(f"{model} is not for the {len(data.attributes)} attributes of {data.lmdb}")
        self.weights, self.network, self.checksum = weights, model_files.network_of(weights), sha256(weights)
        self.data, self.attributes, self.device = data, data.attributes, device
        self.mapper = localisation.Mapper.of(net, model) if "region_mapper" in net.params else None
        inputs = self.checksum, sha256(model), data.checksum, settings.split, settings.faces, engine(), device
        inputs = [str(value) for value in (results.VERSION, *inputs)]
        self.arrays, self.path = results.kept_arrays(kept, inputs)
        if self.arrays is None or not np.array_equal(
            self.arrays["labels"], read_labels(data, settings.split, settings)
        ):
            self.arrays, self.path = {results.INPUTS: inputs, **self.compute(net, settings)}, None
        self.blobs = {name: self.arrays[name] for name in BLOBS if name in self.arrays}
        self.labels = self.arrays["labels"]

    def compute(self, net, settings):
        """The outputs of the net, labels, and what regions need: dict name -> array."""
        start = time.perf_counter()
        blobs, labels = responses(net, self.data, settings.split, settings)
        rate = len(labels) / (time.perf_counter() - start)
        arrays = {**blobs, "labels": labels, "faces_per_second": rate}
        groups = {"groups": read_groups(self.data, settings.split, settings)}
        if settings.split != "val":
            scores = [blob for blob in results.SCORES.values() if blob in blobs]
            validation, labels = responses(net, self.data, "val", settings, scores)
            arrays.update((f"validation_{name}", values) for name, values in validation.items())
            arrays["validation_labels"] = labels
            groups["validation_groups"] = read_groups(self.data, "val", settings)
        arrays.update((name, numbers) for name, numbers in groups.items() if numbers is not None)
        if self.mapper:
            arrays.update(average=self.mapper.average, rectangles=self.mapper.rectangles)
            arrays.update(threshold=self.mapper.threshold, average_weight=self.mapper.weight)
        return arrays

    def score(self, settings):
        """Set calibration and scored."""
        of_validation = "" if settings.split == "val" else "validation_"
        scores = {title: blob for title, blob in results.SCORES.items() if blob in self.blobs}
        labels = self.arrays[f"{of_validation}labels"]
        validation = {blob: self.arrays[f"{of_validation}{blob}"] for blob in scores.values()}
        self.calibration, self.scored = self.calibrate(validation, labels, settings), {}
        for title, blob in scores.items():
            tuned_on = scoring.faces(self.arrays, blob, of_validation) if of_validation else None
            faces = scoring.faces(self.arrays, blob)
            self.scored[title] = scoring.Scored(faces, self.data.prior, tuned_on, settings.tune, settings.resamples)

    @property
    def persons(self):
        """How many persons are on the faces, 0 where that is not known."""
        return int(self.arrays["groups"].max()) + 1 if "groups" in self.arrays else 0

    @property
    def answer(self):
        """The Scored of the network's final output."""
        return list(self.scored.values())[-1]

    def calibrate(self, scores, labels, settings):
        """The Calibration by the validation faces: scores, dict blob -> (M, A); labels (M, A)."""
        new = calibration.Calibration(
            self.checksum,
            self.data.checksum,
            self.attributes,
            self.data.prior.tolist(),
            settings.faces,
            settings.tune,
            calibration.make(scores, labels, self.data.prior, settings.tune),
            self.data.synthetic,
        )
        kept = calibration.read(self.weights)
        if kept and kept.equals(new):  # written with other devices or batches: the last digits may differ
            return kept
        if self.is_for_users(new, kept):
            calibration.write(self.weights, new)
        return new

    def is_for_users(self, new, kept):
        """Whether a Calibration belongs into calibration.json, in place of the one kept there (or None).

        Not there: that of some validation faces where there is one of all.
        """
        return not (new.faces and kept and kept.data == new.data and not kept.faces)

    def result(self, arrays, boxes):
        """The NetworkResult. arrays: the .npz file; boxes: as localisation.read_boxes gives them."""
        regions = None
        if self.mapper and boxes:
            raw = self.mapper.regions(self.blobs["response"], revise=False)
            rois = {results.RAW: raw, results.REVISED: self.blobs["rois_image"]}
            regions = localisation.rows(rois, boxes, self.attributes)
        return results.NetworkResult(
            file=os.path.relpath(self.weights, pathlib.Path(arrays).parent),
            checksum=self.checksum,
            network=self.network,
            engine=engine(),
            device=self.device,
            cores=len(os.sched_getaffinity(0)),
            faces_per_second=float(self.arrays["faces_per_second"]),
            arrays=sha256(arrays),
            calibration=self.calibration.scores,
            rows=[row for title, scored in self.scored.items() for row in scored.rows(title, self.attributes)],
            regions=regions,
        )
