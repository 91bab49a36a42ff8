"""A training job of the scripts: real records of real images, in the folders that SageMaker gives a container."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import train
from include.recordio.format import RecordWriter, encode_image_record
from model_files import TrainedModel, load_model

SCRIPT = Path(train.__file__)
CLASSES = ("top left", "top right", "bottom")
CORNERS = ((3, 3), (3, 16), (16, 3))
TRAIN_IMAGES, VALIDATION_IMAGES = 36, 13
QUICK = {
    "network": "resnet18",
    "image_size": 28,
    "batch_size": 6,
    "optimizer": "adamw",
    "lr": 0.001,
    "epochs": 1,
    "augmentation": "none",
    "loader_workers": 0,
    "statistics_every": 0,
}


def picture(labels: Sequence[int], number: int) -> Image.Image:
    """A dark noisy image with a bright square for each label."""
    noise = np.random.default_rng(number)
    pixels = noise.integers(0, 60, (28, 28, 3), dtype=np.uint8)
    for label in labels:
        top, left = CORNERS[label]
        pixels[top : top + 9, left : left + 9] = noise.integers(170, 255, 3, dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


Record = tuple[Sequence[float], bytes]


def one_corner(count: int, first: int = 0) -> Iterator[Record]:
    for number in range(first, first + count):
        yield [float(number % 3)], encoded(picture([number % 3], number))


def several_corners(count: int, first: int = 0) -> Iterator[Record]:
    for number in range(first, first + count):
        shown = [label for label in range(3) if number >> label & 1]
        yield [float(label in shown) for label in range(3)], encoded(picture(shown, number))


def write_records(path: Path, records: Iterable[Record], *, index: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = io.BytesIO()
    with path.open("wb") as stream:
        writer = RecordWriter(stream, lines)
        for number, (labels, image) in enumerate(records):
            writer.write(number, encode_image_record(labels, number, image))
    if index:
        path.with_suffix(".idx").write_bytes(lines.getvalue())


@dataclass(frozen=True)
class Ended:
    code: int
    log: str
    error: str

    def epochs(self, name: str) -> list[float]:
        """The values of one of the figures, as include/sagemaker/epochs.py finds them."""
        lines = [line.partition("] Epoch[")[2].partition("] ")[2] for line in self.log.splitlines()]
        return [float(line.partition("=")[2]) for line in lines if line.startswith(f"{name}=")]


@dataclass(frozen=True)
class Job:
    base: Path

    @property
    def model(self) -> Path:
        return self.base / "model"

    @property
    def output(self) -> Path:
        return self.base / "output" / "data"

    @property
    def checkpoints(self) -> Path:
        return self.base / "checkpoints"

    def trained(self) -> TrainedModel:
        return load_model(self.model)

    def channel(self, name: str) -> Path:
        folder = self.base / "input" / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def name_classes(self, names: Sequence[str] = CLASSES) -> Job:
        (self.channel("labels") / "labels.json").write_text(json.dumps(list(names)))
        return self

    def keep_checkpoints(self) -> Job:
        self.checkpoints.mkdir(exist_ok=True)
        return self

    @contextmanager
    def environment(self) -> Iterator[None]:
        os.environ["SAGEMAKER_BASE_DIR"] = str(self.base)
        try:
            yield
        finally:
            del os.environ["SAGEMAKER_BASE_DIR"]

    def start(self, *, environment: dict[str, str] | None = None, **hyperparameters: object) -> subprocess.Popen[str]:
        """The script as a process of its own."""
        return subprocess.Popen(
            [sys.executable, SCRIPT.name, *arguments(hyperparameters)],
            cwd=SCRIPT.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "SAGEMAKER_BASE_DIR": str(self.base), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def arguments(hyperparameters: dict[str, object]) -> list[str]:
    """The command line that the toolkit makes of a job's hyperparameters."""
    chosen = {**QUICK, **hyperparameters}
    return [word for name, value in chosen.items() if value is not None for word in (f"--{name}", str(value))]


def equal_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The names under which two models have the same weights."""
    return [name for name, value in one.items() if torch.equal(value, other[name])]
