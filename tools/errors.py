"""The error that tools raise for faults that a user can correct. Its message is one line with the remedy."""

from data_prep.errors import DataError


class ToolError(DataError):
    """An error whose message says in one line what is wrong, where, and what to do."""
