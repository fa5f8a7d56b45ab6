"""Measure the average region of each attribute; joint training starts from the weights that hold it (section 3.2).

  face-cascade average                  a stage of build/run; `face-cascade train` does it too
  face-cascade average --run .          of build/region_iter_*.caffemodel, trained with Caffe's own commands

Task one, trained alone, sees positive faces of each attribute from its training data. The mean of their responses
becomes the average response. The rectangle of each response point is its receptive field (theoretical, the paper) or
the rectangle that stands out of the evidence for the attribute on the faces for which the point fires (measured, see
tools/train/rectangles.py). Both become the blobs of layer region_mapper in a copy of the weights.
"""

import dataclasses

from data_prep import settings
from tools import record
from tools import run as runs
from tools.locking import locked


def add_arguments(parser):
    """The options of `face-cascade average`."""
    runs.add_argument(parser, "of the run whose task one is trained")
    settings.add_options(parser, record.Average)
    settings.add_options(parser, record.Settings, ["device"])
    parser.add_argument("--restart", action="store_true", help="Measure again, even if nothing has changed.")


def run(arguments):
    """`face-cascade average`. Raises ToolError, OSError."""
    from tools import networks
    from tools.train.average import average_stage

    found = runs.Run.read(arguments.run)
    with locked(found.output):
        found = runs.Run.read(arguments.run)  # again, because another process may have changed it before
        found.settings.average = dataclasses.replace(
            found.settings.average, **settings.given(arguments, record.Average)
        )
        networks.use_device((arguments.device or found.settings.device).split(",")[0])
        average_stage(found, arguments.restart or not found.recorded)
    return 0
