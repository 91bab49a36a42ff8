"""A trained model: `model.pt` (weights by name, nothing that runs) and `model.json` (what they are the weights of).

Beside them `code/` holds the scripts that answer with it, so that the archive serves by itself.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from job_folders import JobError
from residual_network import MEAN, STD

WEIGHTS_FILE = "model.pt"
DESCRIPTION_FILE = "model.json"
ARCHIVE = "model.tar.gz"
FORMAT = 1
SERVING_FILES = ("inference.py", "image_decoding.py", "job_folders.py", "model_files.py", "residual_network.py")
LARGEST_DESCRIPTION = 64 << 20
LARGEST_WEIGHTS = 4 << 30

Weights = dict[str, Any]


@dataclass(frozen=True)
class ModelDescription:
    """What the weights are the weights of, and how an image is shown to them.

    `accuracy` is the validation accuracy after `epoch` (from 1); both are None for weights of an unfinished epoch.
    """

    network: str
    classes: tuple[str, ...]
    multi_label: bool
    image_size: int
    view: str
    epoch: int | None = None
    accuracy: float | None = None
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    format: int = FORMAT

    @classmethod
    def from_json(cls, text: str | bytes, place: object) -> ModelDescription:
        """What `model.json` says. Raises JobError naming `place`."""
        try:
            document = json.loads(text)
            if document.get("format") != FORMAT:
                raise ValueError(f"format {document.get('format')}, {FORMAT} is read")
            tuples = {name: tuple(document[name]) for name in ("classes", "mean", "std")}
            return cls(**{**document, **tuples})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise JobError(f"{place} is not a model description of these scripts: {error}.") from error


@dataclass(frozen=True)
class TrainedModel:
    """A model's description and its weights, on the CPU."""

    description: ModelDescription
    weights: Weights


def save_model(folder: Path, weights: Mapping[str, Any], description: ModelDescription) -> None:
    """Write a model and the scripts that serve it. Each file is whole at any time."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / WEIGHTS_FILE, on_cpu(weights))
    unfinished = folder / f".{DESCRIPTION_FILE}"
    unfinished.write_text(json.dumps(dataclasses.asdict(description), indent=1))
    unfinished.replace(folder / DESCRIPTION_FILE)
    code = folder / "code"
    if not code.is_dir():
        code.mkdir()
        for name in SERVING_FILES:
            shutil.copyfile(Path(__file__).with_name(name), code / name)


def load_model(folder: Path) -> TrainedModel:
    """The model of a folder. Raises JobError."""
    description = folder / DESCRIPTION_FILE
    if not description.is_file():
        raise JobError(f"{folder} holds no {DESCRIPTION_FILE}: it is not a model of these scripts.")
    return TrainedModel(
        ModelDescription.from_json(description.read_bytes(), description), read_weights(folder / WEIGHTS_FILE)
    )


def load_archive(archive: Path) -> TrainedModel:
    """The model in a model.tar.gz; nothing is unpacked to disk. Raises JobError."""
    try:
        with tarfile.open(archive, "r:gz") as members:
            named = {member.name.removeprefix("./"): member for member in members if member.isfile()}
            if DESCRIPTION_FILE not in named or WEIGHTS_FILE not in named:
                raise JobError(
                    f"{archive} holds no {DESCRIPTION_FILE} and {WEIGHTS_FILE}: it was not trained by these scripts."
                )
            text = _member(members, named[DESCRIPTION_FILE], LARGEST_DESCRIPTION)
            weights = _member(members, named[WEIGHTS_FILE], LARGEST_WEIGHTS)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise JobError(f"{archive} cannot be unpacked: {error}.") from error
    return TrainedModel(
        ModelDescription.from_json(text, f"{DESCRIPTION_FILE} of {archive}"),
        read_weights(io.BytesIO(weights), f"{WEIGHTS_FILE} of {archive}"),
    )


def _member(members: tarfile.TarFile, member: tarfile.TarInfo, largest: int) -> bytes:
    if member.size > largest:
        raise JobError(f"{member.name} of the model has {member.size} bytes, at most {largest} are read.")
    stream = members.extractfile(member)
    return stream.read() if stream else b""


def read_weights(source: Path | io.BytesIO, place: object = None) -> Weights:
    """Weights by name, of our own files and of torchvision's; nothing in the file is executed. Raises JobError."""
    try:
        found = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises whatever it meets
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise JobError(
            f"{place or source} cannot be read as weights: {reason} A file of weights is what "
            "torch.save(network.state_dict(), path) writes; a saved network is not read."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise JobError(f"{place or source} holds no weights by name (a state dict).")
    return {name.removeprefix("module."): value for name, value in found.items()}


def on_cpu(weights: Mapping[str, Any]) -> Weights:
    """A copy of the weights in plain memory."""
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in weights.items()}


def write_whole(path: Path, content: Any) -> None:
    """Save tensors and plain values; the file is never there half."""
    unfinished = path.with_name(f".{path.name}")
    torch.save(content, unfinished)
    unfinished.replace(path)
