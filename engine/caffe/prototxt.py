"""Reading and writing of messages: text with errors that name file, line and field, and binary."""

import pathlib

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from .errors import CaffeError


def read_bytes(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise CaffeError(f"{path}: {error.strerror}")


def parse_text(text, message, name="prototxt"):
    """Fill `message` from prototxt text; name: what errors call the text.

    Raises CaffeError with line, column and field.
    """
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        words = str(error)
        where = f"{name}:{error.GetLine()}:{error.GetColumn()}" if error.GetLine() else name
        _, found, rest = words.partition(" : ")
        raise CaffeError(f"{where}: {' '.join((rest if found else words).split())}")


def read_text(path, message):
    """Fill `message` from a prototxt file. Raises CaffeError."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError:
        raise CaffeError(f"{path}: not a text file; a prototxt is expected here")
    return parse_text(text, message, path)


def read_binary(path, message, what):
    """Fill `message` from a binary file; what: its kind, for the error. Raises CaffeError."""
    try:
        message.ParseFromString(read_bytes(path))
    except DecodeError:
        raise CaffeError(f"{path}: not a {what}, or a damaged one")
    return message


def to_text(message):
    """The message as prototxt."""
    return text_format.MessageToString(message)
