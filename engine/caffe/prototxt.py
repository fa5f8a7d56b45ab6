"""Reading of messages as prototxt, with errors that name file, line and field."""

import math

from google.protobuf import text_format
from google.protobuf.message import Message

from .errors import CaffeError, check
from .proto import caffe_pb2
from .wire import open_bytes


def read_text(path, message):
    """Fill `message` from a prototxt file and return it. Raises CaffeError that names line, column and field."""
    data = bytes(open_bytes(path))
    check(b"\0" not in data, f"{path}: not a text file; a prototxt is expected here")
    try:
        return text_format.Parse(data.decode(errors="surrogateescape"), message)  # comments may be in any encoding
    except UnicodeError:
        raise CaffeError(f"{path}: has text outside of comments that is not in UTF-8")
    except text_format.ParseError as error:
        where = f"{path}:{error.GetLine()}:{error.GetColumn()}" if error.GetLine() else path
        _, separator, rest = str(error).partition(" : ")
        raise CaffeError(f"{where}: {' '.join((rest if separator else str(error)).split())}")


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
