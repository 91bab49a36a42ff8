"""Training images of the PyTorch scripts beside torchvision's ImageFolder: same JPEGs, same views, same DataLoader.

    PYTHONPATH=.:algorithms/pytorch .venv-torchvision/bin/python -m benchmarks.pytorch_reader

`make bench-pytorch-reader` makes that environment. Each reader gives batches of random square crops, mirrored in half
of the cases, as bytes; torchvision's way is RandomResizedCrop, RandomHorizontalFlip and PILToTensor. The readers take
turns. Seconds are those of the fastest turn; CPU is user and system time of the process and its workers.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

from hyperparameters import Hyperparameters
from image_data import TrainingImages, TrainingOrder, make_loader, open_images
from include.recordio.format import RecordWriter, encode_image_record
from processes import Processes

IMAGES = 600
CLASSES = [f"class-{number}" for number in range(10)]
SIZE = (340, 256)
TURNS = 3
WORKERS = 2
CHOSEN = Hyperparameters(batch_size=50, image_size=224, augmentation="crop")
ALONE = Processes(0, 1, 1, torch.device("cpu"))


@dataclass
class Reader:
    """A reader and what its turns took."""

    name: str
    open: Callable[[], Any]
    opened: float = float("inf")
    seconds: float = float("inf")
    cpu: float = float("inf")

    def take_turn(self) -> None:
        """Open the images, and read an epoch of them."""
        started, cpu = time.perf_counter(), cpu_seconds()
        loader = self.open()
        opened = time.perf_counter()
        read = sum(len(images) for images, _ in loader)
        if read != IMAGES:
            sys.exit(f"{self.name} gave {read} of {IMAGES} images")
        del loader
        self.opened = min(self.opened, opened - started)
        self.seconds = min(self.seconds, time.perf_counter() - opened)
        self.cpu = min(self.cpu, cpu_seconds() - cpu)


def cpu_seconds() -> float:
    """User and system time of this process and of its workers that have ended."""
    return sum(os.times()[:4])


def photograph(number: int) -> bytes:
    """A JPEG of smooth shapes with some noise, the same on every machine."""
    random = np.random.default_rng(number)
    shapes = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    noisy = np.asarray(shapes) + random.normal(0, 8, (SIZE[1], SIZE[0], 1))
    stream = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def write(folder: Path) -> None:
    """The same images as class folders and as one `.rec` file."""
    (folder / "records").mkdir()
    with (folder / "records" / "train.rec").open("wb") as stream:
        writer = RecordWriter(stream)
        for number in range(IMAGES):
            label = number % len(CLASSES)
            image = folder / "folders" / CLASSES[label] / f"{number:06}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes(photograph(number))
            writer.write(number, encode_image_record([float(label)], number, image.read_bytes()))


def ours(folder: Path) -> Any:
    """The scripts' loader."""
    images = open_images("train", folder, CLASSES, multi_label=False)
    order = TrainingOrder(len(images), CHOSEN, ALONE)
    return make_loader(TrainingImages(images, CHOSEN, len(CLASSES)), order, WORKERS, ALONE.device)


def torchvisions(folder: Path) -> Any:
    """A loader as torchvision's examples make it."""
    changes = v2.Compose(
        [v2.RandomResizedCrop(CHOSEN.image_size, scale=(0.3, 1)), v2.RandomHorizontalFlip(), v2.PILToTensor()]
    )
    images = torchvision.datasets.ImageFolder(str(folder), changes)
    return torch.utils.data.DataLoader(
        images, batch_size=CHOSEN.batch_size, shuffle=True, num_workers=WORKERS, drop_last=True
    )


def main() -> None:
    """Measure and print a table in Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        readers = [
            Reader("torchvision, ImageFolder", lambda: torchvisions(folder / "folders")),
            Reader("the scripts, class folders", lambda: ours(folder / "folders")),
            Reader("the scripts, RecordIO", lambda: ours(folder / "records")),
        ]
        for _ in range(TURNS):
            for reader in readers:
                reader.take_turn()
    print("| reader | images a second | images a CPU second | opened in |\n|---|---|---|---|")
    for reader in readers:
        figures = f"{IMAGES / reader.seconds:.0f} | {IMAGES / reader.cpu:.0f} | {1000 * reader.opened:.0f} ms"
        print(f"| {reader.name} | {figures} |")
    print(json.dumps({"torch": torch.__version__, "torchvision": torchvision.__version__, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
