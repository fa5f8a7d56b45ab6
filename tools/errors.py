"""The error that tools raise for what a user can mend: its text is one sentence with the remedy."""

from data_prep.files import one_line


class ToolError(Exception):
    """What was wrong, where, and what to do, in one line."""

    def __init__(self, message):
        super().__init__(one_line(message))


class Reported(ToolError):
    """A failure of a command that has said itself what was wrong."""
