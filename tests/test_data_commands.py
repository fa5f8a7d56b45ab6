"""The command lines of data preparation: usable as subcommands, every option explained, errors of one line."""

import argparse

import numpy as np
import pytest

from data_prep.build import build_lmdb
from data_prep.check import check_data
from data_prep.synthetic import synthetic_faces

COMMANDS = {"data": build_lmdb, "check": check_data, "faces": synthetic_faces}


def parser():
    """All three as subcommands of one parser."""
    whole = argparse.ArgumentParser()
    parts = whole.add_subparsers(required=True)
    for name, module in COMMANDS.items():
        part = parts.add_parser(name)
        module.add_arguments(part)
        part.set_defaults(run=module.run)
    return whole


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_explained_in_a_sentence(name):
    part = argparse.ArgumentParser(add_help=False)
    COMMANDS[name].add_arguments(part)
    for action in part._actions:
        assert action.help and action.help[0].isupper() and action.help.endswith("."), action.dest
        if action.option_strings and action.nargs != 0:
            assert "default: " in action.help, action.dest
    assert part.format_help()


def test_subcommands_build_and_check_rendered_faces(tmp_path, capsys):
    def run(*words):
        arguments = parser().parse_args(list(map(str, words)))
        return arguments.run(arguments)

    assert run("faces", tmp_path / "faces", "--images", 30, "--workers", 1, "--prevalence", "Male=0.5") == 0
    assert run("data", tmp_path / "faces", "--out", tmp_path / "lmdb", "--attributes", "Male") == 0
    assert run("check", tmp_path / "lmdb") == 0
    assert "all checks passed" in capsys.readouterr().out
    assert run("data", tmp_path / "faces", "--out", tmp_path / "lmdb", "--attributes", "Male") == 1
    assert run("check", tmp_path / "lmdb", "--sample", 0) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line[:7] for line in errors] == ["error: "] * 2


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY\x01\x00", b"PK\3\4", "short", "type", "object"])
def test_a_damaged_plan_is_reported_in_one_line(tmp_path, capsys, data):
    synthetic_faces.generate(tmp_path / "faces", 30, 1, {"Male": 0.5}, workers=1)
    arguments = [str(tmp_path / "faces"), "--out", str(tmp_path / "lmdb"), "--attributes", "Male", "--form", "stream"]
    assert build_lmdb.main(arguments) == 0
    path = tmp_path / "lmdb/train_plan.npy"
    whole = np.load(path)
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        np.save(path, {"short": whole[:-1], "type": whole["dx"], "object": np.array([{}], object)}[data])
    capsys.readouterr()
    assert check_data.main([str(tmp_path / "lmdb"), "--no-source"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: damaged") and error.count("\n") == 1
