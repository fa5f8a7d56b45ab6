"""The error that tools raise for faults that a user can correct. Its message is one line with the remedy."""

import argparse
import sys

from data_prep.files import one_line


class ToolError(Exception):
    """An error whose message says in one line what is wrong, where, and what to do."""

    def __init__(self, message):
        super().__init__(one_line(message))


class Reported(ToolError):
    """A failure of a command that has already printed its own error message."""


def standalone(description, add_arguments, run):
    """Run a subcommand of face-cascade as a module, with this Python's Caffe; exits with its exit status."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        sys.exit(run(parser.parse_args()))
    except (ToolError, OSError) as error:
        sys.exit(f"error: {error}")
