"""The errors of input that a user can correct. Their messages are one line with the remedy."""

from data_prep.files import one_line


class DataError(ValueError):
    """Input that cannot be used; the message is one line that says what is wrong, where, and what to do."""

    def __init__(self, message):
        super().__init__(one_line(message))
