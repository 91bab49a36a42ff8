"""Batches of pixels and classes, decoded by threads while the network computes."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor

import keras
import numpy as np
from numpy.typing import NDArray

from .augmentation import augmented
from .config import Config
from .decoding import Pixels, UndecodableImageError, decode, pixels
from .images import Images
from .job_folders import JobError

Batch = tuple[Pixels, NDArray[np.int64]]
"""Pixels, uint8 (images, size, size, 3), and classes."""


class Batches(keras.utils.PyDataset):
    """All images of a channel in their order; with an `epoch` shuffled and augmented, again in each epoch.

    `first` is the step to begin with. The same seed and epoch give the same batches, however many threads decode.
    The workers of Keras' own PyDataset are left alone: they deliver the first batch last in the first epoch.
    """

    def __init__(self, images: Images, config: Config, *, epoch: int | None = None, first: int = 0) -> None:
        super().__init__()
        self._images = images
        self._config = config
        self._epoch = epoch
        self._first = first
        self._threads = ThreadPoolExecutor(config.loader_threads)
        self._begun: dict[int, Future[Batch]] = {}
        count = len(images.labels)
        shuffled = np.random.default_rng((config.seed, epoch)).permutation(count) if epoch is not None else None
        self._order = np.arange(count) if shuffled is None else shuffled

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._config.batch_size) - self._first

    def __getitem__(self, step: int) -> Batch:
        """A batch; the next ones are begun beside it."""
        for coming in range(step, min(step + 1 + self._config.loader_threads, len(self))):
            if coming not in self._begun:
                self._begun[coming] = self._threads.submit(self._read, coming)
        return self._begun.pop(step).result()

    def _read(self, step: int) -> Batch:
        start = (self._first + step) * self._config.batch_size
        numbers = self._order[start : start + self._config.batch_size]
        return np.stack([self._shown(int(number)) for number in numbers]), self._images.labels[numbers]

    def _shown(self, number: int) -> Pixels:
        try:
            image = decode(self._images.encoded(number))
        except UndecodableImageError as error:
            raise JobError(f"{self._images.place(number)}: {error}. Remove it and start the job again.") from None
        if self._epoch is not None:
            random = np.random.default_rng((self._config.seed, self._epoch, number))
            image = augmented(image, self._config, random)
        return pixels(image, self._config.image_size)
