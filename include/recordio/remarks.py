"""What is odd about an image that is packed all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.recordio.images import is_truncated_jpeg

if TYPE_CHECKING:
    from include.recordio.header import ImageHeader
    from include.recordio.images import PackedImage
    from include.recordio.options import ImageOptions

_FORMATS = {
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "png": "PNG",
    "bmp": "BMP",
    "gif": "GIF",
    "webp": "WebP",
    "tif": "TIFF",
    "tiff": "TIFF",
    "avif": "AVIF",
    "jp2": "JPEG 2000",
}
_CHANNELS = {1: "gray", 2: "gray with transparency", 4: "colour with transparency"}


def remarks(name: str, source: bytes, header: ImageHeader, packed: PackedImage, options: ImageOptions) -> str | None:
    """Say what was done to an odd image, or that its name is wrong; None for an ordinary one."""
    found: list[str] = []
    ending = name.rpartition(".")[2]
    if _FORMATS.get(ending.lower(), header.format) != header.format:
        found.append(f"a {header.format} named .{ending}")
    if not options.pass_through:
        found += _changes(source, header, packed, options)
    return "; ".join(found) or None


def _changes(source: bytes, header: ImageHeader, packed: PackedImage, options: ImageOptions) -> list[str]:
    found: list[str] = []
    if is_truncated_jpeg(source):
        found.append("truncated: the missing part is gray")
    if header.orientation > 1:
        turned = "turned" if options.color >= 0 else "not turned"
        found.append(f"{turned} upright: its EXIF orientation is {header.orientation}")
    elif (header.width > header.height and packed.width < packed.height) or (
        header.width < header.height and packed.width > packed.height
    ):
        found.append("turned upright")
    found += _converted(header, options) if options.color >= 0 else _lost(header, options)
    if header.animated:
        found.append("animated: its first frame")
    if header.short_side < options.resize:
        found.append(f"enlarged: its shorter side has {header.short_side} pixels")
    return found


def _converted(header: ImageHeader, options: ImageOptions) -> list[str]:
    """What became of the channels and bits where the options say how many there are."""
    found: list[str] = []
    ordinary, target = ((3,), "three channels") if options.color else ((1, 3), "grayscale")
    if header.channels not in ordinary:
        kind = "CMYK" if header.format == "JPEG" and header.channels == 4 else _CHANNELS.get(header.channels)
        found.append(f"converted to {target} from {kind or header.channels}")
    if header.bits > 8:
        found.append(f"reduced from {header.bits} bits a channel")
    return found


def _lost(header: ImageHeader, options: ImageOptions) -> list[str]:
    """What a JPEG cannot hold of an image that is packed as it is stored."""
    if options.encoding != ".jpg":
        return []
    found: list[str] = []
    if header.channels in (2, 4) and header.format != "JPEG":
        found.append("its transparency is lost: a JPEG holds none")
    if header.bits > 8:
        found.append(f"cut off at 255: a JPEG holds 8 bits a channel, and it has {header.bits}")
    return found
