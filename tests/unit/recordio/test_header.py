from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.recordio.header import ImageHeader, read_header
from tests.unit.recordio.pictures import EXIF_ROTATED, jpeg, pixels, png, readable_images, rotated_jpeg


def encoded(ending: str, height: int = 40, width: int = 60, channels: int = 3, deep: bool = False) -> bytes:
    image = pixels(height, width, channels)
    return cv2.imencode(ending, image.astype(np.uint16) * 200 if deep else image)[1].tobytes()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize("name", readable_images())
def test_the_header_tells_what_the_decoder_finds(name: str) -> None:
    source = readable_images()[name]
    header = read_header(source)
    decoded = cv2.imdecode(np.frombuffer(source + b"\xff\xd9", np.uint8), cv2.IMREAD_UNCHANGED)
    height, width, channels = (*decoded.shape, 1)[:3]
    assert header is not None
    assert (header.width, header.height, header.channels) == (width, height, channels)
    assert header.bits == decoded.dtype.itemsize * 8


@pytest.mark.parametrize(
    ("ending", "channels", "deep"),
    [
        (".bmp", 3, False),
        (".gif", 3, False),
        (".webp", 3, False),
        (".webp", 4, False),
        (".tiff", 3, False),
        (".tiff", 1, False),
        (".tiff", 3, True),
        (".jp2", 3, False),
        (".jp2", 1, True),
        (".avif", 3, False),
        (".ppm", 3, False),
        (".ppm", 3, True),
        (".pgm", 1, False),
    ],
)
def test_every_format_that_is_decoded_tells_its_size_before(ending: str, channels: int, deep: bool) -> None:
    header = read_header(encoded(ending, channels=channels, deep=deep))
    assert header is not None
    assert (header.width, header.height, header.channels, header.bits) == (60, 40, channels, 16 if deep else 8)


def test_the_orientation_is_that_of_the_first_exif_block() -> None:
    plain = jpeg(40, 60)
    other = b"\xff\xe1" + struct.pack(">H", 31) + b"http://ns.adobe.com/xap/1.0/\0"
    exif_png = png(40, 60)[:33] + chunk(b"eXIf", EXIF_ROTATED[6:]) + png(40, 60)[33:]
    for source, orientation in (
        (plain, 1),
        (rotated_jpeg(40, 60), 6),
        (plain[:2] + other + rotated_jpeg(40, 60)[2:], 6),
        (exif_png, 6),
    ):
        header = read_header(source)
        assert header is not None
        assert header.orientation == orientation
        turned = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR).shape[0] == 60
        assert turned == (orientation == 6)


@pytest.mark.parametrize("ending", [".gif", ".webp", ".png"])
def test_an_animation_is_told_from_a_picture(ending: str) -> None:
    animation = cv2.Animation()
    animation.frames = [pixels(40, 60), pixels(40, 60, seed=1)]
    animation.durations = [100, 100]
    moving, still = read_header(cv2.imencodeanimation(ending, animation)[1].tobytes()), read_header(encoded(ending))
    assert moving is not None
    assert still is not None
    assert (moving.animated, still.animated) == (True, False)


def test_progressive_jpegs_are_told_apart() -> None:
    assert read_header(jpeg(64, 64, 3, 3, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == ImageHeader(
        "JPEG", 64, 64, progressive=True
    )


@given(
    source=st.sampled_from([jpeg(), png(), rotated_jpeg(20, 30), *(encoded(e) for e in (".gif", ".webp", ".tiff"))]),
    place=st.integers(0, 400),
    wrong=st.binary(max_size=8),
)
def test_a_broken_header_is_none_or_a_header_and_no_error(source: bytes, place: int, wrong: bytes) -> None:
    header = read_header(source[:place] + wrong + source[place + len(wrong) :])
    assert header is None or header.pixels > 0
    read_header(source[:place])
