"""Evaluate the networks of a run and write everything into a folder."""

import dataclasses
import datetime
import time

import numpy as np

from data_prep.errors import DataError
from data_prep.files import sha256, write_bytes
from data_prep.pictures import write_image
from data_prep.store import manifest
from tools import networks
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, pictures, results, scoring, summary
from tools.evaluate.evaluation import Evaluation, training_prior
from tools.locking import locked
from tools.record import Stage
from tools.train.stages import commit


def evaluate(run, settings, device=None, restart=False):
    """Evaluate all trained networks of a run, unless that was done with the same inputs.

    run: tools.run.Run; settings: EvaluateSettings; device: the first of the run's by default; restart: evaluate even so
    Writes RUN/evaluation, or RUN/evaluation-val, and for the test split enters stage "evaluate" into the run's record.
    Returns the EvaluationResult. Raises DataError, OSError.
    """
    device = device or run.device()
    networks.use_device(device)
    with locked(run.output):
        if run.recorded:
            run.stages = runs.Run.read(run.folder).stages
        if not run.data.checksum:
            raise ToolError(
                f"{run.folder}: what it was trained on is not recorded; name LMDBs to evaluate it on: --lmdb"
            )
        run.check_data()
        if not run.evaluated():
            raise ToolError(f"{run.folder}: no stage is trained yet; train first: {run.command('region')}")
        if settings.split == "test":
            return evaluate_stage(run, settings, device, restart)
        return write(run, run.output / f"evaluation-{settings.split}", settings, device, restart)


def evaluate_stage(run, settings, device, restart):
    """The stage "evaluate" of a run; arguments as of `evaluate`."""
    out, inputs = run.place("evaluate"), {"data": run.data.checksum}
    inputs.update((f"weights of {name}", run.stages[stage].checksum) for name, stage in run.evaluated().items())
    inputs.update((f"evaluate.{key}", value) for key, value in dataclasses.asdict(settings).items())
    del inputs["evaluate.batch"]  # changes the speed only
    if not restart and run.done("evaluate") and run.stages["evaluate"].inputs == inputs:
        result = whole(run, out)
        if result:
            print(f"{out}: already evaluated with the same weights, data and settings; nothing to do")
            return result
    stage = run.stages["evaluate"] = Stage(inputs)
    stage.made_with = {"engine": "bvlc" if networks.is_bvlc() else "torch", "device": device}
    run.write()
    start = time.monotonic()
    try:
        result = write(run, out, settings, device, restart)
        stage.state, stage.checksum = "done", sha256(out / results.NAME)
    except KeyboardInterrupt:
        stage.state = "interrupted"
        raise
    except (DataError, OSError) as error:
        stage.state, stage.message = "failed", str(error)
        raise
    finally:
        stage.seconds = time.monotonic() - start
        run.write()
    return result


def whole(run, out):
    """The EvaluationResult in a folder if all of it, and what it rests on, is as it was written; else None."""
    trained = {name: (run.deploy(stage), run.weights(stage)) for name, stage in run.evaluated().items()}
    try:
        result = results.read(out, run.stages["evaluate"].checksum)
        for name, network in result.networks.items():
            results.read_arrays(out, name, result)
            calibrated = calibration.read(trained[name][1])
            if calibrated is None or calibrated.scores != network.calibration:
                return None
    except (ToolError, OSError):
        return None
    return result


def write(run, out, settings, device, restart):
    """Evaluate networks and write everything into folder `out`; returns the EvaluationResult.

    restart: compute their outputs also where the files in `out` have those of the same inputs. Raises DataError,
    OSError.
    """
    built, prior, evaluations = manifest.read(run.lmdb), training_prior(run.lmdb), {}
    if built.attributes != run.attributes:
        there, own = ", ".join(built.attributes), ", ".join(run.attributes)
        raise ToolError(f"{run.lmdb}: holds {there}, and the networks of {run.folder} are for {own}")
    out.mkdir(parents=True, exist_ok=True)
    for name, stage in run.evaluated().items():
        path = out / f"{name}.npz"
        evaluations[name] = Evaluation(run, stage, prior, settings, device, None if restart else path)
        if evaluations[name].is_kept:
            print(f"{name}: computed before from the same weights and data, so it is not computed again", flush=True)
        else:
            results.write_arrays(path, **evaluations[name].arrays)
    arrays = next(iter(evaluations.values())).arrays
    faces, persons = len(arrays["labels"]), len(np.unique(arrays.get("persons", ())))
    boxes = localisation.read_boxes(run.lmdb, settings.split, faces)
    result = results.EvaluationResult(
        version=results.VERSION,
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        commit=commit(),
        lmdb=run.data.lmdb,
        data=run.data.checksum,
        source=built.kind or "",
        split=settings.split,
        faces=faces,
        persons=persons,
        attributes=run.attributes,
        prior=prior.tolist(),
        tuned_for=settings.tune,
        resamples=settings.resamples,
        synthetic=built.synthetic,
        networks={name: evaluation.result(out / f"{name}.npz", boxes) for name, evaluation in evaluations.items()},
        differences=scoring.differences(
            {name: list(evaluation.scored.values())[-1] for name, evaluation in evaluations.items()}
        ),
    )
    mapping = {name: evaluation for name, evaluation in evaluations.items() if evaluation.mapper}
    for name, evaluation in mapping.items():
        picture = pictures.figure4(evaluation, settings.split, boxes)
        if picture is not None:
            write_image(out / f"{name}-figure4.png", picture)
    if mapping:
        write_image(out / "regions.png", pictures.sheet(mapping, settings.split, boxes))
    summary.write_csv(out / "evaluation.csv", summary.csv_rows(result))
    write_bytes(out / "tables.txt", summary.tables(result).encode())
    # Written last, so that its presence means that the evaluation is complete.
    results.write(out, result)
    print(summary.short(result))
    written = sorted(path.name for path in out.iterdir() if path.name != "tables.txt")
    print(f"{out}: tables.txt (all tables), {', '.join(written)}")
    return result
