"""The state of a CloudWatch alarm, worked out from the values of its metric.

Source: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html and alarms-and-missing-data.html. A
data point of an alarm is the statistic of one whole period, and the newest period ends at the moment of the evaluation:
AWS moves the periods forward each minute, this module moves them with every evaluation.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

OK = "OK"
ALARM = "ALARM"
INSUFFICIENT_DATA = "INSUFFICIENT_DATA"

PERIODS_BEYOND = 2
"""How many periods before the evaluated ones are read: AWS's examples read five for three."""
LONGEST_HOLD = timedelta(minutes=1)
"""How long a state that was set by hand lasts at most: AWS evaluates an alarm once a minute."""
SAMPLES_BEYOND_A_PERCENTILE = 10
STATISTIC = re.compile(r"Sum|Average|Minimum|Maximum|SampleCount|p\d{1,2}(\.\d+)?|p100")

COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


@dataclass(frozen=True)
class Sample:
    """What was sent to CloudWatch at one moment: a value, or the sum, count and bounds of several."""

    time: datetime
    total: float
    count: float
    least: float
    most: float


@dataclass(frozen=True)
class Rule:
    """When an alarm is in ALARM: `datapoints_to_alarm` of `evaluation_periods` break the threshold.

    `statistic` is Sum, Average, Minimum, Maximum, SampleCount or a percentile such as p99; `missing` is
    TreatMissingData, `few_samples` EvaluateLowSampleCountPercentile.
    """

    comparison: str
    threshold: float
    statistic: str
    period: timedelta
    evaluation_periods: int
    datapoints_to_alarm: int
    missing: str = "missing"
    few_samples: str = "evaluate"

    @property
    def periods(self) -> int:
        """How many periods are read."""
        return self.evaluation_periods + PERIODS_BEYOND

    @property
    def hold(self) -> timedelta:
        """How long a state lasts that was set by hand."""
        return min(self.period, LONGEST_HOLD)

    def counts(self, sample: Sample) -> bool:
        """Whether a sample belongs to the statistic: a summary of different values has no percentile."""
        return not self.statistic.startswith("p") or sample.least == sample.most

    def breaks(self, value: float) -> bool:
        """Whether a value breaks the threshold."""
        return COMPARISONS[self.comparison][0](value, self.threshold)


def is_statistic(name: str) -> bool:
    """Whether an alarm on this statistic can be evaluated here."""
    return STATISTIC.fullmatch(name) is not None


@dataclass(frozen=True)
class State:
    """The state of an alarm, and why, in the words of CloudWatch."""

    value: str
    reason: str


def evaluate(rule: Rule, samples: Sequence[Sample], moment: datetime) -> State | None:
    """The state at a moment, None where the alarm keeps the one it has."""
    periods = _periods(rule, filter(rule.counts, samples), moment)
    if rule.few_samples == "ignore" and _has_few_samples(rule, periods):
        return None
    points = [_statistic(rule.statistic, period) if period else None for period in periods]
    known = [point for point in points if point is not None][: rule.evaluation_periods]
    filled = rule.evaluation_periods - len(known)
    breaking = sum(map(rule.breaks, known))
    if filled and rule.missing == "breaching":
        breaking += filled
    elif filled and rule.missing != "notBreaching" and breaking == len(known) < rule.datapoints_to_alarm:
        return _undecided(rule, points)
    is_alarm = breaking >= rule.datapoints_to_alarm
    return State(ALARM if is_alarm else OK, _reason(rule, known, breaking, filled, is_alarm=is_alarm))


def _undecided(rule: Rule, points: Sequence[float | None]) -> State | None:
    """The state where no known point keeps the threshold, too few break it, and nothing takes the place of the others.

    A point that broke the threshold so long ago that all newer ones could have been missing is an alarm.
    """
    if rule.missing == "ignore":
        return None
    oldest = max((age for age, point in enumerate(points, start=1) if point is not None), default=0)
    known = [point for point in points if point is not None]
    if oldest >= rule.datapoints_to_alarm:
        return State(ALARM, _reason(rule, known, len(known), rule.evaluation_periods - len(known), is_alarm=True))
    unknown = rule.evaluation_periods - len(known)
    return State(INSUFFICIENT_DATA, f"Insufficient Data: {_counted(unknown)} {_was(unknown)} unknown.")


def _periods(rule: Rule, samples: Iterable[Sample], moment: datetime) -> list[list[Sample]]:
    """The samples of each period, the newest period first."""
    periods: list[list[Sample]] = [[] for _ in range(rule.periods)]
    for sample in samples:
        age = (moment - sample.time) // rule.period
        if 0 <= age < rule.periods:
            periods[age].append(sample)
    return periods


def _statistic(name: str, samples: Sequence[Sample]) -> float:
    total, count = sum(sample.total for sample in samples), sum(sample.count for sample in samples)
    if name.startswith("p"):
        return _percentile(float(name[1:]), sorted(sample.most for sample in samples))
    return {
        "Sum": total,
        "SampleCount": count,
        "Average": total / count if count else 0.0,
        "Minimum": min(sample.least for sample in samples),
        "Maximum": max(sample.most for sample in samples),
    }[name]


def _percentile(percent: float, ordered: Sequence[float]) -> float:
    """The value that so many percent of the values do not exceed, between two of them by their distance."""
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _has_few_samples(rule: Rule, periods: Sequence[Sequence[Sample]]) -> bool:
    """Whether a percentile has fewer samples than CloudWatch wants for one."""
    if not rule.statistic.startswith("p"):
        return False
    share = float(rule.statistic[1:]) / 100
    beyond = min(share, 1 - share)
    count = sum(sample.count for period in periods[: rule.evaluation_periods] for sample in period)
    return beyond == 0 or count < round(SAMPLES_BEYOND_A_PERCENTILE / beyond)


def _reason(rule: Rule, known: Sequence[float], breaking: int, filled: int, *, is_alarm: bool) -> str:
    """The reason in CloudWatch's words."""
    words = COMPARISONS[rule.comparison][1]
    if not known:
        treated = "Breaching" if rule.missing == "breaching" else "NonBreaching"
        return (
            f"Threshold Crossed: no datapoints were received for {_counted(filled, 'period')} and "
            f"{_counted(filled, 'missing datapoint')} {_was(filled)} treated as [{treated}]."
        )
    shown = min(breaking, len(known)) if is_alarm else len(known) - min(breaking, len(known))
    values = ", ".join(str(value) for value in known)
    need = rule.datapoints_to_alarm if is_alarm else rule.evaluation_periods - rule.datapoints_to_alarm + 1
    return (
        f"Threshold Crossed: {shown} out of the last {len(known)} datapoints [{values}] {_was(shown)} "
        f"{'' if is_alarm else 'not '}{words} the threshold ({float(rule.threshold)}) (minimum {_counted(need)} for "
        f"{'OK -> ALARM' if is_alarm else 'ALARM -> OK'} transition)."
    )


def _counted(number: int, noun: str = "datapoint") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
