"""The example notebook: its code runs unchanged, and it is stored without outputs."""

import json
import os
import pathlib
import subprocess
import sys

NOTEBOOK = pathlib.Path(__file__).resolve().parent.parent / "examples" / "predict.ipynb"


def test_code_of_the_notebook_runs_and_answers(small_run, tmp_path):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    # A kernel would show the last value of each cell; here the results are taken from the variables.
    script = tmp_path / "notebook.py"
    script.write_text("\n".join([*code, "import json", "print(json.dumps([face.to_dict() for face in faces]))"]))
    environment = {**os.environ, "RUN": str(small_run)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    faces = json.loads(last)
    assert len(faces) == 2 and all(list(face["attributes"]) == ["Eyeglasses", "Male"] for face in faces)
    assert all(0 <= answer["probability"] <= 1 for face in faces for answer in face["attributes"].values())


def test_notebook_is_stored_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["nbformat"] == 4 and len(NOTEBOOK.read_bytes()) < 10_000
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
