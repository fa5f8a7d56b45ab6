"""Choose the Caffe that the Makefile's steps run on, install it where it is missing, and say in one line which and why.

    make train CAFFE=bvlc      # a real BVLC Caffe, on the CPU
    make train CAFFE=torch     # engine/caffe, on PyTorch: CPU or GPU
    make train                 # CAFFE=auto: BVLC where it can be installed and no GPU is asked for, else the engine

Prints shell assignments of `caffe` and `python`. Standard library only.
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from tools.install.install_caffe import InstallError, check_machine  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Where an engine's programs are, and what of the Makefile installs them.
ENGINES = {"bvlc": (".caffe/bin", ".caffe/bin/caffe"), "torch": (".venv/bin", ".venv/ready-engine")}
NAMES = {"bvlc": "BVLC Caffe", "torch": "the engine on PyTorch"}


def make(target):
    """Run a target of the Makefile, its words on standard error; whether it succeeded."""
    command = ["make", "--no-print-directory", "--silent", target]
    return subprocess.run(command, cwd=str(REPOSITORY), stdout=sys.stderr).returncode == 0


def obstacle():
    """Why BVLC Caffe cannot run here; None where it can. Installs it."""
    if (REPOSITORY / ".caffe/bin/caffe").exists():
        return None
    try:
        check_machine()
    except InstallError as error:
        return str(error).split(";")[0]
    return None if make(".caffe/bin/caffe") else "BVLC Caffe could not be installed"


def choose(wanted, flags, find_obstacle=obstacle):
    """(engine, why): "bvlc" or "torch", and the reason, None where the user has chosen.

    wanted: "bvlc", "torch" or "auto"; flags: those of `caffe train`; find_obstacle: see `obstacle`
    Raises ValueError for another word.
    """
    if wanted in ENGINES:
        return wanted, None
    if wanted != "auto":
        raise ValueError(f"CAFFE must be bvlc, torch or auto, not {wanted!r}")
    if any(flag.startswith("-") and flag.lstrip("-").split("=")[0] == "gpu" for flag in flags):
        return "torch", "a GPU is asked for"
    problem = find_obstacle()
    return ("torch", problem) if problem else ("bvlc", "no GPU is asked for; CAFFE=torch for the engine on PyTorch")


def main():
    try:
        engine, why = choose(sys.argv[1], sys.argv[2:])
    except ValueError as error:
        sys.exit(f"error: {error}")
    folder, target = ENGINES[engine]
    if not make(target):
        sys.exit(f"error: {NAMES[engine]} could not be installed")
    if why:
        print(f"caffe: {NAMES[engine]}: {why}", file=sys.stderr)
    print(f"caffe={folder}/caffe python={folder}/python")


if __name__ == "__main__":
    main()
