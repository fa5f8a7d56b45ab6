"""The error for input that a user can correct: one line with the remedy."""


class DataError(ValueError):
    """Input that cannot be used; the message is one line that says what is wrong, where, and what to do."""

    def __init__(self, message):
        super().__init__(one_line(message))


def one_line(message, most=1000):
    """A message as one printable line: control characters escaped, the middle of a long message left out.

    Needed because names, labels and keys that come from a file may hold line breaks and escape sequences.
    """
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(message))
    half = most // 2 - 3
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def words_of(error):
    """The message of a DataError or OSError; of one of the system, the file that was to be made or read comes first."""
    if not getattr(error, "strerror", None):
        return str(error)
    name = error.filename2 or error.filename
    return error.strerror if name is None else f"{name}: {error.strerror}"
