"""The images of a channel, and the batches that are made of them.

A channel holds `.rec` files, or a folder of images for each class.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from augmentation import NONE, augmented
from hyperparameters import Hyperparameters
from image_decoding import UndecodableImageError, decode, pixels, view
from job_folders import JobError
from processes import Processes
from record_files import Labels, RecordFile

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".img"})
"""`.img` is what class folders made of a dataset version call the rarer formats."""
MOST_WORKERS = 8
"""Loader workers that -1 means at most: more hardly help a GPU."""


class Images(Protocol):
    """The images of a channel by number: encoded bytes, and labels as float32."""

    channel: str

    def __len__(self) -> int: ...

    def read(self, number: int) -> tuple[Labels, bytes | memoryview]:
        """Labels and encoded image."""

    def place(self, number: int) -> str:
        """Where an image is, for a message."""

    def labels(self) -> Labels:
        """The labels of all images, (images, labels of an image)."""

    def known_labels(self) -> Labels | None:
        """The labels, if it costs nothing to have them."""


class RecordImages:
    """The records of the `.rec` files of a channel, in the order of the files' names."""

    def __init__(self, channel: str, paths: Sequence[Path]) -> None:
        self.channel = channel
        self._files = [RecordFile(path) for path in paths]
        self._ends = np.cumsum([len(file) for file in self._files])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _find(self, number: int) -> tuple[RecordFile, int]:
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self._files[which], number - (int(self._ends[which - 1]) if which else 0)

    def read(self, number: int) -> tuple[Labels, bytes | memoryview]:
        """Labels and encoded image of a record. Raises JobError for damaged bytes."""
        file, record = self._find(number)
        return file.read(record)

    def place(self, number: int) -> str:
        """The record and its file."""
        file, record = self._find(number)
        return f"record {record} of {file.path.name} in channel '{self.channel}'"

    def labels(self) -> Labels:
        """The labels of all records. Raises JobError if their number differs."""
        every = [file.labels for file in self._files if len(file)]
        if len({labels.shape[1] for labels in every}) > 1:
            raise JobError(f"The .rec files of channel '{self.channel}' have different numbers of labels.")
        return np.concatenate(every) if every else np.empty((0, 0), dtype=np.float32)

    def known_labels(self) -> Labels | None:
        """The labels, unless an `.idx` spared the scan of a file."""
        return self.labels() if all(file.was_scanned for file in self._files) else None


class FolderImages:
    """The images below class folders; their label is the place of the folder's name in `classes`."""

    def __init__(self, channel: str, folder: Path, classes: Sequence[str]) -> None:
        self.channel = channel
        present = class_folders(folder)
        foreign = [name for name in present if name not in classes]
        if foreign:
            raise JobError(
                f"Channel '{channel}' has class folders that are not among the {len(classes)} classes: "
                f"{', '.join(foreign[:10])}. Remove them, or add their names to labels.json."
            )
        self._paths: list[Path] = []
        labels: list[int] = []
        for name in present:
            found = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
            self._paths += found
            labels += [classes.index(name)] * len(found)
        self._labels = np.array(labels, dtype=np.float32).reshape(-1, 1)

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, number: int) -> tuple[Labels, bytes | memoryview]:
        """Label and encoded image."""
        return self._labels[number], self._paths[number].read_bytes()

    def place(self, number: int) -> str:
        """The image's file."""
        return f"{self._paths[number]} in channel '{self.channel}'"

    def labels(self) -> Labels:
        """The labels of all images."""
        return self._labels

    def known_labels(self) -> Labels | None:
        """The same: they are the folders' names."""
        return self._labels


def record_paths(folder: Path) -> list[Path]:
    """The `.rec` files of a channel."""
    return sorted(folder.rglob("*.rec"))


def class_folders(folder: Path) -> list[str]:
    """The names of the class folders of a channel, hidden ones left out."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def open_images(channel: str, folder: Path, classes: Sequence[str], *, multi_label: bool) -> Images:
    """The images of a channel. Raises JobError if there are none, or their labels do not fit the classes."""
    paths = record_paths(folder)
    if not paths and multi_label:
        raise JobError(f"Channel '{channel}' holds no .rec file: multi_label=1 needs RecordIO, a folder is one class.")
    images: Images = RecordImages(channel, paths) if paths else FolderImages(channel, folder, classes)
    if not len(images):
        raise JobError(f"Channel '{channel}' holds neither records nor images in class folders: {folder}.")
    known = images.known_labels()
    if known is not None:
        check_labels(known, len(classes), multi_label=multi_label, place=images.place)
    return images


def check_labels(labels: Labels, classes: int, *, multi_label: bool, place: Callable[[int], str]) -> None:
    """Check the labels (images, labels of an image); raises JobError for the first that do not fit the classes."""
    width = classes if multi_label else 1
    if labels.shape[1] != width:
        odd, expected = (
            np.zeros(1, dtype=np.int64),
            f"{width} labels, a 0 or 1 for each class" if multi_label else "one label",
        )
    elif multi_label:
        odd, expected = np.flatnonzero(((labels != 0) & (labels != 1)).any(axis=1)), "a 0 or 1 for each class"
    else:
        whole = (labels >= 0) & (labels < classes) & (labels == np.floor(labels))
        odd, expected = np.flatnonzero(~whole[:, 0]), f"a class from 0 to {classes - 1}"
    if len(odd):
        found = ", ".join(f"{label:g}" for label in labels[odd[0]][:10])
        raise JobError(
            f"The labels of {place(int(odd[0]))} are {found}; expected is {expected}. Check num_classes, multi_label "
            "and the labels.json of the dataset version."
        )


class TrainingImages(Dataset):
    """What the loader's workers read: pixels as uint8 (size, size, 3), and a class or a row of 0 and 1.

    An image is requested as (epoch, number); every epoch augments it again, the same way however many workers and
    machines there are. An epoch of -1 asks for the view that validation and predictions see.
    """

    def __init__(self, images: Images, chosen: Hyperparameters, classes: int) -> None:
        self._images = images
        self._chosen = chosen
        self._classes = classes

    def __getitem__(self, asked: tuple[int, int]) -> tuple[Any, Any]:
        epoch, number = asked
        labels, encoded = self._images.read(number)
        multi_label = self._chosen.multi_label
        check_labels(labels[None], self._classes, multi_label=multi_label, place=lambda _: self._images.place(number))
        try:
            image = decode(encoded)
        except UndecodableImageError as error:
            raise JobError(f"{self._images.place(number)}: {error}. Remove it and start the job again.") from None
        target = torch.from_numpy(labels.copy()) if multi_label else int(labels[0])
        size = self._chosen.image_size
        if epoch < 0 or self._chosen.augmentation == NONE:
            return pixels(view(image, size, self._chosen.view)), target
        random = np.random.default_rng((self._chosen.seed, epoch, number))
        shown = augmented(image, size, self._chosen.augmentation, flip=self._chosen.flip, random=random)
        return pixels(shown), target


class TrainingOrder:
    """The batches of an epoch for this process: all images shuffled, cut into whole batches, shared among processes.

    `start(epoch, step)` chooses the epoch, and the batch of it to begin with; the last partial batch is left out.
    """

    def __init__(self, count: int, chosen: Hyperparameters, processes: Processes) -> None:
        self._count = count
        self._chosen = chosen
        self._processes = processes
        self.steps = count // chosen.batch_size
        self._epoch, self._step = 0, 0

    def start(self, epoch: int, step: int = 0) -> None:
        """What the next iteration gives."""
        self._epoch, self._step = epoch, step

    def __len__(self) -> int:
        return self.steps - self._step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng((self._chosen.seed, self._epoch)).permutation(self._count).tolist()
        for step in range(self._step, self.steps):
            batch = order[step * self._chosen.batch_size : (step + 1) * self._chosen.batch_size]
            yield [(self._epoch, number) for number in self._processes.part_of(batch)]


class ValidationOrder:
    """All images, each once over all processes, in batches of the size that training has."""

    def __init__(self, count: int, chosen: Hyperparameters, processes: Processes) -> None:
        self._numbers = processes.part_of(range(count))
        self._size = max(1, chosen.batch_size // processes.count)
        self.shared_steps = math.ceil(count // processes.count / self._size)

    def __len__(self) -> int:
        return math.ceil(len(self._numbers) / self._size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in range(0, len(self._numbers), self._size):
            yield [(-1, number) for number in self._numbers[start : start + self._size]]


def make_loader(images: TrainingImages, order: TrainingOrder | ValidationOrder, workers: int, device: Any) -> Any:
    """Batches in `order`, decoded by so many processes that live as long as the loader."""
    return DataLoader(
        images,
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        worker_init_fn=_start_worker,
    )


def loader_workers(asked: int, processes_here: int) -> int:
    """So many worker processes for each of the training processes of this machine."""
    if asked >= 0:
        return asked
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // processes_here))


def _start_worker(_: int) -> None:
    """Leave the group of processes that a request to stop reaches: the training process ends its workers itself.

    They must not ignore the signal: it is also how Python ends them when it exits.
    """
    os.setpgid(0, 0)
