"""Typical mistakes: each ends in one line on standard error with the remedy and a non-zero status; nothing is lost."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from command_line import face_cascade

from data_prep.store import manifest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def check(done, words, lines=1):
    """Assert that a command failed with one line that has the given words."""
    assert done.returncode != 0, done.stdout
    errors = done.stderr.strip().splitlines()
    assert len(errors) == lines and errors[-1].startswith("error: "), done.stderr
    for word in words if isinstance(words, tuple) else (words,):
        assert word in errors[-1], errors[-1]


def make(*words):
    """make with settings; its own last line about the failed target is left out of the errors."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(["make", *words], cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    done.stderr = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("make: ***"))
    return done


DATA = {
    "wrong path": (["/no/such folder"], "/no/such folder: no such"),
    "misspelt attribute": (["FACES", "--attributes", "Eyeglases,Male"], "did you mean Eyeglasses?"),
    "other layout": (["FACES", "--expect", "lfwa"], "holds CelebA, not LFWA"),
    "misspelt option": (["FACES", "--from", "compact"], ("unknown option --from; did you mean --form?", "--help")),
    "misspelt form": (["FACES", "--form", "compct"], "compact"),
}


@pytest.mark.parametrize("kind", DATA)
def test_mistakes_in_data_are_reported_with_the_remedy(kind, small_faces, tmp_path):
    words, expected = DATA[kind]
    words = [small_faces if word == "FACES" else word for word in words]
    check(face_cascade("data", *words, "--out", tmp_path / "lmdb"), expected)
    assert not (tmp_path / "lmdb").exists()


TRAIN = {
    "misspelt stage": (["casade"], "unknown stage 'casade'; did you mean cascade?"),
    "misspelt stage of a solver": (["--solver", "casade.max_iter=300"], "did you mean cascade?"),
    "misspelt solver field": (["--solver", "region.max_itr=300"], "did you mean max_iter?"),
    "solver field that is not a number": (["--solver", "base_lr=nan"], "base_lr"),
    "flags with an open quotation": (["--flags='"], "--flags ': no closing quotation"),
    "misspelt flag": (["--flags=-gpus 0"], "no flag -gpus; did you mean -gpu?"),
    "odd batch": (["--batch", "3"], "even number from 2"),
    "huge batch": (["--batch", "10000000"], "even number from 2"),
    "no number": (["--batch", "four"], "invalid int value: 'four'"),
    "GPU that is not there": (["--device", "cuda:7", "--caffe", "torch"], "PyTorch finds"),
    "GPU with BVLC": (["--device", "cuda", "--caffe", "bvlc"], ("CPU", "torch")),
    "precision with BVLC": (["--precision", "bfloat16", "--caffe", "bvlc"], "float32 only"),
    "no threads": (["--threads", "0"], "--threads must be at least 1"),
    "snapshots": (["--keep-snapshots", "-1"], "--keep-snapshots must be at least 0"),
}


@pytest.mark.parametrize("kind", TRAIN)
def test_mistakes_in_train_are_reported_with_the_remedy(kind, small_lmdb, tmp_path):
    words, expected = TRAIN[kind]
    if kind == "GPU that is not there":
        torch = pytest.importorskip("torch")
        if torch.cuda.device_count() > 7:
            pytest.skip("this machine has eight GPUs")
    check(face_cascade("train", *words, "--lmdb", small_lmdb, "--run", tmp_path / "run"), expected)
    assert not (tmp_path / "run/run.json").exists()


def test_training_before_data_names_the_missing_step(tmp_path):
    done = face_cascade("train", "--lmdb", tmp_path / "nothing", "--run", tmp_path / "run")
    check(done, ("no LMDBs in it", "make lmdb"))


@pytest.mark.parametrize("command", ("evaluate", "predict", "report", "export", "average"))
def test_commands_before_training_name_the_missing_step(command, tmp_path):
    words = [REPOSITORY / "docs/regions.png"] if command == "predict" else []
    caffe = ["--caffe", "torch"] if command in ("evaluate", "predict", "average") else []
    done = face_cascade(command, "--run", tmp_path / "run", *words, *caffe)
    first = ("no evaluation.json in it", "face-cascade evaluate")  # a folder without a record may hold an evaluation
    check(done, first if command == "report" else ("no run in it", "face-cascade train"))


CHOOSING = {
    "unknown device": (["evaluate", "--device", "foo"], "unknown device 'foo'"),
    "unknown Caffe": (["evaluate", "--caffe", "foo"], "unknown Caffe 'foo'"),
    "run without a folder": (["evaluate", "--run"], ("argument --run: expected one argument", "--help")),
    "run of another version": (["evaluate"], "written by another version of face-cascade (1, not 2)"),
    "run of another version, predict": (["predict", "photo.jpg"], "written by another version of face-cascade"),
    "run of another version, average": (["average"], "written by another version of face-cascade"),
    "run of another version, export": (["export"], "written by another version of face-cascade"),
    "damaged run": (["evaluate"], "damaged, not readable as JSON"),
}


@pytest.mark.parametrize("kind", CHOOSING)
def test_mistakes_that_prevent_the_choice_of_a_caffe_are_reported_in_one_line(kind, small_run, tmp_path):
    words, expected = CHOOSING[kind]
    run = small_run
    if "run of" in kind or kind == "damaged run":
        run = tmp_path / "run"
        run.mkdir()
        (run / "run.json").write_text("{" if kind == "damaged run" else '{"version": 1}')
    check(face_cascade(words[0], *([] if words[-1] == "--run" else ["--run", run]), *words[1:]), expected)


def test_a_failed_installation_of_a_caffe_is_reported_in_one_line(monkeypatch, capsys, small_run):
    from tools import cli
    from tools.install import engines, install_caffe

    def install():
        raise install_caffe.InstallError("no network")

    monkeypatch.setattr(engines, "REPOSITORY", small_run)  # in which no Caffe is installed
    monkeypatch.setattr(install_caffe, "install_here", install)
    assert cli.main(["evaluate", "--caffe", "bvlc", "--run", str(small_run)]) == 1
    assert capsys.readouterr().err.startswith("error: BVLC Caffe could not be installed: no network; or use")


@pytest.mark.parametrize("words", (["evaluate"], ["predict", "photo.jpg"], ["average"], ["export"]))
def test_a_missing_run_is_reported_before_a_caffe_is_installed(words, monkeypatch, capsys, tmp_path):
    from tools import cli
    from tools.install import engines

    monkeypatch.setattr(engines, "ensure", lambda engine: pytest.fail("installed"))
    assert cli.main([*words, "--run", str(tmp_path / "typo")]) == 1
    assert "typo: no run in it" in capsys.readouterr().err


def test_an_evaluation_that_is_not_there_is_reported_in_one_line():
    check(face_cascade("report", "--evaluation", "/nope"), ("/nope: no evaluation.json in it", "face-cascade evaluate"))


def test_an_unknown_command_gets_a_suggestion():
    check(face_cascade("trian"), "did you mean train?")


def test_evaluation_of_a_run_whose_data_changed_is_refused(small_run, small_lmdb, tmp_path):
    run, lmdb = tmp_path / "run", tmp_path / "lmdb"
    shutil.copytree(small_run, run)
    shutil.copytree(small_lmdb, lmdb)
    record = json.loads((run / "run.json").read_text())
    record["data"]["lmdb"] = str(lmdb)
    (run / "run.json").write_text(json.dumps(record))
    made = json.loads((lmdb / manifest.NAME).read_text())
    made["settings"]["seed"] = 99
    (lmdb / manifest.NAME).write_text(json.dumps(made))
    check(face_cascade("evaluate", "--run", run), "the data changed since")
    check(face_cascade("train", "--run", run), ("was made from other data", "--restart"))


def test_truncated_data_are_refused(small_lmdb, tmp_path):
    lmdb = tmp_path / "lmdb"
    shutil.copytree(small_lmdb, lmdb)
    path = lmdb / "train_images/data.mdb"
    path.write_bytes(path.read_bytes()[:-8192])
    done = face_cascade("train", "--run", tmp_path / "run", "--lmdb", lmdb, "--caffe", "bvlc")
    check(done, (str(path), "damaged LMDB, cut short", "build it again"))


def test_settings_other_than_the_trained_ones_are_refused(small_run):
    check(face_cascade("train", "--run", small_run, "--batch", 4), ("network.batch was 2, now 4", "--restart", "RUN="))
    again = face_cascade("train", "--run", small_run)
    assert again.returncode == 0 and again.stdout.count("already done, nothing to do") == 3, again.stderr


def test_weights_of_another_net_are_refused(small_run, small_lmdb, tmp_path):
    """Weights for two attributes, and the committed networks for twenty."""
    words = [
        "--weights",
        small_run / "region/region_iter_4.caffemodel",
        "--models",
        "models",
        "--out",
        tmp_path / "out",
    ]
    check(face_cascade("evaluate", *words, "--lmdb", small_lmdb, "--caffe", "torch"), "weights of another net")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_is_reported(small_faces, tmp_path):
    code = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000)); from tools import cli; sys.exit(cli.main())"
    words = ["data", str(small_faces), "--out", str(tmp_path / "lmdb")]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "lmdb").exists()


def test_a_python_that_is_too_old_is_reported(tmp_path):
    """The Makefile is run on a folder that has no .venv yet."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "engine").mkdir()
    shutil.copy(REPOSITORY / "engine/pyproject.toml", tmp_path / "engine/pyproject.toml")
    words = ["make", "-C", str(tmp_path), "train", f"PYTHON={REPOSITORY / '.caffe/bin/python'}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0 and line.startswith("error: Python 3.11 or newer is needed"), done.stderr
    assert "make PYTHON=" in line and not (tmp_path / ".venv").exists()


def test_a_missing_environment_is_reported():
    done = subprocess.run(
        [sys.executable, "-S", "tools/cli.py", "train"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]},
    )
    check(done, ("run `make doctor`", ".venv/bin/face-cascade"))


def test_values_given_to_make_are_never_executed(tmp_path):
    mark = tmp_path / "mark"
    hostile = f"`touch {mark}` $(shell touch {mark}) $$(touch {mark}); touch {mark}"
    for target, setting in (
        ("predict", "IMAGES"),
        ("train", "SOLVER"),
        ("train", "RUN"),
        ("lmdb", "DATA"),
        ("train", "TRAIN"),
    ):
        done = make(target, f"{setting}={hostile}", *(["RUN=" + str(tmp_path / "run")] if setting != "RUN" else []))
        assert done.returncode != 0 and not mark.exists(), (target, setting)


def test_settings_with_an_open_quotation_are_reported_in_one_line():
    for target, setting in (("predict", "IMAGES"), ("predict", "PREDICT"), ("evaluate", "WEIGHTS")):
        check(make(target, f"{setting}=bob's photo.jpg"), f"{setting}=bob's photo.jpg: no closing quotation")


def test_restart_of_make_is_a_switch(monkeypatch):
    from tools import cli
    from tools.errors import ToolError

    def words(value):
        monkeypatch.setenv(f"{cli.PREFIX}RESTART", value)
        return cli.with_make_settings(cli.COMMANDS["train"], [])

    for value in ("1", "yes", "TRUE"):
        assert words(value) == ["--restart"]
    for value in ("0", "no", "False", ""):
        assert words(value) == []
    with pytest.raises(ToolError, match="RESTART=2: must be 1, yes or true, or 0, no or false"):
        words("2")


def test_commands_of_make_are_shown_on_request():
    for value, shown in (("1", True), ("yes", True), ("0", False), ("no", False), ("", False)):
        assert ("echo hello" in make("doctor", f"V={value}", "CASCADE=echo hello").stdout) == shown, value


def test_settings_with_blanks_reach_the_command(small_lmdb, tmp_path):
    done = make("train", f"LMDB={small_lmdb}", f"RUN={tmp_path / 'a run'}", "SOLVER=region.max_itr=3")
    check(done, "did you mean max_iter?")
    done = make("evaluate", f"RUN={tmp_path / 'a run'}")
    check(done, (str(tmp_path / "a run"), "no run in it"))


def test_every_command_has_a_help_text():
    overview = face_cascade("--help").stdout
    from tools import cli

    for name in cli.COMMANDS:
        assert f"  {name} " in overview
        done = face_cascade(name, "--help")
        assert done.returncode == 0 and f"usage: face-cascade {name}" in done.stdout, done.stderr
    listed = make("help").stdout
    for setting in ("CELEBA=", "RUN=", "SOLVER=", "DEVICE=", "V=1", "make doctor"):
        assert setting in listed
