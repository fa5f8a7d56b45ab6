"""The demo's comparison with BVLC Caffe: the whole demo takes minutes, and `make demo` runs it."""

import os
import sys

import pytest

from tools import demo
from tools import run as runs

# Python imports this module when it starts: it notes which Python, and which `caffe` it would import.
NOTE = """
import importlib.util, os, sys
with open(os.environ["PYTHONS"], "a") as file:
    file.write(f"{sys.prefix} {importlib.util.find_spec('caffe').origin}\\n")
"""


@pytest.fixture
def pythons(tmp_path, monkeypatch):
    """A file with a line for every Python that starts."""
    folder, file = tmp_path / "site", tmp_path / "pythons"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NOTE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("PYTHONS", str(file))
    return file


def test_bvlc_caffe_itself_answers_in_the_comparison(small_run, small_faces, pythons, cascade):
    """Once the record's engine answered in its place, so that the engine was compared with itself."""
    pictures = [str(path) for path in sorted((small_faces / "img_align_celeba").glob("*.jpg"))[:2]]
    assert cascade("predict", "--run", small_run, "--aligned", "--no-pictures", *pictures)[0] == 0
    line = demo.compare(runs.Run.read(small_run), pictures)
    *_, last = pythons.read_text().splitlines()
    assert "engine/caffe" not in last and not last.startswith(f"{sys.prefix} "), last
    assert "largest difference among 4 probabilities" in line
    ours, theirs = (demo.probabilities(small_run / name) for name in ("predictions", "predictions-bvlc"))
    assert ours == pytest.approx(theirs, abs=2e-3) and len(ours) == 4
