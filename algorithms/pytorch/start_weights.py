"""What training starts from: a model that is trained further, weights of another one, or random weights."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperparameters import Hyperparameters
from job_folders import JobError, JobFolders
from model_files import ARCHIVE, DESCRIPTION_FILE, ModelDescription, Weights, load_archive, load_model, read_weights

log = logging.getLogger(__name__)

MODEL_CHANNEL, WEIGHTS_CHANNEL = "model", "weights"
HEAD = ("fc.weight", "fc.bias")


@dataclass(frozen=True)
class Start:
    """Weights to start from. `continues` is the model that is trained further; its head is kept, whatever happens."""

    weights: Weights
    continues: ModelDescription | None = None


def read_start(folders: JobFolders) -> Start | None:
    """What the channels `model` and `weights` hold; None without them. Raises JobError.

    A model.tar.gz of these scripts in channel `model` is trained further. A file of weights, in either channel, is
    where learning begins; so is a model.tar.gz in channel `weights`. With both channels, `model` is read: a job that
    trains further has the channels of the first job too.
    """
    given = [name for name in (MODEL_CHANNEL, WEIGHTS_CHANNEL) if name in folders.channels]
    if not given:
        return None
    channel = given[0]
    if len(given) > 1:
        log.info("Channel '%s' is not read: training starts from channel '%s'", given[1], channel)
    folder = folders.channel(channel)
    if (folder / DESCRIPTION_FILE).is_file():
        model = load_model(folder)
    elif archives := sorted(folder.rglob(f"*{ARCHIVE}")):
        model = load_archive(_only(archives, channel))
    else:
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".pt", ".pth"))
        if not files:
            raise JobError(f"Channel '{channel}' holds neither a {ARCHIVE} nor a .pt or .pth file: {folder}.")
        return Start(read_weights(_only(files, channel)))
    return Start(model.weights, model.description if channel == MODEL_CHANNEL else None)


def _only(paths: list[Path], channel: str) -> Path:
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths[:5])
        raise JobError(f"Channel '{channel}' holds {len(paths)} models ({names}): name one.")
    return paths[0]


def check_continues(before: ModelDescription, chosen: Hyperparameters, classes: tuple[str, ...]) -> None:
    """Check that a job trains the same thing further. Raises JobError, which names all that differs."""
    asked = {"network": chosen.network, "multi_label": chosen.multi_label, "classes": classes}
    problems = []
    for name, value in asked.items():
        had = getattr(before, name)
        if had == value:
            continue
        if name == "classes":
            problems.append(f"classes ({_differing(before.classes, classes)})")
        else:
            problems.append(f"{name}={value} (the model has {had})")
    if problems:
        raise JobError(
            f"The model in channel 'model' cannot be trained further with other {'; '.join(problems)}. To begin with "
            "its weights only, name its model.tar.gz in channel 'weights' instead."
        )


def _differing(had: tuple[str, ...], asked: tuple[str, ...]) -> str:
    if set(had) == set(asked):
        return "the same in another order"
    lost, new = [name for name in had if name not in asked], [name for name in asked if name not in had]
    parts = [f"{word} {', '.join(names[:10])}" for word, names in (("without", lost), ("new", new)) if names]
    return f"the model has {len(had)}, the job {len(asked)}: {'; '.join(parts)}"


def load_into(network: Any, start: Start, name: str) -> None:
    """Give a network its start weights; a head for other classes keeps its random ones, which is logged.

    Raises JobError for weights of another network.
    """
    own = network.state_dict()
    weights = {key: value for key, value in start.weights.items() if key in own}
    _check_body(own, start.weights, name)
    if any(key not in weights or weights[key].shape != own[key].shape for key in HEAD):
        had = len(start.weights["fc.bias"]) if "fc.bias" in start.weights else 0
        log.info("The head is new: the weights are of %d classes, the job has %d", had, len(own["fc.bias"]))
        weights |= {key: own[key] for key in HEAD}
    network.load_state_dict({**own, **weights})


def _check_body(own: Mapping[str, Any], weights: Weights, name: str) -> None:
    # Files of torchvision's first years lack the counters of batches.
    needed = [key for key in own if key not in HEAD and not key.endswith("num_batches_tracked")]
    odd = [key for key in needed if key not in weights or weights[key].shape != own[key].shape]
    odd += [key for key in weights if key not in own]
    if odd:
        raise JobError(
            f"The weights are not those of network={name}: {len(odd)} layers differ, the first is {odd[0]}. "
            "Set hyperparameter network to that of the weights."
        )
