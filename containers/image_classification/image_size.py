"""An image's width and height from its first bytes, without decoding it.

Source: ITU T.81 (JPEG, frame headers) and the PNG specification (IHDR).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDALONE_MARKERS = frozenset(range(0xD0, 0xD8)) | {0x01}
START_OF_SCAN = 0xDA


class ImageSize(NamedTuple):
    """Pixels, as stored: EXIF orientation is not applied."""

    width: int
    height: int


def image_size(image: memoryview | bytes) -> ImageSize | None:
    """The size a JPEG or PNG says it has; None when the header is neither or is broken."""
    if bytes(image[:8]) == PNG_SIGNATURE:
        return png_size(image)
    if bytes(image[:2]) == JPEG_START:
        return jpeg_size(image)
    return None


def png_size(image: memoryview | bytes) -> ImageSize | None:
    """The size in the header chunk, which must come first."""
    if len(image) < 24 or bytes(image[12:16]) != b"IHDR":
        return None
    return valid_size(*struct.unpack_from(">II", image, 16))


def jpeg_size(image: memoryview | bytes) -> ImageSize | None:
    """The size in the frame header, found by hopping from segment to segment."""
    position = 2
    while position + 4 <= len(image):
        if image[position] != 0xFF:
            return None
        marker = image[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in STANDALONE_MARKERS:
            position += 2
        elif marker in FRAME_HEADERS:
            return frame_size(image, position)
        elif marker == START_OF_SCAN:
            return None
        else:
            position += 2 + int(struct.unpack_from(">H", image, position + 2)[0])
    return None


def frame_size(image: memoryview | bytes, position: int) -> ImageSize | None:
    """The size in the frame header at `position`: length, precision, height, width."""
    if position + 9 > len(image):
        return None
    height, width = struct.unpack_from(">HH", image, position + 5)
    return valid_size(width, height)


def valid_size(width: int, height: int) -> ImageSize | None:
    """The size, unless a side is zero."""
    return ImageSize(width, height) if width > 0 and height > 0 else None
