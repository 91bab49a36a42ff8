from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given

from include.recordio.file_parts import HeaderError
from include.recordio.header import read_header
from include.recordio.images import ImageError, accept_image, decode_accepted, readable_size
from tests.fuzz.bounds import damaged, fuzz, within
from tests.support.hostile_images import (
    chunk,
    exif_segment,
    frame_control,
    hostile_images,
    orientation_block,
    png,
    rare_hostile_images,
    tiff,
)

ENDINGS = (".jpg", ".png", ".bmp", ".gif", ".webp", ".tiff", ".jp2", ".avif", ".ppm", ".pgm")
MOST_DECODED = 1 << 20


@cache
def images(ending: str) -> tuple[bytes, ...]:
    picture = cv2.resize(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), (64, 40))
    plain = cv2.imencode(ending, picture[:, :, 0] if ending == ".pgm" else picture)[1].tobytes()
    turned = orientation_block(6)
    others = {
        ".jpg": [
            plain[:2] + exif_segment(turned) + plain[2:],
            cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
        ],
        ".png": [png(8, 8, chunk(b"acTL", b"\0\0\0\2\0\0\0\0"), frame_control(8, 8), chunk(b"eXIf", turned))],
        ".tiff": [tiff(data=bytes(192), big=True), tiff((274, 3, 1, 6), data=bytes(192))],
    }
    small = [image for name, image in hostile_images().items() if name.startswith(ending[1:4]) and len(image) < 9999]
    return plain, *others.get(ending, []), *small


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_a_header_error_comes_out_and_only_an_image_error_of_the_decoder(ending: str) -> None:
    @fuzz
    @given(source=damaged(*images(ending)))
    def read(source: bytes) -> None:
        with within(seconds=2, megabytes=150):
            try:
                header = read_header(source)
            except HeaderError as error:
                assert 0 < len(str(error)) < 250
            else:
                assert header is None or min(header.width, header.height) > 0
            try:
                header = accept_image(source)
                if header.pixels <= MOST_DECODED:
                    decode_accepted(source)
                    readable_size(source)
            except ImageError as error:
                assert error.status in {"empty", "not_an_image", "corrupt", "unsupported", "too_large"}
                assert "\n" not in error.reason

    read()


def test_rare_formats_made_to_hurt_do_not_hurt_when_damaged() -> None:
    @fuzz
    @given(source=damaged(*rare_hostile_images().values()))
    def read(source: bytes) -> None:
        with within(seconds=2, megabytes=150):
            try:
                accept_image(source)
            except ImageError as error:
                assert len(error.reason) < 300

    read()
