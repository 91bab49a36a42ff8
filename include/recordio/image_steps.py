"""How images are packed, said without pydantic: for a command line that should start at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageSteps:
    """What ``ImageOptions`` says, field for field, of values that are checked already."""

    resize: int = 0
    center_crop: bool = False
    quality: int = 95
    color: int = 1
    encoding: str = ".jpg"
    pass_through: bool = False
    fast_decode: bool = False
    minimum_side: int = 0
