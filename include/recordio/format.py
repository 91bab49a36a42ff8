"""The bytes of RecordIO: records, and the header of a packed image.

Sources: dmlc-core ``include/dmlc/recordio.h`` and ``src/recordio.cc``; MXNet 1.9.1 ``python/mxnet/recordio.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

MAGIC = b"\x0a\x23\xd7\xce"
MAX_LENGTH = (1 << 29) - 1
"""Longest part of a record in bytes: the length has 29 bits, the part's place has three."""

MOST_LABELS = 100_000
"""Labels of a record beyond which its header is not a header."""

WHOLE, FIRST, MIDDLE, LAST = range(4)

_HEADER = struct.Struct("<IfQQ")
_FRAME = struct.Struct("<4sI")
FRAME_SIZE = _FRAME.size


class RecordError(ValueError):
    """Bytes that are no RecordIO, or a payload that RecordIO cannot hold."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image in a record: its labels, its id, and the encoded image."""

    labels: tuple[float, ...]
    id: int
    image: bytes
    id2: int = 0


def encode_image_record(labels: Sequence[float], record_id: int, image: bytes, *, id2: int = 0) -> bytes:
    """Lay out header, labels and image as a record's payload.

    One label stands in the header itself (flag 0); several follow it as float32 (flag = their number).
    """
    if not labels:
        raise RecordError(f"record {record_id} has no label: a packed image needs at least one")
    if len(labels) == 1:
        return _HEADER.pack(0, labels[0], record_id, id2) + image
    head = _HEADER.pack(len(labels), 0.0, record_id, id2)
    return b"".join((head, struct.pack(f"<{len(labels)}f", *labels), image))


def decode_image_record(payload: bytes) -> ImageRecord:
    """Read header, labels and image out of a record's payload. Raises RecordError where it cannot hold them."""
    if len(payload) < _HEADER.size:
        raise RecordError(f"an image record of {len(payload)} bytes is shorter than its header of {_HEADER.size}")
    flag, label, record_id, id2 = _HEADER.unpack_from(payload)
    if flag == 0:
        return ImageRecord((label,), record_id, payload[_HEADER.size :], id2)
    start = _HEADER.size + 4 * flag
    if flag > MOST_LABELS:
        raise RecordError(f"it announces {flag} labels, at most {MOST_LABELS} are read")
    if len(payload) < start:
        raise RecordError(f"it announces {flag} labels in {len(payload)} bytes")
    return ImageRecord(struct.unpack_from(f"<{flag}f", payload, _HEADER.size), record_id, payload[start:], id2)


def encode_record(payload: bytes) -> bytes:
    """Frame a payload, split where the magic stands at one of its 4-aligned offsets.

    Raises RecordError for a payload of 2^29 bytes or more, which MXNet's own writer cannot write either.
    """
    if len(payload) > MAX_LENGTH:
        raise RecordError(f"a record of {len(payload)} bytes is over RecordIO's limit of {MAX_LENGTH}")
    parts = _split_at_magics(payload)
    if len(parts) == 1:
        return b"".join((_FRAME.pack(MAGIC, len(payload)), payload, _padding(len(payload))))
    framed: list[bytes] = []
    for place, part in enumerate(parts):
        flag = FIRST if place == 0 else LAST if place == len(parts) - 1 else MIDDLE
        framed += (_FRAME.pack(MAGIC, flag << 29 | len(part)), part, _padding(len(part)))
    return b"".join(framed)


def decode_frame(frame: bytes) -> tuple[int, int]:
    """Read the flag and the length in bytes out of a part's eight-byte frame. Raises RecordError without the magic."""
    magic, flag_and_length = _FRAME.unpack(frame)
    if magic != MAGIC:
        raise RecordError(f"expected the magic {MAGIC.hex()}, found {magic.hex()}")
    return flag_and_length >> 29, flag_and_length & MAX_LENGTH


def _split_at_magics(payload: bytes) -> list[bytes]:
    parts: list[bytes] = []
    start = 0
    found = payload.find(MAGIC)
    while found >= 0:
        if found % 4 == 0:
            parts.append(payload[start:found])
            start = found + 4
            found = payload.find(MAGIC, start)
        else:
            found = payload.find(MAGIC, found + 1)
    parts.append(payload[start:])
    return parts


def _padding(length: int) -> bytes:
    return bytes(-length % 4)
