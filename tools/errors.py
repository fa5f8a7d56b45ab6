"""The error that tools raise for what a user can mend: its text is one sentence with the remedy."""


class ToolError(Exception):
    """What was wrong, where, and what to do, in one line."""
