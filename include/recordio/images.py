"""Source image bytes -> packed image bytes, those of MXNet 1.9.1's `im2rec.py`; and what is odd about an image.

Source of every step: `image_encode` in MXNet's `tools/im2rec.py` and `pack_img` in its `recordio.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from include.recordio.file_parts import HeaderError
from include.recordio.header import (
    JPEG_END,
    JPEG_START,
    MXNET_STARTS,
    ImageHeader,
    format_of,
    is_truncated_jpeg,
    read_header,
)
from include.recordio.options import MOST_WORKING_BYTES, decoding_bytes

if TYPE_CHECKING:
    from cv2.typing import MatLike

    from include.recordio.options import ImageOptions

MAX_PIXELS = 1 << 26
"""Pixels of an image, as stored and as packed: 8,192 x 8,192, which take 192 MiB once decoded.

A few kilobytes can claim any size, and the memory is taken before the claim is found false.
"""
_READ_FLAGS = {
    1: (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR),
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}
_UNDECODABLE = (
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"#?RGBE", "Radiance HDR"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"P7\n", "PAM"),
    (0, b"PF\n", "PFM"),
    (0, b"Pf\n", "PFM"),
    (0, b"PF4\n", "PFM"),
    (0, b"\x00\x00\x01\x00", "icon"),
    (0, b"<svg", "SVG"),
)
_FORMATS = {
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "png": "PNG",
    "bmp": "BMP",
    "gif": "GIF",
    "webp": "WebP",
    "tif": "TIFF",
    "tiff": "TIFF",
    "avif": "AVIF",
    "jp2": "JPEG 2000",
}
_CHANNELS = {1: "gray", 2: "gray with transparency", 4: "colour with transparency"}


class ImageError(ValueError):
    """An image that cannot be packed: `status` for the manifest, the message says why."""

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


def accept_image(source: bytes, options: ImageOptions | None = None) -> ImageHeader:
    """The header of an image that may be decoded, and packed with the options where there are some.

    Raises ImageError with the status `empty`, `not_an_image`, `unsupported`, `corrupt`, `too_large` or
    `too_small`.
    """
    if not source:
        raise ImageError("empty", "the object has no bytes")
    try:
        header = read_header(source)
    except HeaderError as error:
        name = format_of(source)
        raise ImageError("corrupt", f"it begins like {name}, but cannot be decoded: {error}") from error
    if header is None:
        raise _unreadable(source)
    _check_pixels(header.width, header.height, "")
    _check_memory(header, options)
    if options is not None:
        if header.short_side < options.minimum_side:
            raise ImageError(
                "too_small",
                f"{header.width} x {header.height} pixels: the shorter side is under minimum_side, "
                f"{options.minimum_side}",
            )
        _check_pixels(*options.packed_size(header), " once resized")
    return header


def pack_image(source: bytes, options: ImageOptions, header: ImageHeader | None = None) -> PackedImage:
    """Decode, crop, resize and encode one image; safe to call from many threads.

    `header` is what `accept_image` returned, where the caller asked it before. Raises ImageError with the status
    `empty`, `not_an_image`, `corrupt`, `unsupported`, `too_small` or `too_large`.
    """
    if options.pass_through:
        if not source:
            raise ImageError("empty", "the object has no bytes")
        return PackedImage(source, 0, 0)
    header = header or accept_image(source, options)
    pixels = decode_accepted(source, options.color, options.reduction(header))
    if options.center_crop:
        pixels = _crop_to_square(pixels)
    if options.resize:
        pixels = _resize_short_edge(pixels, options.resize)
    height, width = pixels.shape[:2]
    return PackedImage(_encode(pixels, options), width, height)


def decode_image(source: bytes, color: int = 1) -> MatLike:
    """Decode as `cv2.imread` would decode a file of these bytes: height x width (x channels).

    Raises ImageError with the status `empty`, `not_an_image`, `corrupt`, `unsupported` or `too_large`.
    """
    accept_image(source)
    return decode_accepted(source, color)


def decode_accepted(source: bytes, color: int = 1, part: int = 1) -> MatLike:
    """Decode an image that `accept_image` has seen, to a part of its sides. Raises ImageError."""
    # imread supplies a missing end to a truncated JPEG, imdecode does not, so it is appended here; a decoder never
    # reads past the first end it meets.
    needs_end = source.startswith(JPEG_START) and not source.endswith(JPEG_END)
    readable = source + JPEG_END if needs_end else source
    flag = _READ_FLAGS[part][color] if color >= 0 else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(readable, dtype=np.uint8), flag)
    except MemoryError:
        raise ImageError("too_large", "there is not enough memory to decode it") from None
    except Exception as error:
        raise ImageError("corrupt", f"OpenCV cannot decode it: {_reason(error)}") from error
    if pixels is None:
        raise ImageError(
            "corrupt", f"it begins like an image, but no image can be decoded from its {len(source)} bytes"
        )
    return pixels


def readable_size(source: bytes) -> tuple[int, int]:
    """Width and height in pixels of an image that is packed as it is.

    Training decodes the bytes as they are. MXNet's own OpenCV 3.4 reads JPEG, PNG, BMP and TIFF, no WebP, GIF, AVIF or
    JPEG 2000; readers that call `imdecode` take no truncated JPEG. Raises ImageError with the status `unsupported`,
    `corrupt` or `not_an_image` for what it could not read.
    """
    if is_truncated_jpeg(source):
        raise ImageError("corrupt", "the JPEG ends early: packed as it is, training cannot read it")
    height, width = decode_image(source).shape[:2]
    if not source.startswith(MXNET_STARTS):
        raise ImageError("unsupported", "neither JPEG, PNG, BMP nor TIFF: packed as it is, training cannot read it")
    return width, height


def _check_pixels(width: int, height: int, when: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            "too_large", f"{width} x {height} pixels{when}: an image may have {MAX_PIXELS}, scale it down before"
        )


def _check_memory(header: ImageHeader, options: ImageOptions | None) -> None:
    needed = (
        decoding_bytes(header) if options is None else decoding_bytes(header, options.color, options.reduction(header))
    )
    if needed > MOST_WORKING_BYTES:
        raise ImageError(
            "too_large",
            f"{header.width} x {header.height} pixels of {header.format} take {needed} bytes of memory, an image may "
            f"take {MOST_WORKING_BYTES}: scale it down before",
        )


def _unreadable(source: bytes) -> ImageError:
    for place, start, undecodable in _UNDECODABLE:
        if source.startswith(start, place):
            return ImageError("unsupported", f"{undecodable} cannot be decoded: convert it to JPEG or PNG")
    return ImageError(
        "not_an_image", f"its {len(source)} bytes begin with {source[:8].hex(' ')}, which no image format has"
    )


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


def _encode(pixels: MatLike, options: ImageOptions) -> bytes:
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


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def remarks(name: str, source: bytes, header: ImageHeader, packed: PackedImage, options: ImageOptions) -> str | None:
    """What was done to an odd image, or that its name is wrong; None for an ordinary one."""
    found: list[str] = []
    ending = name.rpartition(".")[2]
    if _FORMATS.get(ending.lower(), header.format) != header.format:
        found.append(f"a {header.format} named .{ending}")
    if not options.pass_through:
        found += _changes(source, header, packed, options)
    return "; ".join(found) or None


def _changes(source: bytes, header: ImageHeader, packed: PackedImage, options: ImageOptions) -> list[str]:
    found: list[str] = []
    if is_truncated_jpeg(source):
        found.append("truncated: the missing part is gray")
    if header.orientation > 1:
        turned = "turned" if options.color >= 0 else "not turned"
        found.append(f"{turned} upright: its EXIF orientation is {header.orientation}")
    elif (header.width > header.height and packed.width < packed.height) or (
        header.width < header.height and packed.width > packed.height
    ):
        found.append("turned upright")
    found += _converted(header, options) if options.color >= 0 else _lost(header, options)
    if header.animated:
        found.append("animated: its first frame")
    if header.short_side < options.resize:
        found.append(f"enlarged: its shorter side has {header.short_side} pixels")
    return found


def _converted(header: ImageHeader, options: ImageOptions) -> list[str]:
    """What became of the channels and bits where the options say how many there are."""
    found: list[str] = []
    ordinary, target = ((3,), "three channels") if options.color else ((1, 3), "grayscale")
    if header.channels not in ordinary:
        kind = "CMYK" if header.format == "JPEG" and header.channels == 4 else _CHANNELS.get(header.channels)
        found.append(f"converted to {target} from {kind or header.channels}")
    if header.bits > 8:
        found.append(f"reduced from {header.bits} bits a channel")
    return found


def _lost(header: ImageHeader, options: ImageOptions) -> list[str]:
    """What a JPEG cannot hold of an image that is packed as it is stored."""
    if options.encoding != ".jpg":
        return []
    found: list[str] = []
    if header.channels in (2, 4) and header.format != "JPEG":
        found.append("its transparency is lost: a JPEG has none")
    if header.bits > 8:
        found.append(f"cut off at 255: a JPEG has 8 bits per channel, and it has {header.bits}")
    return found
