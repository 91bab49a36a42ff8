from __future__ import annotations

import numpy as np
import pytest

from algorithms.container_template.classifier.report import classification_report, confusion_matrix

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 0, 1])


def test_the_matrix_counts_what_each_class_was_taken_for() -> None:
    assert confusion_matrix(TRUTH, PREDICTED, 4).tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_the_report_is_that_of_scikit_learn() -> None:
    """The figures of `classification_report(truth, predicted, output_dict=True, zero_division=0)`."""
    report = classification_report(confusion_matrix(TRUTH, PREDICTED, 3), ("a", "b", "c"))

    assert report["a"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1-score": 2 / 3, "support": 3})
    assert report["b"] == pytest.approx({"precision": 1 / 3, "recall": 1 / 2, "f1-score": 2 / 5, "support": 2})
    assert report["c"] == pytest.approx({"precision": 0, "recall": 0, "f1-score": 0, "support": 1})
    assert report["accuracy"] == 0.5
    assert report["macro avg"] == pytest.approx(
        {"precision": 1 / 3, "recall": 7 / 18, "f1-score": 16 / 45, "support": 6}
    )
    assert report["weighted avg"] == pytest.approx(
        {"precision": 4 / 9, "recall": 1 / 2, "f1-score": 7 / 15, "support": 6}
    )
