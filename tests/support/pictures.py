"""Small real images of every kind a source may hold."""

from __future__ import annotations

import cv2
import numpy as np

EXIF_ROTATED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def pixels(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth colours, as photographs have them."""
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 8 + 2, width // 8 + 2, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height))


def jpeg(height: int = 28, width: int = 28, channels: int = 3, seed: int = 0, *parameters: int) -> bytes:
    return cv2.imencode(".jpg", pixels(height, width, channels, seed), list(parameters))[1].tobytes()


def png(height: int = 28, width: int = 28, channels: int = 3, seed: int = 0) -> bytes:
    return cv2.imencode(".png", pixels(height, width, channels, seed))[1].tobytes()


def rotated_jpeg(height: int, width: int) -> bytes:
    plain = jpeg(height, width)
    return plain[:2] + b"\xff\xe1" + (len(EXIF_ROTATED) + 2).to_bytes(2, "big") + EXIF_ROTATED + plain[2:]


def readable_images() -> dict[str, bytes]:
    """Images that im2rec packs, the damaged ones among them, by file name."""
    photograph = jpeg(60, 80)
    progressive = jpeg(64, 64, 3, 3, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    deep = cv2.imencode(".png", pixels(33, 47, 1).astype(np.uint16) * 200)[1].tobytes()
    return {
        "landscape.jpg": photograph,
        "portrait.jpg": jpeg(90, 41, seed=1),
        "square.jpg": jpeg(50, 50, seed=2),
        "gray.jpg": jpeg(50, 45, 1),
        "gray.png": png(31, 45, 1),
        "alpha.png": png(33, 47, 4),
        "sixteen bits.png": deep,
        "progressive.jpg": progressive,
        "rotated by exif.jpg": rotated_jpeg(40, 60),
        "half.jpg": photograph[: len(photograph) // 2],
        "without its end.jpg": photograph[:-2],
        "progressive, most of it.jpg": progressive[: len(progressive) * 2 // 3],
        "wrong extension.png": jpeg(44, 33, seed=4),
    }
