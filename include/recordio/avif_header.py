"""The header of an AVIF: boxes that say a size, and the AV1 data that has to say the same.

Sources: ISO/IEC 14496-12 and 23008-12 (boxes).
"""

from __future__ import annotations

import struct

from include.recordio.file_parts import HeaderError, boxes


def read_avif(source: bytes) -> tuple[int, int, int, int, int, bool]:
    """Width, height, channels, bits, orientation, and whether there is more than one frame."""
    meta = next(((start, end) for name, start, end in boxes(source, 0, len(source)) if name == b"meta"), None)
    if meta is None:
        raise HeaderError("the AVIF has no box of properties")
    sizes: list[tuple[int, int]] = []
    for name, start, end in boxes(source, meta[0] + 4, meta[1]):
        if name == b"iprp":
            for inner, first, last in boxes(source, start, end):
                if inner == b"ipco":
                    sizes += [
                        struct.unpack_from(">II", source, place + 4)
                        for kind, place, _ in boxes(source, first, last)
                        if kind == b"ispe"
                    ]
    # Several items may tell their size, tiles and thumbnails among them; the image is the largest.
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return width, height, 3, 8, 1, source.startswith(b"avis", 8)
