"""A job of the template: images in class folders or records, hyperparameters, and `./train` and `./serve` on them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.algorithms.job import CLASSES, Ended, Job, encoded, one_corner, picture, write_records
from tests.unit.docs.commands import ROOT, shown

TRAIN, VALIDATION, TEST = 36, 15, 12
QUICK = {"image_size": 24, "epochs": 1, "batch_size": 6, "learning_rate": 0.004, "loader_threads": 2, "dropout": 0}
Run = Callable[..., Ended]


@dataclass(frozen=True)
class ContainerJob(Job):
    """A job of the template; class folders are called after CLASSES."""

    def ask(self, hyperparameters: dict[str, Any]) -> None:
        """Write hyperparameters.json as the service does: every value is text."""
        config = self.base / "input" / "config"
        config.mkdir(parents=True, exist_ok=True)
        chosen = {name: str(value) for name, value in {**QUICK, **hyperparameters}.items()}
        (config / "hyperparameters.json").write_text(json.dumps(chosen))

    def folders(self, **counts: int) -> ContainerJob:
        """Fill channels with images in class folders, each channel with others."""
        first = 0
        for channel, count in counts.items():
            for number in range(first, first + count):
                folder = self.channel(channel) / CLASSES[number % 3]
                folder.mkdir(exist_ok=True)
                (folder / f"{number}.jpg").write_bytes(encoded(picture([number % 3], number)))
            first += count
        return self

    def records(self, **counts: int) -> ContainerJob:
        """Fill channels with the same images as records."""
        first = 0
        for channel, count in counts.items():
            write_records(self.channel(channel) / f"{channel}.rec", one_corner(count, first))
            first += count
        return self

    def command(self, verb: str, **environment: str) -> subprocess.Popen[str]:
        """`./train` as its page shows it, or `./serve`: a process of its own, started from another folder."""
        (written,) = shown("SAGEMAKER_BASE_DIR=* algorithms/container_template/train")
        given = {"SAGEMAKER_BASE_DIR": str(self.base), "PYTHON": sys.executable}
        variables = {name: given[name] for name, _, _ in (each.partition("=") for each in written.variables)}
        return subprocess.Popen(
            [(ROOT / written.words[0]).with_name(verb)],
            cwd=self.base,
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **variables, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def document(self, name: str) -> Any:
        """A JSON document of the model's folder."""
        return json.loads((self.model / name).read_text())

    def table(self, name: str) -> Sequence[Sequence[str]]:
        """A CSV table of the model's folder."""
        with (self.model / name).open(newline="") as stream:
            return [*csv.reader(stream)]
