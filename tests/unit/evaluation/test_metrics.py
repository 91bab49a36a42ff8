from __future__ import annotations

import pytest

from include.evaluation.evaluate import confusion_csv
from include.evaluation.metrics import measure

LABELS = ["cat", "dog", "owl"]
TRUTH = [(0,), (0,), (1,), (2,)]
ANSWERS = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1]]


def test_accuracy_is_the_share_of_right_answers() -> None:
    measured = measure(TRUTH, ANSWERS, LABELS)
    assert (measured.images, measured.accuracy) == (4, 0.5)
    assert measured.figures() == {"images": 4, "accuracy": 0.5}


def test_every_class_has_its_scores() -> None:
    cat = measure(TRUTH, ANSWERS, LABELS).classes["cat"]
    assert (cat.precision, cat.recall, cat.images) == (1.0, 0.5, 2)
    assert measure(TRUTH, ANSWERS, LABELS).classes["owl"].f1 == 0.0


def test_top_k_counts_a_second_guess() -> None:
    measured = measure(TRUTH, ANSWERS, LABELS, top_k=2)
    assert (measured.top_k, measured.top_k_accuracy) == (2, 0.75)


def test_top_k_of_all_classes_says_nothing() -> None:
    assert measure(TRUTH, ANSWERS, LABELS, top_k=3).top_k is None


def test_the_confusion_matrix_has_expected_classes_in_rows() -> None:
    assert confusion_csv(measure(TRUTH, ANSWERS, LABELS), LABELS) == (
        "expected,cat,dog,owl\ncat,1,1,0\ndog,0,1,0\nowl,0,1,0\n"
    )


def test_a_class_without_test_images_keeps_its_place() -> None:
    measured = measure([(2,)], [[0.0, 0.1, 0.9]], LABELS)
    assert measured.accuracy == 1.0
    assert measured.confusion.shape == (3, 3)
    assert [score.images for score in measured.classes.values()] == [0, 0, 1]


def test_multi_label_accuracy_is_averaged_over_classes() -> None:
    truth = [(1, 0, 1), (0, 1, 0)]
    answers = [[0.9, 0.2, 0.4], [0.1, 0.8, 0.3]]
    measured = measure(truth, answers, LABELS, multi_label=True)
    assert measured.accuracy == pytest.approx(5 / 6)
    assert measured.mean_average_precision == 1.0
    assert confusion_csv(measured, LABELS) == (
        "class,true_negatives,false_positives,false_negatives,true_positives\ncat,1,0,0,1\ndog,1,0,0,1\nowl,1,0,1,0\n"
    )


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 predictions for 0 held-out images"):
        measure([], [[1.0]], LABELS)


def test_a_class_may_be_called_as_an_average_is() -> None:
    measured = measure([(0,), (1,), (1,)], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], ["accuracy", "macro avg"])
    assert (measured.classes["accuracy"].precision, measured.classes["accuracy"].images) == (0.5, 1)
    assert (measured.classes["macro avg"].recall, measured.classes["macro avg"].images) == (0.5, 2)
