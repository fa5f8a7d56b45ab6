"""Only the project's own modules run, whatever the current folder, a data set's folder or a run's folder holds."""

import os
import shutil
import subprocess

import pytest
from command_line import REPOSITORY

from models import generate
from models.options import NetworkOptions
from tools import networks
from tools import run as runs
from tools.errors import ToolError

# Modules that a stranger's folder may hold: packages and modules of the project, of its libraries and of Python.
HOSTILE = ("tools/cli.py", "data_prep/__init__.py", "python_layers/__init__.py", "models/__init__.py")
HOSTILE += ("numpy.py", "json.py", "caffe.py", "torch.py", "lmdb.py", "cv2.py", "runpy.py")


@pytest.fixture
def hostile(tmp_path, small_faces):
    """A data set in a folder of modules that leave a mark when they are imported."""
    folder = tmp_path / "stranger"
    shutil.copytree(small_faces, folder)
    fill(folder, tmp_path / "mark")
    return folder


def fill(folder, mark):
    for name in HOSTILE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"open({str(mark)!r}, 'a').write(__file__)\nraise SystemExit('a stranger runs')\n")
        (folder / name).with_name("__init__.py").touch()


def face_cascade(folder, *words):
    command = [str(REPOSITORY / ".venv/bin/face-cascade"), *map(str, words)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("engine", ("torch", "bvlc"))
def test_nothing_of_a_strangers_folder_is_executed(engine, hostile, tmp_path):
    run = hostile / "run"
    fill(run, tmp_path / "mark")
    face_cascade(hostile, "data", ".", "--out", "lmdb", "--attributes", "Eyeglasses,Male")
    options = ["--width", "1/16", "--batch", 2, "--solver", "max_iter=1,test_interval=10"]
    face_cascade(hostile, "train", "region", "--run", run, "--lmdb", "lmdb", "--caffe", engine, *options, "--restart")
    face_cascade(hostile, "average", "--run", run, "--faces", 2)
    face_cascade(hostile, "evaluate", "--run", run, "--resamples", 10)
    face_cascade(hostile, "predict", "--run", run, "--aligned", "--no-pictures", "img_align_celeba/000001.jpg")
    assert not (tmp_path / "mark").exists(), (tmp_path / "mark").read_text()


@pytest.mark.parametrize(
    "layer, words",
    [
        ('layer { name: "x" type: "HDF5Output" bottom: "prob" hdf5_output_param { file_name: "FILE" } }', "HDF5Output"),
        (
            'layer { name: "x" type: "Python" top: "y" python_param { module: "os.path" layer: "Net" } }',
            "Python os.path Net",
        ),
    ],
)
def test_layers_that_no_network_of_the_project_has_are_refused(layer, words, tmp_path, small_run):
    """A stranger's run could write files or run modules by its deploy.prototxt."""
    run = runs.Run.read(small_run)
    model = tmp_path / "deploy.prototxt"
    model.write_text(run.deploy("cascade").read_text() + layer.replace("FILE", str(tmp_path / "written")))
    with pytest.raises(ToolError, match=f"layer x is of type {words}, which no network of the project has"):
        networks.load(model, run.weights("cascade"))
    assert not (tmp_path / "written").exists()
    for net in ("region", "cascade", "whole_face"):
        generate.write(tmp_path, NetworkOptions(["Male"], l1="linear", task_two_loss=1, form="stream"), nets=[net])
        for kind in ("train_val", "deploy"):
            networks.checked(tmp_path / net / f"{kind}.prototxt")
