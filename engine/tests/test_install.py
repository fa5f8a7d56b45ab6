"""The engine installs alone, needs nothing of the repository around it, and starts quickly."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from tiny import SHORT, write

ENGINE = pathlib.Path(__file__).resolve().parents[1]
# What neither training nor the check of snapshots may need: packages of the extras, and the project's own.
BLOCKED = ["cv2", "h5py", "lmdb", "scipy", "data_prep", "models", "python_layers", "tools", "benchmarks"]
# What only some nets and commands need, and what takes long to import.
LATE = [*BLOCKED, "torch.distributed.run", "torch._dynamo", "torch._inductor", "sympy", "networkx"]
TRAIN = "import caffe; caffe.get_solver('solver.prototxt').solve(); from caffe import commands"
# Whether a snapshot is whole can be asked without PyTorch, and --help is printed without.
CHECK = "from caffe import cli, snapshot; from caffe.proto import caffe_pb2; assert snapshot.newest('tiny')"


def start(folder, path=""):
    """Train, then check the snapshot, in processes that cannot import what they need not; the engine's folder."""
    write(folder, SHORT)
    environment = dict(os.environ, GLOG_minloglevel="2", OMP_NUM_THREADS="1", **({"PYTHONPATH": path} if path else {}))
    for code, blocked in ((TRAIN, LATE), (CHECK, ["torch", *BLOCKED])):
        code = f"import sys; sys.modules.update(dict.fromkeys({blocked})); {code}; print(sys.modules['caffe'].__file__)"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
        assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip()).parent


def test_nothing_is_imported_that_is_not_needed(tmp_path):
    start(tmp_path)


@pytest.mark.slow
def test_it_trains_from_another_folder_with_nothing_else_installed(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(ENGINE, source, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "tests", "build"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, source], check=True)
    assert (target / "caffe/proto/caffe.proto").exists() and (target / "bin/caffe").exists()
    assert start(tmp_path, str(target)) == target / "caffe" and not (target / "tests").exists()
