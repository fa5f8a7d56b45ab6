"""The engine installs alone, needs nothing of the repository around it, and starts quickly."""

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
# What only some nets and commands need, and what takes long to import.
LATE = [*BLOCKED, "torch.distributed.run", "torch._dynamo", "torch._inductor", "sympy", "networkx"]
TRAIN = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))  # None: an ImportError
import caffe
from caffe import snapshot
assert "torch" not in sys.modules
if len(sys.argv) < 3:
    caffe.get_solver("solver.prototxt").solve()
print(json.dumps({"file": caffe.__file__, "newest": snapshot.newest("tiny"), "torch": "torch" in sys.modules}))
"""


@pytest.mark.slow
def test_it_trains_from_another_folder_with_nothing_else_installed(tmp_path):
    source, target, folder = tmp_path / "source", tmp_path / "target", tmp_path / "folder"
    shutil.copytree(ENGINE, source, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "tests", "build"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, source], check=True)
    assert {path.name for path in target.iterdir()} >= {"caffe", "bin"} and not (target / "tests").exists()
    assert (target / "caffe/proto/caffe.proto").exists() and (target / "bin/caffe").exists()
    folder.mkdir()
    write(folder, SHORT)

    def run(*arguments):
        environment = dict(os.environ, PYTHONPATH=str(target), GLOG_minloglevel="2", OMP_NUM_THREADS="1")
        command = [sys.executable, "-c", TRAIN, json.dumps(BLOCKED), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=True)
        return json.loads(done.stdout)

    result = run()
    assert pathlib.Path(result["file"]).is_relative_to(target) and result["newest"] == "tiny_iter_6.solverstate"
    # Whether a snapshot is whole can be asked without PyTorch.
    assert run("check only") == {**result, "torch": False}


@pytest.mark.parametrize(
    "code, blocked",
    [
        ("from caffe import snapshot; from caffe.proto import caffe_pb2; from caffe import cli", ["torch", *BLOCKED]),
        ("import caffe; caffe.Net('net.prototxt', caffe.TRAIN).forward(); from caffe import commands", LATE),
    ],
)
def test_nothing_is_imported_that_is_not_needed(code, blocked, tmp_path):
    write(tmp_path)
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); {code}"
    environment = dict(os.environ, GLOG_minloglevel="2")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environment)
