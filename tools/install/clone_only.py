"""Build backend that installs the project from its clone only: `pip install -e .`, as make does.

face-cascade needs what lies beside its packages: prototxts, solvers, the start scripts of BVLC Caffe. A copy in
site-packages has none of these, so `pip install .` is refused here with the way to go.
"""

import sys

from setuptools.build_meta import *  # noqa: F403


def build_wheel(*arguments, **options):
    """Refuse, with the remedy."""
    sys.exit(
        "error: face-cascade is used from its clone: run `make doctor` in it, then .venv/bin/face-cascade. "
        "The Caffe engine alone installs anywhere: pip install ./engine"
    )
