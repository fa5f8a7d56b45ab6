"""`face-cascade evaluate` and `face-cascade report`, called as the command line calls them."""

import shutil

import evaluation_files

from tools import run as runs

HERE = ("--caffe", "torch", "--resamples", "20")  # so that this process is not replaced by BVLC Caffe's Python


def test_moved_data_are_named_once(run, cascade, fails, tmp_path):
    """Once a dead end: --lmdb was refused for a run."""
    moved = run.lmdb.rename(tmp_path / "moved")
    fails("evaluate", "--run", run.folder, says="no LMDBs in it")
    status, said, _ = cascade("evaluate", "--run", run.folder, "--lmdb", moved, "--resamples", 20)
    assert status == 0 and "already evaluated" in said and runs.Run.read(run.folder).lmdb == moved
    other = evaluation_files.write_lmdb(tmp_path / "other", synthetic=False)
    fails("evaluate", "--run", run.folder, "--lmdb", other, says="holds other data than")
    assert cascade("report", "--run", run.folder)[0] == 0


def test_weights_that_were_handed_on_have_a_report_until_they_change(run, cascade, fails, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(run.deploy("cascade"), model / "deploy.prototxt")
    shutil.copy(run.weights("cascade"), model / "cascade.caffemodel")
    fails("evaluate", "--run", model, *HERE, says="is not recorded; name LMDBs to evaluate it on: --lmdb")
    assert cascade("evaluate", "--run", model, *HERE, "--lmdb", run.lmdb)[0] == 0
    assert cascade("report", "--run", model / "cascade.caffemodel") == cascade("report", "--run", model)
    assert "Model card" in (model / "report.html").read_text()
    shutil.copy(run.folder / "whole_face/whole_face.caffemodel", model / "cascade.caffemodel")
    fails("report", "--run", model, says="trained after it was evaluated")


def test_the_report_takes_one_run_or_two(run, cascade, fails):
    fails("report", "--run", run.folder, "--compare", run.folder.parent, says="no run in it")
    assert cascade("report", "--run", run.folder)[0] == 0 and (run.folder / "report.html").exists()
    assert cascade("report", "--run", run.folder, "--compare", run.folder, "--out", run.folder / "two.html")[0] == 0
    assert "neither is shown to be better" in (run.folder / "two.html").read_text()


def test_wrong_options_of_evaluate_are_reported_in_one_line(fails):
    fails("evaluate", "--split", "train", says="must be val or test, not 'train'")
    fails("evaluate", "--tune", "f2", says="must be accuracy, balanced_accuracy or f1, not 'f2'")
