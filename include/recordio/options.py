"""How images are packed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ImageOptions(BaseModel):
    """How an image is packed; the names and meanings are those of ``im2rec.py -h``, but for the last two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: int = Field(default=0, ge=0, description="Short edge in pixels, 0: keep the size")
    center_crop: bool = Field(default=False, description="Crop the centre square before resizing")
    quality: int = Field(default=95, ge=0, le=100, description="JPEG quality 1-100, or PNG compression 0-9")
    color: Literal[-1, 0, 1] = Field(default=1, description="1: three channels, 0: grayscale, -1: as stored")
    encoding: Literal[".jpg", ".png"] = Field(default=".jpg", description="How the packed image is encoded")
    pass_through: bool = Field(default=False, description="Pack the source bytes as they are")
    fast_decode: bool = Field(
        default=False, description="Decode large JPEGs at a half, quarter or eighth of their sides; only with resize"
    )
    minimum_side: int = Field(default=0, ge=0, description="Refuse images whose short side has fewer pixels")

    @model_validator(mode="after")
    def _decodes_no_smaller_than_it_packs(self) -> Self:
        if self.fast_decode and not self.resize:
            raise ValueError("fast_decode decodes no smaller than the image is packed: it needs resize")
        return self

    @property
    def in_words(self) -> str:
        """The steps as a reader of a report sees them, such as `shorter side 256 pixels, JPEG of quality 95`."""
        if self.pass_through:
            return "the bytes as they came"
        steps = [
            "the centre square" if self.center_crop else "",
            f"shorter side {self.resize} pixels" if self.resize else "",
            {0: "grayscale", -1: "channels as stored"}.get(self.color, ""),
            f"JPEG of quality {self.quality}" if self.encoding == ".jpg" else "PNG",
        ]
        return ", ".join(step for step in steps if step)
