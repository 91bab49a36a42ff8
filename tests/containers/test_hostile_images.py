"""Images made to hurt the process that serves or trains."""

from __future__ import annotations

import json
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from containers.image_classification.image_decoding import (
    MOST_MEMORY,
    DecodingMemory,
    UndecodableImageError,
    decode,
    readable_header,
)
from containers.image_classification.invocations import invoke
from containers.image_classification.records import scan_records
from tests.containers.job_folder import encoded, picture, write_records
from tests.fuzz.bounds import within
from tests.support.hostile_images import chunk, hostile_images, jpeg_of_scans, png, rare_hostile_images, tiff

HOSTILE = hostile_images() | rare_hostile_images()


class Eye:
    """Stands for a model: it looks at the image."""

    def predict(self, encoded: bytes) -> list[float]:
        return [float(decode(encoded, 3).mean())]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_is_answered_with_400_or_its_image_and_costs_little(name: str) -> None:
    with within(seconds=2, megabytes=100):
        answer = invoke(Eye(), "application/x-image", None, HOSTILE[name])
    assert answer.status in (200, 400)
    if answer.status == 400:
        reason = json.loads(answer.body)["error"]
        assert reason.startswith("the image ")
        assert reason.isprintable()
        assert len(reason) < 300


def test_hostile_records_are_unreadable_and_the_others_are_read(tmp_path: Path) -> None:
    bad = [image for name, image in HOSTILE.items() if name.split("/")[0] not in ("jpeg", "tiff", "bmp")]
    good = encoded(picture(0, 0))
    write_records(tmp_path / "a.rec", [(0.0, image) for image in (good, *bad, good)])
    with within(seconds=2, megabytes=100):
        records = scan_records("train", tmp_path / "a.rec")
    readable = set(range(len(records))) - set(records.unreadable.tolist())
    assert {0, len(bad) + 1} <= readable
    assert records.unreadable_because.startswith("the image cannot be decoded: its chunk IDAT at byte 33 claims")


@pytest.mark.parametrize(
    ("begins", "name"),
    [
        (b"GIF89a", "GIF"),
        (b"RIFF\0\0\0\0WEBP", "WebP"),
        (b"\0\0\0\x20ftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"P6\n8 8\n255\n", "PNM"),
        (b"P7\nWIDTH 8\n", "PNM"),
        (b"#?RADIANCE\n", "Radiance HDR"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"\x59\xa6\x6a\x95", "Sun raster"),
        (b"PF\n8 8\n", "PFM"),
    ],
)
def test_a_format_whose_header_is_not_read_is_refused_by_its_name(begins: bytes, name: str) -> None:
    with pytest.raises(UndecodableImageError, match=f"{name}.* is not read: send it as JPEG or PNG"):
        decode(begins + bytes(200), 3)


@pytest.mark.parametrize("place", ["bmp", "tiff", "png", "jpeg"])
def test_every_format_that_is_read_has_a_limit_of_pixels(place: str) -> None:
    large = {
        "bmp": HOSTILE["bmp/claims 60000 x 60000"],
        "tiff": HOSTILE["tiff/claims 60000 x 60000"],
        "png": png(60_000, 60_000, pixels=False),
        "jpeg": jpeg_of_scans(60_000, 60_000, 1),
    }[place]
    with pytest.raises(UndecodableImageError, match="60000 x 60000 pixels, at most 100000000 are read"):
        decode(large, 3)


@pytest.mark.parametrize(
    "source",
    [
        png(9000, 9000, chunk(b"acTL", struct.pack(">II", 2, 0)), kind=6, pixels=False),
        jpeg_of_scans(9900, 9900, 1, progressive=True),
        tiff(width=9900, height=9900, bits=64, channels=4),
    ],
)
def test_an_image_that_takes_too_much_memory_is_refused(source: bytes) -> None:
    with pytest.raises(UndecodableImageError, match=f"of memory to decode, at most {MOST_MEMORY} are taken"):
        readable_header(source)


def test_requests_wait_until_the_memory_for_their_image_is_free() -> None:
    memory, entered = DecodingMemory(100), []

    def answer() -> None:
        with memory.take(60):
            entered.append(1)

    with memory.take(60):
        waiting = threading.Thread(target=answer)
        waiting.start()
        waiting.join(timeout=0.05)
        assert not entered
    waiting.join(timeout=30)
    assert entered == [1]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_every_orientation_is_turned_upright(channels: int) -> None:
    for orientation in range(1, 9):
        source = png(8, 4, chunk(b"eXIf", orientation_of(orientation)))
        assert decode(source, channels).shape[:2] == ((8, 4) if orientation > 4 else (4, 8))
    assert np.array_equal(decode(png(8, 4), 3), np.zeros((4, 8, 3)))


def orientation_of(number: int) -> bytes:
    return b"MM" + struct.pack(">HIHHHIHHI", 42, 8, 1, 0x112, 3, 1, number, 0, 0)
