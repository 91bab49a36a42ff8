"""How images are packed: one type for im2rec's command line, the run conf and the document of a dataset version."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from include.recordio.header import ImageHeader


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How an image is packed; the names and meanings are those of `im2rec.py -h`, but for the last two.

    A dataclass, so that the command line starts without pydantic. Raises ValueError for a value that is out of bounds;
    where a document of pydantic holds it, types and unknown names are checked as well.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    resize: int = 0
    """Length of the shorter edge in pixels; 0 keeps the size."""
    center_crop: bool = False
    """Crop the square in the middle before resizing."""
    quality: int = 95
    """JPEG quality 1 to 100, or PNG compression 0 to 9."""
    color: Literal[-1, 0, 1] = 1
    """1: three channels, 0: grayscale, -1: as stored."""
    encoding: Literal[".jpg", ".png"] = ".jpg"
    pass_through: bool = False
    """Pack the source bytes as they are."""
    fast_decode: bool = False
    """Decode large JPEGs at a half, a quarter or an eighth of their sides; only with `resize`."""
    minimum_side: int = 0
    """Refuse images whose shorter side has fewer pixels."""

    def __post_init__(self) -> None:
        if self.resize < 0 or self.minimum_side < 0:
            raise ValueError(f"resize {self.resize} and minimum_side {self.minimum_side} must be 0 or more pixels")
        if not 0 <= self.quality <= 100:
            raise ValueError(f"quality {self.quality} must be from 0 to 100")
        if self.color not in (-1, 0, 1) or self.encoding not in (".jpg", ".png"):
            raise ValueError(f"color {self.color} must be -1, 0 or 1, encoding {self.encoding} .jpg or .png")
        if self.fast_decode and not self.resize:
            raise ValueError("fast_decode decodes no smaller than the image is packed: it needs resize")

    def as_dict(self) -> dict[str, Any]:
        """Each option by its name."""
        return asdict(self)

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

    def packed_size(self, header: ImageHeader) -> tuple[int, int]:
        """Width and height of the packed image."""
        width, height = header.width, header.height
        if self.pass_through:
            return width, height
        if self.center_crop:
            width = height = header.short_side
        if self.resize:
            short = min(width, height)
            width, height = width * self.resize // short, height * self.resize // short
        return width, height

    def reduction(self, header: ImageHeader) -> int:
        """The part of a JPEG's sides that `fast_decode` decodes it to: 1, 2, 4 or 8.

        The largest that leaves the short side no shorter than `resize`. Other formats have no such shortcut.
        """
        if not self.fast_decode or not self.resize or self.color < 0 or header.format != "JPEG":
            return 1
        return next(part for part in (8, 4, 2, 1) if part == 1 or header.short_side >= self.resize * part)
