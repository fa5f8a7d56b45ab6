"""Writes an evaluation without a trained network: LMDBs, weights and the files of evaluate, with any text in them."""

import json

import numpy as np
from caffe.proto import caffe_pb2

from data_prep.files import sha256
from data_prep.store import databases, manifest
from tools.evaluate import localisation, results, scoring
from tools.evaluate.calibration import ScoreCalibration

FACES = 12
ATTRIBUTES = ["Male", "Smiling"]  # of the manifest, whose only texts are names


def weights_file(path):
    """A small .caffemodel."""
    message = caffe_pb2.NetParameter()
    blob = message.layer.add(name="head", type="Convolution").blobs.add()
    blob.shape.dim.extend((2, 3))
    blob.data.extend(range(6))
    path.write_bytes(message.SerializeToString())


KINDS = ("region", "cascade", "whole_face")


def make(folder, attributes, names, word="plain", boxes=False, seed=0):
    """An evaluation folder of up to three networks, with `word` where any text is allowed; returns it and its result.

    names: of the networks, which are KINDS in this order; boxes: whether true boxes lie beside the faces
    """
    rng = np.random.default_rng(seed)
    lmdb, out = folder / f"lmdb {word}", folder / "evaluation"
    for place in (lmdb, out):
        place.mkdir(parents=True)
    labels = np.arange(FACES * len(attributes)).reshape(FACES, -1) % 3 > 0
    pictures = [databases.image_datum(rng.integers(0, 255, (224, 224, 3), np.uint8), "png") for _ in range(FACES)]
    databases.write_lmdb(lmdb / "test_images", pictures, FACES, "test")
    (lmdb / "manifest.json").write_text(json.dumps({"attributes": ATTRIBUTES}))
    count = len(attributes)
    networks, scored = {}, {}
    true = [dict.fromkeys(attributes, [0, 0, 100, 100])] * FACES
    if boxes:
        (lmdb / "test_boxes.json").write_text(json.dumps(true))
    for name, kind in zip(names, KINDS):
        score = rng.normal(size=(FACES, count)) + labels
        blobs = {"region": {"max_d": score}, "whole_face": {"logits": 2 * score}}.get(kind)
        blobs = blobs or {"max_d": score, "logits": 2 * score}
        average = rng.uniform(0, 1, (count, 4, 4))
        rectangles = np.tile([0.0, 0.0, 13.0, 13.0], (count, 4, 4, 1))
        response = rng.uniform(0, 1, (FACES, count, 4, 4))
        mapper = localisation.Mapper(average, rectangles, 0.5, 0.5)
        arrays = {"average": average, "rectangles": rectangles, "threshold": 0.5, "average_weight": 0.5}
        path = results.arrays_path(out, name)
        regions = mapper.regions(response)
        arrays = {} if kind == "whole_face" else {**arrays, "response": response, "rois_image": regions}
        validation = {f"validation_{blob}": values for blob, values in blobs.items()}
        results.write_arrays(path, labels=labels, validation_labels=labels, **blobs, **validation, **arrays)
        found = {results.RAW: mapper.regions(response, revise=False), results.REVISED: regions}
        file = folder / f"{kind} {word}.caffemodel"
        weights_file(file)
        rows = []
        for title, blob in results.SCORES.items():
            if blob in blobs:
                validation = blobs[blob], labels
                scored[name] = scoring.Scored(blobs[blob], labels, np.full(count, 0.5), validation, resampled=20)
                rows += scored[name].rows(title, attributes)
        networks[name] = results.NetworkResult(
            file=str(file),
            checksum=sha256(file),
            network=kind,
            engine=f"engine {word}",
            device=f"cpu {word}",
            cores=2,
            faces_per_second=3.5,
            arrays=sha256(path),
            calibration={blob: ScoreCalibration([0.0] * count, [1.0] * count, [0.0] * count) for blob in blobs},
            rows=rows,
            regions=None if kind == "whole_face" else localisation.rows(found, true, attributes),
        )
    result = results.EvaluationResult(
        version=results.VERSION,
        date="2026-11-25 10:00 UTC",
        commit=f"commit {word}",
        lmdb=str(lmdb),
        data=sha256(lmdb / manifest.NAME),
        source=f"source {word}",
        split="test",
        faces=FACES,
        attributes=list(attributes),
        prior=[0.5] * count,
        tuned_for="accuracy",
        resamples=20,
        synthetic_faces=True,
        networks=networks,
        differences=scoring.differences(scored),
        published=[],
    )
    results.write(out, result)
    return out, result
