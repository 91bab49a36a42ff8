"""Chance that is the same on every machine: numbers that follow from an image's content."""

from __future__ import annotations

import hashlib


def fraction(seed: int, purpose: str, etag: str) -> float:
    """Spread ETags evenly over [0, 1), the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{etag}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)
