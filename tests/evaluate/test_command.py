"""`face-cascade evaluate` and `face-cascade report`, called as the command line calls them."""

import shutil

import evaluation_files
import pytest

from tools import run as runs
from tools.cli import main

HERE = ("--caffe", "torch", "--resamples", "20")  # so that this process is not replaced by BVLC Caffe's Python


@pytest.fixture
def printed(capsys):
    """Call a command with words: its status, and what it printed."""

    def call(*words):
        capsys.readouterr()
        status = main(list(map(str, words)))
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


def test_moved_data_are_named_once(run, printed, tmp_path):
    """Once a dead end: --lmdb was refused for a run."""
    moved = run.lmdb.rename(tmp_path / "moved")
    status, said = printed("evaluate", "--run", run.folder)
    assert status == 1 and "no LMDBs in it" in said and said.count("\n") == 1
    status, said = printed("evaluate", "--run", run.folder, "--lmdb", moved, "--resamples", 20)
    assert status == 0 and "already evaluated" in said and runs.Run.read(run.folder).lmdb == moved
    other = evaluation_files.write_lmdb(tmp_path / "other", synthetic=False)
    assert "holds other data than" in printed("evaluate", "--run", run.folder, "--lmdb", other)[1]
    assert printed("report", "--run", run.folder)[0] == 0


def test_weights_that_were_handed_on_have_a_report_until_they_change(run, printed, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(run.deploy("cascade"), model / "deploy.prototxt")
    shutil.copy(run.weights("cascade"), model / "cascade.caffemodel")
    assert "is not recorded; name LMDBs to evaluate it on: --lmdb" in printed("evaluate", "--run", model, *HERE)[1]
    assert printed("evaluate", "--run", model, *HERE, "--lmdb", run.lmdb)[0] == 0
    assert printed("report", "--run", model / "cascade.caffemodel") == (0, printed("report", "--run", model)[1])
    assert "Model card" in (model / "report.html").read_text()
    shutil.copy(run.folder / "whole_face/whole_face.caffemodel", model / "cascade.caffemodel")
    assert "trained after it was evaluated" in printed("report", "--run", model)[1]


def test_the_report_takes_one_run_or_two(run, printed):
    assert "no run in it" in printed("report", "--run", run.folder, "--compare", run.folder.parent)[1]
    assert printed("report", "--run", run.folder)[0] == 0 and (run.folder / "report.html").exists()
    assert printed("report", "--run", run.folder, "--compare", run.folder, "--out", run.folder / "two.html")[0] == 0
    assert "neither is shown to be better" in (run.folder / "two.html").read_text()


@pytest.mark.parametrize(
    "words, message",
    (
        (("--split", "train"), "must be val or test, not 'train'"),
        (("--tune", "f2"), "must be accuracy, balanced_accuracy or f1, not 'f2'"),
    ),
)
def test_wrong_options_of_evaluate_are_reported_in_one_line(words, message, fails):
    fails("evaluate", *words, says=message)
