"""From encoded bytes to pixels: one way for training and for served requests, safe with images made to hurt."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is decoded. Pillow knows more, some of them by starting other programs."""
MAX_PIXELS = 50_000_000
"""A larger image is refused before it is decoded: it would take more than 150 MB."""
MAX_SCANS = 64
"""A JPEG with more of them takes minutes to decode. Photographs have at most about ten."""
SCAN = b"\xff\xda"

Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked here, with a message
Pixels = NDArray[np.uint8]


class UndecodableImageError(ValueError):
    """The bytes are not an image that can be read; the sentence says why."""


def decode(encoded: bytes) -> Image.Image:
    """The upright RGB image. Raises UndecodableImageError."""
    if not encoded:
        raise UndecodableImageError("the image is empty")
    if encoded.startswith(b"\xff\xd8") and (scans := encoded.count(SCAN)) > MAX_SCANS:
        raise UndecodableImageError(f"the JPEG has {scans} scans, at most {MAX_SCANS} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UndecodableImageError(f"the image has {width} x {height} pixels, at most {MAX_PIXELS} are read")
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits: Pillow would clip them
                upright = Image.fromarray((np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
            return upright.convert("RGB")
    except UndecodableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they meet
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UndecodableImageError(f"the image cannot be decoded: {reason}") from error


def pixels(image: Image.Image, size: int) -> Pixels:
    """The whole image as uint8 (size, size, 3), without keeping its aspect."""
    shown = image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(shown)
