"""How good predictions are, measured with scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    classification_report,
    confusion_matrix,
    multilabel_confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from include.evaluation.prediction import SHOWN_FROM


class ClassScore(BaseModel):
    """Precision, recall and F1 of one class; `images` of the held-out ones show it."""

    model_config = ConfigDict(frozen=True)

    precision: float
    recall: float
    f1: float
    images: int


class Evaluation(BaseModel):
    """What a model reached on the held-out images, and where its report lies.

    `accuracy` is the share of images whose most probable class is theirs; for multi-label datasets the share of right
    yes/no answers, averaged over the classes, as the algorithm counts it.
    """

    model_config = ConfigDict(frozen=True)

    job: str
    images: int
    accuracy: float
    top_k: int | None = None
    top_k_accuracy: float | None = None
    mean_average_precision: float | None = None
    classes: dict[str, ClassScore]
    report_uri: str
    metrics_uri: str


@dataclass(frozen=True)
class Measurement:
    """Figures of one set of predictions.

    `confusion` is [expected, predicted] of shape (classes, classes); for multi-label datasets (classes, 2, 2), each
    [[true negatives, false positives], [false negatives, true positives]].
    """

    images: int
    accuracy: float
    top_k: int | None
    top_k_accuracy: float | None
    mean_average_precision: float | None
    classes: dict[str, ClassScore]
    confusion: npt.NDArray[np.int64]
    report: dict[str, Any]

    def figures(self) -> dict[str, Any]:
        """The plain figures, for metrics.json."""
        figures = {
            "images": self.images,
            "accuracy": self.accuracy,
            "top_k": self.top_k,
            "top_k_accuracy": self.top_k_accuracy,
            "mean_average_precision": self.mean_average_precision,
        }
        return {name: value for name, value in figures.items() if value is not None}


def measure(
    truth: Sequence[Sequence[float]],
    probabilities: Sequence[Sequence[float]],
    labels: Sequence[str],
    *,
    multi_label: bool = False,
    top_k: int | None = None,
) -> Measurement:
    """Compare predictions with the truth, image by image.

    `truth` holds labels as records do: (index,) or one 0/1 for each class. `top_k` defaults to 5 if there are more
    classes than that. Raises ValueError if there is nothing to compare.
    """
    if not truth or len(truth) != len(probabilities):
        raise ValueError(f"{len(probabilities)} predictions for {len(truth)} held-out images: nothing to compare.")
    predicted = np.asarray(probabilities, dtype=np.float64)
    expected = np.asarray(truth, dtype=np.int64)
    if multi_label:
        return _multi_label(expected, predicted, labels)
    return _single_label(expected[:, 0], predicted, labels, top_k or (5 if len(labels) > 5 else None))


def _single_label(
    expected: npt.NDArray[np.int64], predicted: npt.NDArray[np.float64], labels: Sequence[str], top_k: int | None
) -> Measurement:
    indices = list(range(len(labels)))
    chosen = predicted.argmax(axis=1)
    if top_k is not None and top_k >= len(labels):
        top_k = None
    top = float(top_k_accuracy_score(expected, predicted, k=top_k, labels=indices)) if top_k else None
    report = classification_report(
        expected, chosen, labels=indices, target_names=list(labels), output_dict=True, zero_division=0
    )
    return Measurement(
        images=len(expected),
        accuracy=float(accuracy_score(expected, chosen)),
        top_k=top_k,
        top_k_accuracy=top,
        mean_average_precision=None,
        classes=_class_scores(expected, chosen, labels),
        confusion=confusion_matrix(expected, chosen, labels=indices),
        report=report,
    )


def _multi_label(
    expected: npt.NDArray[np.int64], predicted: npt.NDArray[np.float64], labels: Sequence[str]
) -> Measurement:
    chosen = (predicted >= SHOWN_FROM).astype(np.int64)
    shown = expected.any(axis=0)
    precision = average_precision_score(expected[:, shown], predicted[:, shown]) if shown.any() else 0.0
    report = classification_report(expected, chosen, target_names=list(labels), output_dict=True, zero_division=0)
    return Measurement(
        images=len(expected),
        accuracy=float((expected == chosen).mean()),
        top_k=None,
        top_k_accuracy=None,
        mean_average_precision=float(precision),
        classes=_class_scores(expected, chosen, labels),
        confusion=multilabel_confusion_matrix(expected, chosen),
        report=report,
    )


def _class_scores(
    expected: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64], labels: Sequence[str]
) -> dict[str, ClassScore]:
    """Not read from the report: its averages would stand in for a class that is called as they are."""
    figures = precision_recall_fscore_support(expected, chosen, labels=range(len(labels)), zero_division=0)
    return {
        label: ClassScore(precision=precision, recall=recall, f1=f1, images=int(images))
        for label, precision, recall, f1, images in zip(labels, *figures, strict=True)
    }
