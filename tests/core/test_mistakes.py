"""Typical mistakes: each ends in one line on standard error with the remedy and a non-zero status; nothing is lost."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from caffe.proto import caffe_pb2
from command_line import ATTRIBUTES, REPOSITORY
from mutations import full_disk

from data_prep.store import manifest
from models import generate
from models.options import NetworkOptions
from tools import cli
from tools import run as runs
from tools.install import engines, install_caffe
from tools.train import before

TRAIN = {
    "misspelt stage": (["casade"], "unknown stage 'casade'; did you mean cascade?"),
    "first weights": (["--start-from", "nowhere"], "--start-from nowhere: no such file"),
    "the project's folder": (["--run", str(REPOSITORY)], "holds solvers for Caffe's own commands"),
    "data": (["--lmdb", "nowhere"], ("no LMDBs in it", "make lmdb")),
    "an option twice": (["--solver", "base_lr=1", "--solver=max_iter=9"], "--solver is given twice"),
}


@pytest.mark.parametrize("words, expected", TRAIN.values(), ids=TRAIN)
def test_mistakes_in_train_are_reported_with_the_remedy(words, expected, small_lmdb, tmp_path, fails):
    usual = {"--lmdb": small_lmdb, "--run": tmp_path / "run"}
    fails(
        "train", *(word for name in usual if name not in words for word in (name, usual[name])), *words, says=expected
    )
    assert not (tmp_path / "run/run.json").exists()


def test_a_failure_of_caffe_train_is_one_line_with_its_reason(small_lmdb, tmp_path, fails):
    words = ["train", "region", "--lmdb", small_lmdb, "--width", "1/16", "--run"]
    reason = "region: caffe train failed: Cannot use GPU"
    fails(*words, tmp_path / "gpu", "--device", "cuda:99", "--caffe", "torch", says=(reason, "train.log"))
    with full_disk(300_000):  # BVLC Caffe aborts; once that was told as an interruption
        reason = "region: caffe train failed: [Errno 27] File too large"
        fails(*words, tmp_path / "disk", "--caffe", "bvlc", says=(reason, "train.log"))


def test_mistakes_without_a_run_are_reported_and_install_no_caffe(tmp_path, fails, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engines, "ensure", lambda engine: pytest.fail("a Caffe was installed"))
    fails("trian", says="did you mean train?")
    fails("evaluate", "--run", says=("argument --run: expected one argument", "--help"))
    for command in ("evaluate", "report", "export"):
        fails(command, says=("no run in it", "face-cascade train"))


def test_a_caffe_or_a_device_that_does_not_exist_is_reported(small_run, fails):
    fails("evaluate", "--run", small_run, "--caffe", "foo", says="unknown Caffe 'foo'")
    fails("evaluate", "--run", small_run, "--device", "foo", says="must be cpu, cuda")


def test_a_failed_installation_of_a_caffe_is_reported(monkeypatch, small_run, fails):
    def install():
        raise install_caffe.InstallError("no network")

    monkeypatch.setattr(engines, "REPOSITORY", small_run)  # in which no Caffe is installed
    monkeypatch.setattr(install_caffe, "install_here", install)
    said = "BVLC Caffe could not be installed: no network; or use"
    fails("evaluate", "--caffe", "bvlc", "--run", small_run, says=said)


def test_evaluation_of_a_run_whose_data_changed_is_refused(small_run, small_lmdb, tmp_path, fails):
    run, lmdb = shutil.copytree(small_run, tmp_path / "run"), shutil.copytree(small_lmdb, tmp_path / "lmdb")
    changed = runs.Run.read(run)
    changed.data.lmdb = str(lmdb)
    changed.write()
    path = lmdb / "train_images/data.mdb"
    data = path.read_bytes()
    path.write_bytes(data[:-8192])
    for words in (["evaluate"], ["train", "whole_face"]):
        fails(*words, "--run", run, says=(str(path), "build the LMDBs"))
    path.write_bytes(data)
    made = manifest.read(lmdb)
    manifest.write(lmdb, dataclasses.replace(made, settings=dataclasses.replace(made.settings, seed=99)))
    fails("evaluate", "--run", run, says="the data changed since")
    fails("train", "--run", run, "--restart", says=("was made from other data", "--run"))


def test_a_training_that_lost_its_snapshots_does_not_begin_again(small_run, tmp_path, fails):
    """Once it did without a word, and the weights it had were given up."""
    run = shutil.copytree(small_run, tmp_path / "run")
    for path in run.glob("region/*.solverstate"):
        path.unlink()
    longer = f"region.max_iter={runs.Run.read(run).stages['region'].iterations + 2}"
    fails("train", "region", "--run", run, "--solver", longer, says=("no snapshot is left", "--restart"))


@pytest.mark.parametrize("words, said", [([".", "nowhere.jpg"], "nowhere.jpg"), (["nowhere", "face.png"], "nowhere")])
def test_mistakes_in_the_example_of_pycaffe_are_reported(words, said, tmp_path):
    cv2.imwrite(str(tmp_path / "face.png"), np.zeros((9, 9, 3), np.uint8))
    example = [sys.executable, REPOSITORY / "examples/predict.py", *words]
    done = subprocess.run(example, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and re.match(f"error: {said}.*: not there, or not what", done.stderr), done.stderr


def test_another_deploy_prototxt_than_the_trained_one_is_refused(small_run, tmp_path, fails):
    run = shutil.copytree(small_run, tmp_path / "run")
    deploy = run / "region/deploy.prototxt"  # of the average region too
    deploy.write_text(deploy.read_text() + "# changed\n")
    fails("evaluate", "--run", run, says="deploy.prototxt: changed since average was done")


def test_settings_other_than_the_trained_ones_are_refused(small_run, fails, cascade):
    fails("train", "--run", small_run, "--batch", 4, says=("network.batch was 2, now 4", "--restart", "--run"))
    says = "change nothing in what is done, and region was made with others: network.batch was 2, now 4"
    fails("train", "average", "--run", small_run, "--batch", 4, says=says)
    status, printed, _ = cascade("train", "--run", small_run)
    assert status == 0 and printed.count("already done, nothing to do") == 3


# With Caffe's own commands ----------------------------------------------------------------------------------


def by_hand(folder, attributes=ATTRIBUTES, width=1 / 16):
    """Write the networks and solvers of Caffe's own commands, on data/lmdb, into a folder."""
    options = NetworkOptions(attributes, batch=2, width=width)
    generate.write(folder, options, places=generate.in_repository)


def test_a_training_without_data_ends_in_one_line_with_the_remedy(tmp_path):
    """Of BVLC Caffe; engine/tests/test_caffe_command.py has the engine's."""
    by_hand(tmp_path)
    words = [REPOSITORY / ".caffe/bin/caffe", "train", "-solver", "solver/region.prototxt"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("error: ") and "data/lmdb/manifest.json: missing; face-cascade data (make lmdb)" in line


@pytest.mark.parametrize(
    "solver, attributes, width, form, words",
    [
        ("region", ["Male"], 1 / 16, "compact", "data/lmdb holds Eyeglasses, Male, and the net is for Male"),
        ("region", ATTRIBUTES, 1 / 16, "stream", "data/lmdb holds the stream form, and the net reads the compact one"),
        ("cascade", ATTRIBUTES, 1 / 16, "compact", "build/average.caffemodel: no such file to start from; make av"),
        ("whole_face", ATTRIBUTES, 1 / 8, "compact", "weights of another net, of other attributes or another width"),
    ],
)
def test_what_does_not_fit_is_told_before_bvlc_caffe_starts(
    solver, attributes, width, form, words, small_lmdb, small_run, tmp_path, monkeypatch
):
    """Once it ended with a stack trace. The engine tells by itself: tests/on_caffe and engine/tests."""
    by_hand(tmp_path, attributes, width)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_lmdb, tmp_path / "data/lmdb")
    manifest.write(tmp_path / "data/lmdb", manifest.Manifest(ATTRIBUTES, form=form))
    weights = str(small_run / "average/average.caffemodel") if solver == "whole_face" else ""
    with pytest.raises((ValueError, OSError), match=re.escape(words)):
        before.check(f"solver/{solver}.prototxt", weights, "")


def test_what_the_check_does_not_know_is_left_to_bvlc_caffe(small_lmdb, small_run, tmp_path, monkeypatch):
    """Once each of these trainings, which BVLC Caffe runs, was refused."""
    by_hand(tmp_path)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_lmdb, tmp_path / "data/lmdb")
    shutil.rmtree(tmp_path / "data/lmdb/val_images")
    weights, old = str(small_run / "average/average.caffemodel"), caffe_pb2.NetParameter()
    old.layers.add(name="conv1", blobs=[caffe_pb2.BlobProto(num=1, data=[1])])
    (tmp_path / "old.caffemodel").write_bytes(old.SerializeToString())
    (tmp_path / "new.caffemodel.h5").touch()
    text = re.sub("test_.*\n", "", (tmp_path / "solver/region.prototxt").read_text())
    net = pathlib.Path("models/region/train_val.prototxt")
    for stage in ('stage: "a"', "min_level: 1"):
        layer = 'layer {{ type: "Data" data_param {{ source: "none" backend: {} }} include {{ {} }} }}\n'
        net.write_text(layer.format("LMDB", stage) + layer.format("LEVELDB", "") + net.read_text())
    for names in (f"{weights}, {weights}", "old.caffemodel", "new.caffemodel.h5"):
        pathlib.Path("solver/region.prototxt").write_text(f'{text}weights: "{names}"\n')
        before.check("solver/region.prototxt", "", "")
        before.check("solver/region.prototxt", names, "")


# Environments -----------------------------------------------------------------------------------------------


def make(*words, folder=REPOSITORY):
    """make with settings."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, env=environment)


def test_a_python_that_is_too_old_is_reported(tmp_path):
    """The Makefile is run on a folder that has no .venv yet."""
    (tmp_path / "engine").mkdir()
    for name in ("Makefile", "pyproject.toml", "engine/pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    done = make("train", f"PYTHON={REPOSITORY / '.caffe/bin/python'}", folder=tmp_path)
    assert done.returncode != 0 and done.stderr.startswith("error: Python 3.11 or newer is needed"), done.stderr
    assert "make PYTHON=" in done.stderr and not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("moved", (True, False))
def test_an_environment_of_another_place_is_set_up_again(moved, tmp_path):
    """Once a renamed clone's .venv started itself again for ever, or ran the code of the old place."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/ready").write_text("/the/old/place\n" if moved else f"{tmp_path}\n")
    make("help", folder=tmp_path)
    assert (tmp_path / ".venv/ready").exists() != moved


def test_a_command_of_a_copied_environment_says_so(monkeypatch, tmp_path, fails):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "Makefile").touch()
    (tmp_path / ".venv/bin/face-cascade").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv/bin/face-cascade")])
    fails("doctor", says=(f"{tmp_path}/.venv is a copy of the environment of {REPOSITORY}", "make doctor"))


def test_a_command_is_started_again_once_at_the_most(monkeypatch, small_run, fails):
    monkeypatch.setenv(engines.STARTED, "torch")
    monkeypatch.setattr(engines, "runs_here", lambda engine: False)
    monkeypatch.setattr(os, "execve", lambda *words: pytest.fail("started again"))
    fails("evaluate", "--run", small_run, says=("of another copy of the project", "make doctor"))


def test_a_missing_environment_is_reported():
    words = [sys.executable, "-S", "data_prep/start.py", "tools.cli", "train"]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and done.stderr.startswith("error: No module named"), done.stderr
    assert "run `make doctor`" in done.stderr and done.stderr.count("\n") == 1


# make, and help ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target, setting", [("predict", "IMAGES"), ("lmdb", "DATA")])
def test_values_given_to_make_are_never_executed(target, setting, tmp_path):
    mark = tmp_path / "mark"
    hostile = f"`touch {mark}` $(shell touch {mark}) $$(touch {mark}); touch {mark}"
    done = make(target, f"{setting}={hostile}", f"RUN={tmp_path / 'run'}")
    assert done.returncode != 0 and not mark.exists()


@pytest.mark.parametrize(
    "words, said",
    [(["ATRIBUTES=Male"], "unknown setting ATRIBUTES"), (["CELEBA=a", "DATA=b.csv"], "each name a data set")],
)
def test_settings_of_make_that_are_unknown_or_too_many_are_refused(words, said):
    """Once the first was ignored, and the second names were glued together."""
    done = make("lmdb", *words)
    assert done.returncode != 0 and said in done.stderr


def test_settings_of_make_reach_the_command_and_can_be_shown(small_lmdb, tmp_path):
    done = make("train", f"LMDB={small_lmdb}", f"RUN={tmp_path / 'a run'}", "ARGS=--solver region.max_itr=3", "V=1")
    assert "did you mean max_iter?" in done.stderr and "face-cascade train" in done.stdout
    done = make("evaluate", f"RUN={tmp_path / 'a run'}")
    assert f"{tmp_path / 'a run'}: no run in it" in done.stderr and "face-cascade evaluate" not in done.stdout


def test_every_command_has_a_help_text(capsys):
    cli.main(["--help"])
    overview = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in overview
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0 and f"usage: face-cascade {name}" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0 and capsys.readouterr().out.startswith("face-cascade 0.")
