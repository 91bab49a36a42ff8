from __future__ import annotations

import cv2
import numpy as np
import pytest

from include.recordio.images import ImageError, decode_image, is_truncated_jpeg, pack_image
from include.recordio.options import ImageOptions
from tests.unit.recordio.pictures import jpeg, pixels, png, rotated_jpeg


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
