"""The engine installs alone and needs nothing of the repository around it."""

import json
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

TRAIN = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))  # None: an ImportError
import caffe
from caffe import snapshot
assert "torch" not in sys.modules
solver = caffe.get_solver("solver.prototxt") if len(sys.argv) < 3 else None
if solver:
    solver.solve()
print(json.dumps({"file": caffe.__file__, "newest": snapshot.newest("tiny"), "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with nothing but the engine, installed from a copy of its folder."""
    source, target = tmp_path_factory.mktemp("source") / "engine", tmp_path_factory.mktemp("target")
    shutil.copytree(ENGINE, source, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "tests", "build"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--no-build-isolation", "--target", target, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(installed, folder, *arguments):
    environment = dict(os.environ, PYTHONPATH=str(installed), GLOG_minloglevel="2", OMP_NUM_THREADS="1")
    command = [sys.executable, "-c", TRAIN, json.dumps(BLOCKED), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_trains_from_another_folder_with_nothing_else_installed(installed, tmp_path):
    write(tmp_path, SHORT)
    result = run(installed, tmp_path)
    assert pathlib.Path(result["file"]).is_relative_to(installed)
    assert result["newest"] == "tiny_iter_6.solverstate"
    # Whether a snapshot is whole can be asked without PyTorch.
    assert run(installed, tmp_path, "check only") == {**result, "torch": False}


def test_what_is_installed_is_the_package_its_schema_and_its_program(installed):
    assert {path.name for path in installed.iterdir()} >= {"caffe", "bin"}
    assert (installed / "caffe/proto/caffe.proto").exists() and (installed / "bin/caffe").exists()
    assert not {path.name for path in installed.iterdir()} & {"tests", "parity.py"}
