"""Which Caffe the Makefile runs on."""

import pathlib
import subprocess
import sys

import pytest

from tools.install.engines import choose

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "wanted, flags, obstacle, engine, words",
    [
        ("bvlc", ["-gpu", "0"], "none", "bvlc", None),
        ("torch", [], None, "torch", None),
        ("auto", [], None, "bvlc", "no GPU"),
        ("auto", ["-gpu", "0"], None, "torch", "GPU is asked for"),
        ("auto", ["--gpu=0,1"], None, "torch", "GPU is asked for"),
        ("auto", ["-weights", "gpu"], None, "bvlc", "no GPU"),
        ("auto", [], "this is Darwin on arm64", "torch", "Darwin"),
    ],
)
def test_choice_and_its_reason(wanted, flags, obstacle, engine, words):
    found, why = choose(wanted, flags, lambda: obstacle)
    assert found == engine and (why is None if words is None else words in why)


def test_another_word_is_one_clear_line():
    command = [sys.executable, "tools/install/engines.py", "pytorch"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 1 and done.stderr == "error: CAFFE must be bvlc, torch or auto, not 'pytorch'\n"


def test_the_line_and_the_programs():
    done = subprocess.run(
        [sys.executable, "tools/install/engines.py", "auto", "-gpu", "0"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.stdout == "caffe=.venv/bin/caffe python=.venv/bin/python\n"
    assert done.stderr == "caffe: the engine on PyTorch: a GPU is asked for\n"
