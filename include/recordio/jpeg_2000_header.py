"""The header of a JPEG 2000: its size, and into how many pieces it is cut, each of which a decoder keeps a record of.

Source: ITU T.800, annex A (markers) and annex B (tiles, resolutions, precincts, code blocks).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from include.recordio.file_parts import HeaderError, boxes

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
_ALL = re.compile(rb"(?s)\xff\x52\x00[\x0c-\x2d]([\x00-\x07])[\x00-\x04](..).([\x00-\x20])([\x00-\x08])([\x00-\x08])..")
_ONE = re.compile(rb"(?s)\xff\x53\x00[\x09-\x2b].([\x00\x01])([\x00-\x20])([\x00-\x08])([\x00-\x08])..")


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
    for found in _ALL.finditer(source, start):
        layers = max(layers, int.from_bytes(found[2], "big"))
        yield _cut(source, found, found[1][0] & 1, layers, 3)
    for found in _ONE.finditer(source, start):
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
