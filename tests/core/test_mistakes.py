"""Typical mistakes: each ends in one line on standard error with the remedy and a non-zero status; nothing is lost."""

import dataclasses
import os
import shutil
import subprocess
import sys

import pytest
import torch
from command_line import REPOSITORY

from data_prep import start
from data_prep.store import manifest
from tools import cli
from tools import run as runs

TRAIN = {
    "misspelt stage": (["casade"], "unknown stage 'casade'; did you mean cascade?"),
    "misspelt stage of a solver": (["--solver", "casade.max_iter=300"], "did you mean cascade?"),
    "misspelt solver field": (["--solver", "region.max_itr=300"], "did you mean max_iter?"),
    "solver field that is not a number": (["--solver", "base_lr=nan"], "base_lr"),
    "odd batch": (["--batch", "3"], "--batch: must be an even number of at least 2, not 3"),
    "huge batch": (["--batch", "10000000"], "batch: must be at most"),
    "no number": (["--batch", "four"], "must be an even number of at least 2, not 'four'"),
    "no width": (["--width", "0"], "width: must be above 0 and at most 1"),
    "odd width": (["--width", "1/3"], "layer conv2 would have 85.33 channels"),
    "unknown device": (["--device", "foo"], "must be cpu, cuda"),
    "GPU with BVLC": (["--device", "cuda", "--caffe", "bvlc"], ("CPU", "torch")),
    "precision with BVLC": (["--precision", "bfloat16", "--caffe", "bvlc"], "float32 only"),
    "threads": (["--threads", "-1"], "--threads: must be a whole number of at least 0, not -1"),
    "snapshots": (["--keep-snapshots", "-1"], "--keep-snapshots: must be a whole number of at least 0"),
    "first weights": (["--start-from", "nowhere"], "--start-from nowhere: no such file"),
    "the project's folder": (["--run", str(REPOSITORY)], "holds solvers for Caffe's own commands"),
}


@pytest.mark.parametrize("kind", TRAIN)
def test_mistakes_in_train_are_reported_with_the_remedy(kind, small_lmdb, tmp_path, fails):
    words, expected = TRAIN[kind]
    fails("train", "--lmdb", small_lmdb, "--run", tmp_path / "run", *words, says=expected)
    assert not (tmp_path / "run/run.json").exists()


def test_a_failure_of_caffe_train_is_one_line_with_its_reason(small_lmdb, tmp_path, fails):
    if torch.cuda.device_count() > 7:
        pytest.skip("this machine has eight GPUs")
    words = ["--lmdb", small_lmdb, "--width", "1/16", "--device", "cuda:7", "--caffe", "torch"]
    reason = "region: caffe train failed: Cannot use GPU"
    fails("train", "region", "--run", tmp_path / "run", *words, says=(reason, "train.log"))


def test_training_before_data_names_the_missing_step(tmp_path, fails):
    fails("train", "--lmdb", tmp_path / "x", "--run", tmp_path / "run", says=("no LMDBs in it", "make lmdb"))


@pytest.mark.parametrize("command", ("evaluate", "predict", "report", "export", "average"))
def test_commands_before_training_name_the_missing_step(command, tmp_path, fails, monkeypatch):
    from tools.install import engines

    monkeypatch.setattr(engines, "ensure", lambda engine: pytest.fail("a Caffe was installed"))
    words = [REPOSITORY / "docs/regions.png"] if command == "predict" else []
    fails(command, "--run", tmp_path / "run", *words, says=("no run in it", "face-cascade train"))


@pytest.mark.parametrize(
    "words, record, expected",
    [
        (["evaluate", "--device", "foo"], None, "must be cpu, cuda"),
        (["evaluate", "--caffe", "foo"], None, "unknown Caffe 'foo'"),
        (["evaluate", "--run"], None, ("argument --run: expected one argument", "--help")),
        (["evaluate"], '{"version": 2}', "written by another version of face-cascade (2, not 3)"),
        (["report"], "{", "damaged, not readable as JSON"),
    ],
)
def test_mistakes_that_prevent_the_choice_of_a_caffe(words, record, expected, small_run, tmp_path, fails):
    run = small_run
    if record:
        run = tmp_path / "run"
        run.mkdir()
        (run / "run.json").write_text(record)
    fails(*words[:1], *([] if words[-1] == "--run" else ["--run", run]), *words[1:], says=expected)


def test_a_failed_installation_of_a_caffe_is_reported(monkeypatch, small_run, fails):
    from tools.install import engines, install_caffe

    def install():
        raise install_caffe.InstallError("no network")

    monkeypatch.setattr(engines, "REPOSITORY", small_run)  # in which no Caffe is installed
    monkeypatch.setattr(install_caffe, "install_here", install)
    fails(
        "evaluate", "--caffe", "bvlc", "--run", small_run, says="BVLC Caffe could not be installed: no network; or use"
    )


def test_an_unknown_command_gets_a_suggestion(fails):
    fails("trian", says="did you mean train?")


def test_evaluation_of_a_run_whose_data_changed_is_refused(small_run, small_lmdb, tmp_path, fails):
    run, lmdb = tmp_path / "run", tmp_path / "lmdb"
    shutil.copytree(small_run, run)
    shutil.copytree(small_lmdb, lmdb)
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


def test_settings_other_than_the_trained_ones_are_refused(small_run, fails, cascade):
    fails("train", "--run", small_run, "--batch", 4, says=("network.batch was 2, now 4", "--restart", "--run"))
    fails("train", "--run", small_run, "--width", "1/8", says=("network.width was 0.0625, now 0.125", "--restart"))
    status, printed, _ = cascade("train", "--run", small_run)
    assert status == 0 and printed.count("already done, nothing to do") == 3


# make -------------------------------------------------------------------------------------------------------


def make(*words, folder=REPOSITORY):
    """make with settings; its own last line about the failed target is left out of the errors."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(["make", *words], cwd=folder, capture_output=True, text=True, env=environment)
    done.stderr = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("make: ***"))
    return done


def test_a_python_that_is_too_old_is_reported(tmp_path):
    """The Makefile is run on a folder that has no .venv yet."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "engine").mkdir()
    shutil.copy(REPOSITORY / "engine/pyproject.toml", tmp_path / "engine/pyproject.toml")
    done = make("train", f"PYTHON={REPOSITORY / '.caffe/bin/python'}", folder=tmp_path)
    assert done.returncode != 0 and done.stderr.startswith("error: Python 3.11 or newer is needed"), done.stderr
    assert "make PYTHON=" in done.stderr and not (tmp_path / ".venv").exists()


def test_an_environment_of_another_place_is_set_up_again(tmp_path):
    """Once a renamed clone's .venv started itself again for ever, or ran the code of the old place."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/ready").write_text("/the/old/place\n")
    make("help", folder=tmp_path)
    assert not (tmp_path / ".venv").exists()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/ready").write_text(f"{tmp_path}\n")
    make("help", folder=tmp_path)
    assert (tmp_path / ".venv/ready").exists()


def test_a_command_of_a_copied_environment_says_so(monkeypatch, tmp_path, fails):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "Makefile").touch()
    (tmp_path / ".venv/bin/face-cascade").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv/bin/face-cascade")])
    fails("doctor", says=(f"{tmp_path}/.venv is a copy of the environment of {REPOSITORY}", "make doctor"))


def test_a_command_is_started_again_once_at_the_most(monkeypatch, small_run, fails):
    from tools.install import engines

    monkeypatch.setenv(engines.STARTED, "torch")
    monkeypatch.setattr(engines, "runs_here", lambda engine: False)
    monkeypatch.setattr(os, "execve", lambda *words: pytest.fail("started again"))
    fails("evaluate", "--run", small_run, says=("of another copy of the project", "make doctor"))


def test_a_missing_environment_is_reported():
    done = subprocess.run(
        [sys.executable, "-S", "data_prep/start.py", "tools.cli", "train"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 1 and done.stderr.startswith("error: No module named"), done.stderr
    assert "run `make doctor`" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("target, setting", [("predict", "IMAGES"), ("train", "RUN"), ("lmdb", "DATA")])
def test_values_given_to_make_are_never_executed(target, setting, tmp_path):
    mark = tmp_path / "mark"
    hostile = f"`touch {mark}` $(shell touch {mark}) $$(touch {mark}); touch {mark}"
    done = make(target, f"{setting}={hostile}", *([f"RUN={tmp_path / 'run'}"] if setting != "RUN" else []))
    assert done.returncode != 0 and not mark.exists()


def test_unknown_settings_of_make_are_refused():
    """Once ATRIBUTES=Male was ignored."""
    done = make("lmdb", "ATRIBUTES=Male")
    assert done.returncode != 0 and "unknown setting ATRIBUTES" in done.stdout + done.stderr + str(done)


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
    for setting in ("CELEBA=", "RUN=", "ARGS=", "V=1", "make doctor"):
        assert setting in make("help").stdout


def test_a_reader_that_closes_early_is_no_error():
    """Once `face-cascade --help | head -1` ended in BrokenPipeError now and then."""
    reader, writer = os.pipe()
    os.close(reader)
    words = start.command(sys.executable, "tools.cli", "--help")
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 1 and not done.stderr
