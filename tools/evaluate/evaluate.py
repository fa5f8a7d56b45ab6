"""Evaluate the networks of a run and write everything into a folder."""

import dataclasses
import datetime
import time

import numpy as np

from data_prep.files import sha256, write_bytes
from data_prep.pictures import write_image
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, pictures, results, scoring, summary
from tools.evaluate.evaluation import Evaluation, evaluation_data
from tools.evaluate.settings import EvaluateSettings
from tools.evaluate.tables import write_csv
from tools.locking import locked
from tools.record import Stage
from tools.train.stages import commit


def evaluate(run, settings=None, device=None, restart=False):
    """Evaluate all trained networks of a run, unless that was done with the same inputs.

    run: tools.run.Run; device: the first of the run's by default; restart: evaluate even so. Writes RUN/evaluation, or
    RUN/evaluation-val, and for the test split enters stage "evaluate" into the run's record. Returns the
    EvaluationResult. Raises ToolError, OSError.
    """
    settings, device = settings or EvaluateSettings(), device or run.device()
    networks.use_device(device)
    with locked(run.output):
        if run.recorded:
            run.stages = runs.Run.read(run.folder).stages
        if not run.data.checksum:
            raise ToolError(
                f"{run.folder}: what it was trained on is not recorded; name LMDBs to evaluate it on: --lmdb"
            )
        run.check_data()
        stages = run.evaluated()
        if not stages:
            raise ToolError(f"{run.folder}: no stage is trained yet; train first: {run.command('region')}")
        trained = {name: (run.deploy(stage), run.weights(stage)) for name, stage in stages.items()}
        if settings.split != "test":
            return write(run, trained, run.output / f"evaluation-{settings.split}", settings, device, restart)
        inputs = {"data": run.data.checksum}
        inputs.update((f"weights of {name}", run.stages[stage].checksum) for name, stage in stages.items())
        inputs.update((f"evaluate.{key}", value) for key, value in dataclasses.asdict(settings).items())
        del inputs["evaluate.batch"]  # changes the speed only
        return evaluate_stage(run, inputs, trained, settings, device, restart)


def evaluate_stage(run, inputs, trained, settings, device, restart):
    """The stage "evaluate" of a run; inputs: what it depends on, others as of `evaluate` and `write`."""
    out = run.place("evaluate")
    if not restart and run.done("evaluate") and run.stages["evaluate"].inputs == inputs:
        result = whole(out, run.stages["evaluate"].checksum, trained)
        if result:
            print(f"{out}: already evaluated with the same weights, data and settings; nothing to do")
            return result
    stage = run.stages["evaluate"] = Stage(inputs)
    stage.made_with = {"engine": "bvlc" if networks.is_bvlc() else "torch", "device": device}
    run.write()
    start = time.monotonic()
    try:
        result = write(run, trained, out, settings, device, restart)
        stage.state, stage.checksum = "done", sha256(out / results.NAME)
    except KeyboardInterrupt:
        stage.state = "interrupted"
        raise
    except (ToolError, OSError) as error:
        stage.state, stage.message = "failed", str(error)
        raise
    finally:
        stage.seconds = time.monotonic() - start
        run.write()
    return result


def whole(out, checksum, trained):
    """The EvaluationResult in a folder if all of it, and calibration.json, is as it was written; else None.

    checksum: of evaluation.json; trained: as of `write`
    """
    try:
        result = results.read(out, checksum)
        for name, network in result.networks.items():
            results.read_arrays(out, name, result)
            calibrated = calibration.read(trained[name][1])
            if calibrated is None or calibrated.scores != network.calibration:
                return None
    except (ToolError, OSError):
        return None
    return result


def write(run, trained, out, settings, device, restart):
    """Evaluate networks and write everything into folder `out`; returns the EvaluationResult.

    trained: dict network -> (deploy prototxt, .caffemodel); restart: compute their outputs also where the files in
    `out` have those of the same inputs. Raises ToolError, OSError.
    """
    data, evaluations = evaluation_data(run.lmdb), {}
    out.mkdir(parents=True, exist_ok=True)
    for name, (model, weights) in trained.items():
        path = results.arrays_path(out, name)
        evaluation = Evaluation(model, weights, data, settings, device, None if restart else path)
        if evaluation.is_kept:
            print(f"{name}: computed before from the same weights and data, so it is not computed again", flush=True)
        else:
            results.write_arrays(path, **evaluation.arrays)
        evaluations[name] = evaluation
    first = next(iter(evaluations.values()))
    boxes = localisation.read_boxes(run.lmdb, settings.split, len(first.labels))
    result = results.EvaluationResult(
        version=results.VERSION,
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        commit=commit(),
        lmdb=run.data.lmdb,
        data=data.checksum,
        source=data.source,
        split=settings.split,
        faces=len(first.labels),
        persons=len(np.unique(first.arrays.get("persons", ()))),
        attributes=data.attributes,
        prior=data.prior.tolist(),
        tuned_for=settings.tune,
        resamples=settings.resamples,
        synthetic=data.synthetic,
        networks={
            name: evaluation.result(run.folder, results.arrays_path(out, name), boxes)
            for name, evaluation in evaluations.items()
        },
        differences=scoring.differences({name: evaluation.answer for name, evaluation in evaluations.items()}),
    )
    draw(evaluations, out, settings.split, boxes)
    write_csv(out / "evaluation.csv", summary.csv_rows(result))
    write_bytes(out / "tables.txt", summary.tables(result).encode())
    # Written last, so that its presence means that the evaluation is complete.
    results.write(out, result)
    print(summary.short(result))
    written = sorted(path.name for path in out.iterdir() if path.name != "tables.txt")
    print(f"{out}: tables.txt (all tables), {', '.join(written)}")
    return result


def draw(evaluations, out, split, boxes):
    """Write the pictures of the networks that map regions. Raises ToolError, OSError."""
    mapping = {name: evaluation for name, evaluation in evaluations.items() if evaluation.mapper}
    for name, evaluation in mapping.items():
        picture = pictures.figure4(evaluation, split, boxes)
        if picture is not None:
            write_image(out / f"{name}-figure4.png", picture)
    if mapping:
        write_image(out / "regions.png", pictures.sheet(mapping, split, boxes))
