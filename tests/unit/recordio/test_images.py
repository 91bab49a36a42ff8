from __future__ import annotations

import dataclasses
import struct
import zlib

import cv2
import numpy as np
import pytest

from include.recordio.header import is_truncated_jpeg
from include.recordio.images import ImageError, accept_image, decode_image, pack_image
from include.recordio.options import ImageOptions
from tests.support.pictures import jpeg, pixels, png, rotated_jpeg


@pytest.mark.parametrize("source", [jpeg(30, 20, 1), png(30, 20, 1), png(30, 20, 4), png(30, 20, 3)])
def test_every_source_is_packed_with_three_channels(source: bytes) -> None:
    packed = pack_image(source, ImageOptions())
    assert cv2.imdecode(np.frombuffer(packed.data, np.uint8), cv2.IMREAD_UNCHANGED).shape == (30, 20, 3)


@pytest.mark.parametrize(
    ("height", "width", "options", "size"),
    [
        (60, 80, ImageOptions(resize=30), (40, 30)),
        (90, 41, ImageOptions(resize=32), (32, 70)),
        (60, 80, ImageOptions(center_crop=True), (60, 60)),
        (90, 41, ImageOptions(center_crop=True, resize=20), (20, 20)),
        (20, 20, ImageOptions(resize=40), (40, 40)),
    ],
)
def test_the_short_edge_is_resized_after_the_crop(
    height: int, width: int, options: ImageOptions, size: tuple[int, int]
) -> None:
    packed = pack_image(jpeg(height, width), options)
    assert (packed.width, packed.height) == size


def test_a_rotation_in_exif_is_applied() -> None:
    packed = pack_image(rotated_jpeg(40, 60), ImageOptions())
    assert (packed.width, packed.height) == (40, 60)


def test_png_keeps_every_pixel() -> None:
    packed = pack_image(png(30, 20), ImageOptions(encoding=".png", quality=3))
    assert np.array_equal(decode_image(packed.data), pixels(30, 20))


def test_pass_through_keeps_the_bytes() -> None:
    assert pack_image(b"anything", ImageOptions(pass_through=True)).data == b"anything"


@pytest.mark.parametrize(
    ("source", "status"),
    [
        (b"", "empty"),
        (b"id,label\n1,cat\n", "not_an_image"),
        (b"\xff\xd8\xff\xe0 but nothing behind it", "corrupt"),
        (png(30, 20)[:200], "corrupt"),
    ],
)
def test_what_cannot_be_packed_says_how_it_is_bad(source: bytes, status: str) -> None:
    with pytest.raises(ImageError) as error:
        pack_image(source, ImageOptions())
    assert error.value.status == status
    assert error.value.reason


def test_more_pixels_than_a_jpeg_can_hold_are_reported() -> None:
    with pytest.raises(ImageError, match="1 x 70000 pixels cannot be encoded") as error:
        pack_image(png(70_000, 1), ImageOptions())
    assert error.value.status == "too_large"


def test_a_truncated_jpeg_is_told_from_a_whole_one() -> None:
    whole = jpeg(60, 80)
    assert not is_truncated_jpeg(whole)
    assert not is_truncated_jpeg(whole + b"a video behind the picture" * 100)
    assert is_truncated_jpeg(whole[:-2])
    assert is_truncated_jpeg(whole[: len(whole) // 2])
    assert not is_truncated_jpeg(png())


def claims(width: int, height: int) -> bytes:
    """A PNG of a hundred bytes that says it is as large as this."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


@pytest.mark.parametrize("options", [ImageOptions(), ImageOptions(resize=8, fast_decode=True)])
def test_an_image_that_claims_too_many_pixels_is_not_decoded(options: ImageOptions) -> None:
    for read in (lambda source: pack_image(source, options), decode_image):
        with pytest.raises(ImageError, match=r"30000 x 30000 pixels: an image may have 67108864") as error:
            read(claims(30_000, 30_000))
        assert error.value.status == "too_large"


def test_an_image_that_resizing_makes_enormous_is_refused() -> None:
    with pytest.raises(ImageError, match="1024 x 3072000 pixels once resized") as error:
        pack_image(png(3000, 1), ImageOptions(resize=1024))
    assert error.value.status == "too_large"


def test_an_image_with_a_side_under_the_smallest_is_refused() -> None:
    options = ImageOptions(minimum_side=32)
    assert pack_image(jpeg(32, 40), options).height == 32
    with pytest.raises(ImageError, match="40 x 31 pixels: the shorter side is under minimum_side, 32") as error:
        pack_image(jpeg(31, 40), options)
    assert error.value.status == "too_small"


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypheic", b"8BPS\0\1", b"\xff\x0a\x10"])
def test_images_that_cannot_be_decoded_are_named(start: bytes) -> None:
    with pytest.raises(ImageError, match="cannot be decoded: convert it") as error:
        pack_image(start + bytes(100), ImageOptions())
    assert error.value.status == "unsupported"


@pytest.mark.parametrize(
    ("height", "width", "resize", "part"), [(800, 640, 80, 8), (800, 639, 80, 4), (400, 300, 80, 2), (159, 300, 80, 1)]
)
def test_fast_decoding_never_leaves_less_than_is_asked_for(height: int, width: int, resize: int, part: int) -> None:
    for crop in (False, True):
        options = ImageOptions(resize=resize, fast_decode=True, center_crop=crop)
        source = jpeg(height, width)
        assert options.reduction(accept_image(source, options)) == part
        exact, fast = (
            pack_image(source, chosen) for chosen in (dataclasses.replace(options, fast_decode=False), options)
        )
        assert (fast.width, fast.height) == pytest.approx((exact.width, exact.height), abs=1)
        assert min(fast.width, fast.height) == resize


def test_fast_decoding_turns_a_photograph_upright_too() -> None:
    source = rotated_jpeg(400, 600)
    exact, fast = (
        decode_image(pack_image(source, ImageOptions(resize=50, encoding=".png", fast_decode=fast)).data)
        for fast in (False, True)
    )
    assert fast.shape == exact.shape == (75, 50, 3)
    assert np.abs(fast.astype(int) - exact).mean() < 10


def test_without_resize_or_for_other_formats_nothing_is_decoded_fast() -> None:
    for source, options in (
        (jpeg(800, 800), ImageOptions()),
        (png(800, 800), ImageOptions(fast_decode=True, resize=50)),
    ):
        assert options.reduction(accept_image(source, options)) == 1


def test_fast_decoding_without_a_size_to_decode_to_is_refused() -> None:
    with pytest.raises(ValueError, match="it needs resize"):
        ImageOptions(fast_decode=True)
