"""How good predictions are and how certain that is, measured with scikit-learn and SciPy.

Intervals hold the true figure with a confidence of 95 %. Those of shares of images are Wilson's; those of figures of
multi-label datasets that are not such shares are percentiles of a bootstrap over the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from scipy.stats import binned_statistic, binomtest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    classification_report,
    confusion_matrix,
    multilabel_confusion_matrix,
    precision_recall_curve,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from include.evaluation.prediction import SHOWN_FROM

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Figure = Literal["accuracy", "exact_match", "mean_average_precision"]
"""The figures by which two models can be compared."""

Compare = Literal["not_worse", "better", "off"]
"""How a model is compared with the champion before it may take its place."""

SIGNIFICANT = 0.05
"""The level of every test here and in comparisons."""
BINS = 10
"""Bins of equal width that a calibration sorts probabilities into."""
RESAMPLES = 1000
SEED = 0
"""Resamples of a bootstrap, and the seed that makes them the same each time."""
ROUNDING = 1e-9
"""What two equal figures may differ by in floating point."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True)


class Interval(_Document):
    """Where a figure lies with a confidence of 95 %."""

    low: float
    high: float


class ClassScore(_Document):
    """Precision, recall and F1 of one class; `images` of the held-out ones show it."""

    precision: float
    recall: float
    f1: float
    images: int


class ClassFigures(ClassScore):
    """All figures of one class.

    `training_images` is the size of the class in the training split, None if it is not known. An interval is None where
    there is nothing to count: no image that shows the class, or none that was said to show it. The last three are those
    of multi-label datasets: `best_threshold` is the probability from which saying yes gives the best F1 on these very
    images, so `best_f1` is a little better than on others.
    """

    training_images: int | None = None
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None
    average_precision: float | None = None
    best_threshold: float | None = None
    best_f1: float | None = None


class CalibrationBin(_Document):
    """The answers whose probability lies from `low` to `high`.

    `probability` is their mean and `share` how many of them were right. `interval` is that of `share`; None for
    multi-label datasets, where the answers for one image depend on each other.
    """

    low: float
    high: float
    answers: int
    probability: float
    share: float
    interval: Interval | None = None


class Calibration(_Document):
    """Whether probabilities mean what they say: of the answers given with 80 %, are 80 % right?

    An answer is the most probable class of an image; for multi-label datasets each class of each image, which is right
    if the image shows it. `expected_error` (ECE) is the mean distance between probability and share, weighted by
    answers. Bins without answers are left out.
    """

    expected_error: float
    bins: tuple[CalibrationBin, ...]


class Chance(_Document):
    """What guessing reaches on the same images, and whether a model is above it.

    A guess names the most frequent class of the held-out images each time. The `figure` is the accuracy, and a model is
    above a guess if so many right answers are unlikely (5 %) for one that is right as often as the guess. For
    multi-label datasets the figure is the mean average precision, which is set against that of images in a random
    order, and the low end of its interval has to be above that. A model without a mistake is above any guess that makes
    one.
    """

    figure: Figure
    reached: float
    guessed: float
    is_above: bool


class Verdict(_Document):
    """Whether a model may take the champion's place, by which rule, and why.

    `minimum_accuracy` is None if the minimum is what guessing reaches.
    """

    accepted: bool
    reason: str
    compare: Compare
    margin: float
    minimum_accuracy: float | None


class Evaluation(_Document):
    """What a model reached on the held-out images, the verdict on it, and where its report lies.

    `champion` is the ARN of the version that was the champion then, whether the two could be compared or not.
    `comparison_uri` is empty if they were not.

    `accuracy` is the share of images whose most probable class is theirs; for multi-label datasets the share of right
    yes/no answers, averaged over the classes, as the algorithm counts it.
    """

    job: str
    images: int
    accuracy: float
    accuracy_interval: Interval | None = None
    top_k: int | None = None
    top_k_accuracy: float | None = None
    mean_average_precision: float | None = None
    classes: dict[str, ClassScore]
    report_uri: str
    metrics_uri: str
    predictions_uri: str = ""
    results_uri: str = ""
    comparison_uri: str = ""
    verdict: Verdict | None = None
    champion: str | None = None


@dataclass(frozen=True)
class Measurement:
    """Figures of one set of predictions.

    `exact_match` is the share of images with every yes/no answer right. `intervals` are by the name of their figure.
    `confusion` is [expected, predicted] of shape (classes, classes); for multi-label datasets (classes, 2, 2), each
    [[true negatives, false positives], [false negatives, true positives]].
    """

    images: int
    accuracy: float
    top_k: int | None
    top_k_accuracy: float | None
    exact_match: float | None
    mean_average_precision: float | None
    chance: Chance
    intervals: dict[str, Interval]
    calibration: Calibration
    classes: dict[str, ClassFigures]
    confusion: Integers
    report: dict[str, Any]

    def figures(self) -> dict[str, Any]:
        """The plain figures, for metrics.json."""
        figures = {
            "images": self.images,
            "accuracy": self.accuracy,
            "top_k": self.top_k,
            "top_k_accuracy": self.top_k_accuracy,
            "exact_match": self.exact_match,
            "mean_average_precision": self.mean_average_precision,
        }
        return {name: value for name, value in figures.items() if value is not None}

    def certainty(self) -> dict[str, Any]:
        """Intervals, calibration and the classes with all their figures, for metrics.json."""
        return {
            "intervals": {name: interval.model_dump() for name, interval in self.intervals.items()},
            "chance": self.chance.model_dump(),
            "calibration": self.calibration.model_dump(mode="json", exclude_none=True),
            "classes": {label: score.model_dump(exclude_none=True) for label, score in self.classes.items()},
        }

    def class_scores(self) -> dict[str, ClassScore]:
        """The few figures of each class that tasks pass on."""
        names = set(ClassScore.model_fields)
        return {label: ClassScore(**score.model_dump(include=names)) for label, score in self.classes.items()}


def measure(
    truth: Sequence[Sequence[float]] | npt.NDArray[Any],
    probabilities: Sequence[Sequence[float]] | npt.NDArray[Any],
    labels: Sequence[str],
    *,
    multi_label: bool = False,
    top_k: int | None = None,
    training_images: Mapping[str, int] | None = None,
) -> Measurement:
    """Compare predictions with the truth, image by image.

    `truth` holds labels as records do: (index,) or one 0/1 for each class. `top_k` defaults to 5 if there are more
    classes than that. `training_images` is the size of each class in the training split. A probability that is not a
    number, as a diverged model answers, counts as 0. Raises ValueError if there is nothing to compare.
    """
    if not len(truth) or len(truth) != len(probabilities):
        raise ValueError(f"{len(probabilities)} predictions for {len(truth)} held-out images: they cannot be compared.")
    predicted = np.nan_to_num(np.asarray(probabilities, dtype=np.float64), nan=0.0)
    expected = np.asarray(truth, dtype=np.int64)
    sizes = training_images or {}
    if multi_label:
        return _multi_label(expected, predicted, labels, sizes)
    return _single_label(expected[:, 0], predicted, labels, top_k or (5 if len(labels) > 5 else None), sizes)


def _single_label(
    expected: Integers, predicted: Floats, labels: Sequence[str], top_k: int | None, sizes: Mapping[str, int]
) -> Measurement:
    indices = list(range(len(labels)))
    chosen = predicted.argmax(axis=1)
    if top_k is not None and top_k >= len(labels):
        top_k = None
    top = float(top_k_accuracy_score(expected, predicted, k=top_k, labels=indices)) if top_k else None
    report = classification_report(
        expected, chosen, labels=indices, target_names=list(labels), output_dict=True, zero_division=0
    )
    confusion = confusion_matrix(expected, chosen, labels=indices)
    shares = {"accuracy": float(accuracy_score(expected, chosen)), "top_k_accuracy": top}
    intervals = {name: share_interval(value, len(expected)) for name, value in shares.items() if value is not None}
    return Measurement(
        images=len(expected),
        accuracy=shares["accuracy"] or 0.0,
        top_k=top_k,
        top_k_accuracy=top,
        exact_match=None,
        mean_average_precision=None,
        chance=_guessed_class(expected, shares["accuracy"] or 0.0),
        intervals={name: interval for name, interval in intervals.items() if interval},
        calibration=calibration(predicted.max(axis=1), chosen == expected, independent=True),
        classes=_class_figures(expected, chosen, labels, sizes, said=confusion.sum(axis=0)),
        confusion=confusion,
        report=report,
    )


def _multi_label(expected: Integers, predicted: Floats, labels: Sequence[str], sizes: Mapping[str, int]) -> Measurement:
    chosen = (predicted >= SHOWN_FROM).astype(np.int64)
    shown = expected.any(axis=0)
    precision = average_precision_score(expected[:, shown], predicted[:, shown]) if shown.any() else 0.0
    report = classification_report(expected, chosen, target_names=list(labels), output_dict=True, zero_division=0)
    exact = float(accuracy_score(expected, chosen))
    classes = _class_figures(expected, chosen, labels, sizes, said=chosen.sum(axis=0))
    intervals = _multi_label_intervals(expected, predicted, exact)
    return Measurement(
        images=len(expected),
        accuracy=float((expected == chosen).mean()),
        top_k=None,
        top_k_accuracy=None,
        exact_match=exact,
        mean_average_precision=float(precision),
        chance=_guessed_order(expected, float(precision), intervals.get("mean_average_precision")),
        intervals=intervals,
        calibration=calibration(predicted.ravel(), expected.ravel() == 1, independent=False),
        classes={
            label: score.model_copy(update=_best_answers(expected[:, place], predicted[:, place]))
            for place, (label, score) in enumerate(classes.items())
        },
        confusion=multilabel_confusion_matrix(expected, chosen),
        report=report,
    )


def _guessed_class(expected: Integers, accuracy: float) -> Chance:
    """The same class for every image: the most frequent one."""
    images = len(expected)
    guessed = float(np.bincount(expected).max() / images)
    unlikely = binomtest(round(accuracy * images), images, guessed, alternative="greater").pvalue < SIGNIFICANT
    is_above = bool(unlikely) or (accuracy == 1.0 > guessed)
    return Chance(figure="accuracy", reached=accuracy, guessed=guessed, is_above=is_above)


def _guessed_order(expected: Integers, reached: float, interval: Interval | None) -> Chance:
    """The images in a random order for each label.

    Source of its mean average precision: Bestgen, Exact Expected Average Precision of the Random Baseline for System
    Evaluation, Prague Bulletin of Mathematical Linguistics 103 (2015).
    """
    images = len(expected)
    shown = expected.sum(axis=0)
    shown = shown[shown > 0]
    harmonic = float((1 / np.arange(1, images + 1)).sum())
    beyond_first = (images - harmonic) / (images * (images - 1)) if images > 1 else 0.0
    guessed = float((harmonic / images + (shown - 1) * beyond_first).mean()) if len(shown) else 0.0
    low = interval.low if interval else reached
    is_above = low > guessed or (reached == 1.0 > guessed)
    figure: Figure = "mean_average_precision"
    return Chance(figure=figure, reached=reached, guessed=min(guessed, 1.0), is_above=is_above)


def _class_figures(
    expected: Integers, chosen: Integers, labels: Sequence[str], sizes: Mapping[str, int], *, said: Integers
) -> dict[str, ClassFigures]:
    """Not read from the report: its averages would stand in for a class that is called as they are.

    `said` counts the images that were said to show each class.
    """
    figures = precision_recall_fscore_support(expected, chosen, labels=range(len(labels)), zero_division=0)
    return {
        label: ClassFigures(
            precision=precision,
            recall=recall,
            f1=f1,
            images=int(images),
            training_images=sizes.get(label),
            precision_interval=share_interval(precision, int(answers)),
            recall_interval=share_interval(recall, int(images)),
        )
        for label, precision, recall, f1, images, answers in zip(labels, *figures, said, strict=True)
    }


def _best_answers(expected: Integers, predicted: Floats) -> dict[str, float]:
    """Average precision of one label, and the threshold that gives its best F1; nothing if no image shows it."""
    if not expected.any():
        return {}
    precision, recall, thresholds = precision_recall_curve(expected, predicted)
    sums = precision + recall
    f1 = np.divide(2 * precision * recall, sums, out=np.zeros_like(sums), where=sums > 0)[:-1]
    best = int(f1.argmax())
    return {
        "average_precision": float(average_precision_score(expected, predicted)),
        "best_threshold": float(thresholds[best]),
        "best_f1": float(f1[best]),
    }


def share_interval(share: float, of: int) -> Interval | None:
    """Wilson's interval of a share of `of` images; None of none."""
    if not of:
        return None
    found = binomtest(round(share * of), of).proportion_ci(method="wilson")
    return Interval(low=float(found.low), high=float(found.high))


def calibration(probabilities: Floats, right: npt.NDArray[np.bool_], *, independent: bool) -> Calibration:
    """Sort answers into bins by their probability; only `independent` ones have intervals."""
    bounded = np.clip(probabilities, 0.0, 1.0)
    sums, edges, _ = binned_statistic(bounded, [bounded, right], "sum", bins=BINS, range=(0.0, 1.0))
    counts = binned_statistic(bounded, None, "count", bins=BINS, range=(0.0, 1.0)).statistic.astype(np.int64)
    filled = [
        CalibrationBin(
            low=round(float(edges[place]), 9),
            high=round(float(edges[place + 1]), 9),
            answers=int(count),
            probability=float(sums[0][place] / count),
            share=float(sums[1][place] / count),
            interval=share_interval(float(sums[1][place] / count), int(count)) if independent else None,
        )
        for place, count in enumerate(counts)
        if count
    ]
    distance = sum(one.answers * abs(one.probability - one.share) for one in filled)
    return Calibration(expected_error=distance / len(bounded), bins=tuple(filled))


def _multi_label_intervals(expected: Integers, predicted: Floats, exact: float) -> dict[str, Interval]:
    """Bootstrapped; where all resamples are alike, as of right answers alone, Wilson's of as many images.

    That a few images show no mistake does not make it certain that there is none.
    """
    names: tuple[Figure, ...] = ("accuracy", "mean_average_precision")
    figures = [weighted_figure(name, expected, predicted) for name in names]
    drawn = np.array([[figure(weights) for figure in figures] for weights in resamples(len(expected))])
    found = {name: _interval_of(drawn[:, place], len(expected)) for place, name in enumerate(names)}
    intervals = {**found, "exact_match": share_interval(exact, len(expected))}
    return {name: interval for name, interval in intervals.items() if interval}


def _interval_of(drawn: Floats, images: int) -> Interval | None:
    spread = np.ptp(drawn) > ROUNDING
    return percentiles(drawn) if spread else share_interval(float(np.clip(drawn[0], 0.0, 1.0)), images)


def percentiles(values: Floats) -> Interval:
    """The middle 95 % of bootstrapped values."""
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def resamples(images: int) -> Iterator[Integers]:
    """How often each image is drawn, in each resample of a bootstrap; always the same ones."""
    random = np.random.default_rng(SEED)
    for _ in range(RESAMPLES):
        yield np.bincount(random.integers(0, images, images), minlength=images)


def weighted_figure(figure: Figure, expected: Integers, predicted: Floats) -> Callable[[Integers], float]:
    """A figure of a multi-label dataset as a function of how often each image counts."""
    if figure == "mean_average_precision":
        return _MeanAveragePrecision(expected, predicted)
    right = expected == (predicted >= SHOWN_FROM)
    values = right.all(axis=1).astype(np.float64) if figure == "exact_match" else right.mean(axis=1)
    return lambda weights: float(np.average(values, weights=weights))


class _MeanAveragePrecision:
    """What scikit-learn's `average_precision_score` gives for weighted images.

    It sorts the images of each label once and not for each of a thousand resamples. Labels that no drawn image shows
    are left out.
    """

    def __init__(self, expected: Integers, predicted: Floats) -> None:
        self._labels = []
        for flags, values in zip(expected.T, predicted.T, strict=True):
            if flags.any():
                order = np.argsort(-values, kind="stable")
                last_of_equals = np.flatnonzero(np.diff(values[order], append=-np.inf))
                self._labels.append((order, flags[order], last_of_equals))

    def __call__(self, weights: Integers) -> float:
        found = []
        for order, flags, last_of_equals in self._labels:
            counted = weights[order]
            shown = np.cumsum(counted * flags)[last_of_equals]
            if shown[-1]:
                precision = shown / np.maximum(np.cumsum(counted)[last_of_equals], 1)
                found.append(float((np.diff(shown, prepend=0) * precision).sum() / shown[-1]))
        return float(np.mean(found)) if found else 0.0
