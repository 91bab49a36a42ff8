"""The smallest thing the algorithm can learn: dark pictures of class 0, bright ones of class 1."""

from __future__ import annotations

import io

import cv2
import numpy as np

from include.recordio.format import RecordWriter, encode_image_record


def jpeg(label: int, seed: int, side: int = 28) -> bytes:
    """A noisy square: dark for class 0, bright for class 1."""
    noise = np.random.default_rng(seed).integers(0, 80, (side, side, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise + np.uint8(150 * label))[1].tobytes()


def records(count: int, seed: int, side: int = 28) -> bytes:
    """A `.rec` of squares, the classes in turn."""
    sink = io.BytesIO()
    writer = RecordWriter(sink)
    for number in range(count):
        label = number % 2
        writer.write(number, encode_image_record([label], number, jpeg(label, seed + number, side)))
    return sink.getvalue()
