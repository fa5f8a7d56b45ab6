"""Parts of error messages: suggestions for misspelt names, and lists of accepted values."""

import difflib


def did_you_mean(word, words):
    """The end of an error message, "; did you mean X?", or "" if no word is similar."""
    close = difflib.get_close_matches(str(word), words, 1)
    return f"; did you mean {close[0]}?" if close else ""


def either(words):
    """Words as "a, b or c"."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
