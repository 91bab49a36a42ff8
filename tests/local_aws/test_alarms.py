"""The states of alarms, in the examples of AWS's page on missing data and around them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from local_aws.alarms import Rule, Sample, evaluate, is_statistic

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
PERIOD = timedelta(minutes=1)
THREE_OF_THREE = Rule("GreaterThanThreshold", 0.0, "Sum", PERIOD, evaluation_periods=3, datapoints_to_alarm=3)
TWO_OF_THREE = replace(THREE_OF_THREE, datapoints_to_alarm=2)
ONE_OF_ONE = replace(THREE_OF_THREE, evaluation_periods=1, datapoints_to_alarm=1)
KEPT = "kept"


def sample(value: float, seconds_ago: float = 30) -> Sample:
    return Sample(NOW - timedelta(seconds=seconds_ago), value, 1, value, value)


def drawn(points: str) -> list[Sample]:
    """Samples as AWS draws them, the newest last: 0 keeps the threshold, X breaks it, - is missing."""
    ages = reversed(range(len(points)))
    return [sample(float(point == "X"), 60 * age + 30) for age, point in zip(ages, points, strict=True) if point != "-"]


@pytest.mark.parametrize(
    ("rule", "points", "missing", "ignore", "breaching", "not_breaching"),
    [
        (THREE_OF_THREE, "0-X-X", "OK", "OK", "OK", "OK"),
        (THREE_OF_THREE, "0----", "OK", "OK", "OK", "OK"),
        (THREE_OF_THREE, "-----", "INSUFFICIENT_DATA", KEPT, "ALARM", "OK"),
        (THREE_OF_THREE, "0XX-X", "ALARM", "ALARM", "ALARM", "ALARM"),
        (THREE_OF_THREE, "----X", "INSUFFICIENT_DATA", KEPT, "ALARM", "OK"),
        (THREE_OF_THREE, "X----", "ALARM", KEPT, "ALARM", "OK"),
        (TWO_OF_THREE, "0-X-X", "ALARM", "ALARM", "ALARM", "ALARM"),
        (TWO_OF_THREE, "00X0X", "ALARM", "ALARM", "ALARM", "ALARM"),
        (TWO_OF_THREE, "0-X--", "OK", "OK", "ALARM", "OK"),
        (TWO_OF_THREE, "----0", "OK", "OK", "ALARM", "OK"),
        (TWO_OF_THREE, "----X", "INSUFFICIENT_DATA", KEPT, "ALARM", "OK"),
    ],
)
def test_missing_data_is_treated_as_in_the_tables_of_aws(  # noqa: PLR0917
    rule: Rule, points: str, missing: str, ignore: str, breaching: str, not_breaching: str
) -> None:
    treatments = {"missing": missing, "ignore": ignore, "breaching": breaching, "notBreaching": not_breaching}
    for treatment, expected in treatments.items():
        state = evaluate(replace(rule, missing=treatment), drawn(points), NOW)
        assert (state.value if state is not None else KEPT) == expected, treatment


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [("Sum", 10.0), ("Average", 2.5), ("Minimum", 1.0), ("Maximum", 4.0), ("SampleCount", 4.0), ("p50", 2.5)],
)
def test_a_data_point_is_the_statistic_of_one_period(statistic: str, expected: float) -> None:
    samples = [sample(value) for value in (4.0, 1.0, 3.0, 2.0)]
    for comparison, at_the_threshold in {
        "GreaterThanOrEqualToThreshold": "ALARM",
        "GreaterThanThreshold": "OK",
    }.items():
        rule = replace(ONE_OF_ONE, statistic=statistic, comparison=comparison, threshold=expected)
        state = evaluate(rule, samples, NOW)
        assert state is not None
        assert state.value == at_the_threshold


def test_a_percentile_lies_between_the_values_around_it() -> None:
    samples = [sample(float(value)) for value in range(101)]
    for statistic, value in (("p99", 99.0), ("p0", 0.0), ("p100", 100.0), ("p99.5", 99.5)):
        for threshold, expected in ((value - 0.01, "ALARM"), (value + 0.01, "OK")):
            state = evaluate(replace(ONE_OF_ONE, statistic=statistic, threshold=threshold), samples, NOW)
            assert state is not None
            assert state.value == expected, statistic


def test_a_percentile_of_few_samples_changes_nothing_if_they_are_to_be_ignored() -> None:
    rule = replace(ONE_OF_ONE, statistic="p90", few_samples="ignore")
    assert evaluate(rule, [sample(1.0)] * 99, NOW) is None
    state = evaluate(rule, [sample(1.0)] * 100, NOW)
    assert state is not None
    assert state.value == "ALARM"


def test_periods_end_at_the_moment_of_the_evaluation() -> None:
    rule = replace(ONE_OF_ONE, missing="notBreaching")
    samples = [sample(1.0, seconds_ago=59), sample(0.0, seconds_ago=30)]
    states = [evaluate(rule, samples, NOW + timedelta(seconds=seconds)) for seconds in (0, 2)]
    assert [state.value for state in states if state is not None] == ["ALARM", "OK"]


def test_values_sent_as_a_summary_count_as_many() -> None:
    summary = Sample(NOW, total=10.0, count=5, least=1.0, most=4.0)
    for statistic, threshold in (("Average", 1.9), ("SampleCount", 4.9), ("Maximum", 3.9)):
        state = evaluate(replace(ONE_OF_ONE, statistic=statistic, threshold=threshold), [summary], NOW)
        assert state is not None
        assert state.value == "ALARM", statistic


def test_a_summary_of_different_values_has_no_percentile() -> None:
    rule = replace(ONE_OF_ONE, statistic="p99", threshold=3.0, missing="notBreaching")
    summaries = {"OK": Sample(NOW, 10.0, 5, least=1.0, most=4.0), "ALARM": Sample(NOW, 8.0, 2, least=4.0, most=4.0)}
    for expected, summary in summaries.items():
        state = evaluate(rule, [summary], NOW)
        assert state is not None
        assert state.value == expected


def test_the_reason_is_in_the_words_of_cloudwatch() -> None:
    state = evaluate(ONE_OF_ONE, [sample(5.0)], NOW)
    assert state is not None
    assert state.reason == (
        "Threshold Crossed: 1 out of the last 1 datapoints [5.0] was greater than the threshold (0.0) (minimum 1 "
        "datapoint for OK -> ALARM transition)."
    )
    state = evaluate(ONE_OF_ONE, [], NOW)
    assert state is not None
    assert state.reason == "Insufficient Data: 1 datapoint was unknown."
    state = evaluate(replace(ONE_OF_ONE, missing="breaching"), [], NOW)
    assert state is not None
    assert "no datapoints were received for 1 period and 1 missing datapoint was treated as [Breaching]" in state.reason


@pytest.mark.parametrize(
    ("name", "known"),
    [("Sum", True), ("p99", True), ("p99.9", True), ("p100", True), ("tm99", False), ("p1000", False)],
)
def test_only_statistics_that_can_be_worked_out_are_known(name: str, known: bool) -> None:
    assert is_statistic(name) == known
