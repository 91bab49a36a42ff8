from __future__ import annotations

from collections import Counter

import cv2
import numpy as np

from demo.sample_images import SIDE, digit_images


def test_every_scanned_digit_is_a_jpeg_in_the_folder_of_its_class() -> None:
    images = list(digit_images())

    assert len(images) == len({image.key for image in images}) == 1797
    assert set(Counter(image.key.partition("/")[0] for image in images)) == {str(digit) for digit in range(10)}
    for image in images[::200]:
        pixels = cv2.imdecode(np.frombuffer(image.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.shape == (SIDE, SIDE, 3)
        assert pixels.max() > 200
        assert pixels.min() < 30
