"""The error that tools raise for what a user can mend: its text is one sentence with the remedy; and who says it."""

import argparse
import sys

from data_prep.files import one_line


class ToolError(Exception):
    """What was wrong, where, and what to do, in one line."""

    def __init__(self, message):
        super().__init__(one_line(message))


class Reported(ToolError):
    """A failure of a command that has said itself what was wrong."""


def standalone(description, add_arguments, run):
    """Run a subcommand of face-cascade by itself, with the Caffe of the Python at work; ends with its exit status."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        sys.exit(run(parser.parse_args()))
    except (ToolError, OSError) as error:
        sys.exit(f"error: {error}")
