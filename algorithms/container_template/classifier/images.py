"""The images of a channel and their classes: a folder of images for each class, or `.rec` files."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .job_folders import JobError, JobFolders
from .record_files import RecordFile

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".img"})
"""`.img` is what class folders made of a dataset version call the rarer formats."""
NAME_FILES = ("labels.json", "classes.json")
LABELS_CHANNEL = "labels"

Classes = tuple[str, ...]


class Images(Protocol):
    """The images of a channel by number; `labels` holds the place of each one's class."""

    labels: NDArray[np.int64]

    def encoded(self, number: int) -> bytes:
        """The bytes of an image."""

    def place(self, number: int) -> str:
        """Where an image is, for a message."""


class FolderImages:
    """The images below the class folders of a channel, folders within them included."""

    def __init__(self, channel: str, folder: Path, classes: Classes) -> None:
        foreign = [name for name in class_folders(folder) if name not in classes]
        if foreign:
            raise JobError(
                f"Channel '{channel}' has class folders that are not among the {len(classes)} classes: "
                f"{', '.join(foreign[:10])}. Remove them, or add their names to labels.json."
            )
        self._channel = channel
        self._paths: list[Path] = []
        labels: list[int] = []
        others: list[Path] = []
        for name in class_folders(folder):
            for path in sorted((folder / name).rglob("*")):
                if path.is_dir() or path.name.startswith("."):
                    continue
                (self._paths if path.suffix.lower() in IMAGE_SUFFIXES else others).append(path)
            labels += [classes.index(name)] * (len(self._paths) - len(labels))
        if others:
            line = "Channel '%s': %d files are left out, as their names are not those of images: %s"
            log.warning(line, channel, len(others), ", ".join(path.name for path in others[:10]))
        self.labels = np.array(labels, dtype=np.int64)

    def encoded(self, number: int) -> bytes:
        """The bytes of an image file."""
        return self._paths[number].read_bytes()

    def place(self, number: int) -> str:
        """The image's file."""
        return f"{self._paths[number]} in channel '{self._channel}'"


class RecordImages:
    """The records of the `.rec` files of a channel, in the order of the files' names."""

    def __init__(self, channel: str, paths: Sequence[Path], classes: Classes) -> None:
        self._channel = channel
        self._files = [RecordFile(path) for path in paths]
        self._ends = np.cumsum([len(file) for file in self._files])
        labels = np.array([label for file in self._files for label in file.labels])
        odd = np.flatnonzero((labels < 0) | (labels >= len(classes)) | (labels != np.floor(labels)))
        if len(odd):
            raise JobError(
                f"The label of {self.place(int(odd[0]))} is {labels[odd[0]]:g}; expected is a class from 0 to "
                f"{len(classes) - 1}. Give the job the labels.json of the dataset version that the records are of."
            )
        self.labels = labels.astype(np.int64)

    def _find(self, number: int) -> tuple[RecordFile, int]:
        which = int(np.searchsorted(self._ends, number, side="right"))
        return self._files[which], number - (int(self._ends[which - 1]) if which else 0)

    def encoded(self, number: int) -> bytes:
        """The bytes of a record's image."""
        file, record = self._find(number)
        return file.image(record)

    def place(self, number: int) -> str:
        """The record and its file."""
        file, record = self._find(number)
        return f"record {record} of {file.path.name} in channel '{self._channel}'"


def open_images(folders: JobFolders, channel: str, classes: Classes) -> Images:
    """The images of a channel. Raises JobError if there are none, or their labels are not classes."""
    folder = folders.channel(channel)
    paths = record_files(folder)
    images: Images = RecordImages(channel, paths, classes) if paths else FolderImages(channel, folder, classes)
    if not len(images.labels):
        raise JobError(f"Channel '{channel}' holds neither .rec files nor images in class folders: {folder}.")
    return images


def record_files(folder: Path) -> list[Path]:
    """The `.rec` files of a channel."""
    return sorted(folder.rglob("*.rec"))


def class_folders(folder: Path) -> Classes:
    """The names of the class folders of a channel, hidden ones left out."""
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def read_classes(folders: JobFolders, config: Config, of_model: Classes | None) -> Classes:
    """The class names in the order of their index. Raises JobError if nothing names them, or there is only one.

    They are those of labels.json or classes.json in channel `labels` or `train`; else the class folders of `train`,
    sorted; else those of the model in channel `model`; else the numbers below `num_classes`.
    """
    train = folders.channel("train")
    places = [train] if LABELS_CHANNEL not in folders.channels() else [folders.channel(LABELS_CHANNEL), train]
    files = [place / name for place in places for name in NAME_FILES if (place / name).is_file()]
    if files:
        classes = _named(files[0])
    elif not record_files(train):
        classes = class_folders(train)
    elif of_model is not None:
        classes = of_model
    elif config.num_classes:
        classes = tuple(map(str, range(config.num_classes)))
    else:
        raise JobError(
            "The classes are not known: add a channel 'labels' with the dataset version's labels.json, or set "
            "num_classes."
        )
    if config.num_classes and config.num_classes != len(classes):
        raise JobError(f"num_classes={config.num_classes} differs from the {len(classes)} classes of the job.")
    if len(classes) < 2:
        raise JobError(f"The job has {len(classes)} classes: at least 2 are needed.")
    return classes


def _named(file: Path) -> Classes:
    try:
        names = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise JobError(f"{file} is not JSON: {error}.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise JobError(f'{file} is not a list of class names: write ["cat", "dog"].')
    if len(set(names)) < len(names):
        raise JobError(f"{file} names a class more than once: a class has one index.")
    return tuple(names)
