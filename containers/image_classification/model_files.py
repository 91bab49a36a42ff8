"""The files of a trained model, as SageMaker's algorithm writes them.

`image-classification-NNNN.params` (NNNN: 1-based epoch), `image-classification-symbol.json`, `model-shapes.json`.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx

from .model_archive import UnusableArchiveError, unpack_archive

PREFIX = "image-classification"
SYMBOL_FILE = f"{PREFIX}-symbol.json"
SHAPES_FILE = "model-shapes.json"
PARAMS_PATTERN = re.compile(rf"{PREFIX}-(\d{{4,}})\.params")
ARCHIVE = "model.tar.gz"
CONVOLUTION_WEIGHT = re.compile(r"conv\d+_weight$")
FINAL_WEIGHT = "fc1_weight"
WRITE_FAILED = "Write incomplete"

Arrays = Mapping[str, Any]


class UnusableModelError(ValueError):
    """A folder has no model that can be loaded; the sentence says what is missing or broken."""


@dataclass(frozen=True)
class Weights:
    """Learned parameters and running statistics: layer name to MXNet array."""

    arg: Arrays
    aux: Arrays

    @property
    def num_classes(self) -> int | None:
        """Outputs of the classifier."""
        return int(self.arg[FINAL_WEIGHT].shape[0]) if FINAL_WEIGHT in self.arg else None

    @property
    def num_layers(self) -> int:
        """Convolutions on the main path and the classifier."""
        return sum(bool(CONVOLUTION_WEIGHT.search(name)) for name in self.arg) + (FINAL_WEIGHT in self.arg)


@dataclass(frozen=True)
class TrainedModel:
    """A model read from its three files; `image_shape` is channels, height, width."""

    symbol: mx.symbol.Symbol
    weights: Weights
    image_shape: tuple[int, int, int]
    epoch: int


def params_file(folder: Path, epoch: int) -> Path:
    """Where the weights after `epoch` (1-based) lie."""
    return folder / f"{PREFIX}-{epoch:04d}.params"


def saved_epochs(folder: Path) -> dict[int, Path]:
    """The saved epochs of a folder, in rising order."""
    matches = ((PARAMS_PATTERN.fullmatch(path.name), path) for path in folder.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def save_weights(path: Path, weights: Weights) -> None:
    """Write float32 weights so that the file is whole or not there; raises OSError when the disk is full."""
    arrays = {f"arg:{name}": value for name, value in weights.arg.items()}
    arrays |= {f"aux:{name}": value for name, value in weights.aux.items()}
    unfinished = path.with_name(f".{path.name}.part")
    try:
        whole = write_arrays(unfinished, arrays)
        if not whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Arrays) -> bool:
    """Write a .params file and tell whether the disk took all of it.

    MXNet reports a write that fails, and not a flush that does when the file is closed: that shows in the size.
    """
    try:
        mx.nd.save(str(path), dict(arrays))
    except mx.MXNetError as failed:
        if WRITE_FAILED in str(failed):
            return False
        raise
    return path.stat().st_size >= 4 * sum(int(value.size) for value in arrays.values())


def save_network(folder: Path, symbol: mx.symbol.Symbol, image_shape: tuple[int, int, int]) -> None:
    """Write the two files that are the same for every epoch."""
    symbol.save(str(folder / SYMBOL_FILE))
    (folder / SHAPES_FILE).write_text(json.dumps([{"shape": [1, *image_shape], "name": "data"}]))


def reason_in(error: Exception) -> str:
    """The line of an error of MXNet that says what is wrong, out of the traceback in its text."""
    lines = str(error).splitlines() or [type(error).__name__]
    return next((line for line in reversed(lines) if "Check failed" in line or "Error: " in line), lines[0])


def load_weights(path: Path) -> Weights:
    """Read a .params file; raises UnusableModelError."""
    try:
        arrays = mx.nd.load(str(path))
    except mx.MXNetError as broken:
        raise UnusableModelError(f"{path.name} cannot be read: {reason_in(broken)}") from broken
    if not isinstance(arrays, dict):
        raise UnusableModelError(f"{path.name} holds arrays without names")
    parts: dict[str, dict[str, Any]] = {"arg": {}, "aux": {}}
    for name, value in arrays.items():
        kind, _, layer = name.partition(":")
        if kind not in parts:
            raise UnusableModelError(f"{path.name} holds {name!r}, which is neither arg: nor aux:")
        parts[kind][layer] = value.astype("float32")
    return Weights(**parts)


def load_model(folder: Path) -> TrainedModel:
    """Read the model of a folder, its last saved epoch; raises UnusableModelError."""
    if not folder.is_dir():
        raise UnusableModelError(f"there is no folder {folder}")
    epochs = saved_epochs(folder)
    missing = [name for name in (SYMBOL_FILE, SHAPES_FILE) if not (folder / name).is_file()]
    if not epochs:
        missing.insert(0, f"{PREFIX}-NNNN.params")
    if missing:
        held = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise UnusableModelError(f"{', '.join(missing)} missing; {folder} holds {held}")
    epoch, newest = list(epochs.items())[-1]
    return TrainedModel(
        read_symbol(folder / SYMBOL_FILE), load_weights(newest), read_shape(folder / SHAPES_FILE), epoch
    )


def read_symbol(path: Path) -> mx.symbol.Symbol:
    """The network of a model; raises UnusableModelError."""
    try:
        return mx.sym.load(str(path))
    except mx.MXNetError as broken:
        raise UnusableModelError(f"{path.name} cannot be read: {reason_in(broken)}") from broken


def read_shape(path: Path) -> tuple[int, int, int]:
    """The image shape in model-shapes.json; raises UnusableModelError."""
    try:
        shapes = {entry["name"]: entry["shape"] for entry in json.loads(path.read_text())}
        _, channels, height, width = (int(side) for side in shapes["data"])
    except (ValueError, KeyError, TypeError) as broken:
        raise UnusableModelError(f'{path.name} must hold [{{"shape": [1, 3, h, w], "name": "data"}}]') from broken
    return channels, height, width


def unpack_model(channel: Path, workspace: Path) -> Path:
    """The folder with the files of a `model` channel: as they are, or out of its model.tar.gz.

    Raises UnusableModelError.
    """
    archives = sorted(channel.rglob("*.tar.gz")) if channel.is_dir() else []
    if not archives:
        symbols = sorted(channel.rglob(SYMBOL_FILE)) if channel.is_dir() else []
        return symbols[0].parent if symbols else channel
    if len(archives) > 1:
        raise UnusableModelError(f"the channel holds {len(archives)} archives: exactly one {ARCHIVE} is read")
    target = workspace / "model"
    try:
        unpack_archive(archives[0], target)
    except UnusableArchiveError as broken:
        raise UnusableModelError(f"{archives[0].name} cannot be unpacked: {broken}") from broken
    symbols = sorted(target.rglob(SYMBOL_FILE))
    return symbols[0].parent if symbols else target
