"""Source image bytes -> packed image bytes, byte for byte what MXNet 1.9.1's ``im2rec.py`` packs.

Source of every step: ``image_encode`` in MXNet's ``tools/im2rec.py`` and ``pack_img`` in its ``recordio.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:  # pydantic, behind ImageOptions, takes longer to load than many images to pack
    from cv2.typing import MatLike

    from include.recordio.image_steps import ImageSteps
    from include.recordio.options import ImageOptions

JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
_JPEG_SCAN = b"\xff\xda"
_STARTS_TRAINING_READS = (JPEG_START, b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")
_IMAGE_STARTS = (*_STARTS_TRAINING_READS, b"GIF8", b"RIFF")


class ImageError(ValueError):
    """An image that cannot be packed: ``status`` for the manifest, the message says why."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class PackedImage:
    """Encoded bytes of a packed image and its size in pixels; 0 x 0 for one that was passed through undecoded."""

    data: bytes
    width: int
    height: int


def pack_image(source: bytes, options: ImageOptions | ImageSteps) -> PackedImage:
    """Decode, crop, resize and encode one image; safe to call from many threads.

    Raises ImageError with the status ``empty``, ``not_an_image``, ``corrupt`` or ``too_large``.
    """
    if not source:
        raise ImageError("empty", "the object has no bytes")
    if options.pass_through:
        return PackedImage(source, 0, 0)
    pixels = decode_image(source, options.color)
    if options.center_crop:
        pixels = _crop_to_square(pixels)
    if options.resize:
        pixels = _resize_short_edge(pixels, options.resize)
    height, width = pixels.shape[:2]
    return PackedImage(_encode(pixels, options), width, height)


def decode_image(source: bytes, color: int = 1) -> MatLike:
    """Decode as ``cv2.imread`` would decode a file of these bytes: height x width (x channels).

    ``imread`` supplies a missing end to a truncated JPEG, ``imdecode`` does not, so it is appended here; a decoder
    never reads past the first end it meets.
    """
    needs_end = source.startswith(JPEG_START) and not source.endswith(JPEG_END)
    readable = source + JPEG_END if needs_end else source
    try:
        pixels = cv2.imdecode(np.frombuffer(readable, dtype=np.uint8), color)
    except cv2.error as error:
        raise ImageError("corrupt", f"OpenCV cannot decode it: {_reason(error)}") from None
    if pixels is not None:
        return pixels
    if source.startswith(_IMAGE_STARTS):
        raise ImageError("corrupt", f"it begins like an image, but none can be decoded from its {len(source)} bytes")
    raise ImageError("not_an_image", f"its {len(source)} bytes begin with {source[:8].hex(' ')}: no image format")


def readable_size(source: bytes) -> tuple[int, int]:
    """Return width and height in pixels of an image that is packed as it is.

    Training decodes the bytes as they are, with the decoders of MXNet's own OpenCV 3.4: JPEG, PNG, BMP and TIFF, no
    WebP, GIF, AVIF or JPEG 2000, and no truncated JPEG. Raises ImageError with the status ``unsupported``, ``corrupt``
    or ``not_an_image`` for what it could not read.
    """
    if is_truncated_jpeg(source):
        raise ImageError("corrupt", "the JPEG stops early: packed as it is, training cannot read it")
    height, width = decode_image(source).shape[:2]
    if not source.startswith(_STARTS_TRAINING_READS):
        raise ImageError("unsupported", "neither JPEG, PNG, BMP nor TIFF: packed as it is, training cannot read it")
    return width, height


def is_truncated_jpeg(source: bytes) -> bool:
    """Tell whether a JPEG stops before its end: im2rec packs such an image with its missing part in gray."""
    return source.startswith(JPEG_START) and source.find(JPEG_END, max(source.rfind(_JPEG_SCAN), 0)) < 0


def _crop_to_square(pixels: MatLike) -> MatLike:
    height, width = pixels.shape[:2]
    if height > width:
        margin = (height - width) // 2
        return pixels[margin : margin + width, :]
    margin = (width - height) // 2
    return pixels[:, margin : margin + height]


def _resize_short_edge(pixels: MatLike, short_edge: int) -> MatLike:
    height, width = pixels.shape[:2]
    portrait = height > width
    size = (short_edge, height * short_edge // width) if portrait else (width * short_edge // height, short_edge)
    try:
        return cv2.resize(pixels, size)
    except cv2.error as error:
        raise ImageError("too_large", f"{width} x {height} pixels cannot be resized: {_reason(error)}") from None


def _encode(pixels: MatLike, options: ImageOptions | ImageSteps) -> bytes:
    if options.encoding == ".jpg":
        parameters = [cv2.IMWRITE_JPEG_QUALITY, options.quality]
    else:  # cv2 takes more than 9 for 9, with a warning for every image
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, min(options.quality, 9)]
    height, width = pixels.shape[:2]
    try:
        done, encoded = cv2.imencode(options.encoding, pixels, parameters)
    except cv2.error as error:
        raise ImageError("too_large", f"{width} x {height} pixels cannot be encoded: {_reason(error)}") from None
    if not done:
        raise ImageError("too_large", f"{width} x {height} pixels cannot be encoded as {options.encoding}")
    return encoded.tobytes()


def _reason(error: cv2.error) -> str:
    return " ".join(str(error).split())[:200]
