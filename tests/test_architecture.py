"""The structure of the code: the direction of imports, no circular ones, and what starts without PyTorch."""

import ast
import graphlib
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# From the lowest to the highest: a folder imports itself and lower folders only.
ORDER = ("caffe", "data_prep", "models", "python_layers", "tools", "benchmarks")
INSIDE = {
    "data_prep": (
        "attributes errors files geometry image_files pictures spelling settings start threads",
        "store",
        "faces",
        "sources",
        "plan",
        "build",
        "check",
        "synthetic",
    ),
    "tools": (
        "errors record locking run by_hand model_files networks",
        "install",
        "train",
        "evaluate",
        "predict",
        "report",
        "export",
        "model demo ablation cli",
    ),
}


def modules():
    """Module name -> (path below the repository, names of the project's modules that it imports anywhere)."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], cwd=REPOSITORY, capture_output=True
    )
    paths = [path for path in listed.stdout.decode().split() if (REPOSITORY / path).exists()]
    named = {}
    for path in paths:
        dotted = path.removeprefix("engine/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if dotted.split(".")[0] in ORDER:
            named[dotted] = path
    found = {}
    for name, path in named.items():
        package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
        imported = set()
        for node in ast.walk(ast.parse((REPOSITORY / path).read_text())):
            if isinstance(node, ast.Import):
                candidates = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    above = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*above, *([node.module] if node.module else [])])
                parts = [f"{base}.{alias.name}" for alias in node.names]
                candidates = [part if part in named else base for part in parts]
            else:
                continue
            imported |= {candidate for candidate in candidates if candidate in named}
        found[name] = path, imported - {name}
    return found


MODULES = modules()


def rank(name, order):
    return next((place for place, words in enumerate(order) if name in words.split()), None)


def test_no_folder_imports_a_higher_one():
    wrong = []
    for name, (_, imported) in MODULES.items():
        top = name.split(".")[0]
        for other in imported:
            other_top = other.split(".")[0]
            if ORDER.index(other_top) > ORDER.index(top):
                wrong.append(f"{name} imports {other}")
            if top == other_top and top in INSIDE and "." in name and "." in other:
                mine, theirs = (rank(word.split(".")[1], INSIDE[top]) for word in (name, other))
                assert mine is not None and theirs is not None, f"{name} or {other} has no place in INSIDE"
                if theirs > mine:
                    wrong.append(f"{name} imports {other}")
    assert not wrong, "; ".join(wrong)


def test_no_imports_are_circular():
    graphlib.TopologicalSorter({name: imported for name, (_, imported) in MODULES.items()}).prepare()


def test_what_needs_no_engine_starts_without_pytorch():
    """Training with BVLC Caffe needs no PyTorch: the modules of data, train, demo, ablation and report are imported."""
    names = "tools.demo tools.train.command tools.ablation tools.report.report data_prep.check.check_data"
    code = f"import sys; sys.modules['torch'] = None; import {', '.join(names.split())}"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
