"""From encoded bytes to what the network sees: one way for validation and for served requests.

The network takes raw RGB values 0..255; its first layer normalises them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from .image_directory import BrokenImageError
from .image_size import ImageHeader, image_header

cv2.setNumThreads(1)  # images are decoded side by side already

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded."""
MOST_MEMORY = 1 << 30
"""Bytes that decoding may take: of one image, and of those that are decoded side by side."""


class UndecodableImageError(ValueError):
    """The bytes are not an image that can be read."""


class DecodingMemory:
    """Lets threads decode side by side as long as their images together keep to a bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Wait for so many bytes to be free, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._most)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()


MEMORY = DecodingMemory(MOST_MEMORY)


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
    """The upright pixels in OpenCV's order: height, width, blue-green-red, or height, width for one channel."""
    if len(encoded) == 0:
        raise UndecodableImageError("the image is empty")
    header = readable_header(encoded)
    mode = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    with MEMORY.take(header.memory):
        try:
            pixels = cv2.imdecode(np.frombuffer(encoded, dtype=np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UndecodableImageError(f"the image cannot be decoded: {reason}") from error
        if pixels is None:
            raise UndecodableImageError(
                f"the image cannot be decoded: {len(encoded)} bytes that are not a readable image"
            )
        upright = np.asarray(pixels, dtype=np.uint8)
        return upright if header.decoder_turns else turn(upright, header.orientation)


def readable_header(encoded: memoryview | bytes) -> ImageHeader:
    """The header of an image that may be decoded; raises UndecodableImageError."""
    try:
        header = image_header(encoded)
    except BrokenImageError as broken:
        raise UndecodableImageError(f"the image cannot be decoded: {broken}") from broken
    width, height = header.size
    if width * height > MAX_PIXELS:
        raise UndecodableImageError(f"the image has {width} x {height} pixels, at most {MAX_PIXELS} are read")
    if header.memory > MOST_MEMORY:
        raise UndecodableImageError(
            f"the image of {width} x {height} pixels takes {header.memory} bytes of memory to decode, at most "
            f"{MOST_MEMORY} are taken"
        )
    return header


def turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The upright pixels of an image that is stored in an Exif orientation from 1 to 8.

    OpenCV 4.11 turns by itself only where Exif is a JPEG's first segment of its kind, MXNet only where it comes first
    of all: the same photograph would stand upright in one and lie in the other.
    """
    if orientation > 4:
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
    if orientation in flips:
        pixels = np.asarray(cv2.flip(pixels, flips[orientation]), dtype=np.uint8)
    return pixels
