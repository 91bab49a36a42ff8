"""From encoded bytes to what the network sees: one way for validation and for served requests.

The network takes raw RGB values 0..255; its first layer normalises them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .image_size import image_size

cv2.setNumThreads(1)  # images are decoded side by side already

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded."""


class UndecodableImageError(ValueError):
    """The bytes are no image that can be read."""


def decode_whole_image(encoded: memoryview | bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The whole image as uint8 of `shape` (channels, height, width), resized without keeping its aspect.

    Raises UndecodableImageError with the reason.
    """
    pixels = decode(encoded, shape[0])
    if pixels.shape[:2] != shape[1:]:
        pixels = np.asarray(cv2.resize(pixels, (shape[2], shape[1]), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    if shape[0] == 1:
        return pixels.reshape(shape)
    return np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1))


def decode(encoded: memoryview | bytes, channels: int) -> NDArray[np.uint8]:
    """The pixels in OpenCV's order: height, width, blue-green-red, or height, width for one channel."""
    if len(encoded) == 0:
        raise UndecodableImageError("the image is empty")
    size = image_size(encoded)
    if size and size.width * size.height > MAX_PIXELS:
        raise UndecodableImageError(f"the image has {size.width} x {size.height} pixels, at most {MAX_PIXELS} are read")
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), mode)
    except cv2.error as error:
        raise UndecodableImageError(f"the image cannot be decoded: {error.err}") from error
    if pixels is None:
        raise UndecodableImageError(f"the image cannot be decoded: {len(encoded)} bytes that are no readable image")
    return np.asarray(pixels, dtype=np.uint8)
