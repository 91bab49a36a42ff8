"""The RecordIO format, read without copying images.

Source: dmlc-core `include/dmlc/recordio.h`; MXNet's `recordio.IRHeader` for the image header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
FRAME = struct.Struct("<II")
IMAGE_HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
LENGTH_MASK = (1 << LENGTH_BITS) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)


class RecordFormatError(ValueError):
    """The bytes are not RecordIO file, or end too early."""


class LabelledImage(NamedTuple):
    """One record: where it begins, its labels and the encoded image."""

    offset: int
    labels: NDArray[np.float32]
    image: memoryview


def read_frame(buffer: memoryview, position: int) -> tuple[int, memoryview, int]:
    """The frame at `position`: its kind, its bytes, and where the next one begins."""
    if position + FRAME.size > len(buffer):
        raise RecordFormatError(f"ends within a record's head at byte {position}")
    magic, word = FRAME.unpack_from(buffer, position)
    if magic != MAGIC:
        raise RecordFormatError(f"has no RecordIO record at byte {position}")
    kind, length = word >> LENGTH_BITS, word & LENGTH_MASK
    start = position + FRAME.size
    if start + length > len(buffer):
        raise RecordFormatError(f"is cut off: the record at byte {position} needs {length} bytes")
    return kind, buffer[start : start + length], start + (length + 3) // 4 * 4


def read_payload(buffer: memoryview, position: int) -> tuple[memoryview, int]:
    """The payload of the record at `position`, rejoined where the writer split it at a magic number."""
    kind, payload, following = read_frame(buffer, position)
    if kind == WHOLE:
        return payload, following
    if kind != FIRST:
        raise RecordFormatError(f"has a record without a beginning at byte {position}")
    parts = [payload]
    while kind != LAST:
        kind, part, following = read_frame(buffer, following)
        if kind not in (MIDDLE, LAST):
            raise RecordFormatError(f"has a record without an end at byte {position}")
        parts.append(part)
    return memoryview(MAGIC_BYTES.join(parts)), following


def split_payload(payload: memoryview) -> tuple[NDArray[np.float32], memoryview]:
    """Labels (float32, one or more) and the encoded image of a payload."""
    if len(payload) < IMAGE_HEADER.size:
        raise RecordFormatError("is shorter than an image header")
    count, label, _, _ = IMAGE_HEADER.unpack_from(payload, 0)
    if count == 0:
        return np.array([label], dtype=np.float32), payload[IMAGE_HEADER.size :]
    end = IMAGE_HEADER.size + 4 * count
    if end > len(payload):
        raise RecordFormatError(f"announces {count} labels and is too short for them")
    return np.frombuffer(payload[IMAGE_HEADER.size : end], dtype="<f4").astype(np.float32), payload[end:]


def read_labelled_image(buffer: memoryview, offset: int) -> LabelledImage:
    """The record that begins at `offset`."""
    payload, _ = read_payload(buffer, offset)
    return LabelledImage(offset, *split_payload(payload))


def labelled_images(buffer: memoryview) -> Iterator[LabelledImage]:
    """Every record of a RecordIO file; raises RecordFormatError naming the record that is broken."""
    position, number = 0, 0
    while position < len(buffer):
        payload, following = read_payload(buffer, position)
        try:
            labels, image = split_payload(payload)
        except RecordFormatError as broken:
            raise RecordFormatError(f"is broken: record {number} {broken}") from None
        yield LabelledImage(position, labels, image)
        position, number = following, number + 1


def write_labelled_image(stream: BinaryIO, identifier: int, labels: Sequence[float], image: bytes) -> None:
    """Append one record as im2rec writes it, several labels as an array before the image."""
    several = len(labels) > 1
    header = IMAGE_HEADER.pack(len(labels) if several else 0, 0.0 if several else labels[0], identifier, 0)
    values = np.asarray(labels, dtype="<f4").tobytes() if several else b""
    parts = split_at_magic(header + values + image)
    for index, part in enumerate(parts):
        kind = WHOLE if len(parts) == 1 else FIRST if index == 0 else LAST if index == len(parts) - 1 else MIDDLE
        stream.write(FRAME.pack(MAGIC, kind << LENGTH_BITS | len(part)) + part + b"\0" * (-len(part) % 4))


def split_at_magic(payload: bytes) -> list[bytes]:
    """Cut a payload at each magic number that stands 4-aligned in it; the number itself is dropped."""
    parts, start, found = [], 0, payload.find(MAGIC_BYTES)
    while found != -1:
        if found % 4 == 0:
            parts.append(payload[start:found])
            start = found + 4
            found = payload.find(MAGIC_BYTES, start)
        else:
            found = payload.find(MAGIC_BYTES, found + 1)
    return [*parts, payload[start:]]


def write_index(path: Path, offsets: NDArray[np.int64]) -> None:
    """Write the .idx by which MXNet shuffles a whole file: key, tab, byte offset."""
    path.write_text("".join(f"{key}\t{offset}\n" for key, offset in enumerate(offsets.tolist())))
