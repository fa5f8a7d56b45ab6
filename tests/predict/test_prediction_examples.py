"""The examples run unchanged: the notebook, which is stored without outputs, and the code of the documentation."""

import json
import pathlib
import textwrap

import cv2
from cascade_files import ATTRIBUTES

import tools.predict

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOK = REPOSITORY / "examples/predict.ipynb"


def test_code_of_the_notebook_runs_and_answers(random_run, tmp_path, monkeypatch):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUN", str(random_run.folder))
    # A kernel would show the last value of each cell; here the results are taken from the variables.
    values = {}
    exec("\n".join(code), values)
    assert len(values["faces"]) == 2 and all(list(face.attributes) == ATTRIBUTES for face in values["faces"])


def test_example_of_the_documentation_runs(random_run, photo_folder, tmp_path, monkeypatch, capsys):
    """tests/test_docs.py compares it with that of the page."""
    example = tools.predict.__doc__.partition("\n\n")[2].partition("\n\nRun it")[0]
    assert "Predictor(run=" in example
    (tmp_path / "build").mkdir()
    (tmp_path / "build/run").symlink_to(random_run.folder)
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.imread(str(photo_folder / "one.jpg")))
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(example), {})
    box, *answers = capsys.readouterr().out.splitlines()
    assert box.startswith("[") and [line.partition(":")[0] for line in answers] == ATTRIBUTES
    assert all("probability" in line and "region [" in line for line in answers)


def test_the_pycaffe_example_is_short_and_needs_nothing_of_the_tools():
    text = (REPOSITORY / "examples/predict.py").read_text()
    assert len(text.splitlines()) <= 40 and "tools" not in text and "data_prep" not in text
