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
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, results, scoring

BLOBS = (*results.SCORES.values(), "rois_image", "response")


# Faces ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class EvaluationData:
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


def evaluation_data(lmdb):
    """The EvaluationData of an LMDB folder. Raises ToolError."""
    manifest = networks.manifest(lmdb)
    prior = np.full(len(manifest.attributes), 0.5)
    if manifest.sampling == "balanced":
        try:
            prior = manifest.prior
        except ValueError as error:
            raise ToolError(f"{lmdb}: {error}")
    if not ((prior > 0) & (prior < 1)).all():
        raise ToolError(f"{lmdb}: an attribute has no positive or no negative training image; build the LMDBs again")
    attributes, kind = list(manifest.attributes), manifest.kind or ""
    return EvaluationData(pathlib.Path(lmdb), manifests.checksum(lmdb), attributes, prior, kind, manifest.synthetic)


def read_labels(data, split, faces):
    """The labels (N, A) bool of the first faces of a split, 0 for all. Raises ToolError."""
    return networks.read_labels(data.lmdb, split, len(data.attributes))[: faces or None]


def read_persons(data, split, faces):
    """The numbers of the persons on these faces, (N,), or None where persons are not known. Raises ToolError."""
    try:
        persons = image_list.read(data.lmdb).groups(split)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ToolError(str(error))
    return None if persons is None else persons[: faces or None]


# Outputs of networks ----------------------------------------------------------------------------------------


def responses(net, data, split, settings, blobs=BLOBS):
    """Outputs of a net on a split: dict blob -> (N, ...) array, with the labels (N, A) bool as "labels", and as
    "persons" their numbers (N,) where they are known. Raises ToolError.

    settings: EvaluateSettings; blobs: names of the blobs to keep; those that the net does not have are left out
    """
    labels, blobs = read_labels(data, split, settings.faces), [name for name in blobs if name in net.blobs]
    images = (patch for _, patch in zip(range(len(labels)), networks.patches(data.lmdb, split)))
    parts = []
    with tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for patches in networks.batches(images, settings.batch):
            parts.append(networks.forward(net, patches, blobs))
            bar.update(len(patches))
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in blobs}
    if len(outputs[blobs[0]]) != len(labels):
        raise ToolError(
            f"{data.lmdb}: {split} has {len(labels)} labels and {len(outputs[blobs[0]])} images; build the LMDBs again"
        )
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise ToolError(f"{split}: output {name} of the network is not finite; use an earlier snapshot")
    persons = read_persons(data, split, settings.faces)
    return {**outputs, "labels": labels, **({} if persons is None else {"persons": persons})}


def engine():
    """The name of the Caffe that this process computes with."""
    return "BVLC Caffe" if networks.is_bvlc() else "engine on PyTorch"


class Evaluation:
    """One network on a split.

    model: its deploy prototxt; weights: its file; data: EvaluationData; settings: EvaluateSettings; device: its name;
    kept: the .npz file of an earlier evaluation, whose arrays are used again if they were made from the same inputs, or
    None
    Attributes: checksum (of the weights), arrays (what NAME.npz holds), is_kept (whether they are from `kept`), mapper
    (localisation.Mapper or None), calibration (of its scores, by blob), scored (dict score -> scoring.Scored).
    Writes calibration.json. Raises ToolError, OSError.
    """

    def __init__(self, model, weights, data, settings, device="cpu", kept=None):
        net = networks.load(model, weights)
        if networks.attributes_of(net) != len(data.attributes):
            raise ToolError(f"{model} is not for the {len(data.attributes)} attributes of {data.lmdb}")
        self.weights, self.checksum, self.data, self.device = weights, sha256(weights), data, device
        self.mapper = localisation.Mapper.of(net, model) if "region_mapper" in net.params else None
        inputs = self.checksum, sha256(model), data.checksum, settings.split, settings.faces, engine(), device
        inputs = [str(value) for value in (results.VERSION, *inputs)]
        self.arrays = results.kept_arrays(kept, inputs) if kept else None
        self.is_kept = self.arrays is not None
        if not self.is_kept:
            self.arrays = {results.INPUTS: inputs, **self.compute(net, settings)}
        scores = {title: blob for title, blob in results.SCORES.items() if blob in self.arrays}
        tuned_on = "" if settings.split == "val" else "validation_"
        fitted = {blob: scoring.faces(self.arrays, blob, tuned_on) for blob in scores.values()}
        self.calibration = self.calibrate(fitted, settings)
        self.scored = {
            title: scoring.Scored(
                scoring.faces(self.arrays, blob),
                data.prior,
                fitted[blob] if tuned_on else None,
                settings.tune,
                settings.resamples,
            )
            for title, blob in scores.items()
        }

    def compute(self, net, settings):
        """The outputs of the net, labels, and what regions need: dict name -> array."""
        start = time.perf_counter()
        arrays = responses(net, self.data, settings.split, settings)
        arrays["faces_per_second"] = len(arrays["labels"]) / (time.perf_counter() - start)
        if settings.split != "val":
            validation = responses(net, self.data, "val", settings, tuple(results.SCORES.values()))
            arrays.update((f"validation_{name}", values) for name, values in validation.items())
        if self.mapper:
            arrays.update(average=self.mapper.average, rectangles=self.mapper.rectangles)
            arrays.update(threshold=self.mapper.threshold, average_weight=self.mapper.weight)
        return arrays

    def calibrate(self, fitted, settings):
        """The ScoreCalibration of each blob by its validation Faces, dict blob -> Faces; stored beside the weights.

        Not stored: that of some validation faces where there is one of all.
        """
        labels = next(iter(fitted.values())).labels
        new = calibration.Calibration(
            weights=self.checksum,
            data=self.data.checksum,
            attributes=self.data.attributes,
            prior=self.data.prior.tolist(),
            faces=settings.faces,
            tuned_for=settings.tune,
            scores=calibration.make(
                {blob: faces.scores for blob, faces in fitted.items()}, labels, self.data.prior, settings.tune
            ),
            synthetic=self.data.synthetic,
        )
        there = calibration.read(self.weights)
        if not (new.faces and there and there.data == new.data and not there.faces):
            calibration.write(self.weights, new)
        return new.scores

    @property
    def answer(self):
        """The Scored of the network's final output."""
        return list(self.scored.values())[-1]

    @property
    def labels(self):
        """Labels (N, A) bool of the faces."""
        return self.arrays["labels"]

    def result(self, folder, path, boxes):
        """The NetworkResult. folder: of the run; path: of the .npz file; boxes: see localisation.read_boxes."""
        regions = None
        if self.mapper and boxes:
            raw = self.mapper.regions(self.arrays["response"], revise=False)
            rois = {results.RAW: raw, results.REVISED: self.arrays["rois_image"]}
            regions = localisation.rows(rois, boxes, self.data.attributes)
        return results.NetworkResult(
            file=os.path.relpath(self.weights, folder),
            checksum=self.checksum,
            engine=engine(),
            device=self.device,
            cores=len(os.sched_getaffinity(0)),
            faces_per_second=float(self.arrays["faces_per_second"]),
            arrays=sha256(path),
            calibration=self.calibration,
            rows=[row for title, scored in self.scored.items() for row in scored.rows(title, self.data.attributes)],
            regions=regions,
        )
