"""Alarms of CloudWatch, whose states follow what is sent to their metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.support.local_aws import RunningLocalAws, eventually

NAMESPACE = "tests/alarms"


@pytest.fixture(scope="module")
def cloudwatch(local_aws: RunningLocalAws) -> Any:
    return local_aws.client("cloudwatch")


def put_alarm(cloudwatch: Any, statistic: dict[str, str] | None = None, **changes: Any) -> str:
    """Make an alarm that one value above zero in the last minute sets off; its metric has its name."""
    name = f"alarm-{uuid4().hex[:8]}"
    alarm: dict[str, Any] = {
        "AlarmName": name,
        "Namespace": NAMESPACE,
        "MetricName": name,
        "Dimensions": [{"Name": "EndpointName", "Value": "pets"}],
        **(statistic or {"Statistic": "Sum"}),
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch.put_metric_alarm(**{**alarm, **changes})
    return name


def send(cloudwatch: Any, name: str, value: float, *, seconds_ago: float = 0, endpoint: str = "pets") -> None:
    cloudwatch.put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {
                "MetricName": name,
                "Value": value,
                "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
                "Timestamp": datetime.now(UTC) - timedelta(seconds=seconds_ago),
            }
        ],
    )


def described(cloudwatch: Any, name: str) -> dict[str, Any]:
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return dict(alarm)


def state(cloudwatch: Any, name: str) -> str:
    return str(described(cloudwatch, name)["StateValue"])


def test_an_alarm_follows_its_metric(cloudwatch: Any) -> None:
    name = put_alarm(cloudwatch)
    assert state(cloudwatch, name) == "INSUFFICIENT_DATA"
    send(cloudwatch, name, 0.0, seconds_ago=1)
    assert state(cloudwatch, name) == "OK"
    send(cloudwatch, name, 1.0)
    alarm = described(cloudwatch, name)
    assert alarm["StateValue"] == "ALARM"
    assert "[1.0] was greater than the threshold (0.0)" in alarm["StateReason"]


def test_only_values_of_its_dimensions_count(cloudwatch: Any) -> None:
    name = put_alarm(cloudwatch)
    send(cloudwatch, name, 1.0, endpoint="another")
    assert state(cloudwatch, name) == "INSUFFICIENT_DATA"


def test_old_values_lose_their_weight(cloudwatch: Any) -> None:
    name = put_alarm(cloudwatch, TreatMissingData="notBreaching")
    send(cloudwatch, name, 1.0, seconds_ago=90)
    send(cloudwatch, name, 0.0)
    assert state(cloudwatch, name) == "OK"


def test_an_alarm_on_a_percentile_follows_its_metric(cloudwatch: Any) -> None:
    name = put_alarm(cloudwatch, {"ExtendedStatistic": "p99"}, Threshold=100.0)
    send(cloudwatch, name, 99.0)
    assert state(cloudwatch, name) == "OK"
    send(cloudwatch, name, 10_000.0)
    assert state(cloudwatch, name) == "ALARM"


def test_a_single_metric_may_be_given_as_a_query(cloudwatch: Any) -> None:
    name = f"alarm-{uuid4().hex[:8]}"
    metric = {"Namespace": NAMESPACE, "MetricName": name, "Dimensions": [{"Name": "EndpointName", "Value": "pets"}]}
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Metrics=[{"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}, "ReturnData": True}],
        EvaluationPeriods=1,
        Threshold=5.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    send(cloudwatch, name, 5.0)
    assert state(cloudwatch, name) == "ALARM"


def test_an_alarm_on_mathematics_says_that_it_is_not_evaluated(cloudwatch: Any) -> None:
    name = f"alarm-{uuid4().hex[:8]}"
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Metrics=[{"Id": "e", "Expression": "1 + 1", "ReturnData": True, "Period": 60}],
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanThreshold",
    )
    alarm = described(cloudwatch, name)
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"
    assert "The local AWS evaluates alarms on one metric" in alarm["StateReason"]


def test_alarms_are_found_by_the_state_of_now(cloudwatch: Any) -> None:
    name = put_alarm(cloudwatch)
    send(cloudwatch, name, 1.0)
    found = cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
    assert name in [alarm["AlarmName"] for alarm in found]


def test_a_state_set_by_hand_lasts_until_the_next_evaluation(cloudwatch: Any) -> None:
    long = put_alarm(cloudwatch, TreatMissingData="notBreaching")
    short = put_alarm(cloudwatch, TreatMissingData="notBreaching", Period=1)
    for name in (long, short):
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a rehearsal")
    eventually(lambda: state(cloudwatch, short) == "OK")
    alarm = described(cloudwatch, long)
    assert (alarm["StateValue"], alarm["StateReason"]) == ("ALARM", "a rehearsal")


def test_an_alarm_that_is_changed_keeps_its_state(cloudwatch: Any) -> None:
    name = put_alarm(cloudwatch, TreatMissingData="ignore")
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a rehearsal")
    put_alarm(cloudwatch, AlarmName=name, TreatMissingData="ignore", Threshold=3.0)
    assert state(cloudwatch, name) == "ALARM"
