"""The choice of the Caffe that a command runs on, and its installation if it is missing.

bvlc    BVLC Caffe 1.0, the reference: on the CPU, in .caffe/
torch   engine/ on PyTorch: CPU or GPU, in .venv/
auto    torch for a GPU or a precision other than float32, or if BVLC Caffe cannot be installed; else bvlc
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

from data_prep import start
from tools.errors import ToolError
from tools.install import install_caffe

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Set for a command that was started again under another Python, which happens once at the most.
STARTED = "FACE_CASCADE_STARTED"
CHOICES = ("auto", "bvlc", "torch")
NAMES = {"bvlc": "BVLC Caffe", "torch": "the engine on PyTorch"}
# Flags of processors that compute in bfloat16.
UNITS = {"amx_bf16": "matrix units (AMX)", "avx512_bf16": "AVX-512"}


def program(engine, name):
    """The path of a program of an engine, "bvlc" or "torch": name is `caffe` or `python`."""
    return REPOSITORY / (".caffe" if engine == "bvlc" else ".venv") / "bin" / name


def runs_here(engine):
    """Whether this process runs under an engine's own Python."""
    module = sys.modules.get("caffe") or importlib.util.find_spec("caffe")
    place = pathlib.Path(getattr(module, "__file__", None) or module.origin) if module else pathlib.Path()
    return (REPOSITORY / "engine" in place.parents) == (engine == "torch")


def environment(threads=0):
    """The environment for the programs of an engine. threads: number of CPU threads, 0 for one per core."""
    made = dict(os.environ, GLOG_minloglevel="2", PYTHONSAFEPATH="1")
    if threads:
        made.update(OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    return made


def choose(wanted, device="cpu", precision="float32"):
    """The engine for a device and a precision, not yet installed, and why where that was left open: two texts.

    wanted: "auto", "bvlc" or "torch". Raises ToolError if the engine asked for does not support the device or the
    precision.
    """
    if wanted not in CHOICES:
        raise ToolError(f"unknown Caffe {wanted!r}; choose one of {', '.join(CHOICES)}")
    if wanted == "bvlc" and device != "cpu" and cpu_build():
        raise ToolError(
            f"BVLC Caffe here is a build for the CPU and cannot use {device}; leave out --caffe, or give --caffe torch"
        )
    if wanted == "bvlc" and precision != "float32":
        raise ToolError(
            f"BVLC Caffe computes in float32 only, not {precision}; leave out --caffe, or give --caffe torch"
        )
    if wanted != "auto":
        return wanted, ""
    if device != "cpu":
        return "torch", "a GPU is asked for"
    if precision != "float32":
        return "torch", f"{precision} is asked for"
    problem = obstacle()
    return ("torch", problem) if problem else ("bvlc", "the reference, on the CPU")


def bfloat16_units():
    """What the processor computes in bfloat16 with; "" if it has no such units, or /proc does not say."""
    path = pathlib.Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", path.read_text() if path.exists() else "", re.MULTILINE)
    return next((words for flag, words in UNITS.items() if found and flag in found[1].split()), "")


def obstacle():
    """Why BVLC Caffe cannot be installed here; None if it can be, or is installed."""
    return None if program("bvlc", "caffe").exists() else install_caffe.obstacle()


def cpu_build():
    """Whether .caffe/ is empty or the CPU build that install_caffe installs, not a user's own build."""
    caffe = program("bvlc", "caffe")
    return not caffe.exists() or install_caffe.RECIPE in caffe.read_text()


def ensure(engine):
    """Install an engine if it is missing. Raises ToolError."""
    if engine == "torch":
        ensure_packages("engine", "torch", "PyTorch")
    elif not program("bvlc", "caffe").exists():
        try:
            install_caffe.install_here()
        except (install_caffe.InstallError, OSError) as error:
            raise ToolError(f"BVLC Caffe could not be installed: {error}; or use the engine on PyTorch: --caffe torch")


def ensure_packages(extra, package, title):
    """Install the packages of an extra of pyproject.toml into .venv if `package`, one of them, is missing there.

    title: what is installed, for messages. Raises ToolError.
    """
    if not list((REPOSITORY / ".venv").glob(f"lib/python3*/site-packages/{package}/__init__.py")):
        print(f"installing {title} into .venv", flush=True)
        pip = f"-m pip install -q --disable-pip-version-check -e .[{extra}]".split()
        if subprocess.run([str(program("torch", "python")), *pip], cwd=str(REPOSITORY)).returncode:
            raise ToolError(f"{title} could not be installed into .venv; see pip's messages above")


def continue_with(engine, words, threads=0):
    """Replace this process, once, by the same command under the Python of an engine. Raises ToolError."""
    python, *rest = start.command(program(engine, "python"), "tools.cli", *words)
    if os.environ.get(STARTED):
        raise ToolError(
            f"{python} does not find {NAMES[engine]} of {REPOSITORY} but of another copy of the project; "
            "run `make doctor` there, which sets the environment up again"
        )
    os.execve(python, [python, *rest], {**environment(threads), STARTED: engine})


def gpus(device):
    """The numbers of the GPUs of a device, [] for the CPU."""
    if device == "cpu":
        return []
    return [int(number) for number in device.partition(":")[2].split(",") if number] or [0]
