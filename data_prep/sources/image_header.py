"""Reading the headers of encoded images: enough to reject an unusable face early, without decoding it.

The formats are those of CelebA and LFW: JPEG (ITU-T T.81, annex B; orientation: Exif 2.3) and PNG (ISO/IEC 15948).
"""

import dataclasses
import struct
import zlib


@dataclasses.dataclass(frozen=True)
class Header:
    """Format ("JPEG" or "PNG"), size in pixels, channels (1 grey, 3 colour, 4 CMYK or with transparency), bits per
    channel, and Exif's orientation (1 is upright)."""

    format: str
    width: int
    height: int
    channels: int
    bits: int
    orientation: int


LARGEST = 50_000_000  # pixels; an aligned face has 40,000
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of frame headers, which hold the size
_SCAN, _EXIF, _END = 0xDA, 0xE1, b"\xff\xd9"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type


class ImageError(ValueError):
    """An encoded image that cannot be used; the message says why."""


def inspect(data):
    """The Header of an encoded image (bytes). Raises ImageError when it is empty, damaged or of another format."""
    if not data:
        raise ImageError("empty file")
    if data.startswith(JPEG):
        return _jpeg(data)
    if data.startswith(PNG):
        return _png(data)
    raise ImageError("neither JPEG nor PNG")


def unsupported_reason(header):
    """Why an image is not a plain 8-bit colour image, or None. Raises ImageError when it is too large to decode."""
    if header.width * header.height > LARGEST:
        raise ImageError(f"{header.width} x {header.height} pixels; at most {LARGEST // 10**6} million are supported")
    if header.channels < 3:
        return "grey, not colour"
    if header.channels == 4:
        return "CMYK, not RGB" if header.format == "JPEG" else "has transparency"
    if header.bits != 8:
        return f"{header.bits} bits per channel, not 8"
    if header.orientation != 1:
        return f"rotated or mirrored by its Exif orientation {header.orientation}"
    return None


def _jpeg(data):
    frame, orientation, place = None, 1, 2
    try:
        while True:
            if data[place] != 0xFF:
                raise ImageError(f"damaged JPEG: no marker at byte {place}")
            marker = data[place + 1]
            if marker == 0xFF:  # padding
                place += 1
                continue
            if marker in _FRAMES:
                frame = struct.unpack_from(">BHHB", data, place + 4)
            elif marker == _EXIF and data[place + 4 : place + 10] == b"Exif\0\0":
                orientation = _orientation(data[place + 10 : place + 2 + (data[place + 2] << 8 | data[place + 3])])
            elif marker == _SCAN:
                break
            place += 2 + (data[place + 2] << 8 | data[place + 3])
    except (IndexError, struct.error):
        raise ImageError("cut short: the JPEG ends within its header")
    if frame is None:
        raise ImageError("damaged JPEG: no frame header before the pixels")
    # Compressed pixels never contain the end marker, so a file without one was cut short. Data after it is ignored.
    if data.rfind(_END, place) < 0:
        raise ImageError("cut short: the JPEG has no end")
    bits, height, width, channels = frame
    return Header("JPEG", width, height, channels, bits, orientation)


def _png(data):
    place, size, orientation = len(PNG), None, 1
    while True:
        if place + 12 > len(data):
            raise ImageError("cut short: the PNG has no end")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise ImageError("cut short: the PNG has no end")
        if zlib.crc32(data[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ImageError(f"damaged PNG: wrong checksum of the chunk at byte {place}")
        if kind == b"IHDR" and length == 13:
            size = struct.unpack_from(">IIBB", data, place + 8)
        elif kind == b"eXIf":
            orientation = _orientation(data[place + 8 : end - 4])
        elif kind == b"IEND":
            break
        place = end
    if size is None or size[3] not in _PNG_CHANNELS:
        raise ImageError("damaged PNG: no size, or an unknown colour type")
    width, height, bits, colour = size
    return Header("PNG", width, height, _PNG_CHANNELS[colour], 8 if colour == 3 else bits, orientation)


def _orientation(tiff):
    """The orientation in Exif data (a TIFF header and directory), 1 if it is not given."""
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(tiff[:2])]
        start = struct.unpack_from(order + "I", tiff, 4)[0]
        for entry in range(struct.unpack_from(order + "H", tiff, start)[0]):
            tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except (KeyError, struct.error):
        pass
    return 1
