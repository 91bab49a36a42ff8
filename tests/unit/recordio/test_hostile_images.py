"""Images made to hurt whoever packs, inspects or shows them."""

from __future__ import annotations

import contextlib
import struct
import threading

import pytest

from im2rec.inspection import inspect_records
from include.recordio.format import encode_image_record, encode_record
from include.recordio.images import (
    MAX_PIXELS,
    ImageError,
    accept_image,
    decode_image,
    pack_image,
    readable_size,
)
from include.recordio.options import MOST_WORKING_BYTES, DecodingMemory, ImageOptions, decoding_bytes
from tests.fuzz.bounds import within
from tests.support.hostile_images import (
    chunk,
    hostile_images,
    jpeg_frame,
    jpeg_of_scans,
    orientation_block,
    png,
    rare_hostile_images,
    segment,
    tiff,
)

HOSTILE = hostile_images() | rare_hostile_images()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_is_bad_for_a_reason_and_costs_little(name: str) -> None:
    source = HOSTILE[name]
    with within(seconds=2, megabytes=100):
        for read in (lambda: pack_image(source, ImageOptions(resize=8)), lambda: readable_size(source)):
            try:
                read()
            except ImageError as error:
                assert error.status in {"corrupt", "too_large", "unsupported"}
                assert len(error.reason) < 250
                assert "\n" not in error.reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("png/12 bytes", "the first chunk of the PNG is not its header"),
        ("png/eXIf of 2 GB", "its chunk eXIf at byte 33 claims 2147483647 bytes, but 11 follow"),
        ("png/chunk whose name is not a text", "its chunk 0x0a1b5bff at byte 33 claims"),
        ("png/frame larger than the animation", "a frame of 60000 x 60000 pixels at 0, 0 is beyond"),
        ("jpeg/segment beyond the file", "its segment E1 at byte 2 claims 65535 bytes"),
        ("jpeg/2000 scans", "the JPEG has more than 64 scans"),
        ("tiff/strip of 4 GB", "its strip or tile 0 of 4294967295 bytes at byte 126 is beyond the file"),
        ("tiff/268 million strips", "the 268435455 values of its tag 273 at byte 8 are beyond the file"),
        ("tiff/tile of 8192 x 16384", "its tiles of 8192 x 16384 pixels do not fit an image of 8 x 8"),
        ("tiff/BigTIFF of 2^63 tags", "its first directory of 9223372036854775808 tags"),
        ("webp/Exif of 2 GB", "its chunk EXIF at byte 30 claims 2147483647 bytes"),
        ("jpeg 2000/65025 tiles", "the JPEG 2000 has 65025 tiles, at most 4096 are decoded"),
        ("jpeg 2000/9 million precincts", "the JPEG 2000 is cut into 27000000 precincts and 27000000 blocks, at most"),
        (
            "jpeg 2000/precincts of its tile",
            "the JPEG 2000 is cut into 12000000 precincts and 12000000 blocks, at most",
        ),
        ("jpeg 2000/65535 layers", "the JPEG 2000 has 805294080 packets, at most"),
        ("jpeg 2000/box of 2 GB", "its box jp2c at byte 12 claims 2147483647 bytes"),
        ("avif/65 million pieces", "the items of the AVIF are in more than 100000 pieces"),
        ("avif/every item is the file", "the items of the AVIF are together longer than the file"),
        ("png/200 times zTXt of 8 MB", "its texts may unpack to 134965992 bytes and more, at most 134217728 are read"),
        ("avif/box of 2 GB", "its box meta at byte 20 claims 2147483647 bytes"),
        ("pnm/blanks without a number", "the PNM has no width and height"),
    ],
)
def test_the_reason_names_the_part_and_what_is_wrong_with_it(name: str, reason: str) -> None:
    with pytest.raises(ImageError) as error:
        accept_image(HOSTILE[name])
    assert reason in error.value.reason


@pytest.mark.parametrize("name", HOSTILE)
def test_a_record_with_a_hostile_image_is_counted_and_the_rest_is_read(name: str) -> None:
    frames = [
        encode_record(encode_image_record([0], number, image)) for number, image in enumerate((HOSTILE[name], png()))
    ]
    with within(seconds=2, megabytes=100):
        found = inspect_records("a.rec", b"".join(frames), decode=True)
    assert found.records == 2
    assert found.formats["PNG"] >= 1
    assert found.damaged_at is None


def test_few_scans_are_decoded_and_bytes_behind_the_image_are_no_scans() -> None:
    for progressive in (False, True):
        source = jpeg_of_scans(64, 64, 60, progressive=progressive)
        assert accept_image(source).progressive
        assert decode_image(source + b"\xff\xda" * 2000).shape == (64, 64, 3)
    single = jpeg_frame(16, 16) + segment(0xDA, bytes((3, 1, 0, 2, 0, 3, 0, 0, 63, 0))) + bytes(8) + b"\xff\xd9"
    assert not accept_image(single + b"\xff\xda" * 2000).progressive


def test_scans_do_not_hide_behind_an_end_inside_a_comment() -> None:
    source = jpeg_of_scans(64, 64, 1, progressive=True)[:-2] + segment(0xFE, b"\xff\xd9")
    again = jpeg_of_scans(64, 64, 100, progressive=True)
    with pytest.raises(ImageError, match="more than 64 scans"):
        accept_image(source + again[again.index(b"\xff\xda") :])


ANIMATED = chunk(b"acTL", struct.pack(">II", 2, 0))


@pytest.mark.parametrize(
    "source",
    [
        png(8192, 8192, ANIMATED, kind=6, bits=16, pixels=False),
        png(8192, 8192, ANIMATED, kind=6, pixels=False),
        tiff(width=8192, height=8192, bits=64, channels=4),
    ],
)
def test_an_image_that_takes_too_much_memory_to_decode_is_not_decoded(source: bytes) -> None:
    with pytest.raises(ImageError, match=f"of memory, an image may take {MOST_WORKING_BYTES}") as error:
        accept_image(source)
    assert error.value.status == "too_large"


@pytest.mark.parametrize(
    "source",
    [
        png(8192, 8192, pixels=False),
        png(8192, 8192, kind=6, bits=16, pixels=False),
        jpeg_of_scans(8192, 8192, 1, progressive=True),
        tiff(width=8192, height=8192, bits=16),
    ],
)
def test_an_ordinary_image_of_the_most_pixels_is_accepted(source: bytes) -> None:
    header = accept_image(source)
    assert header.pixels == MAX_PIXELS
    assert decoding_bytes(header) <= MOST_WORKING_BYTES


def test_images_wait_until_the_memory_for_them_is_free() -> None:
    memory, order, inside = DecodingMemory(100), [], threading.Event()

    def decode(name: str, size: int) -> None:
        with memory.take(size):
            order.append(name)

    with contextlib.ExitStack() as held:
        held.enter_context(memory.take(60))
        small = threading.Thread(target=decode, args=("small", 40))
        small.start()
        small.join(timeout=30)
        large = threading.Thread(target=lambda: (inside.set(), decode("large", 1000)))
        large.start()
        assert inside.wait(30)
        assert order == ["small"]
    large.join(timeout=30)
    assert order == ["small", "large"]


def test_an_orientation_changes_no_more_than_the_sides() -> None:
    plain, turned = png(8, 4), png(8, 4, chunk(b"eXIf", orientation_block(6)))
    assert (accept_image(plain).width, accept_image(turned).width) == (8, 4)
    assert pack_image(turned, ImageOptions()).width == readable_size(turned)[0] == 4
