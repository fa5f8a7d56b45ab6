"""Reading and writing of messages, as prototxt with errors that name file, line and field, and in binary form."""

import math
import pathlib

from google.protobuf import text_format
from google.protobuf.message import Message

from .errors import CaffeError, check
from .proto import caffe_pb2


def read_bytes(path):
    """The content of a file. Raises CaffeError."""
    try:
        return pathlib.Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise CaffeError(f"{path}: {getattr(error, 'strerror', error)}")


def parse_text(text, message, name="prototxt"):
    """Fill `message` from prototxt and return it; name: the file, for errors.

    Raises CaffeError that names line, column and field.
    """
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        description = str(error)
        where = f"{name}:{error.GetLine()}:{error.GetColumn()}" if error.GetLine() else name
        _, separator, rest = description.partition(" : ")
        raise CaffeError(f"{where}: {' '.join((rest if separator else description).split())}")


def read_text(path, message):
    """Fill `message` from a prototxt file and return it. Raises CaffeError."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError:
        raise CaffeError(f"{path}: not a text file; a prototxt is expected here")
    return parse_text(text, message, path)


def check_finite(message, where):
    """Raise CaffeError if a number in a message or its submessages is nan or infinite; where: the message, for errors.

    The contents of blobs are not checked.
    """
    for field, value in message.ListFields():
        if field.message_type is caffe_pb2.BlobProto.DESCRIPTOR:
            continue
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            for part in value if repeated(value) else [value]:
                name = getattr(part, "name", "")
                inner = f"layer {name!r}" if field.name == "layer" else f"{where}: {field.name}"
                check_finite(part, inner)
        elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            for number in value if repeated(value) else [value]:
                check(math.isfinite(number), f"{where}: {field.name} is {number}, which is not a finite number")


def repeated(value):
    """Whether a field's value, a number or message, or a list of such, is a list."""
    return not isinstance(value, (float, Message))


def to_text(message):
    """A message as prototxt."""
    return text_format.MessageToString(message)
