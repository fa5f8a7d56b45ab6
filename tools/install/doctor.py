"""Print what is installed on this machine and in this clone, what is missing, and the command that installs it.

face-cascade doctor
"""

import importlib.metadata
import os
import pathlib
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
count = torch.cuda.device_count()
print(count)
for number in range(count):
    print(torch.cuda.get_device_name(number), torch.cuda.is_bf16_supported())
"""


def add_arguments(parser):
    """`face-cascade doctor` has no options."""


def flags():
    """The processor's flags, a set of words; empty if /proc does not list them."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def bvlc():
    """(good, words) about BVLC Caffe."""
    engine = engines.Engine("bvlc")
    if not engine.caffe.exists():
        problem = engines.obstacle()
        return (
            None,
            problem or "not installed; make caffe installs it (250 MB), and so does the first command that needs it",
        )
    done = subprocess.run([str(engine.caffe), "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    build = "CPU build" if engines.cpu_build() else "your own build"
    if done.returncode:
        return False, f"{engine.caffe} does not run: {done.stdout.strip()[-200:]}; make caffe installs it again"
    return True, f"{done.stdout.strip().splitlines()[-1]}, {build}, float32, {engine.caffe}"


def torch():
    """List of (good, name, words) about the engine on PyTorch and GPUs."""
    engine = engines.Engine("torch")
    done = subprocess.run([str(engine.python), "-I", "-c", TORCH], capture_output=True, text=True)
    if done.returncode:
        words = (
            "PyTorch is not installed; make .venv/ready-engine installs it, and so does the first command that needs it"
        )
        return [(None, "engine on PyTorch", words)]
    version, capability, count, *names = done.stdout.splitlines()
    fast = {"amx_bf16": "matrix units (AMX)", "avx512_bf16": "AVX-512"} if "x86" in platform.machine() else {}
    units = [words for flag, words in fast.items() if flag in flags()]
    bfloat16 = f"bfloat16 with {units[0]}" if units else "bfloat16 without hardware support (slower than float32)"
    rows = [(True, "engine on PyTorch", f"PyTorch {version}, {capability}, float32; {bfloat16}")]
    if int(count):
        words = "; ".join(f"cuda:{i} {name.rpartition(' ')[0]}" for i, name in enumerate(names))
        rows.append((True, "GPU", f"{words}; float32, tf32, bfloat16: --device cuda --precision bfloat16"))
    else:
        rows.append((None, "GPU", "PyTorch finds none; training runs on the CPU"))
    return rows


def packages():
    """(good, words) about the packages of .venv."""
    wanted = ("numpy", "opencv-python-headless", "lmdb", "protobuf", "scipy", "h5py", "tqdm", "pillow", "jinja2")
    missing, there = [], []
    for name in wanted:
        try:
            there.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return False, f"missing: {', '.join(missing)}; rm .venv/ready && make .venv/ready installs them"
    return True, ", ".join(there)


def rows():
    """The lines of the report: list of (good, name, words); good is None for information only."""
    lines = [(True, "Python", f"{platform.python_version()}, {sys.executable}")]
    lines.append((packages()[0], "packages", packages()[1]))
    good, words = bvlc()
    lines.append((good, "BVLC Caffe", words))
    lines += torch()
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS") or str(cores)
    lines.append((True, "threads", f"{threads} of {cores} cores (--threads N for fewer)"))
    free = shutil.disk_usage(engines.REPOSITORY).free / 1e9
    need = f"all of CelebA and a full training take about {DISK} GB"
    lines.append((free > DISK or None, "disk", f"{free:.0f} GB free in {engines.REPOSITORY}; {need}"))
    lines.append((True, "cache", f"{install_caffe.cache_folder()} (FACE_CASCADE_CACHE= for another place)"))
    return lines


def run(arguments):
    """Run `face-cascade doctor`; returns 1 if something required is missing, else 0."""
    found = rows()
    for good, name, words in found:
        mark = {True: "ok", False: "missing", None: "note"}[good]
        print(f"{mark:8} {name:18} {words}")
    return 1 if any(good is False for good, _, _ in found) else 0
