"""What the classes are called, in the order of their index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from job_folders import JobError, JobFolders

LABELS_CHANNEL = "labels"
LABELS_FILE = "labels.json"


def read_class_names(
    folders: JobFolders, num_classes: int, *, of_folders: Sequence[str] | None, of_model: Sequence[str] | None
) -> tuple[str, ...]:
    """The class names. Raises JobError if nothing says how many there are, or two sources disagree on it.

    They are those of labels.json in channel 'labels'; without it those of the class folders, else those of the model
    that is trained further, else the numbers below `num_classes`.
    """
    if LABELS_CHANNEL in folders.channels:
        names, source = _read_labels_file(folders.channel(LABELS_CHANNEL)), "channel 'labels'"
    elif of_folders is not None:
        names, source = tuple(of_folders), "channel 'train'"
    elif of_model is not None:
        names, source = tuple(of_model), "the model in channel 'model'"
    elif num_classes:
        names, source = tuple(map(str, range(num_classes))), "num_classes"
    else:
        raise JobError(
            "The number of classes is not known: set hyperparameter num_classes, or add a channel 'labels' with the "
            "dataset version's labels.json."
        )
    if num_classes and num_classes != len(names):
        raise JobError(f"Hyperparameter num_classes={num_classes} differs from the {len(names)} classes of {source}.")
    if len(names) < 2:
        raise JobError(f"{source} has {len(names)} classes: at least 2 are needed.")
    return names


def _read_labels_file(folder: Path) -> tuple[str, ...]:
    path = folder / LABELS_FILE
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise JobError(f"Channel 'labels' holds no {LABELS_FILE}: name the one of the dataset version.") from None
    except ValueError as error:
        raise JobError(f"{path} is not JSON: {error}.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise JobError(f'{path} is not a list of class names: write ["cat", "dog"].')
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise JobError(f"{path} names {', '.join(repeated[:10])} more than once: a class has one index.")
    return tuple(names)
