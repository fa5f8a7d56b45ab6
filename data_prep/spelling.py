"""Parts of error messages: suggestions for misspelt names, and lists of accepted values."""

import difflib


def did_you_mean(word, words, most=1):
    """The end of an error message, "; did you mean X?", or "" if no word is similar; upper and lower case are equal.

    most: the largest number of suggestions
    """
    spelt = {other.lower(): other for other in words}
    close = [spelt[other] for other in difflib.get_close_matches(str(word).lower(), spelt, most)]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def suggestion(word, words, what, most=1):
    """As did_you_mean, but if no word is similar, the list of all: "; variants are X, Y". what: their plural."""
    return did_you_mean(word, words, most) or f"; {what} are {', '.join(words)}"


def either(words):
    """Words as "a, b or c"."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
