"""Images made to hurt whoever decodes them, for both places that decode: packing, and the algorithm's container.

Only the standard library: the two run in different environments.
"""

from __future__ import annotations

import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"
HUGE = 0x7FFFFFFF
Tag = tuple[int, int, int, int]
"""Number, type (3: short, 4: long), how many values, value or offset."""


def chunk(name: bytes, content: bytes = b"", length: int | None = None) -> bytes:
    """A PNG chunk, which may claim another length than it has."""
    crc = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content) if length is None else length) + name + content + crc


def png(width: int = 8, height: int = 8, *between: bytes, bits: int = 8, kind: int = 2, pixels: bool = True) -> bytes:
    """A black PNG; `between` are chunks before its pixels, which may be missing."""
    channels = {0: 1, 2: 3, 6: 4}[kind]
    body = zlib.compress(bytes((width * channels * bits // 8 + 1) * height)) if pixels else zlib.compress(bytes(10))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return PNG + head + b"".join(between) + chunk(b"IDAT", body) + chunk(b"IEND")


def frame_control(width: int, height: int, left: int = 0, top: int = 0, number: int = 0) -> bytes:
    """The chunk before a frame of an animated PNG."""
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, left, top, 1, 10, 0, 0))


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg_frame(width: int, height: int, *, progressive: bool = False) -> bytes:
    """A JPEG up to its first scan: one table that codes every value 0 in one bit, three channels."""
    table = bytes((1,)) + bytes(15) + bytes((0,))
    components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    frame = struct.pack(">BHHB", 8, height, width, 3) + components
    quantities = segment(0xDB, b"\0" + b"\1" * 64)
    tables = segment(0xC4, b"\x00" + table) + segment(0xC4, b"\x10" + table)
    return b"\xff\xd8" + quantities + segment(0xC2 if progressive else 0xC0, frame) + tables


def jpeg_of_scans(width: int, height: int, scans: int, *, progressive: bool = False) -> bytes:
    """A JPEG of many scans of a few bytes, each of which makes the decoder go over the whole image."""
    first, last = (1, 63) if progressive else (0, 63)
    beginning = b"".join(segment(0xDA, bytes((1, n, 0, 0, 0 if progressive else 63, 0))) + b"\0" for n in (1, 2, 3))
    more = segment(0xDA, bytes((1, 1, 0, first, last, 0))) + b"\0"
    return jpeg_frame(width, height, progressive=progressive) + beginning + more * scans + b"\xff\xd9"


def tiff(*tags: Tag, data: bytes = b"", big: bool = False, width: int = 8, height: int = 8, **changed: int) -> bytes:
    """A little-endian TIFF of one strip; tags given again replace those of a plain one.

    `changed` may hold `bits`, `channels` and `compression`.
    """
    plain: list[Tag] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, changed.get("bits", 8)),
        (259, 3, 1, changed.get("compression", 1)),
        (262, 3, 1, 2),
        (273, 4, 1, -1),
        (277, 3, 1, changed.get("channels", 3)),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    numbers = {tag[0] for tag in tags}
    every = sorted([tag for tag in plain if tag[0] not in numbers] + [tag for tag in tags if tag[2]])
    entry, head, count = ("<HHQQ", 16, "<Q") if big else ("<HHII", 8, "<H")
    start = head + struct.calcsize(count) + struct.calcsize(entry) * len(every) + 8
    lead = b"II" + (struct.pack("<HHHQ", 43, 8, 0, 16) if big else struct.pack("<HI", 42, 8))
    entries = (struct.pack(entry, *tag[:3], start if tag[3] == -1 else tag[3]) for tag in every)
    return lead + struct.pack(count, len(every)) + b"".join(entries) + bytes(8) + data


def orientation_block(orientation: int, order: str = "<") -> bytes:
    """An EXIF block with nothing but an orientation."""
    entry = struct.pack(f"{order}HHIHH", 0x112, 3, 1, orientation, 0)
    lead = b"II" if order == "<" else b"MM"
    return lead + struct.pack(f"{order}HIH", 42, 8, 1) + entry + bytes(4)


def exif_segment(block: bytes) -> bytes:
    """The JPEG segment that holds an EXIF block."""
    return segment(0xE1, b"Exif\0\0" + block)


def bmp(width: int, height: int, bits: int = 24, *, compression: int = 0, colors: int = 0, data: bytes = b"") -> bytes:
    """A BMP that may lack its pixels."""
    start = 54 + 4 * colors
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, colors, 0)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + bytes(4 * colors) + data


def jpeg_2000(
    width: int = 8,
    height: int = 8,
    *,
    layers: int = 1,
    precinct: int = 15,
    levels: int = 0,
    block: int = 4,
    again: bytes = b"",
) -> bytes:
    """A gray JPEG 2000 of three channels whose precincts have sides of `2 ** precinct` and its blocks of `2 ** block`.

    `again` stands in the header of its tile.
    """
    size = struct.pack(">H8IH", 0, width, height, 0, 0, width, height, 0, 0, 3) + b"\7\1\1" * 3
    style = jpeg_2000_style(layers=layers, precinct=precinct, levels=levels, block=block)
    steps = segment(0x5C, b"\x40" + b"\x48" * (1 + 3 * levels))
    tile = struct.pack(">HIBB", 0, 14 + len(again) + 64, 0, 1)
    return b"\xff\x4f" + segment(0x51, size) + style + steps + segment(0x90, tile) + again + b"\xff\x93" + bytes(64)


def jpeg_2000_style(
    *, layers: int = 1, precinct: int = 15, levels: int = 0, block: int = 4, component: int | None = None
) -> bytes:
    """The segment of a JPEG 2000 that says how its pixels are cut up, of all its channels or of one."""
    cut = bytes((levels, block - 2, block - 2, 0, 1)) + bytes((precinct << 4 | precinct,)) * (levels + 1)
    if component is None:
        return segment(0x52, struct.pack(">BBHB", 1, 0, layers, 0) + cut)
    return segment(0x53, bytes((component, 1)) + cut)


def avif_of_places(items: int, extents: int, *, kinds: int = 0) -> bytes:
    """An AVIF whose items lie in so many pieces each, which take no byte to name; the first `kinds` are images."""

    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", len(content) + 8, name) + content

    places = struct.pack(">4xHH", 0, items) + b"".join(struct.pack(">HHH", n, 0, extents) for n in range(items))
    entries = b"".join(
        box(b"infe", struct.pack(">4xHH4sx", n, 0, b"av01").replace(b"\0", b"\2", 1)) for n in range(kinds)
    )
    sizes = box(b"ipco", box(b"ispe", struct.pack(">4xII", 8, 8)))
    parts = box(b"iinf", bytes(6) + entries) + box(b"iloc", places) + box(b"iprp", sizes)
    return box(b"ftyp", b"avif\0\0\0\0") + box(b"meta", bytes(4) + parts)


def rare_hostile_images() -> dict[str, bytes]:
    """The same in formats that only packing reads."""
    sizes = struct.pack(">8I", 255, 255, 0, 0, 1, 1, 0, 0)
    tiles = b"\xff\x4f\xff\x51\0\x2f\0\0" + sizes + b"\0\3" + b"\7\1\1" * 3 + bytes(100)
    box = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", HUGE, b"jp2c") + tiles
    meta = b"\0\0\0\x14ftypavif\0\0\0\0avif" + struct.pack(">I4s", HUGE, b"meta") + bytes(64)
    lossless = struct.pack("<4sI", b"VP8L", 10) + b"\x2f" + struct.pack("<I", 0) + bytes(5)
    extended = struct.pack("<4sIB3x", b"VP8X", 10, 8) + (7).to_bytes(3, "little") * 2
    return {
        "webp/RIFF of 2 GB": b"RIFF" + struct.pack("<I", HUGE) + b"WEBP" + lossless,
        "webp/chunk of 4 GB": b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8L\xff\xff\xff\xff" + bytes(88),
        "webp/Exif of 2 GB": b"RIFF"
        + struct.pack("<I", 100)
        + b"WEBP"
        + extended
        + b"EXIF\xff\xff\xff\x7f"
        + bytes(70),
        "webp/claims 2^24 x 2^24": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6,
        "gif/claims 60000 x 60000": b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b";",
        "gif/frame larger than the image": b"GIF89a\x08\0\x08\0\0\0\0,\0\0\0\0\x60\xea\x60\xea\0\x08\x02\0\1\0;",
        "jpeg 2000/65025 tiles": tiles,
        "jpeg 2000/16384 channels": tiles.replace(b"\0\3", b"\x40\0"),
        "jpeg 2000/box of 2 GB": box,
        "jpeg 2000/ends left of its beginning": tiles.replace(sizes, struct.pack(">8I", 0, 0, 9, 9, 9, 9, 0, 0)),
        "jpeg 2000/tiles of no width": tiles.replace(sizes, struct.pack(">8I", 9, 9, 0, 0, 0, 0, 0, 0)),
        "jpeg 2000/9 million precincts": jpeg_2000(3000, 3000, precinct=0),
        "jpeg 2000/4 million precincts of a channel": jpeg_2000(
            2000, 2000, again=jpeg_2000_style(precinct=0, component=1)
        ),
        "jpeg 2000/precincts of its tile": jpeg_2000(2000, 2000, again=jpeg_2000_style(precinct=0)),
        "jpeg 2000/3 million blocks": jpeg_2000(6000, 6000, block=2, levels=2),
        "jpeg 2000/65535 layers": jpeg_2000(64, 64, precinct=0, layers=65_535),
        "avif/box of 2 GB": meta,
        "avif/65 million pieces": avif_of_places(1000, 65_535),
        "avif/every item is the file": avif_of_places(10_000, 1, kinds=10_000),
        "avif/no properties": b"\0\0\0\x14ftypavif\0\0\0\0avif",
        "pnm/blanks without a number": b"P5 " + b" " * 4000 + b"x",
        "pnm/comments without a number": b"P5\n" + b"#\n" * 2000,
        "pnm/number of 4000 digits": b"P5\n" + b"9" * 4000 + b" 8 255\n",
        "pnm/claims 60000 x 60000": b"P6\n60000 60000\n255\n",
    }


def hostile_images() -> dict[str, bytes]:
    """Images that cost memory, time or the process, or that trip up a reader, in formats that both places read."""
    return {**_pngs(), **_jpegs(), **_tiffs(), **_bmps()}


def _pngs() -> dict[str, bytes]:
    head = png()[:33]
    names = (b"IDAT", b"IEND", b"PLTE", b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"abcd")
    lengths = {"2 GB": HUGE, "4 GB": 0xFFFFFFF0, "512 MB": 1 << 29}
    bomb = zlib.compress(bytes(1 << 24), 9)
    return {
        **{
            f"png/{name.decode()} of {said}": head + struct.pack(">I", length) + name + b"abc"
            for name in names
            for said, length in lengths.items()
        },
        "png/12 bytes": PNG + struct.pack(">I", HUGE),
        "png/16 bytes": PNG + struct.pack(">I", HUGE) + b"IHDR",
        "png/chunk whose name is not a text": head + struct.pack(">I", HUGE) + b"\n\x1b[\xff",
        "png/half a chunk": png()[:-12] + b"\x7f\xff\xff\xff\0\0",
        "png/claims 60000 x 60000": png(60_000, 60_000, pixels=False),
        "png/claims no width": png(0, 8, pixels=False),
        "png/frame larger than the animation": png(
            8, 8, chunk(b"acTL", struct.pack(">II", 2, 0)), frame_control(60_000, 60_000)
        ),
        "png/frame beside the animation": png(
            8, 8, chunk(b"acTL", struct.pack(">II", 2, 0)), frame_control(8, 8, HUGE, HUGE)
        ),
        "png/two billion frames": png(8, 8, chunk(b"acTL", struct.pack(">II", HUGE, 0)), frame_control(8, 8)),
        "png/profile that unpacks to 16 MB": png(8, 8, chunk(b"iCCP", b"x\0\0" + bomb)),
        "png/text that unpacks to 16 MB": png(8, 8, chunk(b"zTXt", b"x\0\0" + bomb)),
        **{
            f"png/200 times {name.decode()} of 8 MB": png(
                8, 8, chunk(name, begins + zlib.compress(bytes(7_900_000), 9)) * 200
            )
            for name, begins in ((b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0"))
        },
        "png/animation of 8192 x 8192": png(
            8192,
            8192,
            chunk(b"acTL", struct.pack(">II", 2, 0)),
            frame_control(8192, 8192),
            kind=6,
            bits=16,
            pixels=False,
        ),
    }


def _jpegs() -> dict[str, bytes]:
    scan = segment(0xDA, bytes((3, 1, 0, 2, 0, 3, 0, 0, 63, 0))) + bytes(8)
    whole = jpeg_frame(16, 16) + scan + b"\xff\xd9"
    blocks = {
        "directory at 4 GB": b"II*\0\xff\xff\xff\xff",
        "directory of 65535 tags": b"II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x10F, 2, 0xFFFFFFFF, 0xFFFFFFFF),
        "BigTIFF offset of 64 bits": b"II+\0\x08\0\0\0" + b"\xff" * 16,
        "BigTIFF offset of 63 bits": b"MM\0+\0\x08\0\0" + b"\x7f" + b"\xff" * 15,
        "orientation of 2^64": b"II+\0\x08\0\0\0" + struct.pack("<QQHHQQ", 16, 1, 0x112, 16, 1, 2**64 - 1),
        "values beyond the block": b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x112, 4, 0xFFFFFFFF, 0xFFFFFFF0),
        "no order": b"XX*\0\x08\0\0\0",
        "nothing": b"",
    }
    return {
        **{f"jpeg/Exif: {name}": whole[:2] + exif_segment(block) + whole[2:] for name, block in blocks.items()},
        "jpeg/segment beyond the file": whole[:2] + b"\xff\xe1\xff\xff" + whole[2:],
        "jpeg/segment of no length": whole[:2] + b"\xff\xe1\0\0" + whole[2:],
        "jpeg/claims 65500 x 65500": jpeg_frame(65_500, 65_500) + scan,
        "jpeg/claims no height": jpeg_frame(16, 0) + scan,
        "jpeg/2000 scans": jpeg_of_scans(4096, 4096, 2000),
        "jpeg/2000 progressive scans": jpeg_of_scans(4096, 4096, 2000, progressive=True),
        "jpeg/only fill bytes": b"\xff\xd8" + b"\xff" * 100_000,
    }


def _tiffs() -> dict[str, bytes]:
    tiles = [(273, 4, 0, 0), (278, 4, 0, 0), (279, 4, 0, 0), (324, 4, 1, 8), (325, 4, 1, 10)]
    return {
        "tiff/strip of 4 GB": tiff((279, 4, 1, 0xFFFFFFFF)),
        "tiff/268 million strips": tiff((273, 4, 0x0FFFFFFF, 8), (279, 4, 0x0FFFFFFF, 8), (278, 4, 1, 1)),
        "tiff/tile of 8192 x 16384": tiff(*tiles, (322, 4, 1, 8192), (323, 4, 1, 16_384), bits=16, channels=4),
        "tiff/tile of 2^31 x 2^31": tiff(*tiles, (322, 4, 1, HUGE), (323, 4, 1, HUGE)),
        "tiff/65535 channels": tiff(channels=65_535),
        "tiff/65535 bits": tiff(bits=65_535),
        "tiff/claims 60000 x 60000": tiff(width=60_000, height=60_000, compression=8, data=zlib.compress(bytes(99))),
        "tiff/claims no height": tiff((257, 4, 1, 0)),
        "tiff/profile of 2 GB": tiff((34_675, 7, HUGE, 8)),
        "tiff/directory at 4 GB": b"II*\0\xff\xff\xff\xff" + bytes(20),
        "tiff/directory of 65535 tags": b"II*\0\x08\0\0\0\xff\xff" + bytes(40),
        "tiff/BigTIFF directory at 2^64": b"II+\0\x08\0\0\0" + b"\xff" * 16,
        "tiff/BigTIFF of 2^63 tags": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(40),
        "tiff/BigTIFF width of 2^64": tiff((256, 16, 1, 2**64 - 1), big=True),
        "tiff/BigTIFF width at 2^63": tiff((256, 16, 2, 2**63), big=True),
    }


def _bmps() -> dict[str, bytes]:
    return {
        "bmp/claims 60000 x 60000": bmp(60_000, 60_000, 8, compression=1, colors=256, data=b"\0\1"),
        "bmp/height of -2^31": bmp(8, -0x80000000),
        "bmp/palette of 2^31": bmp(8, 8, 8).replace(struct.pack("<II", 0, 0), struct.pack("<II", HUGE, 0)),
        "bmp/header of 2^31 bytes": bmp(8, 8).replace(struct.pack("<I", 40), struct.pack("<I", HUGE)),
        "bmp/header cut off": bmp(8, 8)[:20],
    }
