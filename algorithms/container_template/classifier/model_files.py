"""A trained model as files: `model.keras`, `model.weights.h5`, `classes.json` and `config.json`.

The network is built by this code and given the weights: what an archive holds is never executed.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Config, read_config
from .images import Classes
from .job_folders import JobError
from .networks import build_network

KERAS_FILE, WEIGHTS_FILE = "model.keras", "model.weights.h5"
CLASSES_FILE, CONFIG_FILE = "classes.json", "config.json"
NEEDED = (WEIGHTS_FILE, CLASSES_FILE, CONFIG_FILE)
LARGEST_FILE = 4 << 30


@dataclass(frozen=True)
class TrainedModel:
    """A network with its weights, the classes of its probabilities, and what its job was asked."""

    network: Any
    classes: Classes
    config: Config


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that is never there half."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    write(unfinished)
    unfinished.replace(path)


def write_json(path: Path, document: object) -> None:
    """Write a JSON document."""
    write_whole(path, lambda unfinished: unfinished.write_text(f"{json.dumps(document, indent=1)}\n"))


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write the files of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / KERAS_FILE, model.network.save)
    write_whole(folder / WEIGHTS_FILE, model.network.save_weights)
    write_json(folder / CLASSES_FILE, list(model.classes))
    write_json(folder / CONFIG_FILE, dataclasses.asdict(model.config))


def load_model(folder: Path) -> TrainedModel:
    """The model of a folder. Raises JobError."""
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise JobError(f"{folder} does not hold a model of this algorithm: {', '.join(missing)} is missing.")
    try:
        classes = tuple(json.loads((folder / CLASSES_FILE).read_text()))
        document = json.loads((folder / CONFIG_FILE).read_text())
        known = {entry.name: document[entry.name] for entry in dataclasses.fields(Config) if entry.name in document}
        config = dataclasses.replace(read_config({}), **known)  # an older archive lacks what config.toml has since
        network = build_network(config, len(classes))
        network.load_weights(folder / WEIGHTS_FILE)
    except JobError:
        raise
    except Exception as error:  # h5py and Keras raise whatever they meet
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise JobError(
            f"The model in {folder} cannot be loaded by this version of the algorithm: {type(error).__name__}: {reason}"
        ) from error
    return TrainedModel(network, classes, config)


def load_model_channel(folder: Path) -> TrainedModel:
    """The model of a channel that holds a `model.tar.gz`, or its unpacked files. Raises JobError."""
    archives = sorted(folder.rglob("*.tar.gz"))
    if not archives:
        return load_model(folder)
    if len(archives) > 1:
        raise JobError(f"Channel '{folder.name}' holds {len(archives)} archives: name one model.tar.gz.")
    with tempfile.TemporaryDirectory() as unpacked:
        _unpack(archives[0], Path(unpacked))
        return load_model(Path(unpacked))


def _unpack(archive: Path, folder: Path) -> None:
    """Write the needed files of an archive, and no others, to a folder."""
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                name = member.name.removeprefix("./")
                if name not in NEEDED or not member.isfile():
                    continue
                if member.size > LARGEST_FILE:
                    raise JobError(f"{name} of {archive} has {member.size} bytes, at most {LARGEST_FILE} are read.")
                stream = members.extractfile(member)
                if stream is not None:
                    with (folder / name).open("wb") as copy:
                        shutil.copyfileobj(stream, copy)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise JobError(f"{archive} cannot be unpacked: {error}.") from error
