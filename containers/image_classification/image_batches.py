"""Batches of images for the network, from a channel's record file.

Two ways in. `CroppedImages` is MXNet's native reader: it cuts image_shape out of each image and augments it.
`WholeImages` shows each image as serving does, whole and resized without keeping its aspect, so that accuracy measured
here is what the endpoint reaches.
"""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from .hyperparameters import Hyperparameters
from .image_decoding import UndecodableImageError, decode, decode_whole_image
from .image_size import ImageSize
from .problems import CustomerError
from .recordio import read_labelled_image, write_index, write_labelled_image
from .records import RecordFile

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "crop": {"rand_crop": True, "rand_mirror": True},
    "crop_color": {"random_h": 36, "random_s": 50, "random_l": 50},
    "crop_color_transform": {
        "max_rotate_angle": 10,
        "max_shear_ratio": 0.1,
        "max_aspect_ratio": 0.25,
    },
}
"""What each augmentation adds to the one before. Source: developer guide, "Image Classification Hyperparameters"."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """Images (batch, channels, height, width; float32 0..255), labels, and how many rows at the end are filling."""

    images: mx.nd.NDArray
    labels: mx.nd.NDArray
    filling: int = 0


class Batches(Protocol):
    """An epoch of batches for each iteration over it."""

    def __iter__(self) -> Iterator[Batch]: ...


def augmentation_options(augmentation: str | None) -> dict[str, Any]:
    """The native reader's options for an augmentation_type."""
    options: dict[str, Any] = {}
    for name, added in AUGMENTATIONS.items() if augmentation else ():
        options |= added
        if name == augmentation:
            break
    return options


class CroppedImages:
    """Shuffled full batches by MXNet's native reader; the last partial batch of an epoch is dropped.

    `index` is where the record offsets are written: with them the reader shuffles over the whole file.
    """

    def __init__(
        self,
        records: RecordFile,
        shape: Shape,
        batch_size: int,
        *,
        seed: int,
        index: Path,
        augmentation: str | None = None,
    ) -> None:
        path, offsets = upright_records(records, index.with_suffix(".rec"), shape[0])
        write_index(index, offsets)
        self._name = records.path.name
        self._batches = len(records) // batch_size
        with self._reading():
            self._reader = mx.io.ImageRecordIter(
                path_imgrec=str(path),
                path_imgidx=str(index),
                data_shape=shape,
                batch_size=batch_size,
                label_width=records.labels.shape[1],
                resize=records.resize or -1,
                shuffle=True,
                seed=seed,
                round_batch=False,
                ctx="cpu",
                verbose=False,
                **augmentation_options(augmentation),
            )

    def __iter__(self) -> Iterator[Batch]:
        """One epoch. The reader does not say where a partial batch begins, so full ones are counted."""
        for _ in range(self._batches):
            with self._reading():
                batch = next(self._reader)
            # The reader refills its buffers while the network may still have to read them: hand out copies.
            yield Batch(mx.nd.array(batch.data[0].asnumpy()), mx.nd.array(batch.label[0].asnumpy()))
        self._reader.reset()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Tell an image that MXNet cannot decode; it reads ahead, so that this may show as soon as it starts."""
        try:
            yield
        except mx.MXNetError as broken:
            reason = " ".join(str(broken).split())[:200]
            raise CustomerError([f"an image of {self._name} cannot be read as JPEG or PNG: {reason}"]) from broken


def upright_records(records: RecordFile, copy: Path, channels: int) -> tuple[Path, NDArray[np.int64]]:
    """The record file and its offsets, or those of a copy in which images that are stored lying are PNGs that stand.

    MXNet's own reader turns a JPEG only if Exif is its first segment, and no PNG or TIFF at all. Raises CustomerError
    for an image that cannot be decoded.
    """
    if not records.lying:
        return records.path, records.offsets
    lying, offsets = set(records.lying), []
    with records.path.open("rb") as source, copy.open("wb") as stream:
        buffer = memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ))
        for row, offset in enumerate(records.offsets.tolist()):
            image = read_labelled_image(buffer, offset)
            encoded = bytes(image.image)
            if row in lying:
                try:
                    encoded = cv2.imencode(".png", decode(image.image, channels))[1].tobytes()
                except UndecodableImageError as broken:
                    raise unreadable_record(records, row, broken) from broken
            offsets.append(stream.tell())
            write_labelled_image(stream, row, image.labels.tolist(), encoded)
    return copy, np.array(offsets, dtype=np.int64)


def unreadable_record(records: RecordFile, row: int, reason: UndecodableImageError) -> CustomerError:
    """What is wrong with one record of a channel."""
    return CustomerError(
        [f"record {records.number(row)} of {records.path.name} in channel '{records.channel}': {reason}"]
    )


class WholeImages:
    """Batches of whole images, decoded ahead in threads.

    Without `shuffle_seed`: in order, every image exactly once, the last batch filled with zeros. With it: shuffled in
    each epoch, full batches only. Raises CustomerError for an image that cannot be decoded.
    """

    def __init__(
        self, records: RecordFile, shape: Shape, batch_size: int, *, threads: int, shuffle_seed: int | None = None
    ) -> None:
        self._records = records
        self._shape = shape
        self._batch_size = batch_size
        self._threads = threads
        self._order = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)
        with records.path.open("rb") as stream:
            self._buffer = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))

    def __iter__(self) -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(self._threads) as decoders:
            try:
                for rows in self._batch_rows():
                    waiting.append(decoders.submit(self._load, rows))
                    if len(waiting) > self._threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for load in waiting:
                    load.cancel()

    def _batch_rows(self) -> Iterator[NDArray[np.int64]]:
        count, size = len(self._records), self._batch_size
        rows = np.arange(count)
        if self._order is not None:
            rows = self._order.permutation(count)[: count // size * size]
        return (rows[start : start + size] for start in range(0, len(rows), size))

    def _load(self, rows: NDArray[np.int64]) -> Batch:
        images = np.zeros((self._batch_size, *self._shape), dtype=np.uint8)
        for place, row in enumerate(rows):
            record = read_labelled_image(self._buffer, int(self._records.offsets[row]))
            try:
                images[place] = decode_whole_image(record.image, self._shape)
            except UndecodableImageError as broken:
                raise unreadable_record(self._records, int(row), broken) from broken
        labels = np.zeros((self._batch_size, self._records.labels.shape[1]), dtype=np.float32)
        labels[: len(rows)] = self._records.labels[rows]
        return Batch(
            mx.nd.array(images, dtype="uint8").astype("float32"),
            mx.nd.array(labels[:, 0] if labels.shape[1] == 1 else labels),
            filling=self._batch_size - len(rows),
        )


def training_batches(
    records: RecordFile, hyperparameters: Hyperparameters, *, seed: int, threads: int, workspace: Path
) -> Batches:
    """Random crops where an augmentation asks for them, otherwise whole images.

    Images that already are of image_shape are whole either way: those go through the faster native reader.
    """
    shape, size = hyperparameters.image_shape, hyperparameters.mini_batch_size
    _, height, width = shape
    if hyperparameters.augmentation_type is None and not records.has_only(ImageSize(width, height)):
        return WholeImages(records, shape, size, threads=threads, shuffle_seed=seed)
    return CroppedImages(
        records,
        shape,
        size,
        seed=seed,
        index=workspace / "train.idx",
        augmentation=hyperparameters.augmentation_type,
    )
