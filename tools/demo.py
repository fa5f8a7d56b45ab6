"""Run every step on synthetic faces, in minutes: data, both stages of training, evaluation, prediction, report.

  face-cascade demo            in build/demo; the same as `make demo`

No photo is used: 2,000 faces with three attributes are rendered by data_prep.synthetic. The engine on PyTorch trains,
because it is faster than BVLC Caffe on most CPUs; then BVLC Caffe answers for some of the faces with the same weights,
and the largest difference of a probability is printed. --caffe bvlc trains on BVLC Caffe as well. To resume an
interrupted demo, run the same command again; after a complete one it prints the results again. See report.html.
"""

import json
import pathlib

from data_prep.build.builder import build
from data_prep.sources import celeba
from data_prep.sources.opening import open_source
from data_prep.store import manifest
from data_prep.synthetic import synthetic_faces
from tools import record
from tools import run as runs
from tools.errors import ToolError
from tools.evaluate import results
from tools.install import engines
from tools.locking import locked
from tools.predict import output
from tools.report import report
from tools.train import command, stages

FACES, SEED = 2000, 1
PREVALENCE = {"Eyeglasses": 0.3, "Wearing_Hat": 0.3, "Mustache": 0.3}
SHOWN = 8  # faces in the prediction step
# A schedule for laptops: enough for these synthetic faces, far too short for photos.
SOLVER = {
    "region": {"max_iter": "280", "stepsize": "225"},
    "cascade": {"max_iter": "130", "stepsize": "105"},
}
SHARED = {"display": "10", "snapshot": "50", "test_interval": "1000"}


def add_arguments(parser):
    """Add the options of `face-cascade demo` to a parser."""
    add = parser.add_argument
    add(
        "--run",
        default="build/demo",
        metavar="FOLDER",
        help="The folder for data, run and results (default: build/demo).",
    )
    add(
        "--caffe",
        choices=engines.CHOICES,
        default="torch",
        help="The Caffe to train with: torch is the engine, which is faster, bvlc is BVLC Caffe (default: torch).",
    )
    add("--device", default="cpu", help="The device to compute on: cpu, cuda or cuda:N (default: cpu).")
    add("--restart", action="store_true", help="Train again, even if an earlier demo has trained (default: resume).")


def prepare(folder):
    """Render the faces and build their LMDBs, unless they exist; returns the two folders. Raises ToolError."""
    faces, lmdb = folder / "faces", folder / "lmdb"
    try:
        if not manifest.exists(lmdb):
            if not (faces / celeba.PARTITION[0]).exists():
                print("step 1 of 6: rendering synthetic faces", flush=True)
                synthetic_faces.generate(faces, FACES, SEED, PREVALENCE)
            print("step 2 of 6: building LMDBs", flush=True)
            build(open_source(faces), lmdb, list(PREVALENCE))
    except (ValueError, RuntimeError) as error:
        raise ToolError(str(error))
    return faces, lmdb


def run(arguments):
    """Run `face-cascade demo`. Raises ToolError, OSError."""
    folder = pathlib.Path(arguments.run)
    engine = engines.choose(arguments.caffe, arguments.device)
    engines.ensure(engine)
    engines.check_device(engine, arguments.device)
    with locked(folder) as lock:
        faces, lmdb = prepare(folder)
        settings = record.Settings(engine=engine.name, device=arguments.device)
        settings.solver = {name: {**SHARED, **SOLVER.get(name, {})} for name in record.TRAINED}
        made = runs.Run.create(folder, lmdb, settings)
        if runs.Run.exists(folder) and not arguments.restart:
            made.stages = runs.Run.read(folder).stages
        print(f"step 3 of 6: training on {engines.NAMES[engine.name]}", flush=True)
        call = stages.Call(engine, lock=lock)
        stages.train(made, command.DEFAULT_STAGES, call, arguments.restart)
        print("step 4 of 6: evaluation", flush=True)
        stages.tool(made, call, ["evaluate", "--run", str(folder)])
        print("step 5 of 6: predictions", flush=True)
        pictures = [str(path) for path in sorted((faces / "img_align_celeba").glob("*.jpg"))[-SHOWN:]]
        stages.tool(made, call, ["predict", "--run", str(folder), "--aligned", *pictures])
        compared = compare(made, call, pictures)
        print("step 6 of 6: report", flush=True)
        out = report.report(runs.Run.read(folder))  # in this Python: BVLC Caffe's has no templates
        print(f"{out}: open it in a browser")
    summary(folder)
    if compared:
        print(compared)
    return 0


def compare(run, call, pictures):
    """Answer for pictures with BVLC Caffe and a run's weights too: a line about the largest difference.

    call: the Call of the engine that has answered already. None where that was BVLC Caffe or it cannot be installed.
    """
    if call.engine.name == "bvlc":
        return None
    bvlc, out = engines.Engine("bvlc"), run.folder / "predictions-bvlc"
    try:
        problem = engines.obstacle()
        if problem:
            raise ToolError(problem)
        engines.ensure(bvlc)
    except ToolError as error:
        print(f"not compared with BVLC Caffe: {error}", flush=True)
        return None
    words = ["predict", "--run", str(run.folder), "--out", str(out), "--no-pictures", "--aligned", *pictures]
    # The record names the engine that trained, and predict would use that one.
    stages.tool(run, stages.Call(bvlc, lock=call.lock), [*words, "--caffe=bvlc", "--device=cpu"])
    ours, theirs = (probabilities(run.folder / name) for name in ("predictions", out.name))
    largest = max(abs(one - other) for one, other in zip(ours, theirs))
    return (
        f"BVLC Caffe:     same weights, same faces; largest difference among {len(ours)} probabilities: {largest:.4f}"
    )


def probabilities(folder):
    """All probabilities in a folder of predictions, in order."""
    photos = [json.loads(line) for line in (folder / output.LINES).read_text().splitlines()]
    return [
        answer["probability"] for photo in photos for face in photo["faces"] for answer in face["attributes"].values()
    ]


def summary(folder):
    """Print the results of the demo and the next commands."""
    networks = results.read(folder / "evaluation").networks
    cascade, alone = (results.rows(networks[name])[-1] for name in ("cascade", "region"))
    print(
        f"\ncascade:        accuracy {cascade.accuracy.value:.3f} (95 % interval {cascade.accuracy.low:.3f} to "
        f"{cascade.accuracy.high:.3f}), balanced accuracy {cascade.balanced_accuracy.value:.3f}"
    )
    print(
        f"task one alone: accuracy {alone.accuracy.value:.3f}, balanced accuracy {alone.balanced_accuracy.value:.3f}; "
        f"always the more frequent answer: accuracy {cascade.majority:.3f}"
    )
    print(f"look at:        {folder}/report.html, {folder}/evaluation/regions.png, {folder}/predictions/")
    print("on your photos: face-cascade predict --run build/run photo.jpg   (after training on real faces)")
    print("on real faces:  make lmdb CELEBA=/path/to/CelebA && make train")
