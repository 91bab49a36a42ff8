from __future__ import annotations

import cv2
import numpy as np
import pytest

from containers.image_classification.image_size import image_size


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (28, 28), (640, 17), (3, 2000)])
def test_the_header_says_the_size(suffix: str, width: int, height: int) -> None:
    data = cv2.imencode(suffix, np.zeros((height, width, 3), np.uint8))[1].tobytes()
    assert image_size(data) == (width, height)
    assert image_size(memoryview(data)) == (width, height)


def test_progressive_jpegs_and_long_comments_are_read() -> None:
    data = cv2.imencode(".jpg", np.zeros((9, 7, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    comment = b"\xff\xfe\x40\x00" + b"\xff" * 0x3FFE
    assert image_size(data[:2] + comment + data[2:]) == (7, 9)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BM",
        b"II*\0",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"\xff\xd8\xff\xda\x00\x02",
    ],
)
def test_what_is_no_header_has_no_size(data: bytes) -> None:
    assert image_size(data) is None


def test_a_cut_header_never_raises() -> None:
    for suffix in (".jpg", ".png", ".bmp", ".tiff"):
        data = cv2.imencode(suffix, np.zeros((9, 7, 3), np.uint8))[1].tobytes()
        for length in range(len(data)):
            assert image_size(data[:length]) in (None, (7, 9))
