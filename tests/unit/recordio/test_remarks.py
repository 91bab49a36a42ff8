from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from include.recordio.images import accept_image, pack_image, remarks
from include.recordio.options import ImageOptions
from tests.support.pictures import jpeg, pixels, png, rotated_jpeg


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def cmyk_jpeg(side: int = 8) -> bytes:
    """One gray block, its four channels without a coefficient other than zero."""
    components = b"".join(bytes([number, 0x11, 0]) for number in range(1, 5))
    one_code = bytes([1] + [0] * 15) + b"\0"
    return (
        b"\xff\xd8"
        + segment(0xDB, b"\0" + b"\x01" * 64)
        + segment(0xC0, struct.pack(">BHHB", 8, side, side, 4) + components)
        + segment(0xC4, b"\0" + one_code)
        + segment(0xC4, b"\x10" + one_code)
        + segment(0xDA, b"\x04" + b"".join(bytes([number, 0]) for number in range(1, 5)) + b"\0\x3f\0")
        + b"\0"
        + b"\xff\xd9"
    )


def animated_gif() -> bytes:
    animation = cv2.Animation()
    animation.frames = [pixels(40, 60), pixels(40, 60, seed=1)]
    animation.durations = [100, 100]
    return cv2.imencodeanimation(".gif", animation)[1].tobytes()


def deep_png() -> bytes:
    return cv2.imencode(".png", pixels(33, 47, 3).astype(np.uint16) * 200)[1].tobytes()


def said(name: str, source: bytes, options: ImageOptions) -> str | None:
    header = accept_image(source, options)
    return remarks(name, source, header, pack_image(source, options, header), options)


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("a/cat.jpg", jpeg(40, 60), None),
        ("a/cat.JPEG", jpeg(40, 60), None),
        ("a/no ending", jpeg(40, 60), None),
        ("a/cat.jpg", jpeg(40, 60)[:-2], "truncated: the missing part is gray"),
        ("a/cat.jpg", rotated_jpeg(40, 60), "turned upright: its EXIF orientation is 6"),
        ("a/cat.jpg", jpeg(40, 60, 1), "converted to three channels from gray"),
        ("a/cat.png", png(40, 60, 4), "converted to three channels from colour with transparency"),
        ("a/cat.jpg", cmyk_jpeg(), "converted to three channels from CMYK"),
        ("a/cat.png", deep_png(), "reduced from 16 bits a channel"),
        ("a/cat.jpg", png(40, 60), "a PNG named .jpg"),
        ("a/cat.gif", animated_gif(), "animated: its first frame"),
        ("a/cat.jpg", png(40, 60, 1), "a PNG named .jpg; converted to three channels from gray"),
    ],
)
def test_what_is_odd_about_an_image_is_said(name: str, source: bytes, says: str | None) -> None:
    assert said(name, source, ImageOptions()) == says


def test_an_enlarged_image_is_said_to_be() -> None:
    assert said("a.jpg", jpeg(20, 30), ImageOptions(resize=24)) == "enlarged: its shorter side has 20 pixels"
    assert said("a.jpg", jpeg(24, 30), ImageOptions(resize=24)) is None


def test_of_what_passes_through_only_a_wrong_name_is_said() -> None:
    options = ImageOptions(pass_through=True)
    assert said("a.jpg", png(20, 30, 1), options) == "a PNG named .jpg"
    assert said("a.jpg", rotated_jpeg(20, 30), options) is None


@pytest.mark.parametrize(
    ("color", "encoding", "source", "expected"),
    [
        (0, ".jpg", jpeg(40, 60), None),
        (0, ".jpg", jpeg(40, 60, 1), None),
        (0, ".jpg", png(40, 60, 4), "converted to grayscale from colour with transparency"),
        (0, ".jpg", cmyk_jpeg(), "converted to grayscale from CMYK"),
        (-1, ".png", png(40, 60, 4), None),
        (-1, ".jpg", png(40, 60, 4), "its transparency is lost: a JPEG has none"),
        (-1, ".png", cv2.imencode(".png", np.zeros((9, 9, 3), np.uint16))[1].tobytes(), None),
        (
            -1,
            ".jpg",
            cv2.imencode(".png", np.zeros((9, 9, 3), np.uint16))[1].tobytes(),
            "cut off at 255: a JPEG has 8 bits per channel, and it has 16",
        ),
        (-1, ".jpg", rotated_jpeg(40, 60), "not turned upright: its EXIF orientation is 6"),
    ],
)
def test_what_is_odd_depends_on_the_channels_that_are_packed(
    color: int, encoding: str, source: bytes, expected: str | None
) -> None:
    options = ImageOptions(color=color, encoding=encoding)  # type: ignore[arg-type]
    name = "a.png" if source.startswith(b"\x89PNG") else "a.jpg"
    packed = pack_image(source, options)
    assert remarks(name, source, accept_image(source), packed, options) == expected
