"""The sample images: scikit-learn's 1,797 scanned handwritten digits, as JPEG files in class folders."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from sklearn.datasets import load_digits

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIDE = 32
SCAN_LEVELS = 16
JPEG_QUALITY = 95


@dataclass(frozen=True)
class SampleImage:
    """One image: its key below the source prefix (`7/0042.jpg`) and its JPEG bytes."""

    key: str
    jpeg: bytes

    @property
    def etag(self) -> str:
        """The ETag that S3 gives it."""
        return hashlib.md5(self.jpeg, usedforsecurity=False).hexdigest()


def digit_images() -> Iterator[SampleImage]:
    """Every scanned digit as a JPEG of 32 x 32 pixels; class folders are called 0 to 9.

    The scans have 8 x 8 pixels of 17 grey levels (UCI's Optical Recognition of Handwritten Digits).
    """
    digits = load_digits()
    for number, (scan, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        ink = np.clip(scan * (255 / SCAN_LEVELS), 0, 255).astype(np.uint8)
        paper = cv2.resize(ink, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        _, encoded = cv2.imencode(".jpg", paper, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        yield SampleImage(key=f"{label}/{number:04d}.jpg", jpeg=encoded.tobytes())


def upload(client: S3Client, bucket: str, prefix: str, images: Iterable[SampleImage]) -> int:
    """Put the images that are not there yet below a prefix (with a slash at its end); return how many were put."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    there = {found["Key"]: found["ETag"].strip('"') for page in pages for found in page.get("Contents", [])}
    missing = [image for image in images if there.get(prefix + image.key) != image.etag]

    def put(image: SampleImage) -> None:
        client.put_object(Bucket=bucket, Key=prefix + image.key, Body=image.jpeg, ContentType="image/jpeg")

    with ThreadPoolExecutor(max_workers=8) as pool:
        return sum(1 for _ in pool.map(put, missing))
