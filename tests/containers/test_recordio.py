from __future__ import annotations

import io
import struct
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from containers.image_classification.recordio import (
    FRAME,
    MAGIC,
    MAGIC_BYTES,
    RecordFormatError,
    labelled_images,
    split_at_magic,
    write_labelled_image,
)

MAGIC_AT_BOUNDARY = b"\0" * 4 + MAGIC_BYTES + b"tail"


@pytest.mark.parametrize("image", [b"", b"abc", MAGIC_AT_BOUNDARY, b"x" + MAGIC_BYTES * 3])
@pytest.mark.parametrize("labels", [[3.0], [1.0, 0.0, 1.0]])
def test_records_are_written_as_mxnet_writes_them_and_read_back(
    tmp_path: Path, image: bytes, labels: list[float]
) -> None:
    path = tmp_path / "a.rec"
    writer = mx.recordio.MXRecordIO(str(path), "w")
    writer.write(mx.recordio.pack(mx.recordio.IRHeader(0, labels if len(labels) > 1 else labels[0], 7, 0), image))
    writer.close()
    ours = io.BytesIO()
    write_labelled_image(ours, 7, labels, image)
    assert ours.getvalue() == path.read_bytes()
    (record,) = labelled_images(memoryview(ours.getvalue()))
    assert bytes(record.image) == image
    assert record.labels.tolist() == labels


def test_a_magic_number_off_the_boundary_does_not_split() -> None:
    assert split_at_magic(b"abc" + MAGIC_BYTES) == [b"abc" + MAGIC_BYTES]
    assert split_at_magic(MAGIC_BYTES) == [b"", b""]


def frame(kind: int, payload: bytes) -> bytes:
    return FRAME.pack(MAGIC, kind << 29 | len(payload)) + payload + b"\0" * (-len(payload) % 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04 not records", "has no RecordIO record at byte 0"),
        (b"\x0a\x23\xd7", "ends within a record's head"),
        (frame(0, b"x" * 64)[:40], "is cut off: the record at byte 0 needs 64 bytes"),
        (frame(0, b"short"), "record 0 is shorter than an image header"),
        (frame(0, struct.pack("<IfQQ", 900, 0, 0, 0)), "record 0 announces 900 labels"),
        (frame(3, b"x" * 40), "a record without a beginning at byte 0"),
        (frame(1, b"x" * 40) + frame(0, b"x" * 40), "a record without an end at byte 0"),
    ],
)
def test_a_broken_file_is_told_by_its_place(content: bytes, reason: str) -> None:
    with pytest.raises(RecordFormatError, match=reason):
        list(labelled_images(memoryview(content)))


def test_labels_are_float32() -> None:
    stream = io.BytesIO()
    write_labelled_image(stream, 0, [0.5, 2.0], b"x")
    (record,) = labelled_images(memoryview(stream.getvalue()))
    assert record.labels.dtype == np.float32
