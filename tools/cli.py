"""face-cascade: face attributes, and the region of the face that each is found in. One command for every step.

  face-cascade data /path/to/CelebA --attributes Eyeglasses,Smiling,Male    faces and labels -> LMDBs
  face-cascade train                                                       task one, average region, cascade
  face-cascade evaluate                                                    table 2's numbers, regions, calibration
  face-cascade predict photo.jpg holiday/                                  predictions for your photos
  face-cascade report                                                      the evaluation as one HTML file

A run is a folder with a record, run.json, which keeps the settings, so give them only once; it is build/run unless
--run names another. After an interruption, run the same command again. `make` has a target for each command;
`face-cascade COMMAND --help` explains its options.
"""

import argparse
import importlib
import os
import pathlib
import signal
import sys

from data_prep.errors import DataError, words_of
from data_prep.spelling import did_you_mean
from tools import locking

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
# Subcommand -> the name of a module with `add_arguments(parser)` and `run(arguments) -> exit status`, which imports no
# Caffe; a summary for the help; None if it computes nothing, "run" if it computes with the Caffe of the run, "torch" if
# with the engine.
COMMANDS = {
    "data": ("data_prep.build.build_lmdb", "build LMDBs from CelebA, LFWA or a CSV file", None),
    "check": ("data_prep.check.check_data", "verify LMDBs against their data set", None),
    "synthetic": ("data_prep.synthetic.synthetic_faces", "render synthetic faces, for trials without photos", None),
    "models": ("models.generate", "rewrite models/ and solver/ for Caffe's own commands", None),
    "model": ("tools.model", "from a data set to a trained model, report and ONNX file", None),
    "train": ("tools.train.command", "train the stages of a run", None),
    "average": ("tools.train.average", "measure the average region of a run", "run"),
    "evaluate": ("tools.evaluate.command", "measure accuracy and regions on the test split", "run"),
    "predict": ("tools.predict.command", "predict attributes of faces in photos and videos", "run"),
    "report": ("tools.report.report", "write a run's evaluation as one HTML file", None),
    "export": ("tools.export.command", "write a run's network as an ONNX file or a web page", "torch"),
    "ablation": ("tools.ablation", "train and compare the paper's variants under one budget", None),
    "demo": ("tools.demo", "run every step on synthetic faces, in minutes", None),
    "doctor": ("tools.install.doctor", "say what is installed, what is missing, and how to get it", None),
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that accepts only complete option names, prints errors in one line, and suggests spellings."""

    def __init__(self, *arguments, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, allow_abbrev=False, **options)

    def error(self, message):
        known = [option for action in self._actions for option in action.option_strings]
        if message.startswith("unrecognized arguments: "):
            word = message.split(": ", 1)[1].split(" ")[0].partition("=")[0]
            kind = "option" if word.startswith("-") else "argument"
            message = f"unknown {kind} {word or repr(word)}{did_you_mean(word, known)}"
        self.exit(2, f"error: {self.prog}: {message} (--help explains)\n")


def main(words=None):
    """Run face-cascade with the given words, those of the command line by default; returns the exit status."""
    words = sys.argv[1:] if words is None else list(words)
    for stream in ("stdout", "stderr"):  # None where a shell closed it
        setattr(sys, stream, getattr(sys, stream) or open(os.devnull, "w"))
    try:
        status = dispatch(*words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ImportError as error:
        print(
            f"error: {error}; run `make doctor` in {REPOSITORY}, then use .venv/bin/face-cascade there", file=sys.stderr
        )
    except (DataError, OSError) as error:
        print(f"error: {words_of(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        if locking.HELD not in os.environ:  # otherwise the command that started this one prints it
            print("error: interrupted; run the same command again", file=sys.stderr)
        return 130
    return 1


def dispatch(name="--help", *words):
    """Run a command with its words; returns the exit status. Raises DataError, OSError, ImportError."""
    misplaced()
    if name in ("-h", "--help", "help"):
        lines = [f"  {name:10} {summary}" for name, (_, summary, _) in COMMANDS.items()]
        print(f"usage: face-cascade COMMAND [OPTIONS]\n\n{__doc__.strip()}\n\ncommands:", *lines, sep="\n")
        return 0
    if name == "--version":
        from importlib import metadata

        print(f"face-cascade {metadata.version('face-cascade')}, {REPOSITORY}")
        return 0
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        raise DataError(f"face-cascade: unknown command {name!r}{hint}; face-cascade --help lists the commands")
    place, _, caffe = COMMANDS[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    module = importlib.import_module(place)
    parser = Parser(prog=f"face-cascade {name}", description=module.__doc__)
    module.add_arguments(parser)
    if caffe == "run":
        parser.add_argument("--caffe", help="The Caffe to compute with: bvlc, torch or auto (default: the run's).")
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    twice = next((option for option in options if options.count(option) > 1), None)
    if twice:
        parser.error(f"{twice} is given twice")
    arguments = parser.parse_args(words)
    if caffe:
        start_under_caffe(caffe, arguments, [name, *words])
    return module.run(arguments) or 0


def misplaced():
    """Raise DataError where this program was not started from the clone that it belongs to."""
    if not (REPOSITORY / "Makefile").exists():
        raise DataError(
            "face-cascade runs only from its clone: git clone it, run `make doctor` there, then .venv/bin/face-cascade"
        )
    started = pathlib.Path(os.path.realpath(sys.argv[0]))
    clone = started.parents[2] if started.name == "face-cascade" and len(started.parents) > 2 else REPOSITORY
    if clone.resolve() != REPOSITORY and (clone / "Makefile").exists():
        raise DataError(f"{clone}/.venv is a copy of the environment of {REPOSITORY}; run `make doctor` in {clone}")


def start_under_caffe(caffe, arguments, words):
    """Replace this process by the same command under the Python of the Caffe it needs, unless it is that one.

    Raises DataError when that Caffe cannot be used or installed, or the run that the command needs cannot be read.
    """
    from tools.install import engines
    from tools.run import Run

    found = Run.read(arguments.run)  # a run that is missing is reported before a Caffe is installed
    device = getattr(arguments, "device", None) or found.device()
    asked = "torch" if caffe == "torch" else arguments.caffe
    wanted = asked or ("torch" if device != "cpu" else found.settings.engine if found.recorded else "auto")
    engine, _ = engines.choose(wanted, device)
    engines.ensure(engine)
    if words[0] == "export":
        engines.ensure_packages("onnx", "onnx", "ONNX and ONNX Runtime")
    if not engines.runs_here(engine):
        engines.continue_with(engine, words, found.settings.threads)


if __name__ == "__main__":
    sys.exit(main())
