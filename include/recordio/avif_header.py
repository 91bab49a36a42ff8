"""The header of an AVIF: the boxes that say its size, and the AV1 data, whose own size is what a decoder takes.

Sources: ISO/IEC 14496-12 and 23008-12 (boxes), the AV1 bitstream specification, 5.3 to 5.5 (OBUs).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from include.recordio.file_parts import HeaderError, boxes
from include.recordio.tiff_header import exif_orientation

Extent = tuple[int, int]
"""Where a piece of an item begins and ends in the file."""

_SEQUENCE_HEADER = 1
_MOST_OBUS = 200_000
_MOST_PIECES = 100_000
_MOST_COPIES = 4
"""How often items may share the bytes of a file, all together."""
_LONGEST_SEQUENCE_HEADER = 4096
_FOLDERS = (b"trak", b"mdia", b"minf", b"stbl")


def read_avif(source: bytes) -> tuple[int, int, int, int, int, bool]:
    """Width, height, channels, bits, orientation, and whether there is more than one frame.

    The size is the largest that a box or the AV1 data claims: a decoder takes memory for it whatever the others say.
    """
    top = {name: (start, end) for name, start, end in boxes(source, 0, len(source))}
    if b"meta" not in top:
        raise HeaderError("the AVIF has no box of properties")
    start, end = top[b"meta"]
    meta = {name: (first, last) for name, first, last in boxes(source, start + 4, end)}
    kinds = _item_kinds(source, *meta[b"iinf"])
    extents = _item_extents(source, *meta[b"iloc"], meta.get(b"idat", (0, 0))[0])
    sizes = list(_claimed_sizes(source, *meta[b"iprp"]))
    images = [pieces for item, pieces in extents.items() if kinds.get(item) == b"av01"]
    if sum(end - start for pieces in images for start, end in pieces) > _MOST_COPIES * len(source):
        raise HeaderError("the items of the AVIF are together longer than the file")
    steps = iter(range(_MOST_OBUS))
    for pieces in images:
        sizes += _coded_sizes(_content(source, pieces), 0, steps)
    if b"moov" in top:
        for chunk in _first_chunks(source, *top[b"moov"]):
            sizes += _coded_sizes(source, chunk, steps)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    exif = next((_content(source, extents.get(item, [])) for item, kind in kinds.items() if kind == b"Exif"), b"")
    orientation = exif_orientation(exif[4 + int.from_bytes(exif[:4], "big") :]) or 1
    return width, height, 3, 8, orientation, source.startswith(b"avis", 8)


def _claimed_sizes(source: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
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
    left = _MOST_PIECES

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
            raise HeaderError(f"the items of the AVIF are in more than {_MOST_PIECES} pieces")
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


def _content(source: bytes, pieces: list[Extent]) -> bytes:
    """The bytes of an item. Raises HeaderError for pieces that together are longer than the file."""
    if sum(end - start for start, end in pieces) > len(source):
        raise HeaderError("an item of the AVIF is longer than the file")
    return b"".join(source[start:end] for start, end in pieces)


def _first_chunks(source: bytes, start: int, end: int) -> Iterator[int]:
    """Where the first frame of each track of an animation begins."""
    for name, first, last in boxes(source, start, end):
        if name in _FOLDERS:
            yield from _first_chunks(source, first, last)
        elif name in {b"stco", b"co64"} and struct.unpack_from(">I", source, first + 4)[0]:
            yield int(struct.unpack_from(">I" if name == b"stco" else ">Q", source, first + 8)[0])


def _coded_sizes(data: bytes, place: int, steps: Iterator[int]) -> Iterator[tuple[int, int]]:
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
            yield _sequence_size(int.from_bytes(header, "big"), 8 * len(header))
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


def _sequence_size(bits: int, left: int) -> tuple[int, int]:
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
