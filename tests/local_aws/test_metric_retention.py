"""How much of what is sent to CloudWatch is kept: the newest values, and a summary a minute of the others."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.cloudwatch.models import CloudWatchBackend

from local_aws import moto_backend, moto_cloudwatch

BEGIN = datetime(2026, 11, 29, 7, 0, tzinfo=UTC)
ENDPOINT = [{"Name": "EndpointName", "Value": "pets"}, {"Name": "VariantName", "Value": "all"}]
assert moto_backend.Moto  # whose import mends moto


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> CloudWatchBackend:
    monkeypatch.setattr(moto_cloudwatch, "MOST_VALUES", 100)
    return CloudWatchBackend("us-east-1", "123456789012")


def put(backend: CloudWatchBackend, value: float, seconds: float, name: str = "Latency", **changes: Any) -> None:
    moment = BEGIN + timedelta(seconds=seconds)
    datum = {"MetricName": name, "Value": value, "Timestamp": moment, "Dimensions": ENDPOINT, "Unit": "Microseconds"}
    backend.put_metric_data("AWS/SageMaker", [{**datum, **changes}])


def minutes(backend: CloudWatchBackend, statistic: str, name: str = "Latency", dimensions: Any = None) -> list[Any]:
    """A statistic of each minute of the first day."""
    found = backend.get_metric_statistics(
        "AWS/SageMaker", name, BEGIN, BEGIN + timedelta(days=1), 60, [statistic], dimensions or ENDPOINT, None
    )
    return [each.get_statistics_for_type(statistic) for each in found]


def test_statistics_stay_what_they_were_however_many_values_come(backend: CloudWatchBackend) -> None:
    for number in range(1000):  # ten a minute
        put(backend, float(number), seconds=6 * number)
    assert len(backend.metric_data) <= 100 + 100
    expected = {
        "Sum": [sum(range(10 * minute, 10 * minute + 10)) for minute in range(100)],
        "SampleCount": [10] * 100,
        "Minimum": [10 * minute for minute in range(100)],
        "Maximum": [10 * minute + 9 for minute in range(100)],
        "Average": [10 * minute + 4.5 for minute in range(100)],
    }
    kept = len(minutes(backend, "Sum"))
    assert kept > 10
    for statistic, values in expected.items():
        assert minutes(backend, statistic) == values[-kept:], statistic


def test_what_became_part_of_a_summary_is_forgotten(backend: CloudWatchBackend) -> None:
    put(backend, 1.0, seconds=0)
    first = weakref.ref(backend.metric_data[0])
    for number in range(500):
        put(backend, 1.0, seconds=number)
    gc.collect()
    assert first() is None


@pytest.mark.parametrize("minutes_each", [0, 1])
def test_memory_is_bounded(backend: CloudWatchBackend, minutes_each: int) -> None:
    most = 0
    for number in range(2000):
        put(backend, 1.0, seconds=60 * number * minutes_each)
        most = max(most, len(backend.metric_data))
    assert most <= 101
    total = sum(minutes(backend, "SampleCount")) if not minutes_each else None
    assert total in (None, 2000)


def test_the_newest_values_stay_as_they_are(backend: CloudWatchBackend) -> None:
    for number in range(500):
        put(backend, float(number), seconds=number)
    newest = [datum.value for datum in backend.metric_data[-50:]]
    assert newest == [float(number) for number in range(450, 500)]


def test_metrics_stay_apart(backend: CloudWatchBackend) -> None:
    other = [{"Name": "EndpointName", "Value": "cars"}]
    for number in range(300):
        put(backend, 1.0, seconds=0, name=("Latency", "Invocations")[number % 2])
        put(backend, 5.0, seconds=0, Dimensions=other, Unit="None")
    assert sum(minutes(backend, "Sum")) == 150
    assert sum(minutes(backend, "Sum", name="Invocations")) == 150
    assert sum(minutes(backend, "Sum", dimensions=other)) == 1500
    units = {datum.unit for datum in backend.metric_data if datum.dimensions[0].value == "cars"}
    assert units == {"None"}


def test_summaries_that_were_sent_count_as_many(backend: CloudWatchBackend) -> None:
    summary = {"Sum": 10.0, "SampleCount": 4.0, "Minimum": 1.0, "Maximum": 4.0}
    for number in range(150):
        moment = BEGIN + timedelta(seconds=number % 60)
        datum = {"MetricName": "Latency", "Timestamp": moment, "Dimensions": ENDPOINT, "StatisticValues": summary}
        backend.put_metric_data("AWS/SageMaker", [datum])
    assert minutes(backend, "Average") == [2.5]
    assert minutes(backend, "SampleCount") == [600]
    assert (minutes(backend, "Minimum"), minutes(backend, "Maximum")) == ([1.0], [4.0])
