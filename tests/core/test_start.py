"""Only the project's own modules run, whatever the current folder, a data set's folder or a run's folder holds."""

import os
import shutil
import subprocess

import pytest
from command_line import REPOSITORY

from tools import networks
from tools import run as runs
from tools.errors import ToolError

# Modules that a stranger's folder may hold: packages and modules of the project, of its libraries and of Python.
HOSTILE = ("tools/cli.py", "data_prep/__init__.py", "python_layers/__init__.py", "models/__init__.py")
HOSTILE += ("numpy.py", "json.py", "caffe.py", "torch.py", "lmdb.py", "cv2.py", "runpy.py")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, small_faces):
    """A data set, and a folder for runs in it, with modules that leave a mark beside them when they are imported."""
    folder = tmp_path_factory.mktemp("hostile") / "stranger"
    shutil.copytree(small_faces, folder)
    code = f"open({str(folder / 'mark')!r}, 'a').write(__file__)\nraise SystemExit('a stranger runs')\n"
    for place in (folder, folder / "torch", folder / "bvlc"):
        for name in HOSTILE:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(code)
            (place / name).with_name("__init__.py").touch()
    face_cascade(folder, "data", ".", "--out", "lmdb", "--attributes", "Eyeglasses,Male")
    return folder


def face_cascade(folder, *words):
    command = [str(REPOSITORY / ".venv/bin/face-cascade"), *map(str, words)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]


@pytest.mark.parametrize("engine", ("torch", "bvlc"))
def test_nothing_of_a_strangers_folder_is_executed(engine, hostile):
    options = ["--width", "1/16", "--batch", 2, "--solver", "max_iter=1,test_interval=10", "--caffe", engine]
    face_cascade(hostile, "train", "region", "--run", engine, "--lmdb", "lmdb", *options, "--restart")
    face_cascade(hostile, "average", "--run", engine, "--faces", 2)
    face_cascade(hostile, "evaluate", "--run", engine, "--resamples", 10)
    face_cascade(hostile, "predict", "--run", engine, "--aligned", "--no-pictures", "img_align_celeba/000001.jpg")
    assert not (hostile / "mark").exists(), (hostile / "mark").read_text()


@pytest.mark.parametrize(
    "layer, words",
    [
        ('type: "HDF5Output" bottom: "prob" hdf5_output_param { file_name: "FILE" }', "HDF5Output"),
        ('type: "Python" top: "y" python_param { module: "os.path" layer: "Net" }', "Python os.path Net"),
    ],
)
def test_layers_that_no_network_of_the_project_has_are_refused(layer, words, tmp_path, small_run):
    """A stranger's run could write files or run modules by its deploy.prototxt."""
    run = runs.Run.read(small_run)
    model = tmp_path / "deploy.prototxt"
    layer = layer.replace("FILE", str(tmp_path / "written"))
    model.write_text(run.deploy("cascade").read_text() + f'layer {{ name: "x" {layer} }}')
    with pytest.raises(ToolError, match=f"layer x is of type {words}, which no network of the project has"):
        networks.load(model, run.weights("cascade"))
    assert not (tmp_path / "written").exists()
