"""Memory of decoded images: how much of what is freed the C library keeps for the next ones."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's ``malloc.h``."""


def keep_freed_memory(*, largest: int, kept: int) -> None:
    """Let this process reuse freed blocks of up to ``largest`` bytes, and ``kept`` bytes of them in every heap.

    Left alone glibc goes by the largest block it has seen: it fetches the memory of most images anew page by page, and
    after large ones keeps hundreds of megabytes in the heaps of threads. Other C libraries have no ``mallopt`` or do
    not mind. glibc takes 32 MiB for ``largest`` at most.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, largest)
        mallopt(_M_TRIM_THRESHOLD, kept)
