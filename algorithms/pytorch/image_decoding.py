"""From encoded bytes to what the network sees: one way for validation and for served requests."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

WHOLE, CENTER = "whole", "center"
VIEWS = (WHOLE, CENTER)
CENTER_SHARE = 0.875
"""Side of the square that `center` shows, as a share of the shorter side: 224 of 256 as ImageNet models are tested."""
MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is decoded. Pillow knows more, some of them by starting other programs."""

Image.MAX_IMAGE_PIXELS = None  # MAX_PIXELS is checked here, with a message


class UndecodableImageError(ValueError):
    """The bytes are not an image that can be read; the sentence says why."""


def decode(encoded: bytes | memoryview) -> Image.Image:
    """The upright RGB image. Raises UndecodableImageError."""
    if len(encoded) == 0:
        raise UndecodableImageError("the image is empty")
    try:
        image = Image.open(io.BytesIO(encoded), formats=_readable_formats())
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UndecodableImageError(f"the image has {width} x {height} pixels, at most {MAX_PIXELS} are read")
        upright = ImageOps.exif_transpose(image)
        return upright if upright.mode == "RGB" else _to_rgb(upright)
    except UndecodableImageError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they meet
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UndecodableImageError(f"the image cannot be decoded: {reason}") from error


def _readable_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits: Pillow would clip them
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def view(image: Image.Image, size: int, kind: str) -> Image.Image:
    """The image as a square of `size` pixels: `whole` without keeping its aspect, `center` its middle with it."""
    if kind == WHOLE:
        return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
    width, height = image.size
    side = min(width, height) * CENTER_SHARE
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.BILINEAR, box=box)


def pixels(image: Image.Image) -> Any:
    """The pixels as a uint8 tensor (height, width, 3)."""
    return torch.from_numpy(np.array(image))


def normalized(images: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Pixels, uint8 (images, height, width, 3), as the network takes them: float32 (images, 3, height, width)."""
    scaled = images.float().div_(255)
    scaled.sub_(torch.tensor(mean, device=images.device)).div_(torch.tensor(std, device=images.device))
    return scaled.permute(0, 3, 1, 2)
