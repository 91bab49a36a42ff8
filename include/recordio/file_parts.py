"""The parts that image files are made of, each with a length that is checked against the file.

A decoder takes memory for the length that a part claims before it finds that the file is shorter: 12 bytes of PNG cost
OpenCV two gigabytes. Sources: the PNG specification, RFC 9649 (WebP), ISO/IEC 14496-12 (boxes).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

MOST_PARTS = 1_000_000
"""Parts of a file. Each takes a while to read, and half a gigabyte could hold 60 million of them."""

Part = tuple[bytes, int, int]
"""Name of a part, and where its content begins and ends in the file."""

_PNG_CHUNK = struct.Struct(">I4s")
_RIFF_CHUNK = struct.Struct("<4sI")
_BOX = struct.Struct(">I4s")


class HeaderError(ValueError):
    """An image file whose header cannot be read; the message says what is wrong with it."""


def png_chunks(source: bytes) -> Iterator[Part]:
    """The chunks of a PNG up to its end. Raises HeaderError for one that reaches beyond the file."""
    place, end = 8, len(source)
    for _ in range(MOST_PARTS):
        if place == end:
            return
        if place + 8 > end:
            raise HeaderError(f"the PNG ends inside the head of the chunk at byte {place}")
        length, name = _PNG_CHUNK.unpack_from(source, place)
        if place + 12 + length > end:
            raise _beyond("chunk", name, place, length, end)
        yield name, place + 8, place + 8 + length
        if name == b"IEND":
            return
        place += length + 12
    raise _too_many()


def riff_chunks(source: bytes) -> Iterator[Part]:
    """The chunks of a WebP. Raises HeaderError for one that reaches beyond the file."""
    (size,) = struct.unpack_from("<I", source, 4)
    if size + 8 > len(source):
        raise _beyond("chunk", b"RIFF", 0, size, len(source))
    yield from riff_parts(source, 12, size + 8)


def riff_parts(source: bytes, place: int, end: int) -> Iterator[Part]:
    """The chunks between two bytes of a WebP."""
    for _ in range(MOST_PARTS):
        if place + 8 > end:
            return
        name, length = _RIFF_CHUNK.unpack_from(source, place)
        if place + 8 + length > end:
            raise _beyond("chunk", name, place, length, end)
        yield name, place + 8, place + 8 + length
        place += 8 + length + (length & 1)
    raise _too_many()


def boxes(source: bytes, place: int, end: int) -> Iterator[Part]:
    """The boxes between two bytes of an AVIF or JPEG 2000. Raises HeaderError for one that reaches beyond."""
    for _ in range(MOST_PARTS):
        if place + 8 > end:
            return
        length, name = _BOX.unpack_from(source, place)
        head = 8
        if length == 1:
            head = 16
            (length,) = struct.unpack_from(">Q", source, place + 8)
        elif length == 0:
            length = end - place
        if length < head or place + length > end:
            raise _beyond("box", name, place, length, end)
        yield name, place + head, place + length
        place += length
    raise _too_many()


def _too_many() -> HeaderError:
    return HeaderError(f"it has more than {MOST_PARTS} chunks")


def _beyond(what: str, name: bytes, place: int, length: int, end: int) -> HeaderError:
    shown = name.decode() if all(0x20 <= byte < 0x7F for byte in name) else f"0x{name.hex()}"
    return HeaderError(f"its {what} {shown} at byte {place} claims {length} bytes, but {end - place} follow")
