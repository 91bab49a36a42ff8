"""Memory of decoded images, which the C library would give back to the system after each one."""

from __future__ import annotations

import ctypes

_SIZES = {-3: 32 << 20, -1: 256 << 20}
"""M_MMAP_THRESHOLD, at its largest, and M_TRIM_THRESHOLD of glibc's ``malloc.h``, in bytes."""


def keep_freed_memory() -> None:
    """Let this process reuse the memory of an image for the next one.

    glibc returns the pixels' memory after every image and fetches it again page by page, unless told not to; other C
    libraries have no ``mallopt`` or do not mind.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, size in _SIZES.items():
            mallopt(parameter, size)
