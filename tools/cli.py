"""face-cascade: face attributes, and the region of the face that each is found in. One command for every step.

  face-cascade data /path/to/CelebA --attributes Eyeglasses,Smiling,Male    faces and labels -> LMDBs
  face-cascade train --run build/run                                       task one, average region, cascade
  face-cascade evaluate --run build/run                                    table 2's numbers, regions, calibration
  face-cascade predict --run build/run photo.jpg holiday/                  predictions for your photos
  face-cascade report --run build/run                                      the evaluation as one HTML file

A run is a folder with a record, run.json, which keeps the settings, so give them only once. To resume an interrupted
command, run it again. `make` has a target for each command; `face-cascade COMMAND --help` explains its options.
"""

import argparse
import importlib
import os
import pathlib
import shlex
import signal
import sys

from data_prep.spelling import did_you_mean
from tools.errors import Reported, ToolError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
# Makefile settings reach this program as FACE_CASCADE_MAKE_<SETTING>, never through a shell.
PREFIX = "FACE_CASCADE_MAKE_"
DEFAULT_RUN = "build/run"
NESTED = "FACE_CASCADE_LOCKED_RUN"  # tools.run.LOCK_HELD


class Command:
    """A subcommand.

    module: name of a module with `add_arguments(parser)` and `run(arguments) -> exit status`; summary: for the help
    caffe: None if it needs no Caffe, "run" for the Caffe of the run, "torch" for the engine
    packages: arguments of engines.ensure_packages for what it needs beside its Caffe
    settings: dict of Makefile settings to options. "" stands for words that are added unchanged, "*" for positional
    arguments, "*celeba" for a data set of that layout; an option that ends in "*" takes several words.
    """

    def __init__(self, module, summary, caffe=None, settings=None, packages=None):
        self.module, self.summary, self.caffe, self.settings = module, summary, caffe, settings or {}
        self.packages = packages


RUN = {"RUN": "--run", "CAFFE": "--caffe", "DEVICE": "--device"}
NETWORK = {"BATCH": "--batch", "SOLVER": "--solver", "RECTANGLES": "--rectangles", "SEED": "--seed", "GENERATE": ""}
TRAINING = {**RUN, **NETWORK, "LMDB": "--lmdb", "PRECISION": "--precision", "THREADS": "--threads", "TRAIN": "--flags"}
DATA = {"LMDB": "--out", "ATTRIBUTES": "--attributes", "FORM": "--form", "RECORDS": "--records", "AUGMENT": "--augment"}
COMMANDS = {
    "data": Command(
        "data_prep.build.build_lmdb",
        "build LMDBs from CelebA, LFWA or a CSV file",
        settings={**DATA, "CELEBA": "*celeba", "LFWA": "*lfwa", "DATA": "*", "BUILD": ""},
    ),
    "check": Command(
        "data_prep.check.check_data",
        "verify LMDBs against their data set",
        settings={"LMDB": "*", "CHECK": ""},
    ),
    "train": Command(
        "tools.train.command",
        "train the stages of a run",
        settings={**TRAINING, "START_FROM": "--start-from", "RESTART": "--restart"},
    ),
    "average": Command(
        "tools.train.average_region",
        "measure the average region of a run",
        caffe="run",
        settings={**RUN, "RECTANGLES": "--rectangles", "RESTART": "--restart", "AVERAGE": ""},
    ),
    "evaluate": Command(
        "tools.evaluate.evaluate",
        "measure accuracy and regions on the test split",
        caffe="run",
        settings={**RUN, "LMDB": "--lmdb", "WEIGHTS": "--weights*", "EVALUATE": ""},
    ),
    "predict": Command(
        "tools.predict.command",
        "predict the attributes of faces in photos, videos and camera images",
        caffe="run",
        settings={**RUN, "IMAGES": "*", "PREDICT": ""},
    ),
    "report": Command(
        "tools.report.report",
        "write a run's evaluation as one HTML file",
        settings={"RUN": "--run", "REPORT": ""},
    ),
    "export": Command(
        "tools.export.export_onnx",
        "write a run's cascade as an ONNX file",
        caffe="torch",
        settings={"RUN": "--run", "EXPORT": ""},
        packages=("onnx", "onnx", "ONNX and ONNX Runtime"),
    ),
    "ablation": Command(
        "tools.evaluate.ablation",
        "train and compare the paper's variants under one budget",
        settings={**TRAINING, "SEED": "--seeds", "ABLATION": ""},
    ),
    "demo": Command(
        "tools.demo", "run every step on synthetic faces, in minutes", settings={**RUN, "RESTART": "--restart"}
    ),
    "doctor": Command("tools.install.doctor", "say what is installed, what is missing, and how to get it"),
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that accepts only complete option names, prints errors in one line, and suggests spellings."""

    def __init__(self, *arguments, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, allow_abbrev=False, **options)

    def error(self, message):
        known = [option for action in self._actions for option in action.option_strings]
        if message.startswith("unrecognized arguments: "):
            word = message.split(": ", 1)[1].split()[0].partition("=")[0]
            message = f"unknown option {word}{did_you_mean(word, known)}"
        self.exit(2, f"error: {self.prog}: {message} (--help explains)\n")


def main(words=None):
    """Run face-cascade with the given words, those of the command line by default; returns the exit status."""
    words = sys.argv[1:] if words is None else list(words)
    if not (REPOSITORY / "Makefile").exists():
        return failed(
            "face-cascade runs only from its clone: git clone it, run `make doctor` there, then .venv/bin/face-cascade"
        )
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name = words.pop(0)
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        return failed(f"face-cascade: unknown command {name!r}{hint}; face-cascade --help lists the commands")
    try:
        return run(name, with_make_settings(COMMANDS[name], words))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Reported:
        return 1
    except (ToolError, OSError) as error:
        return failed(str(error))
    except KeyboardInterrupt:
        if NESTED not in os.environ:  # otherwise the command that started this one prints it
            print("error: interrupted; run the same command again to resume", file=sys.stderr)
        return 130


def run(name, words):
    """Parse the words of a command and run it under the Caffe that it needs; returns the exit status.

    Raises ToolError, OSError.
    """
    command = COMMANDS[name]
    os.environ.setdefault("GLOG_minloglevel", "2")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if command.caffe and not {"-h", "--help"} & set(words):
            start_under_caffe(name, command, words)
        module = importlib.import_module(command.module)
    except ImportError as error:
        return failed(f"{error}; run `make doctor` in {REPOSITORY}, then use .venv/bin/face-cascade there")
    parser = Parser(prog=f"face-cascade {name}", description=module.__doc__)
    module.add_arguments(parser)
    if command.caffe == "run" and "--caffe" not in parser._option_string_actions:
        parser.add_argument("--caffe", help="The Caffe to compute with: bvlc, torch or auto (default: the run's).")
    return module.run(parser.parse_args(words)) or 0


def start_under_caffe(name, command, words):
    """Replace this process by the same command under the Python of the Caffe it needs, unless it is that one.

    Raises ToolError when that Caffe cannot be used or installed, or the run that the command needs cannot be read.
    """
    from tools.install import engines
    from tools.run import Run

    parser = Parser(prog=f"face-cascade {name}", add_help=False)
    for option in ("--caffe", "--device", "--run"):
        parser.add_argument(option)
    parser.add_argument("--weights", nargs="*")
    known, _ = parser.parse_known_args(words)
    folder = known.run or DEFAULT_RUN
    # Only a command on bare files of weights needs no run. One that is missing is reported before a Caffe is installed.
    needed = known.run or not known.weights
    recorded = Run.read(folder).settings if needed or Run.exists(folder) else None
    wanted = known.caffe or (recorded.engine if recorded else "auto")
    if command.caffe == "torch":
        wanted = "torch"
    device = known.device or (recorded.device if recorded else "cpu")
    if recorded and not known.caffe and device != "cpu":
        wanted = "torch"
    engine = engines.choose(wanted, device)
    engines.ensure(engine)
    if command.packages:
        engines.ensure_packages(*command.packages)
    if not engine.runs_here():
        environment = engine.environment(recorded.threads if recorded else 0)
        program = str(engine.python)
        os.execve(program, [program, "-m", "tools.cli", name, *words], environment)


def with_make_settings(command, words):
    """The words of a command line, preceded by the options that the Makefile's settings stand for. Raises ToolError."""
    added, positionals = [], []
    for setting, option in command.settings.items():
        value = os.environ.get(PREFIX + setting, "")
        if not value:
            continue
        if option.startswith("*") and option != "*":
            added += ["--expect", option[1:]]
            positionals.append(value)
        elif option == "*":
            positionals += [value] if os.path.exists(value) else split(value, setting)
        elif not option:
            added += split(value, setting)
        elif option == "--restart":
            added += [option] if is_on(value, setting) else []
        elif option.endswith("*"):
            positionals += [option[:-1], *split(value, setting)]
        else:
            added.append(f"{option}={value}")
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]  # they apply to this command, not to those that it starts
    return [*added, *words, *positionals]


def is_on(value, setting):
    """Whether the value of a Makefile setting switches it on. Raises ToolError."""
    if value.lower() not in ("1", "yes", "true", "0", "no", "false"):
        raise ToolError(f"{setting}={value}: must be 1, yes or true, or 0, no or false")
    return value.lower() in ("1", "yes", "true")


def split(value, setting):
    """The words in the value of a Makefile setting, divided as a shell does. Raises ToolError."""
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ToolError(
            f"{setting}={value}: {str(error).lower()}; put names with blanks or quotation marks into quotation marks"
        )


def overview():
    """The help text of face-cascade itself."""
    lines = [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    return f"usage: face-cascade COMMAND [OPTIONS]\n\n{__doc__.strip()}\n\ncommands:\n" + "\n".join(lines)


def failed(sentence, status=1):
    """Print an error message of one line; returns the exit status."""
    print(f"error: {sentence}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
