"""A training job as SageMaker would lay it out, on real bytes, run as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np

from tests.unit.docs.commands import shown

PROJECT = Path(__file__).parents[2]
CLASSES = 3
TRAIN_IMAGES = 96
VALIDATION_IMAGES = 29
CORNERS = ((3, 3), (3, 16), (16, 3))

Labels = float | Sequence[float]


def picture(class_index: int, number: int, side: int = 28, width: int | None = None) -> np.ndarray:
    """A dark noisy image with a bright square; the class is the square's corner."""
    noise = np.random.default_rng(1000 * class_index + number)
    image = noise.integers(0, 60, (28, 28, 3), dtype=np.uint8)
    top, left = CORNERS[class_index]
    image[top : top + 9, left : left + 9] = noise.integers(170, 255, 3, dtype=np.uint8)
    size = (width or side, side)
    return image if size == (28, 28) else cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def encoded(image: np.ndarray, suffix: str = ".jpg") -> bytes:
    done, data = cv2.imencode(suffix, image)
    assert done
    return data.tobytes()


def corner_images(count: int, first: int = 0, **size: int) -> Iterable[tuple[float, bytes]]:
    for number in range(first, first + count):
        yield float(number % CLASSES), encoded(picture(number % CLASSES, number, **size))


def several_corners(count: int, first: int = 0) -> Iterable[tuple[Sequence[float], bytes]]:
    """Images with any number of squares; one 0/1 label for each corner."""
    for number in range(first, first + count):
        labels = [float(number >> bit & 1) for bit in range(CLASSES)]
        layers = [picture(index, number) for index, label in enumerate(labels) if label]
        yield labels, encoded(np.max(layers, axis=0) if layers else np.zeros((28, 28, 3), np.uint8))


def write_records(path: Path, records: Iterable[tuple[Labels, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = mx.recordio.MXRecordIO(str(path), "w")
    for number, (labels, image) in enumerate(records):
        header = mx.recordio.IRHeader(0, labels, number, 0)
        writer.write(mx.recordio.pack(header, image))
    writer.close()


@dataclass(frozen=True)
class Finished:
    code: int
    log: str
    failure: str


@dataclass(frozen=True)
class JobFolder:
    base: Path

    @property
    def model(self) -> Path:
        return self.base / "model"

    def channel(self, name: str) -> Path:
        return self.base / "input" / "data" / name

    def write_config(self, name: str, content: object) -> None:
        folder = self.base / "input" / "config"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content))

    def set(self, **changes: object) -> JobFolder:
        """Write hyperparameters.json: a small quick training, with `changes`; None leaves one out."""
        chosen = {
            "num_classes": CLASSES,
            "num_training_samples": TRAIN_IMAGES,
            "num_layers": 20,
            "image_shape": "3,28,28",
            "mini_batch_size": 8,
            "epochs": 2,
            "learning_rate": 0.05,
        } | changes
        self.write_config("hyperparameters", {k: str(v) for k, v in chosen.items() if v is not None})
        return self

    def declare(self, content_type: str = "application/x-recordio", **extra: str) -> JobFolder:
        names = [folder.name for folder in self.channel(".").iterdir()]
        entry = {"ContentType": content_type, "TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
        entries = {name: {**entry, **extra} for name in names}
        if "model" in entries:
            entries["model"]["ContentType"] = "application/x-sagemaker-model"
        self.write_config("inputdataconfig", entries)
        return self

    def start(self, command: str = "train", **environment: str) -> subprocess.Popen[str]:
        """Run the container as docs/reference/container.md shows it, with this command."""
        written = {each.words[1:-1] for each in shown(".venv-mxnet/bin/python -m containers.* *")}
        (module,) = written
        return subprocess.Popen(
            [sys.executable, *module, command],
            cwd=PROJECT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "SAGEMAKER_BASE_DIR": str(self.base), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Finished:
        log, _ = process.communicate(timeout=240)
        failure = self.base / "output" / "failure"
        return Finished(process.returncode, log, failure.read_text() if failure.exists() else "")

    def train(self) -> Finished:
        return self.finish(self.start())


def corner_job(base: Path, **hyperparameters: object) -> JobFolder:
    """A job with record channels of the three corner classes."""
    job = JobFolder(base)
    write_records(job.channel("train") / "train.rec", corner_images(TRAIN_IMAGES))
    write_records(job.channel("validation") / "validation.rec", corner_images(VALIDATION_IMAGES, first=TRAIN_IMAGES))
    return job.declare().set(**hyperparameters)


JobMaker = Callable[..., JobFolder]
