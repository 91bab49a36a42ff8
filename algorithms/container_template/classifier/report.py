"""What a model is right and wrong about: classification report and confusion matrix, and the history of its epochs.

The report has the form of scikit-learn's `classification_report(output_dict=True)`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .images import Classes
from .model_files import write_json

Matrix = NDArray[np.int64]
Report = dict[str, float | dict[str, float]]
FIGURES = ("precision", "recall", "f1-score", "support")


def confusion_matrix(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Matrix:
    """How many images of each class (row) were given each class (column)."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def classification_report(matrix: Matrix, classes: Classes) -> Report:
    """Precision, recall, F1 score and number of images of each class, accuracy, and both averages."""
    right, support, said = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    figures = np.zeros((len(classes), 3))
    for column, (above, below) in enumerate(((right, said), (right, support), (2 * right, said + support))):
        np.divide(above, below, out=figures[:, column], where=below > 0)
    count = int(support.sum())
    report: Report = {name: _row(figures[number], int(support[number])) for number, name in enumerate(classes)}
    report["accuracy"] = float(right.sum() / count)
    report["macro avg"] = _row(figures.mean(axis=0), count)
    report["weighted avg"] = _row(support @ figures / count, count)
    return report


def _row(figures: NDArray[np.float64], support: int) -> dict[str, float]:
    return dict(zip(FIGURES, [*map(float, figures), support], strict=True))


def write_reports(
    folders: Sequence[Path], matrix: Matrix, classes: Classes, history: Sequence[Mapping[str, float]]
) -> None:
    """Write report, matrix and history as JSON and CSV into each of the folders."""
    report = classification_report(matrix, classes)
    rows: list[list[object]] = [
        [name, *figures.values()] for name, figures in report.items() if isinstance(figures, dict)
    ]
    tables: dict[str, list[list[object]]] = {
        "classification_report.csv": [["class", *FIGURES], *rows],
        "confusion_matrix.csv": [["class", *classes]],
        "history.csv": [[*row] for row in history[:1]],
    }
    tables["confusion_matrix.csv"] += [[name, *row.tolist()] for name, row in zip(classes, matrix, strict=True)]
    tables["history.csv"] += [[*row.values()] for row in history]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "classification_report.json", report)
        write_json(folder / "history.json", list(history))
        for name, table in tables.items():
            with (folder / name).open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows(table)
