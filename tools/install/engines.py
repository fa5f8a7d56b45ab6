"""The choice of the Caffe that a command runs on, and its installation if it is missing.

bvlc    BVLC Caffe 1.0, the reference: on the CPU, in .caffe/
torch   engine/ on PyTorch: CPU or GPU, in .venv/
auto    torch for a GPU or a precision other than float32, or if BVLC Caffe cannot be installed; else bvlc
"""

import dataclasses
import importlib.util
import os
import pathlib
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


@dataclasses.dataclass(frozen=True)
class Engine:
    """A Caffe that is installed: its name, and the paths of its programs `caffe` and `python`."""

    name: str
    reason: str = ""

    @property
    def folder(self):
        return REPOSITORY / (".caffe" if self.name == "bvlc" else ".venv") / "bin"

    @property
    def caffe(self):
        return self.folder / "caffe"

    @property
    def python(self):
        return self.folder / "python"

    def runs_here(self):
        """Whether this process runs under the engine's own Python."""
        module = sys.modules.get("caffe") or importlib.util.find_spec("caffe")
        place = pathlib.Path(getattr(module, "__file__", None) or module.origin) if module else pathlib.Path()
        return (REPOSITORY / "engine" in place.parents) == (self.name == "torch")

    def environment(self, threads=0):
        """The environment for its programs. threads: number of CPU threads, 0 for one per core."""
        made = dict(os.environ, GLOG_minloglevel="2", PYTHONSAFEPATH="1")
        if threads:
            made.update(OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        return made


def choose(wanted, device="cpu", precision="float32", find_obstacle=None):
    """The Engine for a device and a precision, not yet installed.

    wanted: "auto", "bvlc" or "torch"; find_obstacle: function that returns why BVLC Caffe cannot run here, or None
    Raises ToolError if the engine asked for does not support the device or the precision.
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
        return Engine(wanted)
    if device != "cpu":
        return Engine("torch", "a GPU is asked for")
    if precision != "float32":
        return Engine("torch", f"{precision} is asked for")
    problem = (find_obstacle or obstacle)()
    return Engine("torch", problem) if problem else Engine("bvlc", "the reference, on the CPU")


def obstacle():
    """Why BVLC Caffe cannot be installed here; None if it can be, or is installed."""
    if Engine("bvlc").caffe.exists():
        return None
    try:
        install_caffe.check_machine()
    except install_caffe.InstallError as error:
        return str(error).split(";")[0]
    return None


def cpu_build():
    """Whether .caffe/ is empty or the CPU build that install_caffe installs, not a user's own build."""
    program = Engine("bvlc").caffe
    return not program.exists() or install_caffe.RECIPE in program.read_text()


def ensure(engine):
    """Install an Engine if it is missing. Raises ToolError."""
    if engine.name == "bvlc":
        if not engine.caffe.exists():
            try:
                install_caffe.install_here()
            except (install_caffe.InstallError, OSError) as error:
                raise ToolError(
                    f"BVLC Caffe could not be installed: {error}; or use the engine on PyTorch: --caffe torch"
                )
        return
    if not engine.python.exists():
        raise ToolError("there is no .venv yet; run `make doctor` in the project's folder, which makes it")
    ensure_packages("engine", "torch", "PyTorch")


def ensure_packages(extra, package, title):
    """Install the packages of an extra of pyproject.toml into .venv if `package`, one of them, is missing there.

    title: what is installed, for messages. Raises ToolError.
    """
    if not list((REPOSITORY / ".venv").glob(f"lib/python3*/site-packages/{package}/__init__.py")):
        print(f"installing {title} into .venv", flush=True)
        python = str(Engine("torch").python)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-e", f".[{extra}]"]
        if subprocess.run(pip, cwd=str(REPOSITORY)).returncode:
            raise ToolError(f"{title} could not be installed into .venv; see pip's messages above")


def face_cascade(engine, words, threads=0):
    """Run a command of face-cascade, a list of words, with the Python of an Engine; returns its exit status."""
    command = start.command(engine.python, "tools.cli", *words)
    return subprocess.run(command, env=engine.environment(threads)).returncode


def continue_with(engine, words, threads=0):
    """Replace this process, once, by the same command under the Python of an Engine. Raises ToolError."""
    environment = engine.environment(threads)
    if os.environ.get(STARTED):
        raise ToolError(
            f"{engine.python} does not find {NAMES[engine.name]} of {REPOSITORY} but of another copy of the project; "
            "run `make doctor` there, which sets the environment up again"
        )
    program, *rest = start.command(engine.python, "tools.cli", *words)
    os.execve(program, [program, *rest], {**environment, STARTED: engine.name})


def check_device(engine, device):
    """Raise ToolError if the engine does not find the device on this machine."""
    if device == "cpu" or engine.name == "bvlc":
        return
    code = "import torch; print(torch.cuda.device_count())"
    done = subprocess.run(
        [str(engine.python), "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    count = int(done.stdout.strip() or 0) if done.returncode == 0 else 0
    wrong = [number for number in gpus(device) if number >= count]
    if wrong:
        have = f"PyTorch finds {count} GPUs (numbered from 0)" if count else "PyTorch finds no GPU on this machine"
        raise ToolError(f"device {device}: {have}; use --device cpu, or check the driver with nvidia-smi")


def gpus(device):
    """The numbers of the GPUs of a device, [] for the CPU."""
    if device == "cpu":
        return []
    return [int(number) for number in device.partition(":")[2].split(",") if number] or [0]
