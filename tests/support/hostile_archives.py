"""Model archives made to hurt whoever unpacks them. Only the standard library: they are read in two environments."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable


def archive(*members: tuple[str, int], extra: bytes = b"") -> bytes:
    """A tar.gz of members filled with zeros, by name and size."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz", compresslevel=1) as packed:
        for name, size in members:
            info = tarfile.TarInfo(name)
            info.size = size
            packed.addfile(info, Zeros(size))  # type: ignore[arg-type]
    return sink.getvalue() + extra


class Zeros:
    """A file of zeros that takes no memory."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        """Read on."""
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """The header of a member that need not have the size it claims."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def sparse_map(blocks: int) -> bytes:
    """An archive whose first header goes on for so many blocks, small as each of them is."""
    first = bytearray(header("a.params", 0, tarfile.GNUTYPE_SPARSE))
    first[386:482], first[482] = b"00000000001\0" * 8, 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    return gzip.compress(bytes(first) + (b"77777777777\0" * 42 + b"\1" + bytes(7)) * blocks + bytes(2048), 1)


def link() -> bytes:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc"
    return gzip.compress(info.tobuf())


def damaged() -> bytes:
    content = bytearray(archive(("a.params", 1000)))
    content[20:40] = bytes(20)
    return bytes(content)


def half() -> bytes:
    content = archive(("a.params", 1000))
    return content[: len(content) // 2]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a member of 65 MB": (lambda: archive(("a.params", 65 << 20)), "no model shrinks so much"),
    "nine members of 8 MB": (
        lambda: archive(*[(f"{n}.params", 8 << 20) for n in range(9)]),
        "no model shrinks so much",
    ),
    "a claim of 2^62 bytes": (lambda: gzip.compress(header("a", 1 << 62)), "no model shrinks so much"),
    "a negative size": (lambda: gzip.compress(header("a", -(1 << 40))), "claims -1099511627776 bytes"),
    "20000 members": (
        lambda: gzip.compress(b"".join(header(str(n), 0) for n in range(20_000))),
        "more than 10000 members",
    ),
    "an extended header of 4 MB": (
        lambda: gzip.compress(header("p", 4 << 20, tarfile.XHDTYPE) + bytes(4 << 20)),
        "it has a header of 4194304 bytes",
    ),
    "a long name of 4 MB": (
        lambda: gzip.compress(header("p", 4 << 20, tarfile.GNUTYPE_LONGNAME) + bytes(4 << 20)),
        "it has a header of 4194304 bytes",
    ),
    "a map of a sparse file of 64 MB": (
        lambda: sparse_map(1 << 17),
        "a member with headers of more than 2097152 bytes",
    ),
    "a link": (link, "neither a file nor a folder"),
    "a path above": (lambda: archive(("../outside", 1)), "would lie outside"),
    "a name with a zero": (lambda: gzip.compress(header("a", 0)[:1] + b"\0" * 511), ""),
    "damaged data": (damaged, ""),
    "half of it": (half, ""),
    "no gzip": (lambda: zlib.compress(b"nothing"), ""),
    "nothing": (lambda: b"", ""),
}
"""Archives by what is wrong with them, made when they are needed, each with what a refusal has to say."""
