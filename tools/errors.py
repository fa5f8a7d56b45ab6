"""The error that tools raise for faults that a user can correct. Its message is one line with the remedy."""

from data_prep.files import one_line


class ToolError(Exception):
    """An error whose message says in one line what is wrong, where, and what to do."""

    def __init__(self, message):
        super().__init__(one_line(message))


class Reported(ToolError):
    """A failure of a command that has already printed its own error message."""
