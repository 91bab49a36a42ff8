from __future__ import annotations

import json
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given

from containers.image_classification.image_decoding import decode
from containers.image_classification.image_size import image_size
from containers.image_classification.invocations import invoke
from tests.fuzz.bounds import damaged, fuzz, within
from tests.support.hostile_images import exif_segment, hostile_images, orientation_block, rare_hostile_images, tiff

ENDINGS = (".jpg", ".png", ".bmp", ".tiff")
MOST_DECODED = 1 << 20


@cache
def images(ending: str) -> tuple[bytes, ...]:
    picture = cv2.resize(np.arange(192, dtype=np.uint8).reshape(8, 8, 3), (40, 24))
    plain = cv2.imencode(ending, picture)[1].tobytes()
    others = {
        ".jpg": [
            plain[:2] + exif_segment(orientation_block(6)) + plain[2:],
            cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
        ],
        ".tiff": [tiff(data=bytes(192), big=True), tiff((274, 3, 1, 6), data=bytes(192))],
    }
    small = [image for name, image in hostile_images().items() if name.startswith(ending[1:4]) and len(image) < 9999]
    return plain, *others.get(ending, []), *small


class Eye:
    """Stands for a model: it looks at the image if that does not take long."""

    def predict(self, encoded: bytes) -> list[float]:
        size = image_size(encoded)
        if size is not None and size.width * size.height > MOST_DECODED:
            return [0.0]
        return [float(decode(encoded, 3).mean())]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_request_is_answered_whatever_its_bytes_are(ending: str) -> None:
    @fuzz
    @given(body=damaged(*images(ending)))
    def send(body: bytes) -> None:
        with within(seconds=2, megabytes=150):
            answer = invoke(Eye(), "application/x-image", None, body)
        assert answer.status in (200, 400)
        assert answer.status == 200 or json.loads(answer.body)["error"]

    send()


@fuzz
@given(body=damaged(*rare_hostile_images().values()))
def test_other_formats_are_refused_whatever_follows(body: bytes) -> None:
    with within(seconds=1, megabytes=50):
        answer = invoke(Eye(), "application/x-image", None, body)
    assert answer.status in (200, 400)
