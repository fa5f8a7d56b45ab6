"""The program `caffe`: train, test, time and device_query with BVLC Caffe's flags, log lines and exit codes."""

import argparse
import difflib
import os
import pathlib
import re
import sys
import traceback

from . import terminal
from .errors import CaffeError

USAGE = """Caffe's command line on PyTorch: the same prototxts, weights, snapshots, flags and log lines.

commands:
  train           train a net as a solver file says, from new weights, given weights or a snapshot
  test            run a net in phase TEST over batches of its data and log the mean of each output
  time            measure the forward and backward time of each layer of a net, in milliseconds
  device_query    list the GPUs of this machine

examples:
  caffe train -solver solver/region.prototxt
  caffe train -solver solver/cascade.prototxt -weights region.caffemodel -gpu 0 -precision bfloat16
  caffe train -solver solver/cascade.prototxt -snapshot build/cascade_iter_1000.solverstate
  caffe train -solver solver/region.prototxt -gpu 0,1           # a process per GPU, gradients averaged
  torchrun --nproc-per-node 2 -m caffe.cli train -solver solver/region.prototxt     # the same on CPUs
  caffe test -model models/region/train_val.prototxt -weights region.caffemodel -iterations 100
  caffe time -model models/region/deploy.prototxt -iterations 10

Ctrl-C and SIGTERM write a snapshot after the current iteration and stop; SIGHUP writes one and training continues.
The exit status is 0 if the command is done or was stopped by a signal ("Optimization stopped early." in the log), and 1
after an error, which is reported in one line. CAFFE_TRACEBACK=1 adds the traceback of an exception in a Python layer.
GLOG_minloglevel=1 suppresses the log. Python layers are found in the current folder and through PYTHONPATH.
"""

# Command -> function of commands.py.
COMMANDS = {"train": "train", "test": "test", "time": "measure", "device_query": "device_query"}
# Flag -> (type, default, help). BVLC Caffe does not have the last three.
FLAGS = {
    "gpu": (str, "", "The GPUs to use: numbers separated by ',', or all (default: as the solver says, or CPU)."),
    "iterations": (int, 50, "For test and time: the number of batches."),
    "level": (int, 0, "For the include and exclude rules of the net: the level."),
    "model": (str, "", "For test and time: the net, a prototxt."),
    "phase": (str, "", "For time: TRAIN or TEST (default: TRAIN)."),
    "sighup_effect": (str, "snapshot", "For train: the effect of SIGHUP, which is snapshot, stop or none."),
    "sigterm_effect": (str, "stop", "For train: the effect of SIGTERM, which is snapshot, stop or none."),
    "sigint_effect": (str, "stop", "For train: the effect of SIGINT (Ctrl-C), which is snapshot, stop or none."),
    "snapshot": (str, "", "For train: the .solverstate to resume from."),
    "solver": (str, "", "For train: the solver, a prototxt."),
    "stage": (str, "", "For the include and exclude rules of the net: the stages, separated by ','."),
    "weights": (str, "", "For train and test: the .caffemodel files to read, separated by ','. Not with -snapshot."),
    "precision": (str, "float32", "Arithmetic of convolutions and inner products: float32, tf32 (GPU) or bfloat16."),
    "shard": (str, "records", "What several ranks read alternately from a database: records or batches."),
    "decoded_mb": (
        int,
        -1,
        "A data set whose decoded images fit into this many MiB is kept on the device; 0 keeps none "
        "(default: a third of the free memory of a GPU, 0 on the CPU).",
    ),
}


class Parser(argparse.ArgumentParser):
    """A parser of flags in the forms of gflags: -name value, -name=value, --name value, --name=value."""

    def __init__(self):
        super().__init__(prog="caffe", usage="caffe COMMAND FLAGS", description=USAGE, allow_abbrev=False)
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.add_argument("command", nargs="?", help=argparse.SUPPRESS)
        for name, (kind, default, text) in FLAGS.items():
            if default not in ("", -1):
                text = f"{text.rstrip('.')} (default: {default})."
            self.add_argument(f"-{name}", f"--{name}", type=kind, default=default, metavar=name.upper(), help=text)
        self.add_argument("-help", action="help", help="Show this help.")
        self.add_argument("-version", action="version", version="caffe version 1.0.0 (PyTorch engine)")

    def parse_args(self, words):
        """The flags of a command line. An unknown flag ends the program with an error that suggests the nearest one."""
        for word in words:  # checked here, because argparse would take -solve for -solver
            name = word.lstrip("-").partition("=")[0]
            if word.startswith("-") and not is_number(word) and name not in (*FLAGS, "h", "help", "version"):
                self.error(f"unknown flag -{name}{nearest(name, FLAGS, '-')}; caffe --help lists the flags")
        flags, rest = self.parse_known_args(words)
        if rest:
            self.error(f"{rest[0]!r} does not belong to a flag; usage: caffe COMMAND -flag value -flag value ...")
        return flags

    def error(self, message):
        """Write an error in one line and exit with status 1, as BVLC Caffe does; argparse would exit with 2."""
        terminal.write(f"ERROR: {message}\n")
        sys.exit(1)


def is_number(word):
    """Whether a word of the command line is a number, such as a negative value, and not a flag."""
    return re.fullmatch(r"-?[\d.]+", word) is not None


def nearest(word, names, head=""):
    """The end of an error message that suggests the most similar of some names, with `head` in front; "" if none is."""
    matches = difflib.get_close_matches(word, names, 1)
    return f", did you mean {head}{matches[0]}?" if matches else ""


def copied_from():
    """An error message if this program lies in a copy of the environment that it runs in, else None.

    The first line of a program names its Python, so a copied environment would run the code of the original one.
    """
    folder = pathlib.Path(sys.argv[0]).absolute().parent
    home = folder.parent
    if folder.name != "bin" or not (home / "pyvenv.cfg").exists() or home.samefile(sys.prefix):
        return None
    return f"{home} is a copy of {sys.prefix}, whose code its programs run; set it up again (in face-cascade: make)"


def main(arguments=None):
    """Run one command, by default that of sys.argv. Returns the exit status, or exits after --help and wrong flags."""
    words = sys.argv[1:] if arguments is None else arguments
    flags = Parser().parse_args(words)
    if flags.command is None:
        Parser().print_help()
        return 0
    if flags.command not in COMMANDS:
        hint = nearest(flags.command, COMMANDS)
        terminal.write(f"error: unknown action {flags.command!r}{hint}; the commands are {', '.join(COMMANDS)}\n")
        return 1
    if fault := copied_from():
        terminal.write(f"error: {fault}\n")
        return 1
    # BVLC Caffe finds the modules of Python layers through PYTHONPATH only; here the current folder comes first.
    if os.getcwd() not in sys.path and not sys.flags.safe_path:  # PYTHONSAFEPATH=1 keeps to the installed modules
        sys.path.insert(0, os.getcwd())
    try:
        from . import commands  # and PyTorch, which --help and wrong flags need not wait for

        commands.apply(flags)
        return getattr(commands, COMMANDS[flags.command])(flags) or 0
    except CaffeError as error:
        terminal.write(f"error: {' '.join(str(error).splitlines())}\n")
    except KeyboardInterrupt:
        terminal.write("error: interrupted\n")
    except Exception as error:
        if os.environ.get("CAFFE_TRACEBACK"):
            traceback.print_exc()
        notes = " ".join(getattr(error, "__notes__", []))
        words = " ".join(f"{error} {notes}".split())
        kind = "" if isinstance(error, (ValueError, OSError, RuntimeError)) else f"{type(error).__name__}: "
        terminal.write(f"error: {kind}{words}\n")
    finally:
        terminal.finish()
    return 1


if __name__ == "__main__":
    sys.exit(main())
