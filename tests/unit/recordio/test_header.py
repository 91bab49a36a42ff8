from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.recordio.file_parts import HeaderError, _coded_av1_sizes
from include.recordio.header import ImageHeader, read_header
from tests.support.hostile_images import exif_segment, orientation_block, tiff
from tests.support.pictures import EXIF_ROTATED, jpeg, pixels, png, readable_images, rotated_jpeg


def encoded(ending: str, height: int = 40, width: int = 60, channels: int = 3, deep: bool = False) -> bytes:
    image = pixels(height, width, channels)
    return cv2.imencode(ending, image.astype(np.uint16) * 200 if deep else image)[1].tobytes()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_exif(ending: str, block: bytes) -> bytes:
    content = np.frombuffer(block, np.uint8)
    return cv2.imencodeWithMetadata(ending, pixels(40, 60), [cv2.IMAGE_METADATA_EXIF], [content])[1].tobytes()


def oriented_tiff(block: bytes) -> bytes:
    orientation = max(block[18], block[19])
    order = block[:2]
    return tiff((274, 3, 1, orientation), data=bytes(60 * 40 * 3), width=60, height=40, big=order == b"MM")


ORIENTED: dict[str, Callable[[bytes], bytes]] = {
    "jpeg": lambda block: jpeg(40, 60)[:2] + exif_segment(block) + jpeg(40, 60)[2:],
    "jpeg, behind the JFIF header": lambda block: jpeg(40, 60)[:20] + exif_segment(block) + jpeg(40, 60)[20:],
    "png": lambda block: png(40, 60)[:33] + chunk(b"eXIf", block) + png(40, 60)[33:],
    "png, behind the pixels": lambda block: png(40, 60)[:-12] + chunk(b"eXIf", block) + png(40, 60)[-12:],
    "webp": lambda block: with_exif(".webp", block),
    "avif": lambda block: with_exif(".avif", block),
    "tiff": oriented_tiff,
}


@pytest.mark.parametrize("name", readable_images())
def test_the_header_tells_what_the_decoder_finds(name: str) -> None:
    source = readable_images()[name]
    header = read_header(source)
    stored, upright = (
        cv2.imdecode(np.frombuffer(source + b"\xff\xd9", np.uint8), flag)
        for flag in (cv2.IMREAD_UNCHANGED, cv2.IMREAD_COLOR)
    )
    height, width = upright.shape[:2]
    assert header is not None
    assert (header.width, header.height, header.channels) == (width, height, (*stored.shape, 1)[2])
    assert header.bits == stored.dtype.itemsize * 8


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
def test_of_a_broken_header_only_a_header_error_comes_out(source: bytes, place: int, wrong: bytes) -> None:
    for broken in (source[:place] + wrong + source[place + len(wrong) :], source[:place]):
        with suppress(HeaderError):
            header = read_header(broken)
            assert header is None or header.pixels > 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("place", sorted(ORIENTED))
def test_width_and_height_are_those_of_the_upright_image(place: str, order: str, orientation: int) -> None:
    source = ORIENTED[place](orientation_block(orientation, order))
    header = read_header(source)
    upright = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR)
    assert header is not None
    assert (header.height, header.width) == upright.shape[:2]
    assert (header.height == 60) == (orientation > 4)
    assert header.orientation == orientation


def exif(*entries: bytes, order: str = "<", start: int = 8) -> bytes:
    lead = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start) + bytes(start - 8)
    return lead + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)


TURNED = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
OUTSIDE = struct.pack("<HHII", 0x10F, 2, 100, 99_999)


@pytest.mark.parametrize(
    ("blocks", "turned"),
    [
        ([exif(TURNED), exif(struct.pack("<HHIHH", 0x112, 3, 1, 1, 0))], True),
        ([exif(struct.pack("<HHIHH", 0x112, 3, 1, 3, 0)), exif(TURNED)], False),
        ([b"", exif(TURNED)], True),
        ([b"XX" + exif(TURNED)[2:], exif(TURNED)], True),
        ([exif(struct.pack("<HHIHH", 0x100, 3, 1, 5, 0)), exif(TURNED)], True),
        ([exif(struct.pack("<HHIHH", 0x112, 3, 1, 9, 0)), exif(TURNED)], False),
        ([exif(OUTSIDE, TURNED)], False),
        ([exif(OUTSIDE), exif(TURNED)], True),
        ([exif(TURNED, OUTSIDE)], True),
        ([exif(struct.pack("<HHII", 0x11A, 5, 1, 99_999), TURNED)], False),
        ([exif(TURNED, start=20)], True),
        ([exif(struct.pack(">HHII", 0x112, 4, 1, 6), order=">")], False),
        ([exif(struct.pack("<HHII", 0x112, 4, 1, 6))], True),
    ],
)
def test_the_orientation_is_the_one_that_the_decoder_finds(blocks: list[bytes], turned: bool) -> None:
    plain = jpeg(40, 60)
    source = plain[:2] + b"".join(map(exif_segment, blocks)) + plain[2:]
    header = read_header(source)
    assert header is not None
    assert (header.height == 60, header.width == 40) == (turned, turned)
    assert cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR).shape[0] == header.height


@pytest.mark.parametrize("animated", [False, True])
def test_an_avif_is_as_large_as_its_av1_data_whatever_its_boxes_say(animated: bool) -> None:
    animation = cv2.Animation()
    animation.frames, animation.durations = [pixels(300, 500)] * 2, [100, 100]
    encode = cv2.imencodeanimation(".avif", animation) if animated else cv2.imencode(".avif", pixels(300, 500))
    source = encode[1].tobytes()
    assert source.count(struct.pack(">II", 500, 300)) == 1 + animated
    small = source.replace(struct.pack(">II", 500, 300), struct.pack(">II", 5, 3))
    large = source.replace(struct.pack(">II", 500, 300), struct.pack(">II", 5000, 3000))
    for claimed, size in ((source, (500, 300)), (small, (500, 300)), (large, (5000, 3000))):
        header = read_header(claimed)
        assert header is not None
        assert (header.width, header.height, header.animated) == (*size, animated)


def test_the_size_in_av1_data_is_found_behind_timing_and_operating_points() -> None:
    bits = "000001" + f"{1:032b}{25:032b}1001011" + f"{9:05b}{1:032b}{3:05b}{3:05b}100001"
    for level, tier in ((5, ""), (9, "1")):
        bits += f"{1:012b}{level:05b}{tier}1" + "0" * 21 + "10011"
    bits += f"{9:04b}{8:04b}{639:010b}{359:09b}"
    header = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    assert list(_coded_av1_sizes(b"\x12\0\x0a" + bytes((len(header),)) + header, 0, iter(range(9)))) == [(640, 360)]
