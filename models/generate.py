"""Write the prototxts of the three networks, and solver files that point at them.

    python -m models.generate                                # models/*/: the paper's twenty attributes
    python -m models.generate --attributes Eyeglasses,Male --batch 8 --lmdb build/lmdb --out build/run

The first command rewrites the committed files. The second writes OUT/{region,cascade,whole_face}/ with
train_val.prototxt, deploy.prototxt and solver.prototxt for any attributes: each solver is the one in solver/, with
its paths set and the changes given by --solver made.
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

__all__ = ["NETS", "PAPER_ATTRIBUTES", "Options", "network", "solver", "write"]

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# The names that tools and benchmarks import from here.
NETS, Options, solver = NETWORKS, NetworkOptions, solvers.text


def write(folder, options, solver_changes=None):
    """Write the networks' files below `folder`; with solver_changes (a dict, maybe empty) solvers too.

    options: NetworkOptions; solver_changes: as of solvers.check_changes. Raises ValueError before anything is written,
    OSError.
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
    add("--attributes", help="comma-separated names; default: those of the LMDB's manifest, else the paper's twenty")
    add("--batch", type=int, default=4, help="b, images per attribute in one mini-batch, even (default 4)")
    add("--lmdb", default="data/lmdb", help="folder of the LMDBs (default data/lmdb)")
    add(
        "--l1",
        default="log",
        choices=L1_FORMS,
        help="form of eq. 1: log (cross-entropy) or linear (as printed)",
    )
    add("--alpha", type=float, default=1.0, help="weight of task one's loss (default 1)")
    add("--beta", type=float, default=1.0, help="weight of task two's loss (default 1)")
    add("--threshold", type=float, default=0.5, help="response above which a point belongs to the region (default 0.5)")
    add("--average-weight", type=float, default=0.5, help="share of the average response in the revised (default 0.5)")
    add("--roi-gradient", default="none", choices=ROI_GRADIENTS, help="gradient through the region (default none)")
    add(
        "--early-stopping-range",
        type=float,
        default=0.1,
        help="standard deviation of losses up to which an attribute has settled; 0: no early stopping (default 0.1)",
    )
    add("--test-batch", type=int, default=20, help="images per mini-batch in the TEST phase (default 20)")
    add("--form", choices=manifest.FORMS, help="of the training data; default: the manifest's, else stream")
    add("--out", help="folder to write to, with solvers; default: the committed files in models/")
    add("--solver", default="", help="changes to the solvers, e.g. base_lr=0.01,region.max_iter=500")
    arguments = vars(parser.parse_args())
    out, changes = arguments.pop("out"), arguments.pop("solver")
    named = arguments["attributes"] and [name for name in arguments["attributes"].split(",") if name]
    try:
        prepared = manifest.read(arguments["lmdb"]) if out and manifest.exists(arguments["lmdb"]) else {}
        arguments["attributes"] = named or prepared.get("attributes", PAPER_ATTRIBUTES)
        arguments["form"] = arguments["form"] or prepared.get("form", "stream")
        for key in ("attributes", "form"):
            if prepared.get(key, arguments[key]) != arguments[key]:
                raise ValueError(f"{key}: {arguments['lmdb']} was made with {prepared[key]}, not {arguments[key]}")
        options = NetworkOptions(**arguments)
        write(out or REPOSITORY / "models", options, solvers.parse_changes(changes) if out else None)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    what = f"{', '.join(NETWORKS)} for {len(options.attributes)} attributes, b = {options.batch}"
    print(f"{out or 'models'}: {what}")


if __name__ == "__main__":
    main()
