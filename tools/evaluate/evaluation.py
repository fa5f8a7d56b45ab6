"""One network on a split of an LMDB folder: its scores, calibration, measures and regions."""

import dataclasses
import os
import pathlib
import time

import numpy as np
from tqdm import tqdm

from data_prep.files import sha256
from data_prep.store import manifest as manifests
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, metrics, results, scoring

SPLITS = ("val", "test")
BLOBS = (*results.SCORES.values(), "rois_image", "response")


@dataclasses.dataclass
class EvaluateSettings:
    """The user's settings. faces: number of faces of each split to use, 0 for all; batch: faces per forward pass."""

    split: str = "test"
    faces: int = 0
    tune: str = "accuracy"
    resamples: int = 1000
    batch: int = 16

    def check(self):
        """Raise ToolError for a setting outside its range."""
        if self.split not in SPLITS:
            raise ToolError(f"--split {self.split}: must be {' or '.join(SPLITS)}")
        if self.tune not in metrics.MEASURES:
            raise ToolError(f"--tune {self.tune}: must be {', '.join(metrics.MEASURES)}")
        for name, least in (("faces", 0), ("resamples", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise ToolError(f"--{name} {getattr(self, name)}: must be at least {least}")


@dataclasses.dataclass
class Data:
    """The LMDB folder that networks are evaluated on.

    checksum: that of its manifest; prior: share of positives (A,) that logits are corrected for: the training set's, or
    0.5 for natural batches, whose scores need no correction; source: kind of data set, "" if unknown
    """

    lmdb: pathlib.Path
    checksum: str
    attributes: list[str]
    prior: np.ndarray
    source: str


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
    return Data(pathlib.Path(lmdb), manifests.checksum(lmdb), list(manifest.attributes), prior, manifest.kind or "")


def responses(net, data, split, settings, blobs=BLOBS):
    """Scores and regions of a split: dict blob -> (N, ...) array, and the labels (N, A) bool. Raises ToolError.

    blobs: names of the blobs to keep; those that the net does not have are left out
    """
    blobs = [name for name in blobs if name in net.blobs]
    labels = networks.read_labels(data.lmdb, split, len(data.attributes))[: settings.faces or None]
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


class Evaluation:
    """One file of weights on a split. model: its deploy prototxt; data: Data; settings: EvaluateSettings

    Attributes: network (its kind), checksum (of the weights), rate (faces/s, reading included), blobs (dict blob ->
    (N, ...)), labels (N, A), validation (dict blob -> (M, ...), with "labels"; for the validation split the same dict
    as blobs), calibration, scored (dict score -> scoring.Scored), mapper (localisation.Mapper or None).
    Writes calibration.json, see is_for_users. Raises ToolError, OSError.
    """

    def __init__(self, model, weights, data, settings):
        net = networks.load(model, weights)
        if networks.attributes_of(net) != len(data.attributes):
            raise ToolError(f"{model} is not for the {len(data.attributes)} attributes of {data.lmdb}")
        self.weights, self.network, self.checksum = weights, networks.net_of(weights), sha256(weights)
        self.data, self.attributes = data, data.attributes
        start = time.perf_counter()
        self.blobs, self.labels = responses(net, data, settings.split, settings)
        self.rate = len(self.labels) / (time.perf_counter() - start)
        scores = [blob for blob in results.SCORES.values() if blob in self.blobs]
        self.validation, labels = self.blobs, self.labels
        if settings.split != "val":
            self.validation, labels = responses(net, data, "val", settings, scores)
            self.validation["labels"] = labels
        self.calibration = self.calibrate({blob: self.validation[blob] for blob in scores}, labels, settings)
        self.scored = {}
        for title, blob in results.SCORES.items():
            if blob in scores:
                validation = None if settings.split == "val" else (self.validation[blob], labels)
                self.scored[title] = scoring.Scored(
                    self.blobs[blob], self.labels, data.prior, validation, settings.tune, settings.resamples
                )
        self.mapper = localisation.Mapper.of(net, model) if "region_mapper" in net.params else None

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
        )
        kept = calibration.read(self.weights)
        if kept and kept.equals(new):  # written with other devices or batches: the last digits may differ
            return kept
        if self.is_for_users(new, kept):
            calibration.write(self.weights, new)
        return new

    def is_for_users(self, new, kept):
        """Whether a Calibration belongs into calibration.json, in place of the one kept there (or None).

        Not there: that of other data than those of the run that the weights are of, and that of some validation faces
        where there is one of all.
        """
        folder = pathlib.Path(self.weights).absolute().parent.parent
        if runs.Run.exists(folder) and runs.Run.read(folder).data.checksum != new.data:
            return False
        return not (new.faces and kept and kept.data == new.data and not kept.faces)

    def save(self, path):
        """Write scores, labels and what regions need as an .npz file. Raises OSError."""
        arrays = {"labels": self.labels, **self.blobs}
        if self.validation is not self.blobs:
            arrays.update((f"validation_{name}", values) for name, values in self.validation.items())
        if self.mapper:
            arrays.update(average=self.mapper.average, rectangles=self.mapper.rectangles)
            arrays.update(threshold=self.mapper.threshold, average_weight=self.mapper.weight)
        results.write_arrays(path, **arrays)

    def result(self, arrays, boxes, device):
        """The NetworkResult. arrays: the .npz file; boxes: as localisation.read_boxes gives them."""
        regions = None
        if self.mapper and boxes:
            raw = self.mapper.regions(self.blobs["response"], revise=False)
            rois = {localisation.RAW: raw, localisation.REVISED: self.blobs["rois_image"]}
            regions = localisation.rows(rois, boxes, self.attributes)
        return results.NetworkResult(
            file=os.path.relpath(self.weights, pathlib.Path(arrays).parent),
            checksum=self.checksum,
            network=self.network,
            engine="BVLC Caffe" if networks.is_bvlc() else "engine on PyTorch",
            device=device,
            cores=len(os.sched_getaffinity(0)),
            faces_per_second=self.rate,
            arrays=sha256(arrays),
            calibration=self.calibration.scores,
            rows=[row for title, scored in self.scored.items() for row in scored.rows(title, self.attributes)],
            regions=regions,
        )
