"""Evaluate trained networks on a split of an LMDB folder: the numbers of table 2, and regions.

    face-cascade evaluate --run build/run
    face-cascade evaluate --lmdb data/lmdb --models models --out build/evaluation \\
        --weights region=build/average.caffemodel cascade=build/cascade_iter_30000.caffemodel

All trained stages of a run are compared, or the files given with --weights; the network of a file is recognised.
Training batches are balanced and the test set is not, so three decisions are reported: p > 0.5; the logit corrected by
the prior of the training set (prior-corrected); thresholds tuned on the validation split (tuned). For each decision:
accuracy, balanced accuracy (mean of the accuracies on positives and on negatives) and F1; and average precision, which
needs no decision. Intervals hold 95 % of bootstrap resamples of the faces, those of the validation split included; all
scores see the same resamples, so that differences are paired.

Written to RUN/evaluation or OUT: tables.txt and evaluation.csv (all numbers), evaluation.json and NAME.npz (read by
report), and, where a network maps regions, regions.png (found regions; white: true boxes) and NAME-figure4.png (as the
paper's). Thresholds, priors and the calibration of probabilities go to calibration.json beside the weights, for predict
and export; those of a run only if they are of its own data, and those of a quick look (--faces) only if there are none
of all faces.

If an evaluation was interrupted, or another stage was trained, or --tune or --resamples are others, run the command
again: outputs that were computed before from the same weights and data are used.
"""

import dataclasses
import datetime
import os
import pathlib
import time

from data_prep.files import sha256, write_bytes
from data_prep.pictures import write_image
from tools import networks, record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import calibration, localisation, metrics, pictures, published, results, scoring, summary
from tools.evaluate.evaluation import SPLITS, EvaluateSettings, Evaluation, read_data
from tools.evaluate.tables import write_csv
from tools.train.stages import commit

DEFAULT_RUN, OUT = "build/run", "build/evaluation"


def evaluate_files(weights, lmdb, out, settings=None, device="cpu", restart=False):
    """Evaluate files of weights and write everything into folder `out`; returns the EvaluationResult.

    weights: dict name -> (deploy prototxt, .caffemodel); lmdb: LMDB folder; restart: compute outputs of networks also
    where the files in `out` have those of the same inputs. Raises ToolError, OSError.
    """
    settings, out = settings or EvaluateSettings(), pathlib.Path(out)
    settings.check()
    networks.use_device(device)
    data = read_data(lmdb)
    evaluations = {}
    for name, (model, file) in weights.items():
        path, unfinished = results.arrays_path(out, name), results.arrays_path(out, name, complete=False)
        kept = () if restart else (path, unfinished)
        evaluations[name] = one = Evaluation(model, file, data, settings, device, kept)
        if one.path is None:
            out.mkdir(parents=True, exist_ok=True)
            results.write_arrays(unfinished, **one.arrays)
            one.path = unfinished
        else:
            print(f"{name}: computed before from the same weights and data, so it is not computed again", flush=True)
        one.score(settings)
    first = next(iter(evaluations.values()))
    boxes = localisation.read_boxes(lmdb, settings.split, len(first.labels))
    measured = {}
    for name, evaluation in evaluations.items():
        path = results.arrays_path(out, name)
        os.replace(evaluation.path, path)
        measured[name] = evaluation.result(path, boxes)
    result = results.EvaluationResult(
        version=results.VERSION,
        date=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        commit=commit(),
        lmdb=str(lmdb),
        data=data.checksum,
        source=data.source,
        split=settings.split,
        faces=len(first.labels),
        attributes=data.attributes,
        prior=data.prior.tolist(),
        tuned_for=settings.tune,
        resamples=settings.resamples,
        synthetic_faces=boxes is not None,
        networks=measured,
        differences=scoring.differences({name: evaluation.answer for name, evaluation in evaluations.items()}),
        published=published.beside({name: results.rows(part) for name, part in measured.items()}, data.source),
    )
    draw(evaluations, out, settings.split, boxes)
    write_csv(out / "evaluation.csv", summary.csv_rows(result))
    write_bytes(out / "tables.txt", summary.tables(result).encode())
    # Written last, so that its presence means that the evaluation is complete.
    results.write(out, result)
    return result


def draw(evaluations, out, split, boxes):
    """Write the pictures of the networks that map regions. Raises ToolError, OSError."""
    mapping = {name: evaluation for name, evaluation in evaluations.items() if evaluation.mapper}
    for name, one in mapping.items():
        picture = pictures.figure4(
            one.mapper, one.blobs["response"], one.labels, one.attributes, one.data.lmdb, split, boxes
        )
        if picture is not None:
            write_image(out / f"{name}-figure4.png", picture)
    if mapping:
        lmdb = next(iter(mapping.values())).data.lmdb
        write_image(out / "regions.png", pictures.sheet(mapping, lmdb, split, boxes))


def evaluate(run, settings=None, device=None, restart=False):
    """Evaluate all trained stages of a run that are done, unless that was done with the same inputs.

    run: tools.run.Run; device: the first of the run's by default; restart: evaluate even so. Writes RUN/evaluation and
    enters stage "evaluate" into the run's record. Returns the EvaluationResult. Raises ToolError, OSError.
    """
    settings, device = settings or EvaluateSettings(), device or run.device()
    settings.check()
    networks.use_device(device)
    with runs.locked(run.folder):
        run.stages = runs.Run.read(run.folder).stages
        run.check_data()
        stages = [stage for stage in record.TRAINED if run.done(stage)]
        if not stages:
            raise ToolError(
                f"{run.folder}: no stage is trained yet; train first: face-cascade train --run {run.folder}"
            )
        weights = {stage: (run.deploy(stage), run.weights(stage)) for stage in stages}
        if settings.split != "test":  # the stage is the test split's; another one has a folder of its own
            out = run.folder / f"evaluation-{settings.split}"
            result = evaluate_files(weights, run.data.lmdb, out, settings, device, restart)
            print(f"{summary.short(result)}\n{listing(out)}")
            return result
        inputs = {"data": run.data.checksum}
        inputs.update((f"weights of {stage}", run.stages[stage].checksum) for stage in stages)
        inputs.update((f"evaluate.{key}", value) for key, value in dataclasses.asdict(settings).items())
        del inputs["evaluate.batch"]  # changes the speed only
        out = run.place("evaluate")
        if not restart and run.done("evaluate") and run.stages["evaluate"].inputs == inputs:
            result = whole(out, run.stages["evaluate"].checksum, weights)
            if result:
                print(f"{out}: already evaluated with the same weights, data and settings; nothing to do")
                return result
        stage = run.stages["evaluate"] = record.Stage(inputs)
        stage.made_with = {"engine": "bvlc" if networks.is_bvlc() else "torch", "device": device}
        run.write()
        start = time.monotonic()
        try:
            result = evaluate_files(weights, run.data.lmdb, out, settings, device, restart)
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
    print(f"{summary.short(result)}\n{listing(out)}")
    return result


def whole(out, checksum, weights):
    """The EvaluationResult in a folder if all of it, and calibration.json, is as it was written; else None.

    checksum: of evaluation.json; weights: as of evaluate_files
    """
    try:
        if sha256(out / results.NAME) != checksum:
            return None
        result = results.read(out)
        for name, network in result.networks.items():
            results.read_arrays(out, name, result)
            calibrated = calibration.read(weights[name][1])
            if calibrated is None or calibrated.scores != network.calibration:
                return None
    except (ToolError, OSError):
        return None
    return result


def listing(out):
    """One line that lists the files of an evaluation."""
    rest = ", ".join(sorted(path.name for path in out.iterdir() if path.name[0] != "." and path.name != "tables.txt"))
    return f"{out}: tables.txt (all tables), {rest}"


def named_weights(words, models):
    """["a=x.caffemodel", "y.caffemodel"] -> dict name -> (deploy prototxt, file), names "a" and "y".

    Raises ToolError.
    """
    named = {}
    for word in words:
        name, _, path = word.rpartition("=")
        name = name or pathlib.Path(path).stem
        if not results.is_name(name):
            raise ToolError(f"--weights {word}: the name must be one that a file can have; give NAME=FILE")
        if name in named:
            raise ToolError(f"--weights: two files are named {name}; give each a name of its own: NAME=FILE")
        named[name] = networks.deploy(models, path), path
    return named


def add_arguments(parser):
    """Add the options of `face-cascade evaluate` to a parser."""
    add, default = parser.add_argument, EvaluateSettings()
    add(
        "--run",
        metavar="FOLDER",
        help=f"The folder of the run whose trained stages are evaluated (default: {DEFAULT_RUN}).",
    )
    add(
        "--weights",
        nargs="+",
        metavar="[NAME=]FILE",
        help="Evaluate and compare these .caffemodel files (default: the stages of --run).",
    )
    add(
        "--models",
        metavar="FOLDER",
        help="With --weights: the folder of the prototxts (default: the run's, else models).",
    )
    add("--lmdb", metavar="FOLDER", help="With --weights: the folder of LMDBs (default: the run's, else data/lmdb).")
    add(
        "--out",
        metavar="FOLDER",
        help=f"With --weights: the folder to write to (default: {OUT}).",
    )
    add("--split", default=default.split, choices=SPLITS, help=f"The split to evaluate on (default: {default.split}).")
    add(
        "--faces",
        type=int,
        default=0,
        metavar="N",
        help="Use only the first N faces of a split, for a quick look (default: 0, all).",
    )
    add(
        "--tune",
        default=default.tune,
        choices=tuple(metrics.MEASURES),
        help="The measure that thresholds are tuned for, from probabilities calibrated on the validation split "
        f"(default: {default.tune}; the threshold is then where the probability is 0.5).",
    )
    add(
        "--resamples",
        type=int,
        default=default.resamples,
        metavar="N",
        help=f"The number of bootstrap resamples (default: {default.resamples}).",
    )
    add(
        "--batch",
        type=int,
        default=default.batch,
        metavar="N",
        help=f"Faces per forward pass; lower it to save memory (default: {default.batch}).",
    )
    add(
        "--restart",
        action="store_true",
        help="Compute everything again (default: outputs of networks that were computed before are used again).",
    )
    add("--device", help="The device: cpu, cuda or cuda:N (default: the run's, else cpu).")


def run(arguments):
    """Run `face-cascade evaluate`; returns the exit status. Raises ToolError, OSError."""
    names = [field.name for field in dataclasses.fields(EvaluateSettings)]
    settings = EvaluateSettings(**{name: getattr(arguments, name) for name in names})
    if not arguments.weights:
        reason = "a run is evaluated on its own data, in its own folder"
        runs.refuse_for_run(arguments, ("models", "lmdb", "out"), reason)
        evaluate(runs.Run.read(arguments.run or DEFAULT_RUN), settings, arguments.device, arguments.restart)
        return 0
    made = runs.Run.read(arguments.run) if arguments.run else None
    weights = named_weights(arguments.weights, arguments.models or arguments.run or "models")
    lmdb, out = arguments.lmdb or (made.data.lmdb if made else "data/lmdb"), pathlib.Path(arguments.out or OUT)
    with runs.locked(out):
        device = arguments.device or (made.device() if made else "cpu")
        result = evaluate_files(weights, lmdb, out, settings, device, arguments.restart)
    print(f"{summary.short(result)}\n{listing(out)}")
    return 0
