from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from include.evaluation.evaluate import classes_csv, confusion_csv
from include.evaluation.metrics import Chance, calibration, measure, share_interval, weighted_figure

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


def test_a_share_has_wilsons_interval() -> None:
    # Of 8 in 10: (8 + 1.96² / 2) / (10 + 1.96²) = 0.7167, and on either side
    # 1.96 * sqrt(10 * 0.8 * 0.2 + 1.96² / 4) / (10 + 1.96²) = 0.2266.
    interval = share_interval(0.8, 10)
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert share_interval(0.0, 0) is None


def test_accuracy_and_top_k_have_intervals() -> None:
    intervals = measure(TRUTH, ANSWERS, LABELS, top_k=2).intervals
    assert intervals == {"accuracy": share_interval(0.5, 4), "top_k_accuracy": share_interval(0.75, 4)}


def test_a_class_has_its_size_in_training_and_intervals_of_what_could_be_counted() -> None:
    classes = measure(TRUTH, ANSWERS, LABELS, training_images={"cat": 30, "dog": 7}).classes
    assert [score.training_images for score in classes.values()] == [30, 7, None]
    assert classes["cat"].recall_interval == share_interval(0.5, 2)
    assert classes["dog"].precision_interval == share_interval(1 / 3, 3)
    assert classes["owl"].precision_interval is None, "nothing was said to be an owl"


def test_what_tasks_hand_on_of_a_class_stays_small() -> None:
    scores = measure(TRUTH, ANSWERS, LABELS, training_images={"cat": 30}).class_scores()
    assert scores["cat"].model_dump() == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "images": 2}


def test_calibration_compares_what_was_said_with_what_happened() -> None:
    # Two answers with 0.95 of which one is right, and two with 0.65 that both are.
    given, right = np.array([0.95, 0.95, 0.65, 0.65]), np.array([True, False, True, True])
    found = calibration(given, right, independent=True)
    assert found.expected_error == pytest.approx((2 * 0.45 + 2 * 0.35) / 4)
    low, high = found.bins
    assert (low.low, low.high, low.answers, low.probability, low.share) == (0.6, 0.7, 2, pytest.approx(0.65), 1.0)
    assert (high.low, high.high, high.answers, high.share) == (0.9, 1.0, 2, 0.5)
    assert high.interval == share_interval(0.5, 2)


def test_a_probability_of_one_is_in_the_last_bin() -> None:
    found = calibration(np.array([1.0, 1.0000001]), np.array([True, True]), independent=False)
    assert [(one.high, one.answers, one.interval) for one in found.bins] == [(1.0, 2, None)]
    assert found.expected_error == 0.0


def test_a_model_that_diverged_is_measured() -> None:
    measured = measure(TRUTH, [[float("nan")] * 3] * 4, LABELS, top_k=2)
    assert measured.accuracy == 0.5, "as if it always said the first class"


SHOWN = [(1, 0, 1), (0, 1, 0), (1, 1, 0), (0, 0, 0)]
SAID = [[0.9, 0.2, 0.4], [0.1, 0.8, 0.3], [0.4, 0.6, 0.2], [0.3, 0.1, 0.1]]


def test_multi_label_figures_of_images_and_labels() -> None:
    measured = measure(SHOWN, SAID, LABELS, multi_label=True)
    assert measured.exact_match == 0.5, "the second and the last image"
    assert measured.intervals["exact_match"] == share_interval(0.5, 4)
    cat = measured.classes["cat"]
    assert (cat.f1, cat.best_threshold, cat.best_f1) == (pytest.approx(2 / 3), 0.4, 1.0)
    assert cat.average_precision == 1.0
    assert set(measured.certainty()["intervals"]) == {"accuracy", "exact_match", "mean_average_precision"}


def test_a_label_that_no_image_shows_has_no_best_threshold() -> None:
    measured = measure([(1, 0), (1, 0)], [[0.9, 0.2], [0.8, 0.1]], ["cat", "dog"], multi_label=True)
    assert measured.classes["dog"].best_threshold is None


def test_the_interval_of_a_bootstrap_is_the_same_each_time_and_holds_the_figure() -> None:
    random = np.random.default_rng(3)
    truth = (random.random((60, 3)) < 0.4).astype(int)
    said = np.clip(truth * 0.4 + random.random((60, 3)) * 0.6, 0, 1)
    first, again = (measure(truth, said, LABELS, multi_label=True) for _ in range(2))
    assert first.intervals == again.intervals
    for name, value in (("accuracy", first.accuracy), ("mean_average_precision", first.mean_average_precision)):
        assert value is not None
        assert first.intervals[name].low < value < first.intervals[name].high


@pytest.mark.parametrize("digits", [1, 6])
def test_weighted_average_precision_is_scikit_learns(digits: int) -> None:
    random = np.random.default_rng(5)
    truth = (random.random((40, 4)) < 0.3).astype(np.int64)
    said = random.random((40, 4)).round(digits)
    weights = random.integers(0, 3, 40)
    ours = weighted_figure("mean_average_precision", truth, said)(weights)
    assert ours == pytest.approx(average_precision_score(truth, said, sample_weight=weights), abs=1e-12)


def test_the_csv_of_classes_has_success_beside_size() -> None:
    measured = measure(TRUTH, ANSWERS, LABELS, training_images={"cat": 30, "dog": 7, "owl": 1})
    head, cat, _, owl = csv.reader(io.StringIO(classes_csv(measured)))
    row = dict(zip(head, cat, strict=True))
    assert (row["index"], row["class"], row["training_images"], row["images"]) == ("0", "cat", "30", "2")
    assert (row["recall"], float(row["recall_low"])) == ("0.5", pytest.approx(0.0945, abs=1e-4))
    assert dict(zip(head, owl, strict=True))["precision_low"] == ""


def test_right_answers_alone_are_no_certainty() -> None:
    measured = measure([(1, 0), (0, 1)] * 10, [[0.9, 0.2], [0.1, 0.8]] * 10, ["cat", "dog"], multi_label=True)
    assert (measured.accuracy, measured.mean_average_precision) == (1.0, 1.0)
    assert set(measured.intervals.values()) == {share_interval(1.0, 20)}


def guess(images: dict[int, int], right: int) -> Chance:
    """What guessing reaches where so many images show each class, beside a model with so many right answers."""
    truth = [(label,) for label, count in images.items() for _ in range(count)]
    rows = [[float(label == (own + (place >= right)) % 3) for label in range(3)] for place, (own,) in enumerate(truth)]
    return measure(truth, rows, ["a", "b", "c"]).chance


@pytest.mark.parametrize(
    ("images", "right", "guessed", "is_above"),
    [
        ({0: 20, 1: 20, 2: 20}, 20, 1 / 3, False),
        ({0: 20, 1: 20, 2: 20}, 26, 1 / 3, False),  # 26 of 60 are no surprise for a guess, 27 are
        ({0: 20, 1: 20, 2: 20}, 27, 1 / 3, True),
        ({0: 90, 1: 5, 2: 5}, 90, 0.9, False),
        ({0: 90, 1: 5, 2: 5}, 96, 0.9, True),
        ({0: 1, 1: 2}, 3, 2 / 3, True),  # without a mistake
        ({0: 3}, 3, 1.0, False),  # one class: a guess makes no mistake either
    ],
)
def test_a_guess_is_right_as_often_as_the_most_frequent_class_is_there(
    images: dict[int, int], right: int, guessed: float, *, is_above: bool
) -> None:
    chance = guess(images, right)
    assert (chance.figure, chance.is_above) == ("accuracy", is_above)
    assert chance.guessed == pytest.approx(guessed)


def test_a_guess_of_several_labels_is_a_random_order() -> None:
    random = np.random.default_rng(7)
    truth = (random.random((200, 3)) < (0.5, 0.2, 0.02)).astype(int)
    orders = [average_precision_score(truth, random.random(truth.shape)) for _ in range(300)]
    answers = measure(truth, random.random(truth.shape), ["a", "b", "c"], multi_label=True).chance
    constant = measure(truth, np.full(truth.shape, 0.1), ["a", "b", "c"], multi_label=True).chance
    good = measure(truth, truth * 0.5 + random.random(truth.shape) * 0.6, ["a", "b", "c"], multi_label=True).chance

    assert answers.figure == "mean_average_precision"
    assert answers.guessed == pytest.approx(np.mean(orders), abs=0.01)
    assert [chance.is_above for chance in (answers, constant, good)] == [False, False, True]
