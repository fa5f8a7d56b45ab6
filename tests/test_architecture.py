"""The structure of the code: imports go as docs/folders.svg shows, none are circular, and what needs no PyTorch."""

import ast
import graphlib
import pathlib
import re
import runpy
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# From the highest to the lowest, folders and the parts inside of each: all imports go downwards.
FOLDERS = {name.split()[-1]: parts for name, parts in runpy.run_path(str(REPOSITORY / "docs/draw.py"))["FOLDERS"]}
ORDER = list(FOLDERS)


def modules():
    """Module name -> names of the project's modules that it imports anywhere."""
    paths = {}
    for folder in ORDER:
        root = REPOSITORY / ("engine" if folder == "caffe" else ".")
        for path in (root / folder).rglob("*.py"):
            paths[".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")] = path
    return {name: set(imported(path, paths)) - {name} for name, path in paths.items()}


def imported(path, known):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            base = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for name in (base + alias.name for alias in node.names):
                yield from [found for found in (name, name.rpartition(".")[0]) if found in known][:1]


def place(name):
    """The place of a module in the picture, of its folder and inside of it, the highest first; the rest is last."""
    folder, *inside = name.replace("ablation", "model").split(".")  # there is no room for it in the picture
    parts = [re.findall(r"\w+", words) for words in FOLDERS[folder]]
    return ORDER.index(folder), next((n for n, words in enumerate(parts) if {*inside[:1]} & {*words}), len(parts) - 1)


def test_imports_go_downwards_and_none_are_circular():
    found = modules()
    for name, others in found.items():
        for other in others:
            assert place(name) <= place(other), f"{name} imports {other}"
    assert len(found) > 100
    graphlib.TopologicalSorter(found).prepare()


def test_what_needs_no_engine_starts_without_pytorch():
    """Training with BVLC Caffe needs no PyTorch: the modules of data, train, demo, ablation and report are imported."""
    names = "tools.demo, tools.train.command, tools.ablation, tools.report.report, data_prep.check.check_data"
    code = f"import sys; sys.modules['torch'] = None; import {names}"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
