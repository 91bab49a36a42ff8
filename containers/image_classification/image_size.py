"""What an image says about itself, read and checked before it is decoded: its size, upright, and the memory it takes.

JPEG, PNG, BMP and TIFF are read, which is what MXNet reads. A decoder takes memory for what a file claims before it
finds the claim false, so every length is checked against the file here. Sources: ITU T.81 (JPEG segments), the PNG
specification (chunks).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from .image_directory import BrokenImageError, exif_orientation, read_tiff

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
START_OF_SCAN, END_OF_IMAGE, APP1 = 0xDA, 0xD9, 0xE1
SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
MOST_SCANS = 64
MOST_SEGMENTS = 10_000
MOST_CHUNKS = 1_000_000
PNG_TEXTS = frozenset({b"zTXt", b"iTXt", b"iCCP"})
LARGEST_TEXT = 8_000_000
"""Bytes to which libpng unpacks a text."""
MOST_TEXTS = 1 << 27
"""Bytes of all texts of a PNG, which stay in memory until it is decoded."""
MOST_EXPANSION = 1032
"""Bytes that deflate makes of one."""
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
OTHER_FORMATS = (
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftyp", "AVIF or HEIC"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"#?R", "Radiance HDR"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"\x59\xa6\x6a\x95", "Sun raster"),
    (0, b"PF", "PFM"),
    (0, b"Pf", "PFM"),
)


class ImageSize(NamedTuple):
    """Pixels of the upright image."""

    width: int
    height: int


class ImageHeader(NamedTuple):
    """An upright image's size, the orientation it is stored in (1 to 8), and the bytes that decoding takes.

    `decoder_turns` says that OpenCV turns the image whatever it is asked for, which it does with a TIFF.
    """

    size: ImageSize
    orientation: int
    memory: int
    decoder_turns: bool = False


def image_header(image: memoryview | bytes) -> ImageHeader:
    """The header of an image; raises BrokenImageError, and nothing else, for one that must not be decoded."""
    view = memoryview(image)
    try:
        return read_header(view)
    except BrokenImageError:
        raise
    except Exception as broken:
        raise BrokenImageError("its header is broken") from broken


def image_size(image: memoryview | bytes) -> ImageSize | None:
    """The size of the upright image; None when the header is broken or of a format that is not read."""
    try:
        return image_header(image).size
    except BrokenImageError:
        return None


def read_header(view: memoryview) -> ImageHeader:
    """The header by format."""
    start = bytes(view[:16])
    if start.startswith(JPEG_START):
        return jpeg_header(view)
    if start.startswith(PNG_SIGNATURE):
        return png_header(view)
    if start.startswith(b"BM"):
        (size,) = struct.unpack_from("<I", view, 14)
        width, height = struct.unpack_from("<HH" if size == 12 else "<ii", view, 18)
        return upright(width, abs(height), 1)
    if start.startswith(TIFF_STARTS):
        width, height, orientation, part = read_tiff(view)
        return upright(width, height, orientation, part)._replace(decoder_turns=True)
    name = next((name for place, begins, name in OTHER_FORMATS if start.startswith(begins, place)), None)
    if name is None and re.match(rb"P[1-7]\s", start):
        name = "PNM"
    if name is not None:
        raise BrokenImageError(f"{name} is not read: send it as JPEG or PNG")
    raise BrokenImageError(f"{len(view)} bytes that are not a readable image: send JPEG or PNG")


def upright(width: int, height: int, orientation: int, kept: int = 0) -> ImageHeader:
    """The header of an image that is stored with these sides; `kept` are bytes the decoder holds beside the pixels."""
    if width <= 0 or height <= 0:
        raise BrokenImageError(f"its header claims {width} x {height} pixels")
    size = ImageSize(height, width) if orientation > 4 else ImageSize(width, height)
    return ImageHeader(size, orientation, width * height * 6 + kept)


def jpeg_header(view: memoryview) -> ImageHeader:
    """The size in the frame header, found by hopping from segment to segment up to the first scan."""
    frame: tuple[int, int, int] | None = None
    progressive, orientation, place = False, 0, 2
    for _ in range(MOST_SEGMENTS):
        found = SEGMENT.search(view, place)
        if found is None:
            raise BrokenImageError("the JPEG ends before its first scan")
        place = found.start() + 2
        marker = view[place - 1]
        if marker == START_OF_SCAN and frame is not None:
            break
        if marker in (START_OF_SCAN, END_OF_IMAGE):
            raise BrokenImageError("the JPEG has no frame header")
        (length,) = struct.unpack_from(">H", view, place)
        if length < 2 or place + length > len(view):
            raise BrokenImageError(f"its segment {marker:02X} at byte {place - 2} claims {length} bytes")
        if marker in FRAME_HEADERS:
            frame = struct.unpack_from(">HHB", view, place + 3)
            progressive = marker in PROGRESSIVE_FRAMES
        elif marker == APP1 and not orientation and bytes(view[place + 2 : place + 8]) == b"Exif\0\0":
            orientation = exif_orientation(bytes(view[place + 8 : place + length]))
        place += length
    else:
        raise BrokenImageError(f"the JPEG has more than {MOST_SEGMENTS} segments before its first scan")
    height, width, channels = frame
    several = progressive or view[place + 2] < channels
    if several:
        check_scans(bytes(view[place - 2 :]))
    return upright(width, height, orientation or 1, 2 * channels * width * height if several else 0)


def check_scans(rest: bytes) -> None:
    """Refuse a JPEG whose decoder would go over the whole image too often; `rest` begins with its first scan."""
    if rest.count(b"\xff\xda") <= MOST_SCANS:
        return
    scans, place = 1, 2
    for _ in range(MOST_SEGMENTS):
        found = SEGMENT.search(rest, place + int(struct.unpack_from(">H", rest, place)[0]))
        if found is None or rest[found.start() + 1] == END_OF_IMAGE:
            return
        place = found.start() + 2
        scans += rest[place - 1] == START_OF_SCAN
        if scans > MOST_SCANS:
            break
    raise BrokenImageError(f"the JPEG has more than {MOST_SCANS} scans")


def png_header(view: memoryview) -> ImageHeader:
    """The size in the header chunk, which must come first; every chunk must lie in the file."""
    if len(view) < 33 or bytes(view[12:16]) != b"IHDR":
        raise BrokenImageError("the first chunk of the PNG is not its header")
    width, height, bits, kind = struct.unpack_from(">IIBB", view, 16)
    channels, orientation, animated = PNG_CHANNELS[kind], 0, False
    texts = 0
    for name, start, end in png_chunks(view):
        if name == b"acTL":
            animated = True
        elif name == b"tRNS":
            channels = 4
        elif name == b"fcTL":
            check_frame(view, start + 4, width, height)
        elif name == b"eXIf" and not orientation:
            orientation = exif_orientation(bytes(view[start:end]))
        elif name in PNG_TEXTS:
            texts = with_text(texts, end - start)
    kept = width * height * 3 * channels * max(bits, 8) // 8 if animated else 0
    return upright(width, height, orientation or 1, kept + texts)


def with_text(texts: int, packed: int) -> int:
    """Add what a compressed text may unpack to; raises BrokenImageError where all together are too much."""
    texts += min(packed * MOST_EXPANSION, LARGEST_TEXT)
    if texts > MOST_TEXTS:
        raise BrokenImageError(f"its texts may unpack to {texts} bytes and more, at most {MOST_TEXTS} are read")
    return texts


def png_chunks(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Name of each chunk, and where its content begins and ends; raises BrokenImageError for one beyond the file."""
    place = len(PNG_SIGNATURE)
    for _ in range(MOST_CHUNKS):
        if place == len(view):
            return
        if place + 8 > len(view):
            raise BrokenImageError(f"the PNG ends inside the head of the chunk at byte {place}")
        length, name = struct.unpack_from(">I4s", view, place)
        if place + 12 + length > len(view):
            shown = name.decode() if all(0x20 <= byte < 0x7F for byte in name) else f"0x{name.hex()}"
            raise BrokenImageError(f"its chunk {shown} at byte {place} claims {length} bytes")
        if name == b"IEND":
            return
        yield name, place + 8, place + 8 + length
        place += length + 12
    raise BrokenImageError(f"the PNG has more than {MOST_CHUNKS} chunks")


def check_frame(view: memoryview, place: int, width: int, height: int) -> None:
    """Refuse a frame beyond its animation, over whose end OpenCV writes."""
    frame_width, frame_height, left, top = struct.unpack_from(">IIII", view, place)
    if left + frame_width > width or top + frame_height > height:
        raise BrokenImageError(f"a frame of {frame_width} x {frame_height} pixels lies beyond {width} x {height}")
