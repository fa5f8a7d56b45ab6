"""Write the prototxts and solvers of the three networks: models/*/*.prototxt and solver/*.prototxt.

  face-cascade models                                   for attributes and form of data/lmdb, or the paper's twenty
  face-cascade models --attributes Eyeglasses,Male --batch 8 --width 1/4
  face-cascade models --solver region.max_iter=5000,cascade.max_iter=2500

Any Caffe trains them: see "with Caffe's own commands" in README.md. `git checkout models solver` brings back the
committed files, which are those of table 1 for the paper's twenty attributes. `face-cascade train` writes the same
files into the folder of its run.
"""

import pathlib

from data_prep.errors import DataError
from data_prep.files import write_bytes
from data_prep.settings import add_options, given
from data_prep.store import manifest
from models import solvers
from models.networks import network
from models.options import NETWORKS, NetworkOptions

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
AVERAGE = "average.caffemodel"


def in_repository(net):
    """The places of a network's files, and of what its training reads and writes, relative to the repository's root."""
    return {
        "net": f"models/{net}/train_val.prototxt",
        "deploy": f"models/{net}/deploy.prototxt",
        "solver": f"solver/{net}.prototxt",
        "snapshot_prefix": f"build/{net}",
        "weights": f"build/{AVERAGE}" if net == "cascade" else "",
    }


def in_run(net):
    """The same relative to the folder of a run."""
    return {
        "net": f"{net}/train_val.prototxt",
        "deploy": f"{net}/deploy.prototxt",
        "solver": f"{net}/solver.prototxt",
        "snapshot_prefix": f"{net}/{net}",
        "weights": f"average/{AVERAGE}" if net == "cascade" else "",
    }


def write(root, options, solver_changes=None, nets=NETWORKS, places=in_run):
    """Write prototxts and solvers of networks below a folder.

    options: NetworkOptions; solver_changes: as for solvers.check_changes; places: function net -> dict as of in_run
    Raises ValueError before anything is written, OSError.
    """
    texts = {}
    for net in nets:
        paths = places(net)
        texts[paths["net"]] = network(net, options)
        texts[paths["deploy"]] = network(net, options, deploy=True)
        texts[paths["solver"]] = solvers.text(net, paths, solver_changes, len(options.attributes))
    for path, text in texts.items():
        path = pathlib.Path(root) / path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())


def add_arguments(parser):
    """Add the options of `face-cascade models` to a parser."""
    add_options(parser, NetworkOptions)
    parser.add_argument(
        "--solver",
        default="",
        metavar="CHANGES",
        help="Changes to solver fields, of all networks or of one, separated by commas, such as "
        "base_lr=0.005,region.max_iter=500 (default: none, the values in solver/).",
    )


def run(arguments):
    """`face-cascade models`: the exit status. Raises DataError, OSError."""
    try:
        options, built = chosen_options(arguments)
        changes = solvers.parse_changes(arguments.solver)
        changes = {net: {"random_seed": options.seed, **changes[net]} for net in NETWORKS}
        if not pathlib.Path(in_repository("region")["solver"]).exists():
            raise ValueError(
                f"no models/ and solver/ in the current folder; run it in the project's folder, {REPOSITORY}"
            )
        write(".", options, changes, places=in_repository)
    except ValueError as error:
        raise DataError(error)
    names, count = ",".join(options.attributes), len(options.attributes)
    print(f"models/, solver/: {', '.join(NETWORKS)}; {count} attributes, b = {options.batch}, width {options.width:g}")
    data = "" if built else f"make lmdb CELEBA=/path/to/CelebA ATTRIBUTES={names}; then "
    print(f"next: {data}caffe train -solver solver/region.prototxt, with .caffe/bin/caffe or .venv/bin/caffe")
    return 0


def chosen_options(arguments):
    """The NetworkOptions asked for, and the Manifest of the data, None without. Raises ValueError, OSError."""
    values = given(arguments, NetworkOptions)
    lmdb = values.get("lmdb", NetworkOptions.lmdb)
    if not manifest.exists(lmdb):
        return NetworkOptions(**values), None
    built = manifest.read(lmdb)
    values = {"attributes": built.attributes, "form": built.form, **values}
    for name in ("attributes", "form"):
        if getattr(built, name) != values[name]:
            both = getattr(built, name), values[name]
            there, asked = both if name == "form" else map(", ".join, both)
            raise ValueError(
                f"--{name}: {lmdb} holds {there}, not {asked}; leave the option out, or give other data with --lmdb"
            )
    return NetworkOptions(**values), built
