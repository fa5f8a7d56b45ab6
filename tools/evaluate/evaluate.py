"""The networks of a run on a split of its LMDBs: outputs, scores, calibration, measures and regions, in one folder."""

import contextlib
import datetime
import os
import time

import numpy as np
from tqdm import tqdm

from data_prep.files import sha256
from data_prep.pictures import write_image
from data_prep.store import image_list, manifest
from data_prep.store.databases import read_labels
from tools import networks
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, results, scoring
from tools.run import STARTS_FROM
from tools.train.stages import commit

ENGINE = "BVLC Caffe" if networks.is_bvlc() else "engine on PyTorch"
BLOBS = (*results.SCORES.values(), "rois_image", "response")


def training_prior(lmdb):
    """The share of positives (A,) that logits are corrected for. Raises DataError, OSError.

    It is the training set's, or 0.5 for natural batches, whose scores need no correction.
    """
    built = manifest.read(lmdb)
    if built.settings.sampling == "natural":
        return np.full(len(built.attributes), 0.5)
    train = built.splits.get("train")
    if train is None or not train.images:
        raise ToolError(f"{lmdb}: {manifest.NAME}: split 'train' is missing, so the share of positives is not known")
    prior = np.array([train.positive[name] for name in built.attributes]) / train.images
    if not ((prior > 0) & (prior < 1)).all():
        raise ToolError(f"{lmdb}: an attribute has no positive or no negative training image; build the LMDBs again")
    return prior


def read_persons(lmdb, split):
    """The numbers of the persons on the faces of a split, (N,); None where persons are not known.

    Raises DataError, OSError.
    """
    try:
        return image_list.read(lmdb).groups(split)
    except FileNotFoundError:
        return None


def responses(net, run, split, settings, blobs=BLOBS):
    """Outputs of a net on a split: dict blob -> (N, ...) array, with the labels (N, A) bool as "labels", and as
    "persons" their numbers (N,) where they are known. Raises DataError, OSError.

    settings: EvaluateSettings; blobs: names of the blobs to keep; those that the net does not have are left out
    """
    blobs, parts, faces = [name for name in blobs if name in net.blobs], [], settings.faces or None
    labels = read_labels(f"{run.lmdb}/{split}_labels", len(run.attributes))[:faces]
    images = (patch for _, patch in zip(range(len(labels)), networks.patches(run.lmdb, split)))
    with tqdm(total=len(labels), unit="face", desc=split, disable=None) as bar:
        for patches in networks.batches(images, settings.batch):
            parts.append(networks.forward(net, patches, blobs))
            bar.update(len(patches))
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in blobs}
    if outputs[blobs[0]].shape != labels.shape:
        there, given = (" x ".join(map(str, part.shape)) for part in (labels, outputs[blobs[0]]))
        raise ToolError(f"{run.lmdb}: {split} has {there} labels, and the network gives {given}; build the LMDBs again")
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise ToolError(f"{split}: output {name} of the network is not finite; use an earlier snapshot")
    persons = read_persons(run.lmdb, split)
    return {**outputs, "labels": labels, **({} if persons is None else {"persons": persons[:faces]})}


def outputs(run, name, stage, settings, device, path, restart):
    """What NAME.npz holds of a network, see results.read_arrays: of an earlier evaluation, where its inputs were the
    same, else computed and written. Raises DataError, OSError.

    stage: whose weights stand for it; settings: EvaluateSettings; path: of the file; restart: compute in any case
    """
    model, weights = run.deploy(stage), run.weights(stage)
    inputs = run.stages[stage].checksum, sha256(model), run.data.checksum, settings.split, settings.faces
    inputs = [str(value) for value in (results.VERSION, *inputs, ENGINE, device)]
    with contextlib.suppress(ToolError):  # there is none, or a damaged one
        arrays = results.load_arrays(path)
        if not restart and arrays[results.INPUTS][:-1].tolist() == inputs:
            print(f"{name}: computed before from the same weights and data, so it is not computed again", flush=True)
            return arrays
    net, start = networks.load(model, weights), time.perf_counter()
    arrays = responses(net, run, settings.split, settings)
    arrays["faces_per_second"] = len(arrays["labels"]) / (time.perf_counter() - start)
    if settings.split != "val":
        validation = responses(net, run, "val", settings, tuple(results.SCORES.values()))
        arrays.update((f"validation_{key}", values) for key, values in validation.items())
    if "region_mapper" in net.params:
        arrays.update(localisation.mapper(net, model))
    return results.write_arrays(path, inputs, arrays)


def calibrate(run, stage, scores, settings):
    """Store the calibration of a stage's weights beside them, unless there is one by all validation faces where this is
    by some, or one by other data. scores: dict blob -> what scoring.Scored fitted
    """
    weights, there = run.weights(stage), None
    with contextlib.suppress(ToolError):  # a damaged file is replaced
        there = calibration.read(weights)
    if there and there.data != run.data.checksum:
        place = weights.with_name(calibration.NAME)
        print(f"{weights}: keeps its calibration by other data; to calibrate it by these, remove {place} first")
    elif not (there and settings.faces and not there.faces):
        entry = {"weights": run.stages[stage].checksum, "data": run.data.checksum, "attributes": run.attributes}
        entry.update(faces=settings.faces, scores=scores)
        calibration.write(weights, {**entry, "synthetic": run.data.synthetic})


def evaluate(run, settings, device=None, restart=False):
    """Evaluate all trained networks of a run, and write everything into RUN/evaluation, or RUN/evaluation-val.

    run: tools.run.Run; settings: EvaluateSettings; device: the first of the run's by default; restart: compute outputs
    also where the files there have those of the same inputs. Returns the content of evaluation.json.
    Raises DataError, OSError.
    """
    device = device or run.device()
    networks.use_device(device)
    if not run.data.checksum:
        raise ToolError(f"{run.folder}: what it was trained on is not recorded; name LMDBs to evaluate it on: --lmdb")
    run.check_data()
    if not run.evaluated():
        raise ToolError(f"{run.folder}: no stage is trained yet; train first: {run.command('region')}")
    built, prior = manifest.read(run.lmdb), training_prior(run.lmdb)
    if built.attributes != run.attributes:
        there, own = ", ".join(built.attributes), ", ".join(run.attributes)
        raise ToolError(f"{run.lmdb}: holds {there}, and the networks of {run.folder} are for {own}")
    out = run.place("evaluate" if settings.split == "test" else f"evaluation-{settings.split}")
    out.mkdir(parents=True, exist_ok=True)
    for stage in filter(run.outdated, STARTS_FROM):
        print(f"{stage}: {run.state(stage)}; it is left out", flush=True)
    arrays = {
        name: outputs(run, name, stage, settings, device, out / f"{name}.npz", restart)
        for name, stage in run.evaluated().items()
    }
    boxes, answers, found = localisation.read_boxes(run.lmdb, settings.split), {}, {}
    for name, stage in run.evaluated().items():
        scored = scoring.of_network(arrays[name], prior, settings.tune, settings.resamples)
        answers[name] = list(scored.values())[-1]
        calibrated = {results.SCORES[title]: score.calibration for title, score in scored.items()}
        calibrate(run, stage, calibrated, settings)
        found[name] = results.Entry(
            file=os.path.relpath(run.weights(stage), run.folder),
            checksum=run.stages[stage].checksum,
            engine=ENGINE,
            device=device,
            cores=len(os.sched_getaffinity(0)),
            faces_per_second=float(arrays[name]["faces_per_second"]),
            arrays=str(arrays[name][results.INPUTS][-1]),
            calibration=calibrated,
            rows=[row for title, score in scored.items() for row in score.rows(title, run.attributes)],
            regions=localisation.rows(arrays[name], boxes, run.attributes),
        )
    result = results.Entry(
        version=results.VERSION,
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        commit=commit(),
        lmdb=run.data.lmdb,
        data=run.data.checksum,
        source=built.kind or "",
        split=settings.split,
        faces=len(arrays[name]["labels"]),
        persons=len(np.unique(arrays[name].get("persons", ()))),
        attributes=run.attributes,
        prior=prior.tolist(),
        tuned_for=settings.tune,
        resamples=settings.resamples,
        synthetic=built.synthetic,
        networks=found,
        differences=scoring.differences(answers),
    )
    mapping = {name: of_network for name, of_network in arrays.items() if "average" in of_network}
    if mapping:
        write_image(out / "regions.png", localisation.sheet(run, settings.split, mapping, boxes))
    results.write_csv(out / "evaluation.csv", results.csv_rows(result))
    # Written last, so that its presence means that the evaluation is complete.
    results.write(out, result)
    print(results.short(result))
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")
    return result
