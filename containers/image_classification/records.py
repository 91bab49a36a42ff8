"""One channel's record file: where its records lie, their labels and image sizes."""

from __future__ import annotations

import mmap
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .image_decoding import UndecodableImageError, readable_header
from .image_size import ImageSize
from .recordio import RecordFormatError, labelled_images


@dataclass(frozen=True)
class RecordFile:
    """What a scan of heads found; no image was decoded for it.

    Records of a header and no image before the first image, as the files of face data sets have them, are passed over
    and counted in `leading_headers`: MXNet's reader begins at the first offset of the index. `headers_behind`: rows of
    such records behind the first image, where MXNet's reader ends.

    `offsets`: int64 byte offsets of the other records, in order. `labels`: float32, one row per record; no rows when
    the records differ in label width. `sizes`: int32 width and height per record as the image stands upright, zero
    where unreadable, with the reason of the first in `unreadable_because`. `lying`: rows of the images that are stored
    in another orientation. `resize`: what the shorter side shall become, None where images stay as they are.
    """

    channel: str
    path: Path
    offsets: NDArray[np.int64]
    labels: NDArray[np.float32]
    label_widths: dict[int, int]
    sizes: NDArray[np.int32]
    format_problem: str | None = None
    resize: int | None = None
    leading_headers: int = 0
    headers_behind: tuple[int, ...] = ()
    unreadable_because: str = ""
    lying: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.offsets)

    @cached_property
    def unreadable(self) -> NDArray[np.int64]:
        """Numbers of the records whose image has no readable head."""
        return np.flatnonzero(self.sizes.min(axis=1) == 0) if len(self) else np.empty(0, dtype=np.int64)

    def number(self, row: int) -> int:
        """The number in the file, from 0, of the record behind a row."""
        return int(row) + self.leading_headers

    def has_only(self, size: ImageSize) -> bool:
        """Whether every image already is of this size, and upright."""
        return not self.lying and bool((self.sizes == np.array(size, dtype=np.int32)).all())


def scan_records(channel: str, path: Path, resize: int | None = None) -> RecordFile:
    """Read the head of every record of `path`; a broken file is reported in `format_problem`.

    With `resize`, sizes are those after the shorter side was made `resize` pixels long.
    """
    offsets: list[int] = []
    labels: list[NDArray[np.float32]] = []
    sizes: list[ImageSize] = []
    headers_behind: list[int] = []
    lying: list[int] = []
    leading_headers, reason, problem = 0, "", None
    with path.open("rb") as stream:
        buffer = map_file(stream.fileno(), path.stat().st_size)
        try:
            for record in labelled_images(buffer):
                if len(record.image) == 0:
                    if not offsets:
                        leading_headers += 1
                        continue
                    headers_behind.append(len(offsets))
                offsets.append(record.offset)
                labels.append(record.labels)
                size, orientation, unreadable = measure(record.image)
                reason = reason or unreadable
                lying += [len(sizes)] * (orientation > 1)
                sizes.append(size)
        except RecordFormatError as broken:
            problem = str(broken)
    widths = Counter(len(row) for row in labels)
    return RecordFile(
        channel=channel,
        path=path,
        offsets=np.array(offsets, dtype=np.int64),
        labels=np.stack(labels) if len(widths) == 1 else np.empty((0, 0), dtype=np.float32),
        label_widths=dict(widths),
        sizes=resized(np.array(sizes, dtype=np.int32).reshape(-1, 2), resize),
        format_problem=problem,
        resize=resize,
        leading_headers=leading_headers,
        headers_behind=tuple(headers_behind),
        unreadable_because=reason,
        lying=tuple(lying),
    )


def measure(image: memoryview) -> tuple[ImageSize, int, str]:
    """An image's upright size and its orientation; zeros, and the reason, when it cannot be read."""
    try:
        header = readable_header(image)
    except UndecodableImageError as broken:
        return ImageSize(0, 0), 1, str(broken)
    return header.size, header.orientation, ""


def map_file(descriptor: int, size: int) -> memoryview:
    """The file's bytes, read from disk as they are touched."""
    return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)) if size else memoryview(b"")


def resized(sizes: NDArray[np.int32], resize: int | None) -> NDArray[np.int32]:
    """Sizes once the shorter side is `resize` pixels long; unreadable ones stay zero."""
    if resize is None or len(sizes) == 0:
        return sizes
    shorter = sizes.min(axis=1, keepdims=True)
    return np.where(shorter > 0, sizes * resize // np.maximum(shorter, 1), 0).astype(np.int32)
