"""Width and height of an encoded image by its header, before anything is decoded: of each format that is read.

JPEG and PNG by data_prep.sources.image_header. BMP (BITMAPINFOHEADER), GIF (89a), WebP (RFC 9649), TIFF 6.0 and PNM
(Netpbm) here. A format that is not listed is not decoded at all.
"""

import re
import struct

from data_prep.sources import image_header
from data_prep.sources.image_header import ImageError

FORMATS = "JPEG, PNG, BMP, GIF, WebP, TIFF, PBM, PGM or PPM"


def size(data):
    """(width, height) of an encoded image (bytes). Raises ImageError: damaged, cut short, or of no known format."""
    if not data:
        raise ImageError("empty file")
    if data.startswith((image_header.JPEG, image_header.PNG)):
        header = image_header.inspect(data)
        return header.width, header.height
    try:
        for matches, read in _READERS:
            if matches(data):
                width, height = read(data)
                break
        else:
            raise ImageError(f"neither {FORMATS}")
    except (struct.error, IndexError):
        raise ImageError("damaged, or cut short within its header")
    if width < 1 or height < 1:
        raise ImageError("damaged: its header gives no size")
    return width, height


def _bmp(data):
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2 1.x
        return struct.unpack_from("<HH", data, 18)
    return tuple(map(abs, struct.unpack_from("<ii", data, 18)))  # a negative height: rows from the top


def _gif(data):
    return struct.unpack_from("<HH", data, 6)


def _webp(data):
    kind = data[12:16]
    if kind == b"VP8 ":
        return tuple(side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return tuple(int.from_bytes(data[place : place + 3], "little") + 1 for place in (24, 27))
    raise ImageError("damaged WebP: no picture in it")


def _tiff(data):
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack_from(order + "I", data, 4)[0]
    sides = {}
    for entry in range(struct.unpack_from(order + "H", data, start)[0]):
        place = start + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", data, place)
        if tag in (256, 257):
            sides[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, place + 8)[0]
    return sides.get(256, 0), sides.get(257, 0)


def _pnm(data):
    found = re.match(rb"P[1-6](?:\s+|#[^\n]*\n)+(\d{1,9})(?:\s+|#[^\n]*\n)+(\d{1,9})\s", data[:4096])
    if not found:
        raise ImageError("damaged: its header gives no size")
    return int(found[1]), int(found[2])


_READERS = (
    (lambda data: data[:2] == b"BM", _bmp),
    (lambda data: data[:6] in (b"GIF87a", b"GIF89a"), _gif),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    (lambda data: data[:4] in (b"II*\0", b"MM\0*"), _tiff),
    (lambda data: re.match(rb"P[1-6]\s", data[:3]), _pnm),
)
