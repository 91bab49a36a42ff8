"""The parts that image files are made of, each with a length that is checked against the file; AVIF and JPEG 2000.

A decoder takes memory for the length that a part claims before it finds that the file is shorter: 12 bytes of PNG cost
OpenCV two gigabytes. AVIF and JPEG 2000 are formats of boxes: those of an AVIF say its size, and so does the AV1 data
in them, whose own size is what a decoder takes; a JPEG 2000 is cut into pieces, each of which a decoder keeps a record
of.

Sources: the PNG specification, RFC 9649 (WebP), ISO/IEC 14496-12 (boxes) and 23008-12 (AVIF), the AV1 bitstream
specification, 5.3 to 5.5 (OBUs); ITU T.800 (JPEG 2000), annex A (markers) and annex B (tiles, resolutions, precincts,
code blocks).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

MOST_PARTS = 1_000_000
"""Parts of a file. Each takes a while to read, and half a gigabyte could hold 60 million of them."""

Part = tuple[bytes, int, int]
"""Name of a part, and where its content begins and ends in the file."""

_PNG_CHUNK = struct.Struct(">I4s")
_RIFF_CHUNK = struct.Struct("<4sI")
_BOX = struct.Struct(">I4s")


class HeaderError(ValueError):
    """An image file whose header cannot be read; the message says what is wrong with it."""


def png_chunks(source: bytes) -> Iterator[Part]:
    """The chunks of a PNG up to its end. Raises HeaderError for one that reaches beyond the file."""
    place, end = 8, len(source)
    for _ in range(MOST_PARTS):
        if place == end:
            return
        if place + 8 > end:
            raise HeaderError(f"the PNG ends inside the head of the chunk at byte {place}")
        length, name = _PNG_CHUNK.unpack_from(source, place)
        if place + 12 + length > end:
            raise _beyond("chunk", name, place, length, end)
        yield name, place + 8, place + 8 + length
        if name == b"IEND":
            return
        place += length + 12
    raise _too_many()


def riff_chunks(source: bytes) -> Iterator[Part]:
    """The chunks of a WebP. Raises HeaderError for one that reaches beyond the file."""
    (size,) = struct.unpack_from("<I", source, 4)
    if size + 8 > len(source):
        raise _beyond("chunk", b"RIFF", 0, size, len(source))
    yield from riff_parts(source, 12, size + 8)


def riff_parts(source: bytes, place: int, end: int) -> Iterator[Part]:
    """The chunks between two bytes of a WebP."""
    for _ in range(MOST_PARTS):
        if place + 8 > end:
            return
        name, length = _RIFF_CHUNK.unpack_from(source, place)
        if place + 8 + length > end:
            raise _beyond("chunk", name, place, length, end)
        yield name, place + 8, place + 8 + length
        place += 8 + length + (length & 1)
    raise _too_many()


def boxes(source: bytes, place: int, end: int) -> Iterator[Part]:
    """The boxes between two bytes of an AVIF or JPEG 2000. Raises HeaderError for one that reaches beyond."""
    for _ in range(MOST_PARTS):
        if place + 8 > end:
            return
        length, name = _BOX.unpack_from(source, place)
        head = 8
        if length == 1:
            head = 16
            (length,) = struct.unpack_from(">Q", source, place + 8)
        elif length == 0:
            length = end - place
        if length < head or place + length > end:
            raise _beyond("box", name, place, length, end)
        yield name, place + head, place + length
        place += length
    raise _too_many()


def _too_many() -> HeaderError:
    return HeaderError(f"it has more than {MOST_PARTS} chunks")


def _beyond(what: str, name: bytes, place: int, length: int, end: int) -> HeaderError:
    shown = name.decode() if all(0x20 <= byte < 0x7F for byte in name) else f"0x{name.hex()}"
    return HeaderError(f"its {what} {shown} at byte {place} claims {length} bytes, but {end - place} follow")


Extent = tuple[int, int]
"""Where a piece of an item begins and ends in the file."""

_SEQUENCE_HEADER = 1
_MOST_OBUS = 200_000
_MOST_ITEM_PIECES = 100_000
_MOST_COPIES = 4
"""How often items may share the bytes of a file, all together."""
_LONGEST_SEQUENCE_HEADER = 4096
_BOXES_OF_BOXES = (b"trak", b"mdia", b"minf", b"stbl")


def read_avif(source: bytes) -> tuple[int, int, bytes, bool]:
    """Width and height of an AVIF, its EXIF block, empty if it has none, and whether there is more than one frame.

    The size is the largest that a box or the AV1 data claims: a decoder takes memory for it whatever the others say.
    """
    top = {name: (start, end) for name, start, end in boxes(source, 0, len(source))}
    if b"meta" not in top:
        raise HeaderError("the AVIF has no box of properties")
    start, end = top[b"meta"]
    meta = {name: (first, last) for name, first, last in boxes(source, start + 4, end)}
    kinds = _item_kinds(source, *meta[b"iinf"])
    extents = _item_extents(source, *meta[b"iloc"], meta.get(b"idat", (0, 0))[0])
    sizes = list(_claimed_avif_sizes(source, *meta[b"iprp"]))
    images = [pieces for item, pieces in extents.items() if kinds.get(item) == b"av01"]
    if sum(end - start for pieces in images for start, end in pieces) > _MOST_COPIES * len(source):
        raise HeaderError("the items of the AVIF are together longer than the file")
    steps = iter(range(_MOST_OBUS))
    for pieces in images:
        sizes += _coded_av1_sizes(_item_content(source, pieces), 0, steps)
    if b"moov" in top:
        for chunk in _first_chunks(source, *top[b"moov"]):
            sizes += _coded_av1_sizes(source, chunk, steps)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    exif = next((_item_content(source, extents.get(item, [])) for item, kind in kinds.items() if kind == b"Exif"), b"")
    return width, height, exif[4 + int.from_bytes(exif[:4], "big") :], source.startswith(b"avis", 8)


def _claimed_avif_sizes(source: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sizes of all items, tiles and thumbnails among them."""
    for name, first, last in boxes(source, start, end):
        if name == b"ipco":
            for kind, place, _ in boxes(source, first, last):
                if kind == b"ispe":
                    yield struct.unpack_from(">II", source, place + 4)


def _item_extents(source: bytes, start: int, end: int, data: int) -> dict[int, list[Extent]]:
    """Where the items lie, by their number; `data` is where the box for items inside the header begins."""
    version = source[start]
    wide_number, wide_count = (">I", ">I") if version == 2 else (">H", ">H")
    sizes = struct.unpack_from(">H", source, start + 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    (items,) = struct.unpack_from(wide_count, source, start + 6)
    place = start + 6 + struct.calcsize(wide_count)
    found: dict[int, list[Extent]] = {}
    left = _MOST_ITEM_PIECES

    def number(size: int) -> int:
        nonlocal place
        place += size
        if place > end:
            raise HeaderError("the AVIF's list of places is cut off")
        return int.from_bytes(source[place - size : place], "big")

    for _ in range(items):
        item = number(struct.calcsize(wide_number))
        method = number(2) & 15 if version > 0 else 0
        number(2)
        base = number(base_size) + (data if method == 1 else 0)
        pieces = number(2)
        left -= pieces
        if left < 0:  # where a place has no bytes, a list of them costs none
            raise HeaderError(f"the items of the AVIF are in more than {_MOST_ITEM_PIECES} pieces")
        for _ in range(pieces):
            if version > 0:
                number(index_size)
            first = base + number(offset_size)
            length = number(length_size)
            if method < 2:  # other items are made of these
                found.setdefault(item, []).append((first, min(first + length if length else len(source), len(source))))
    return found


def _item_kinds(source: bytes, start: int, end: int) -> dict[int, bytes]:
    """The kind of each item, by its number."""
    kinds: dict[int, bytes] = {}
    for name, first, _ in boxes(source, start + (6 if source[start] == 0 else 8), end):
        if name == b"infe":
            number, place = (">I", first + 10) if source[first] == 3 else (">H", first + 8)
            kinds[struct.unpack_from(number, source, first + 4)[0]] = source[place : place + 4]
    return kinds


def _item_content(source: bytes, pieces: list[Extent]) -> bytes:
    """The bytes of an item. Raises HeaderError for pieces that together are longer than the file."""
    if sum(end - start for start, end in pieces) > len(source):
        raise HeaderError("an item of the AVIF is longer than the file")
    return b"".join(source[start:end] for start, end in pieces)


def _first_chunks(source: bytes, start: int, end: int) -> Iterator[int]:
    """Where the first frame of each track of an animation begins."""
    for name, first, last in boxes(source, start, end):
        if name in _BOXES_OF_BOXES:
            yield from _first_chunks(source, first, last)
        elif name in {b"stco", b"co64"} and struct.unpack_from(">I", source, first + 4)[0]:
            yield int(struct.unpack_from(">I" if name == b"stco" else ">Q", source, first + 8)[0])


def _coded_av1_sizes(data: bytes, place: int, steps: Iterator[int]) -> Iterator[tuple[int, int]]:
    """The sizes in the sequence headers of AV1 data; `steps` are those left for the whole file."""
    for _ in steps:
        if place + 2 > len(data):
            return
        head = data[place]
        place += 2 if head & 4 else 1
        length = len(data) - place
        if head & 2:
            length, place = _leb128(data, place)
        if head & 0x80 or place + length > len(data):
            return
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            header = data[place : place + min(length, _LONGEST_SEQUENCE_HEADER)]
            yield _av1_sequence_size(int.from_bytes(header, "big"), 8 * len(header))
        place += length
    raise HeaderError(f"the AVIF has more than {_MOST_OBUS} pieces of AV1 data")


def _leb128(source: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        byte = source[place + count]
        value |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return value, place + count + 1
    raise HeaderError("a length in the AV1 data has more than eight bytes")


def _av1_sequence_size(bits: int, left: int) -> tuple[int, int]:
    """The largest frame of a sequence header, whose bits are given as one number."""

    def take(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise HeaderError("the AV1 sequence header is cut off")
        return bits >> left & (1 << count) - 1

    take(4)
    if take(1):
        take(5)
    else:
        _skip_operating_points(take)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    return take(width_bits) + 1, take(height_bits) + 1


def _skip_operating_points(take: Callable[[int], int]) -> None:
    """Take the timing and the operating points of a sequence header, which stand before its size."""
    delay_bits = 0
    if take(1):
        take(64)
        if take(1):
            zeros = 0
            while not take(1):
                zeros += 1
            take(zeros)
        if take(1):
            delay_bits = take(5) + 1
            take(42)
    has_display_delay = take(1)
    for _ in range(take(5) + 1):
        take(12)
        if take(5) > 7:
            take(1)
        if delay_bits and take(1):
            take(2 * delay_bits + 1)
        if has_display_delay and take(1):
            take(4)


BOX_START = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
CODE_START = b"\xff\x4f\xff\x51"

_MOST_TILES = 4096
"""Tiles of a JPEG 2000: the decoder takes 12 kB for each before it decodes any."""
_MOST_PIECES = 1 << 20
"""Precincts and blocks. The largest image that is decoded has 190,000 blocks of 32 x 32 pixels."""
_MOST_PACKETS = 1 << 23
"""The decoder goes through ten million in a second, whether the file has them or not."""
_PIECE_BYTES = 350
"""What OpenJPEG takes for one of either, as measured."""
_PLAIN_PRECINCT = 15
_COD = re.compile(rb"(?s)\xff\x52\x00[\x0c-\x2d]([\x00-\x07])[\x00-\x04](..).([\x00-\x20])([\x00-\x08])([\x00-\x08])..")
_COC = re.compile(rb"(?s)\xff\x53\x00[\x09-\x2b].([\x00\x01])([\x00-\x20])([\x00-\x08])([\x00-\x08])..")
"""The markers that say how all channels are cut up, and how one is."""


class _Cut(NamedTuple):
    """How a channel is cut up: quality layers, halvings, powers of two of a block's sides and of each precinct's."""

    layers: int
    levels: int
    block: tuple[int, int]
    precincts: tuple[tuple[int, int], ...]


def read_jpeg_2000(source: bytes) -> tuple[int, int, int, int, int, int]:
    """Width, height, channels, bits, orientation, and the bytes that a decoder takes for tiles' pieces.

    Raises HeaderError for more tiles, pieces or packets than are decoded.
    """
    start = 0
    if not source.startswith(CODE_START):
        start = next((start for name, start, _ in boxes(source, 0, len(source)) if name == b"jp2c"), -1)
        if not source.startswith(CODE_START, max(start, 0)):
            raise HeaderError("the JPEG 2000 has no code stream")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, channels, depth = struct.unpack_from(
        ">8IHB", source, start + 8
    )
    if not 1 <= channels <= 4:
        raise HeaderError(f"the JPEG 2000 has {channels} channels, at most 4 can be decoded")
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > _MOST_TILES:
        raise HeaderError(f"the JPEG 2000 has {tiles} tiles, at most {_MOST_TILES} are decoded")
    width, height = right - left, bottom - top
    pieces = _check_pieces(source, start, min(width, tile_width), min(height, tile_height), tiles * channels)
    return width, height, channels, max((depth & 0x7F) + 1, 8), 1, pieces * _PIECE_BYTES


def _check_pieces(source: bytes, start: int, width: int, height: int, tiles: int) -> int:
    """The most pieces that the image may be cut into, whichever of the file's rules holds for whichever tile."""
    most = 0
    for cut in _cuts(source, start):
        precincts, blocks = _pieces(cut, width, height)
        if tiles * max(precincts, blocks) > _MOST_PIECES:
            raise HeaderError(
                f"the JPEG 2000 is cut into {tiles * precincts} precincts and {tiles * blocks} blocks, at most "
                f"{_MOST_PIECES} of each are decoded"
            )
        if tiles * precincts * cut.layers > _MOST_PACKETS:
            raise HeaderError(
                f"the JPEG 2000 has {tiles * precincts * cut.layers} packets, at most {_MOST_PACKETS} are decoded"
            )
        most = max(most, tiles * (precincts + blocks))
    return most


def _cuts(source: bytes, start: int) -> Iterator[_Cut]:
    """Every rule of how to cut, of the image, of its tiles and of single channels.

    They are searched for, as a decoder that meets a marker it does not know searches on as well.
    """
    layers = 1
    for found in _COD.finditer(source, start):
        layers = max(layers, int.from_bytes(found[2], "big"))
        yield _cut(source, found, found[1][0] & 1, layers, 3)
    for found in _COC.finditer(source, start):
        yield _cut(source, found, found[1][0], layers, 2)


def _cut(source: bytes, found: re.Match[bytes], has_precincts: int, layers: int, first: int) -> _Cut:
    levels, width, height = (found[group][0] for group in range(first, first + 3))
    given = source[found.end() : found.end() + levels + 1] if has_precincts else b""
    sides = tuple((byte & 15, byte >> 4) for byte in given) or ((_PLAIN_PRECINCT, _PLAIN_PRECINCT),) * (levels + 1)
    return _Cut(layers, levels, (width + 2, height + 2), sides)


def _pieces(cut: _Cut, width: int, height: int) -> tuple[int, int]:
    """How many precincts and how many blocks one channel of a tile has."""
    precincts = blocks = 0
    for resolution, (wide, high) in enumerate(cut.precincts):
        halvings = cut.levels - resolution
        columns, rows = -(-width >> halvings), -(-height >> halvings)
        bands, half = (3, 1) if resolution else (1, 0)
        precincts += (-(-columns >> wide)) * (-(-rows >> high))
        block_wide = min(cut.block[0], max(wide - half, 0)) + half
        block_high = min(cut.block[1], max(high - half, 0)) + half
        blocks += bands * (-(-columns >> block_wide)) * (-(-rows >> block_high))
    return precincts, blocks
