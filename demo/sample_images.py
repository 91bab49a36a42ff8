"""The sample images: scikit-learn's 1,797 scanned handwritten digits, as JPEG files in class folders.

Two more batches are made of them for a retraining: one that is right, and one whose labels are mixed up.
"""

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
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef, ObjectTypeDef

SIDE = 32
SCAN_LEVELS = 16
JPEG_QUALITY = 95
MIXED_UP = "mixed-up-"
"""How the names of images with a wrong label begin."""

Pixels = cv2.typing.MatLike


@dataclass(frozen=True)
class SampleImage:
    """One image: its key below the source prefix (`7/0042.jpg`) and its JPEG bytes."""

    key: str
    jpeg: bytes

    @classmethod
    def of(cls, key: str, pixels: Pixels) -> SampleImage:
        """The image of grey pixels."""
        _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return cls(key=key, jpeg=encoded.tobytes())

    @property
    def etag(self) -> str:
        """The ETag that S3 gives it."""
        return hashlib.md5(self.jpeg, usedforsecurity=False).hexdigest()


def digit_images() -> Iterator[SampleImage]:
    """Every scanned digit as a JPEG of 32 x 32 pixels; class folders are called 0 to 9.

    The scans have 8 x 8 pixels of 17 grey levels (UCI's Optical Recognition of Handwritten Digits).
    """
    for number, (label, paper) in enumerate(_papers()):
        yield SampleImage.of(f"{label}/{number:04d}.jpg", paper)


def turned_digits(degrees: float = 15, every: int = 2) -> Iterator[SampleImage]:
    """Every second digit, turned to the left: `7/turned-0042.jpg`."""
    turn = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), degrees, 1)
    for number, (label, paper) in enumerate(_papers()):
        if number % every == 0:
            turned = cv2.warpAffine(paper, turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
            yield SampleImage.of(f"{label}/turned-{number:04d}.jpg", turned)


def mislabelled_digits(seed: int = 1) -> Iterator[SampleImage]:
    """Every digit twice, one pixel further left and right, with the label of any other one: `3/mixed-up-0042.jpg`."""
    papers = list(_papers())
    moved = [(label, np.roll(paper, pixels, axis=1)) for pixels in (-1, 1) for label, paper in papers]
    labels = np.random.default_rng(seed).permutation([label for label, _ in moved])
    for number, (label, (_, paper)) in enumerate(zip(labels, moved, strict=True)):
        yield SampleImage.of(f"{label}/{MIXED_UP}{number:04d}.jpg", paper)


def _papers() -> Iterator[tuple[int, Pixels]]:
    """Every digit and its picture: grey, of shape (32, 32)."""
    digits = load_digits()
    for scan, label in zip(digits.images, digits.target, strict=True):
        ink = np.clip(scan * (255 / SCAN_LEVELS), 0, 255).astype(np.uint8)
        yield int(label), cv2.resize(ink, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def upload(client: S3Client, bucket: str, prefix: str, images: Iterable[SampleImage]) -> int:
    """Put the images that are not there yet below a prefix (with a slash at its end); return how many were put."""
    there = {found["Key"]: found["ETag"].strip('"') for page in _pages(client, bucket, prefix) for found in page}
    missing = [image for image in images if there.get(prefix + image.key) != image.etag]

    def put(image: SampleImage) -> None:
        client.put_object(Bucket=bucket, Key=prefix + image.key, Body=image.jpeg, ContentType="image/jpeg")

    with ThreadPoolExecutor(max_workers=8) as pool:
        return sum(1 for _ in pool.map(put, missing))


def remove_mixed_up(client: S3Client, bucket: str, prefix: str) -> int:
    """Delete the images with a wrong label below a prefix: a later run would learn from them. Return how many."""
    removed = 0
    for page in _pages(client, bucket, prefix):
        wrong: list[ObjectIdentifierTypeDef] = [{"Key": each["Key"]} for each in page if f"/{MIXED_UP}" in each["Key"]]
        if wrong:
            client.delete_objects(Bucket=bucket, Delete={"Objects": wrong, "Quiet": True})
        removed += len(wrong)
    return removed


def _pages(client: S3Client, bucket: str, prefix: str) -> Iterator[list[ObjectTypeDef]]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield page.get("Contents", [])
