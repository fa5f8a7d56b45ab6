"""One network on a split of a run's LMDBs: its outputs, scores, calibration, measures and regions."""

import os
import time

import numpy as np
from tqdm import tqdm

from data_prep.files import sha256
from data_prep.store import image_list, manifest
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, results, scoring

BLOBS = (*results.SCORES.values(), "rois_image", "response")


def training_prior(lmdb):
    """The share of positives (A,) that logits are corrected for. Raises DataError, OSError.

    It is the training set's, or 0.5 for natural batches, whose scores need no correction.
    """
    built = manifest.read(lmdb)
    if built.sampling == "natural":
        return np.full(len(built.attributes), 0.5)
    try:
        prior = built.prior
    except ValueError as error:
        raise ToolError(f"{lmdb}: {error}")
    if not ((prior > 0) & (prior < 1)).all():
        raise ToolError(f"{lmdb}: an attribute has no positive or no negative training image; build the LMDBs again")
    return prior


def read_persons(lmdb, split, faces):
    """The numbers of the persons on the first faces of a split, 0 for all, (N,); None where persons are not known.

    Raises DataError, OSError.
    """
    try:
        persons = image_list.read(lmdb).groups(split)
    except FileNotFoundError:
        return None
    return None if persons is None else persons[: faces or None]


def responses(net, run, split, settings, blobs=BLOBS):
    """Outputs of a net on a split: dict blob -> (N, ...) array, with the labels (N, A) bool as "labels", and as
    "persons" their numbers (N,) where they are known. Raises DataError, OSError.

    settings: EvaluateSettings; blobs: names of the blobs to keep; those that the net does not have are left out
    """
    blobs, parts = [name for name in blobs if name in net.blobs], []
    labels = networks.read_labels(run.lmdb, split, len(run.attributes))[: settings.faces or None]
    images = (patch for _, patch in zip(range(len(labels)), networks.patches(run.lmdb, split)))
    with tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for patches in networks.batches(images, settings.batch):
            parts.append(networks.forward(net, patches, blobs))
            bar.update(len(patches))
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in blobs}
    if len(outputs[blobs[0]]) != len(labels):
        raise ToolError(
            f"{run.lmdb}: {split} has {len(labels)} labels and {len(outputs[blobs[0]])} images; build the LMDBs again"
        )
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise ToolError(f"{split}: output {name} of the network is not finite; use an earlier snapshot")
    persons = read_persons(run.lmdb, split, settings.faces)
    return {**outputs, "labels": labels, **({} if persons is None else {"persons": persons})}


class Evaluation:
    """The network of a stage on a split. Writes calibration.json. Raises DataError, OSError.

    prior: as of `training_prior`; settings: EvaluateSettings; device: its name; kept: the .npz file of an earlier
    evaluation, whose arrays are used again if they were made from the same inputs, or None
    Attributes: arrays (what NAME.npz holds), is_kept (whether they are from `kept`), mapper (localisation.Mapper or
    None), scored (dict score -> scoring.Scored, the network's answer last), calibration (of its scores, by blob).
    """

    def __init__(self, run, stage, prior, settings, device="cpu", kept=None):
        model, self.weights, self.checksum = run.deploy(stage), run.weights(stage), run.stages[stage].checksum
        self.run, self.device = run, device
        self.engine = "BVLC Caffe" if networks.is_bvlc() else "engine on PyTorch"
        net = networks.load(model, self.weights)
        if networks.attributes_of(net) != len(run.attributes):
            raise ToolError(f"{model} is not for the {len(run.attributes)} attributes of {run.lmdb}")
        inputs = self.checksum, sha256(model), run.data.checksum, settings.split, settings.faces, self.engine, device
        inputs = [str(value) for value in (results.VERSION, *inputs)]
        self.arrays = results.kept_arrays(kept, inputs) if kept else None
        self.is_kept = self.arrays is not None
        if not self.is_kept:
            self.arrays = {results.INPUTS: inputs, **self.compute(net, model, settings)}
        self.mapper = localisation.Mapper.of_arrays(self.arrays)
        self.scored = scoring.of_network(self.arrays, prior, settings.tune, settings.resamples)
        self.calibration = self.calibrate(prior, settings)

    def compute(self, net, model, settings):
        """The outputs of the net, labels, and what regions need: dict name -> array."""
        start = time.perf_counter()
        arrays = responses(net, self.run, settings.split, settings)
        arrays["faces_per_second"] = len(arrays["labels"]) / (time.perf_counter() - start)
        if settings.split != "val":
            validation = responses(net, self.run, "val", settings, tuple(results.SCORES.values()))
            arrays.update((f"validation_{name}", values) for name, values in validation.items())
        if "region_mapper" in net.params:
            arrays.update(vars(localisation.Mapper.of(net, model)))
        return arrays

    def calibrate(self, prior, settings):
        """The ScoreCalibration of each blob, fitted on validation faces: a dict; it is stored beside the weights.

        Not stored: that of some validation faces where there is one of all.
        """
        scores = {results.SCORES[title]: scored.calibration for title, scored in self.scored.items()}
        data = self.run.data
        new = calibration.Calibration(
            weights=self.checksum,
            data=data.checksum,
            attributes=self.run.attributes,
            prior=prior.tolist(),
            faces=settings.faces,
            tuned_for=settings.tune,
            scores=scores,
            synthetic=data.synthetic,
        )
        there = calibration.read(self.weights)
        if not (new.faces and there and there.data == new.data and not there.faces):
            calibration.write(self.weights, new)
        return scores

    def result(self, path, boxes):
        """The NetworkResult. path: of the .npz file; boxes: see localisation.read_boxes."""
        regions = None
        if self.mapper and boxes:
            raw = self.mapper.regions(self.arrays["response"], revise=False)
            rois = {results.RAW: raw, results.REVISED: self.arrays["rois_image"]}
            regions = localisation.rows(rois, boxes, self.run.attributes)
        return results.NetworkResult(
            file=os.path.relpath(self.weights, self.run.folder),
            checksum=self.checksum,
            engine=self.engine,
            device=self.device,
            cores=len(os.sched_getaffinity(0)),
            faces_per_second=float(self.arrays["faces_per_second"]),
            arrays=sha256(path),
            calibration=self.calibration,
            rows=[row for title, scored in self.scored.items() for row in scored.rows(title, self.run.attributes)],
            regions=regions,
        )
