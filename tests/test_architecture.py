"""The structure of the code: imports go as docs/folders.svg shows, none are circular, and what needs no PyTorch."""

import ast
import graphlib
import importlib.util
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
    words, paths = ["git", "ls-files", "-co", "--exclude-standard", "*.py"], {}
    listed = subprocess.check_output(words, cwd=REPOSITORY, text=True).split()
    for path in filter(pathlib.Path.exists, map(REPOSITORY.joinpath, listed)):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        parts = parts[parts[0] == "engine" : -1 if parts[-1] == "__init__" else None]
        if parts and parts[0] in ORDER:
            paths[".".join(parts)] = path
    return {name: set(imported(name, path, paths)) - {name} for name, path in paths.items()}


def imported(name, path, known):
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{base}.{alias.name}" for alias in node.names]
            yield from (found for found in (full if full in known else base for full in names) if found in known)


MODULES = modules()


def place(name):
    """The place of a module in the picture, of its folder and inside of it, the highest first."""
    folder, *inside = name.split(".")
    parts = FOLDERS[folder]
    if len(parts) == 1 or not inside:
        return ORDER.index(folder), 0
    word = "model" if inside[0] == "ablation" else inside[0]  # there is no room for it in the picture
    rest = next(number for number, words in enumerate(parts) if words.endswith("..."))
    return ORDER.index(folder), next((n for n, words in enumerate(parts) if word in re.findall(r"\w+", words)), rest)


def test_no_module_imports_a_higher_one():
    wrong = [
        f"{name} imports {other}"
        for name, others in MODULES.items()
        for other in others
        if place(other)[0] < place(name)[0]
        or ("." in other and place(other)[0] == place(name)[0] and place(other) < place(name))
    ]
    assert len(MODULES) > 100 and not wrong, "; ".join(wrong)


def test_no_imports_are_circular():
    graphlib.TopologicalSorter(MODULES).prepare()


def test_what_needs_no_engine_starts_without_pytorch():
    """Training with BVLC Caffe needs no PyTorch: the modules of data, train, demo, ablation and report are imported."""
    names = "tools.demo, tools.train.command, tools.ablation, tools.report.report, data_prep.check.check_data"
    code = f"import sys; sys.modules['torch'] = None; import {names}"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
