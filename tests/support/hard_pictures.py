"""Images that tools disagree about."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np

from tests.support.pictures import EXIF_ROTATED, jpeg, pixels, png, readable_images

CMYK_JPEG = base64.b85decode(
    "|JeWT01iQ9Z(?NtWB>pF0095n07C#24i6F!4HOa(5*HN|7#=bq9vmDVJuEIHGD$#8OGiLPMNnFEVo+6WRz*f+h-Gbedx3(1PGF6fjD41Ket~@"
    "dzyK5o01N;S1Va%3O%VWD5dcdO0RO}Q7XSbQ0RR910000000000000051_S@Z03Q$l0RsaC0000000000000000|X%g1ws@RF;Zgx+5ip&LjX"
    "+xSpZ7_06zeEb;xhLdLBA;%$4M2*C5_K37tCTK(o5!MCz67Xz5C(K#aQN8l`&)T`5$^AOG0"
)
"""16 x 12 pixels in cyan, magenta, yellow and black, which OpenCV reads and cannot write."""


def oriented_jpeg(orientation: int) -> bytes:
    """A JPEG of 40 x 24 pixels with an EXIF orientation from 1 to 8."""
    plain = jpeg(24, 40, seed=orientation)
    exif = EXIF_ROTATED.replace(b"\x01\0\0\0\x06", b"\x01\0\0\0" + bytes([orientation]))
    return plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]


def hard_images() -> dict[str, bytes]:
    """Images by path below a root, all of which im2rec packs."""
    deep = pixels(20, 30, 4).astype(np.uint16) * 257
    return {
        **readable_images(),
        **{f"exif/{number}.jpg": oriented_jpeg(number) for number in range(1, 9)},
        "one pixel.png": png(1, 1),
        "one pixel.jpg": jpeg(1, 1),
        "row.jpg": jpeg(1, 37),
        "column.png": png(41, 1),
        "cmyk.jpg": CMYK_JPEG,
        "sixteen bits and alpha.png": cv2.imencode(".png", deep)[1].tobytes(),
        "named png.jpg": png(21, 35, seed=9),
        "naïve/größe 図 🙂.jpg": jpeg(33, 22, seed=5),
        "folder with  blanks/a b  c.jpeg": jpeg(22, 33, seed=6),
        "bitmap.bmp": cv2.imencode(".bmp", pixels(17, 13))[1].tobytes(),
        "trailing bytes.jpg": jpeg(20, 20, seed=7) + b"more than an image",
    }


def write_images(root: Path, images: dict[str, bytes]) -> None:
    """Write images below a root."""
    for name, source in images.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
