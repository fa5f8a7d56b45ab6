"""The one way in which the project starts a Python process of its own: `command`.

    python /path/to/data_prep/start.py MODULE [ARGUMENTS]

runs a module of the project like `python -m`, but finds the project's modules first, wherever it is started. `python
-m` would run what the current folder holds under the same name, which may be a stranger's data set or run.
"""

import os
import pathlib
import runpy
import sys

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def command(python, module, *arguments):
    """The words that run a module of the project as a program under a Python."""
    return [str(python), os.path.abspath(__file__), module, *map(str, arguments)]


def in_venv(*names):
    """The path of a file or folder among the packages of .venv, for the Python of BVLC Caffe too; None if missing."""
    folders = pathlib.Path(REPOSITORY, ".venv/lib").glob("python3*/site-packages")
    return next((str(folder.joinpath(*names)) for folder in folders if folder.joinpath(*names).exists()), None)


if __name__ == "__main__":
    # Python has put the folder of this file first, and an empty path stands for the current folder.
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [REPOSITORY, *(path for path in sys.path if path not in ("", own))]
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
