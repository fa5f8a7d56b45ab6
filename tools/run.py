"""The record of a run: its data and settings, and the state of each of its stages.

A run is a folder, and `run.json` in it is its record, from which every tool reads attributes, networks, weights and
calibration. Settings are given once; the record supplies those that a command leaves out. A stage is not repeated while
its inputs are the same, and weights that were trained from other inputs are never used.

    RUN/run.json           this record
    RUN/region/            task one: prototxts, train.log, snapshots
    RUN/average/           weights of task one with the average region, from which the cascade starts
    RUN/cascade/           both tasks
    RUN/whole_face/        the ablation without regions
    RUN/evaluation/        what `face-cascade evaluate` measured
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import shlex
import time

from data_prep import files
from data_prep.store import environment, manifest
from models import options, solvers
from tools.errors import ToolError
from tools.record import TRAINED, VERSION, Data, Settings, parse

NAME = "run.json"
# Set for the tools that a command starts, so that they do not wait for the lock that the command holds.
LOCK_HELD = "FACE_CASCADE_LOCKED_RUN"
# Set by the Makefile's recipes, so that messages name its commands.
FROM_MAKE = "FACE_CASCADE_FROM_MAKE"
# Solver fields that change what is shown or kept, not the weights.
NOT_WEIGHTS = (
    *("display", "average_loss", "debug_info", "snapshot", "snapshot_format", "snapshot_after_train", "snapshot_diff"),
    *("test_iter", "test_interval", "test_initialization", "test_compute_loss", "net", "snapshot_prefix"),
)


class Run:
    """One run: its folder, Data, Settings and Stages.

    Raises ToolError for a folder that holds no run or a damaged record.
    """

    def __init__(self, folder, data, settings, stages=None):
        self.folder = pathlib.Path(folder)
        self.data, self.settings, self.stages = data, settings, stages or {}

    # Reading and writing ------------------------------------------------------------------------------------

    @classmethod
    def read(cls, folder):
        """The run in a folder. Raises ToolError."""
        path = pathlib.Path(folder) / NAME
        try:
            record = files.read_json(path)
            run = cls(folder, *parse(record, path))
        except FileNotFoundError:
            raise ToolError(
                f"{folder}: no run in it ({NAME} is missing); train first: face-cascade train --run {folder}"
            )
        except (OSError, ValueError) as error:
            raise ToolError(str(error))
        try:
            run.network()
        except ToolError as error:
            raise ToolError(f"{path}: damaged, describes an impossible network ({error})")
        return run

    @staticmethod
    def exists(folder):
        """Whether a folder holds a run's record, valid or damaged."""
        return (pathlib.Path(folder) / NAME).exists()

    @classmethod
    def create(cls, folder, lmdb, settings=None):
        """A new run on an LMDB folder; nothing is written yet. Raises ToolError."""
        return cls(folder, read_data(lmdb), settings or Settings())

    def write(self):
        """Write the record, completely or not at all. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {
            "version": VERSION,
            "data": dataclasses.asdict(self.data),
            "settings": dataclasses.asdict(self.settings),
            "stages": {name: dataclasses.asdict(stage) for name, stage in self.stages.items()},
        }
        files.write_json(self.folder / NAME, record)

    # What tools read ----------------------------------------------------------------------------------------

    @property
    def attributes(self):
        return self.data.attributes

    def network(self):
        """The NetworkOptions of this run. Raises ToolError."""
        try:
            return options.NetworkOptions(
                attributes=tuple(self.attributes), lmdb=self.data.lmdb, form=self.data.form, **self.settings.network
            )
        except (TypeError, ValueError) as error:
            raise ToolError(str(error))

    def place(self, stage):
        """The folder of a stage."""
        return self.folder / ("evaluation" if stage == "evaluate" else stage)

    def deploy(self, stage):
        """The deploy prototxt of a trained network; the region net also stands for the average region."""
        return self.place("region" if stage == "average" else stage) / "deploy.prototxt"

    def done(self, name):
        """Whether a stage is done."""
        return name in self.stages and self.stages[name].state == "done"

    def weights(self, name):
        """The weights file of a stage that is done, its checksum verified. Raises ToolError."""
        if not self.done(name):
            state = self.stages[name].state if name in self.stages else "not begun"
            raise ToolError(f"{self.folder}: stage {name} is {state}, so it has no weights; run: {command(self, name)}")
        path = self.folder / self.stages[name].weights
        if not path.exists():
            raise ToolError(
                f"{path}: missing, though {NAME} says that {name} is done; run {command(self, name)} --restart"
            )
        if files.sha256(path) != self.stages[name].checksum:
            raise ToolError(f"{path}: changed since {name} was done; run {command(self, name)} --restart")
        return path

    def check_data(self):
        """Raise ToolError if the LMDB folder is missing, damaged, or holds other data than the run was trained on."""
        found = read_data(self.data.lmdb)
        try:
            for path in sorted(pathlib.Path(self.data.lmdb).glob("*/data.mdb")):
                environment.open_lmdb(path.parent).close()  # Caffe's own Data layer would end with a bus error
        except OSError as error:
            raise ToolError(str(error))
        if found.checksum != self.data.checksum:
            raise ToolError(
                f"{self.data.lmdb}: the data changed since {self.folder} was made; train in another run "
                "(--run), or give --restart to make this one anew"
            )

    # Inputs of stages ---------------------------------------------------------------------------------------

    def inputs(self, name):
        """The inputs that the result of a training stage or of the average region depends on: flat dict of JSON."""
        inputs = {"data": self.data.checksum}
        if name == "average":
            inputs.update((f"average.{key}", value) for key, value in dataclasses.asdict(self.settings.average).items())
            inputs["network.threshold"] = self.network().threshold
            inputs["weights of region"] = self.start("region")
            return inputs
        network = self.network().to_dict()
        fields = [field for field in options.FIELDS_OF[name] if field not in ("lmdb", "test_batch")]
        if not network["task_two_loss"]:  # records of earlier commits do not have it
            fields = [field for field in fields if field != "task_two_loss"]
        inputs.update((f"network.{field}", network[field]) for field in fields)
        for field, value in self.solver_fields(name).items():
            if field not in NOT_WEIGHTS:
                inputs[f"solver.{field}"] = value
        inputs.update(engine=self.settings.engine, precision=self.settings.precision, solvers=self.solvers())
        if name == "cascade":
            inputs["weights with the average region"] = self.start("average")
        elif self.settings.start_from:
            inputs["initial weights"] = self.settings.start_checksum
        return inputs

    def start(self, name):
        """Checksum of the weights of a stage that another one starts from; None if there are none yet."""
        return self.stages[name].checksum if self.done(name) else None

    def solver_fields(self, name):
        """The solver of a stage with all changes: dict field -> value."""
        changes = dict(self.settings.solver.get(name, {}))
        changes.setdefault("random_seed", str(self.settings.seed))
        return solvers.fields(name, changes, len(self.attributes))

    def solver_changes(self):
        """Stage -> field -> text, with the seed."""
        return {
            name: {"random_seed": str(self.settings.seed), **self.settings.solver.get(name, {})} for name in TRAINED
        }

    def device(self):
        """The device for tools that use one only: the first of the run's."""
        return self.settings.device.split(",")[0]

    def solvers(self):
        """How many solvers train together: the number of GPUs, 1 on the CPU."""
        return self.settings.device.count(",") + 1

    def images_of(self, name, iterations):
        """Training images per attribute that so many iterations of a stage see."""
        return iterations * int(self.solver_fields(name)["iter_size"]) * self.network().batch * self.solvers()

    def images(self, name):
        """Training images per attribute that a stage sees, including those of the stages that it starts from."""
        own = self.images_of(name, int(self.solver_fields(name)["max_iter"]))
        return own + (self.images("region") if name == "cascade" else 0)


def command(run, name):
    """The command that runs a stage of a run, as text."""
    folder = shlex.quote(str(run.folder))
    if os.environ.get(FROM_MAKE):
        word = name if name in ("average", "evaluate") else f"train-{name.replace('_', '-')}"
        return f"make {word} RUN={folder}"
    return f"face-cascade {name if name in ('average', 'evaluate') else f'train {name}'} --run {folder}"


def refuse_for_run(arguments, names, reason):
    """Raise ToolError if an option that belongs to bare weights was given for a run. reason: what a run has instead."""
    for name in names:
        if getattr(arguments, name) is not None:
            raise ToolError(f"--{name} belongs to --weights; {reason}")


def read_data(lmdb):
    """The Data of an LMDB folder. Raises ToolError."""
    try:
        found = manifest.read(lmdb)
        return Data(os.path.abspath(lmdb), manifest.checksum(lmdb), list(found.attributes), found.form)
    except FileNotFoundError:
        raise ToolError(
            f"{lmdb}: no LMDBs in it; build them first: make lmdb CELEBA=/path/to/CelebA, or face-cascade data"
        )
    except (OSError, ValueError) as error:
        raise ToolError(str(error))


# Locks ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(folder, wait=60.0):
    """Context manager that locks a run's folder against a second training, average region or evaluation.

    The lock is a file descriptor that a training started inside inherits, so it lasts as long as that training,
    however this process ends. wait: seconds that a training whose command was killed gets to write its last snapshot.
    Yields the descriptor, or None if the command that started this one holds the lock. Raises ToolError.
    """
    folder = pathlib.Path(folder)
    if os.environ.get(LOCK_HELD) == str(folder.resolve()):
        yield None
        return
    path, held = folder / ".lock", False
    descriptor = open_lock(path)
    try:
        deadline, said = time.monotonic() + wait, False
        while not held:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
                if not held:  # its last holder removed the file, so another process may lock a new one
                    os.close(descriptor)
                    descriptor = open_lock(path)
            except BlockingIOError:
                owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
                if alive(owner) or time.monotonic() > deadline:
                    who = f"process {owner}" if owner else "another process"
                    raise ToolError(
                        f"{folder}: {who} works on this run; wait for it, stop it, or use another --run (make: RUN=)"
                    )
                if not said:
                    print(f"{folder}: an earlier training is writing its last snapshot; waiting for it", flush=True)
                said = True
                time.sleep(0.2)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        os.environ[LOCK_HELD] = str(folder.resolve())
        yield descriptor
    finally:
        os.environ.pop(LOCK_HELD, None)
        if held and not (folder / NAME).exists():  # no run was created, so remove the empty folder
            with contextlib.suppress(OSError):
                path.unlink()
                folder.rmdir()
        os.close(descriptor)


def open_lock(path):
    """A descriptor of a lock file, which is made if it does not exist, with its folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def alive(owner):
    """Whether the process with this number (text) is running."""
    try:
        os.kill(int(owner), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
