"""The command line as a user runs it."""

import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def face_cascade(*words, **options):
    """Run the command line: a CompletedProcess with its output as text."""
    options = {"cwd": REPOSITORY, "capture_output": True, "text": True, **options}
    return subprocess.run([sys.executable, "-m", "tools.cli", *map(str, words)], **options)
