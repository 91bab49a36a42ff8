"""The model that an incremental training goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.problems import Problem
from include.training.best_model import label_set_fingerprint

if TYPE_CHECKING:
    from include.datasets.version import DatasetVersion
    from include.training.best_model import BestModel


def parent_problems(dataset: DatasetVersion, parent: BestModel) -> Iterator[Problem]:
    """What stands against training on from `parent`: other classes, labels of another kind, an unknown network."""
    classes = parent.hyperparameters.get("num_classes")
    if classes != str(dataset.num_classes):
        yield Problem(
            field="dataset.labels",
            value=f"{dataset.num_classes} classes",
            remedy=f"the parent model {parent.job} knows {classes}; classes cannot be added: run a full training",
        )
    elif parent.hyperparameters.get("multi_label", "0") != ("1" if dataset.multi_label else "0"):
        yield Problem(
            field="dataset.multi_label",
            value=dataset.multi_label,
            remedy=f"the parent model {parent.job} was trained otherwise: run a full training",
        )
    elif parent.label_set and parent.label_set != label_set_fingerprint(dataset.labels):
        yield Problem(
            field="dataset.labels",
            value=", ".join(dataset.labels),
            remedy=f"the parent model {parent.job} knows other classes, or in another order: run a full training",
        )
    absent = [name for name in ("num_layers", "image_shape") if name not in parent.hyperparameters]
    if absent:
        yield Problem(
            field="incremental", value=parent.job, remedy=f"tells no {', '.join(absent)}: run a full training"
        )
