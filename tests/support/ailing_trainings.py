"""Trains small networks with the PyTorch scripts, each with something wrong: `ailing_trainings.py FOLDER`.

Runs in .venv-pytorch, in one process, because importing torch takes as long as a training. Each training leaves its
output and its log in a folder of its name.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import ImageOps

import train
from residual_network import ResidualNetwork
from tests.algorithms.job import Job, arguments, encoded, one_corner, picture, write_records

Weights = dict[str, Any]
FRAMES = ("red", "green", "blue")
CALM = {"optimizer": "sgd", "momentum": 0, "schedule": "constant"}


def nothing(weights: Weights) -> None:
    """Weights as they should be."""


def vanish(weights: Weights) -> None:
    """The last block passes on next to nothing of what it gets, and so of the gradient."""
    for name in ("layer4.1.bn2", "layer4.0.bn2", "layer4.0.downsample.1"):
        weights[f"{name}.weight"].fill_(1e-6)
        weights[f"{name}.bias"].fill_(1.0)


def die(weights: Weights) -> None:
    """All units of the last block are below zero."""
    for name in ("layer4.1.bn2", "layer4.0.bn2", "layer4.0.downsample.1"):
        weights[f"{name}.bias"].fill_(-100.0)


def equal(weights: Weights) -> None:
    """All weights of every convolution are the same."""
    for weight in weights.values():
        if weight.ndim == 4:
            weight.fill_(0.01)


TRAININGS: dict[str, tuple[Callable[[Weights], None], dict[str, Any]]] = {
    "healthy": (nothing, {"epochs": 3}),
    "vanishing": (vanish, {"lr": 1e-5, **CALM}),
    "exploding": (nothing, {"lr": 100, **CALM}),
    "dead": (die, {"lr": 0.001, **CALM}),
    "poor": (equal, {"lr": 0.001, **CALM}),
    "stuck": (nothing, {"lr": 1e-8, "epochs": 2, "batch_size": 24, "flip": 0, **CALM}),
    "overfitted": (nothing, {"epochs": 2}),
    "overtrained": (nothing, {"epochs": 8, "freeze_epochs": 8}),
    "waiting": (nothing, {"freeze_epochs": 1}),
    "imbalanced": (nothing, {"epochs": 1}),
}
TRAIN_IMAGES, VALIDATION_IMAGES = 24, 9


def train_images(name: str) -> Iterator[tuple[Sequence[float], bytes]]:
    """The training images; some show their label in a frame, which validation lacks, others take long to decode."""
    for number in range(TRAIN_IMAGES):
        shown = number if name != "imbalanced" or number < 3 else 0
        label = number // 3 % 3 if name == "overfitted" else shown % 3
        image = picture([shown % 3], number)
        if name == "overfitted":
            image = ImageOps.expand(image, 8, FRAMES[label])
        if name == "waiting":
            image = image.resize((1500, 1500))
        yield [float(label)], encoded(image)


def run(base: Path, name: str, healthy: Path) -> None:
    """One training, with its log beside it."""
    change, hyperparameters = TRAININGS[name]
    job = Job(base / name).name_classes()
    images = list(train_images(name))
    write_records(job.channel("train") / "train.rec", images)
    (base / f"{name}.json").write_text(json.dumps(Counter(str(int(label)) for (label,), _ in images)))
    write_records(job.channel("validation") / "validation.rec", one_corner(VALIDATION_IMAGES, first=TRAIN_IMAGES))
    start = job.channel("weights") / "start.pt"
    if name == "overtrained":
        start.write_bytes((healthy / "model" / "model.pt").read_bytes())
    else:
        torch.manual_seed(0)
        weights = ResidualNetwork("resnet18", 3).state_dict()
        change(weights)
        torch.save(weights, start)
    with (base / f"{name}.log").open("w") as log, contextlib.redirect_stdout(log), job.environment():
        code = train.main(arguments({"statistics_every": 4, **hyperparameters}))
    if code:
        raise SystemExit(f"Training {name} failed.")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for one in TRAININGS:
        run(Path(sys.argv[1]), one, Path(sys.argv[1]) / "healthy")
