"""Write the prototxts of the three networks, and solver files that refer to them.

    python -m models.generate                                # models/*/: the paper's twenty attributes
    python -m models.generate --attributes Eyeglasses,Male --batch 8 --lmdb build/lmdb --out build/run

The first command rewrites the committed files. The second writes OUT/{region,cascade,whole_face}/ with
train_val.prototxt, deploy.prototxt and solver.prototxt for any attributes. Each solver is the one in solver/ with the
paths of OUT and the changes of --solver.
"""

import argparse
import pathlib
import sys

from data_prep.attributes import PAPER_ATTRIBUTES
from data_prep.files import write_bytes
from data_prep.store import manifest
from models import solvers
from models.networks import network
from models.options import L1_FORMS, NETWORKS, ROI_GRADIENTS, NetworkOptions

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def write(folder, options, solver_changes=None):
    """Write the prototxts of the three networks below `folder`.

    options: NetworkOptions; solver_changes: as for solvers.check_changes, None to write no solvers
    Raises ValueError before anything is written, OSError.
    """
    texts = {}
    for net in NETWORKS:
        place = pathlib.Path(folder) / net
        texts[place / "train_val.prototxt"] = network(net, options)
        texts[place / "deploy.prototxt"] = network(net, options, deploy=True)
        if solver_changes is not None:
            count = len(options.attributes)
            texts[place / "solver.prototxt"] = solvers.text(net, place.as_posix(), solver_changes, count)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--attributes",
        metavar="A,B,...",
        help="The attributes, separated by commas (default: those of the manifest in --lmdb, else the paper's twenty).",
    )
    add(
        "--batch",
        type=int,
        default=4,
        metavar="N",
        help="Images per attribute in a mini-batch, an even number (default: 4).",
    )
    add("--lmdb", default="data/lmdb", metavar="FOLDER", help="The LMDB folder to train on (default: data/lmdb).")
    add(
        "--l1",
        default="log",
        choices=L1_FORMS,
        help="The form of L1, eq. 1: log is the cross-entropy of the largest response, linear is as printed "
        "(default: log).",
    )
    add("--alpha", type=float, default=1.0, help="The weight of task one's loss in eq. 6 (default: 1).")
    add("--beta", type=float, default=1.0, help="The weight of task two's loss in eq. 6 (default: 1).")
    add(
        "--task-two-loss",
        type=float,
        metavar="WEIGHT",
        default=0.0,
        help="The weight of a further loss, on task two's own score, which the paper does not have (default: 0, none).",
    )
    add(
        "--threshold",
        type=float,
        default=0.5,
        help="The response, 0 to 1, above which a point is in the region (default: 0.5).",
    )
    add(
        "--average-weight",
        type=float,
        metavar="SHARE",
        default=0.5,
        help="The share of the average response in the revised response, 0 to 1; 0 switches it off (default: 0.5).",
    )
    add(
        "--roi-gradient",
        default="none",
        choices=ROI_GRADIENTS,
        help="The gradient through the thresholding: none, as in the paper, or soft, an estimate (default: none).",
    )
    add(
        "--early-stopping-range",
        type=float,
        metavar="RANGE",
        default=0.1,
        help="Early stopping takes effect when the standard deviation of an attribute's last 200 losses is at most "
        "this, and their mean is below half the loss of chance; 0 switches it off (default: 0.1).",
    )
    add("--test-batch", type=int, default=20, metavar="N", help="Images per mini-batch in validation (default: 20).")
    add(
        "--form",
        choices=manifest.FORMS,
        help="The form of the training data (default: that of the manifest in --lmdb, else stream).",
    )
    add(
        "--out",
        metavar="FOLDER",
        help="The folder to write networks and solvers to (default: models/, without solvers).",
    )
    add(
        "--solver",
        default="",
        metavar="CHANGES",
        help="Changes to solver fields, of all networks or of one, separated by commas, such as "
        "base_lr=0.005,region.max_iter=500 (default: none, the values in solver/).",
    )
    arguments = vars(parser.parse_args())
    out, changes = arguments.pop("out"), arguments.pop("solver")
    named = arguments["attributes"] and [name for name in arguments["attributes"].split(",") if name]
    try:
        lmdb = manifest.read(arguments["lmdb"]) if out and manifest.exists(arguments["lmdb"]) else None
        arguments["attributes"] = named or (lmdb.attributes if lmdb else PAPER_ATTRIBUTES)
        arguments["form"] = arguments["form"] or (lmdb.form if lmdb else "stream")
        for key in ("attributes", "form") if lmdb else ():
            if getattr(lmdb, key) != arguments[key]:
                raise ValueError(f"{key}: {arguments['lmdb']} holds {getattr(lmdb, key)}, not {arguments[key]}")
        options = NetworkOptions(**arguments)
        write(out or REPOSITORY / "models", options, solvers.parse_changes(changes) if out else None)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    what = f"{', '.join(NETWORKS)} for {len(options.attributes)} attributes, b = {options.batch}"
    print(f"{out or 'models'}: {what}")


if __name__ == "__main__":
    main()
