"""Print what is installed on this machine and in this clone, what is missing, and the command that installs it.

face-cascade doctor
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys

from tools.install import engines, install_caffe

# Gigabytes that the whole of CelebA in compact form, and the snapshots of a full training, take.
DISK = 7
TORCH = """
import torch
print(torch.__version__)
print(torch.backends.cpu.get_cpu_capability())
for number in range(torch.cuda.device_count()):
    print(torch.cuda.get_device_name(number))
"""


def add_arguments(parser):
    """`face-cascade doctor` has no options."""


def rows():
    """The lines of the report: (good, name, words); good is None for information only."""
    yield True, "Python", f"{platform.python_version()}, {sys.executable}"
    try:
        needs = [need for need in importlib.metadata.requires("face-cascade") if "extra ==" not in need]
        names = [need.partition("=")[0] for need in needs]
        yield True, "packages", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    except importlib.metadata.PackageNotFoundError as error:
        yield False, "packages", f"missing: {error.name}; rm .venv/ready && make .venv/ready installs it"
    yield bvlc()
    yield from torch()
    cores = len(os.sched_getaffinity(0))
    yield True, "threads", f"{os.environ.get('OMP_NUM_THREADS') or cores} of {cores} cores (--threads N for fewer)"
    free = shutil.disk_usage(engines.REPOSITORY).free / 1e9
    need = f"all of CelebA and a full training take about {DISK} GB"
    yield free > DISK or None, "disk", f"{free:.0f} GB free in {engines.REPOSITORY}; {need}"
    yield True, "cache", f"{install_caffe.cache_folder()} (FACE_CASCADE_CACHE= for another place)"


def bvlc():
    """The line about BVLC Caffe."""
    caffe, name = engines.program("bvlc", "caffe"), "BVLC Caffe"
    if not caffe.exists():
        usual = "not installed; make caffe installs it (250 MB), and so does the first command that needs it"
        return None, name, engines.obstacle() or usual
    done = subprocess.run([str(caffe), "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        return False, name, f"{caffe} does not run: {done.stdout.strip()[-200:]}; make caffe installs it again"
    build = "CPU build" if engines.cpu_build() else "your own build"
    return True, name, f"{done.stdout.splitlines()[-1]}, {build}, float32, {caffe}"


def torch():
    """The lines about the engine on PyTorch and GPUs."""
    python, name = engines.program("torch", "python"), "engine on PyTorch"
    done = subprocess.run([str(python), "-I", "-c", TORCH], capture_output=True, text=True)
    if done.returncode:
        how = "make .venv/ready-engine installs it, and so does the first command that needs it"
        yield None, name, f"PyTorch is not installed; {how}"
        return
    version, capability, *gpus = done.stdout.splitlines()
    unit = engines.bfloat16_units()
    bfloat16 = f"bfloat16 with {unit}" if unit else "bfloat16 without hardware support (slower than float32)"
    yield True, name, f"PyTorch {version}, {capability}, float32; {bfloat16}"
    found = "; ".join(f"cuda:{number} {gpu}" for number, gpu in enumerate(gpus))
    how = f"{found}; float32, tf32, bfloat16: --device cuda --precision bfloat16"
    yield bool(gpus) or None, "GPU", how if gpus else "PyTorch finds none; training runs on the CPU"


def run(arguments):
    """Run `face-cascade doctor`; returns 1 if something required is missing, else 0."""
    found = list(rows())
    for good, name, words in found:
        mark = {True: "ok", False: "missing", None: "note"}[good]
        print(f"{mark:8} {name:18} {words}")
    return int(any(good is False for good, _, _ in found))
