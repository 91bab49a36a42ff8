"""Source image bytes -> packed image bytes, byte for byte what MXNet 1.9.1's ``im2rec.py`` packs.

Source of every step: ``image_encode`` in MXNet's ``tools/im2rec.py`` and ``pack_img`` in its ``recordio.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from include.recordio.file_parts import HeaderError
from include.recordio.header import JPEG_START, PNG_START, TIFF_STARTS, ImageHeader, format_of, read_header

if TYPE_CHECKING:  # pydantic, behind ImageOptions, takes longer to load than many images to pack
    from cv2.typing import MatLike

    from include.recordio.image_steps import ImageSteps
    from include.recordio.options import ImageOptions

MAX_PIXELS = 1 << 26
"""Pixels of an image, as stored and as packed: 8,192 x 8,192, which take 192 MiB once decoded.

A few kilobytes can claim any size, and the memory is taken before the claim is found false.
"""
MOST_WORKING_BYTES = 1 << 30
"""Memory that decoding an image may take beside its source: some formats need ten times the pixels."""

JPEG_END = b"\xff\xd9"
_JPEG_SCAN = b"\xff\xda"
_STARTS_TRAINING_READS = (JPEG_START, PNG_START, b"BM", *TIFF_STARTS[:2])
_READ_FLAGS = {
    1: (cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR),
    2: (cv2.IMREAD_REDUCED_GRAYSCALE_2, cv2.IMREAD_REDUCED_COLOR_2),
    4: (cv2.IMREAD_REDUCED_GRAYSCALE_4, cv2.IMREAD_REDUCED_COLOR_4),
    8: (cv2.IMREAD_REDUCED_GRAYSCALE_8, cv2.IMREAD_REDUCED_COLOR_8),
}
_KEPT_BY_DECODER = {"AVIF": 12, "JPEG 2000": 16, "WebP": 8, "GIF": 4}
"""Bytes for each pixel beside the decoded ones."""
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


def accept_image(source: bytes, options: ImageOptions | ImageSteps | None = None) -> ImageHeader:
    """Return the header of an image that may be decoded, and packed with the options where there are some.

    Raises ImageError with the status ``empty``, ``not_an_image``, ``unsupported``, ``corrupt``, ``too_large`` or
    ``too_small``.
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
        _check_pixels(*packed_size(header, options), " once resized")
    return header


def pack_image(source: bytes, options: ImageOptions | ImageSteps, header: ImageHeader | None = None) -> PackedImage:
    """Decode, crop, resize and encode one image; safe to call from many threads.

    ``header`` is what ``accept_image`` returned, where the caller asked it before. Raises ImageError with the status
    ``empty``, ``not_an_image``, ``corrupt``, ``unsupported``, ``too_small`` or ``too_large``.
    """
    if options.pass_through:
        if not source:
            raise ImageError("empty", "the object has no bytes")
        return PackedImage(source, 0, 0)
    header = header or accept_image(source, options)
    pixels = decode_accepted(source, options.color, reduction(header, options))
    if options.center_crop:
        pixels = _crop_to_square(pixels)
    if options.resize:
        pixels = _resize_short_edge(pixels, options.resize)
    height, width = pixels.shape[:2]
    return PackedImage(_encode(pixels, options), width, height)


def decode_image(source: bytes, color: int = 1) -> MatLike:
    """Decode as ``cv2.imread`` would decode a file of these bytes: height x width (x channels).

    Raises ImageError with the status ``empty``, ``not_an_image``, ``corrupt``, ``unsupported`` or ``too_large``.
    """
    accept_image(source)
    return decode_accepted(source, color)


def decode_accepted(source: bytes, color: int = 1, part: int = 1) -> MatLike:
    """Decode an image that ``accept_image`` has seen, to a part of its sides. Raises ImageError."""
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
        raise ImageError("corrupt", f"it begins like an image, but none can be decoded from its {len(source)} bytes")
    return pixels


def readable_size(source: bytes) -> tuple[int, int]:
    """Return width and height in pixels of an image that is packed as it is.

    Training decodes the bytes as they are. MXNet's own OpenCV 3.4 reads JPEG, PNG, BMP and TIFF, no WebP, GIF, AVIF or
    JPEG 2000; readers that call ``imdecode`` take no truncated JPEG. Raises ImageError with the status ``unsupported``,
    ``corrupt`` or ``not_an_image`` for what it could not read.
    """
    if is_truncated_jpeg(source):
        raise ImageError("corrupt", "the JPEG stops early: packed as it is, training cannot read it")
    height, width = decode_image(source).shape[:2]
    if not source.startswith(_STARTS_TRAINING_READS):
        raise ImageError("unsupported", "neither JPEG, PNG, BMP nor TIFF: packed as it is, training cannot read it")
    return width, height


def is_truncated_jpeg(source: bytes) -> bool:
    """Tell whether a JPEG stops before its end: im2rec packs such an image with its missing part in gray."""
    if not source.startswith(JPEG_START) or source.endswith(JPEG_END):
        return False
    return source.find(JPEG_END, max(source.rfind(_JPEG_SCAN), 0)) < 0


def reduction(header: ImageHeader, options: ImageOptions | ImageSteps) -> int:
    """Return 1, 2, 4 or 8: the part of a JPEG's sides that ``fast_decode`` decodes it to.

    The largest that leaves the short side no shorter than ``resize``. Other formats have no such shortcut.
    """
    if not options.fast_decode or not options.resize or options.color < 0 or header.format != "JPEG":
        return 1
    return next(part for part in (8, 4, 2, 1) if part == 1 or header.short_side >= options.resize * part)


def packed_size(header: ImageHeader, options: ImageOptions | ImageSteps) -> tuple[int, int]:
    """Return width and height of the packed image."""
    width, height = header.width, header.height
    if options.pass_through:
        return width, height
    if options.center_crop:
        width = height = header.short_side
    if options.resize:
        short = min(width, height)
        width, height = width * options.resize // short, height * options.resize // short
    return width, height


def working_bytes(header: ImageHeader, options: ImageOptions | ImageSteps) -> int:
    """Return how much memory decoding and packing an image takes at most, beside its source bytes."""
    width, height = packed_size(header, options)
    resized = width * height * _bytes_of_pixel(header, options.color)
    return decoding_bytes(header, options.color, reduction(header, options)) + resized


def decoding_bytes(header: ImageHeader, color: int = 1, part: int = 1) -> int:
    """Return how much memory decoding an image takes at most, measured with OpenCV 5 for each format."""
    decoded = (header.width // part + 1) * (header.height // part + 1) * _bytes_of_pixel(header, color)
    kept = _KEPT_BY_DECODER.get(header.format, 0)
    if header.format == "PNG" and header.animated:
        kept = 3 * header.channels * header.bits // 8  # the frame, the canvas and the one before
    elif header.progressive:
        kept = 2 * header.channels  # the coefficients of every scan
    return 2 * decoded + header.pixels * kept + header.part_bytes  # OpenCV's own, and the array that Python gets of it


def _bytes_of_pixel(header: ImageHeader, color: int) -> int:
    if color >= 0:
        return 3
    channels = 4 if header.channels == 2 else header.channels  # gray with transparency is decoded to four
    return max(3, channels * header.bits // 8)


def _check_pixels(width: int, height: int, when: str) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            "too_large", f"{width} x {height} pixels{when}: an image may have {MAX_PIXELS}, scale it down before"
        )


def _check_memory(header: ImageHeader, options: ImageOptions | ImageSteps | None) -> None:
    needed = (
        decoding_bytes(header) if options is None else decoding_bytes(header, options.color, reduction(header, options))
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
    return ImageError("not_an_image", f"its {len(source)} bytes begin with {source[:8].hex(' ')}: no image format")


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


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
