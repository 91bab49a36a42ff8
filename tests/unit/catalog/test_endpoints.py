"""What CloudWatch has counted of an endpoint, put into the steps of a span."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.catalog.endpoints import SPANS, EndpointState, read_traffic

NOW = datetime(2026, 11, 29, 22, 47, tzinfo=UTC)
ENDPOINT = EndpointState("pets", "InService", NOW, variants=("champion", "challenger"))


class CloudWatch:
    """Every variant had three requests at a moment, one of them slow; `asked` holds what was asked for."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.asked: list[dict[str, Any]] = []

    def get_metric_statistics(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        values = {"Invocations": {"Sum": 3.0}, "ModelLatency": {"Average": 4000.0, "Maximum": 90_000.0}}
        point = values.get(asked["MetricName"])
        return {"Datapoints": [{"Timestamp": self.moment, **point}] if point else []}


@pytest.mark.parametrize(
    ("span", "step"),
    [
        ("hour", datetime(2026, 11, 29, 22, 30, tzinfo=UTC)),
        ("day", datetime(2026, 11, 29, 22, tzinfo=UTC)),
        ("week", datetime(2026, 11, 29, 18, tzinfo=UTC)),
    ],
)
def test_requests_of_all_variants_are_counted_in_the_step_in_which_they_came(span: str, step: datetime) -> None:
    cloudwatch = CloudWatch(NOW - timedelta(minutes=13))

    traffic = read_traffic(cloudwatch, ENDPOINT, span=SPANS[span], now=NOW)

    place = traffic.moments.index(step)
    assert traffic.total("requests") == traffic.counts["requests"][place] == 6
    assert traffic.total("failed") == 0
    assert (traffic.latency_ms[place], traffic.worst_latency_ms[place]) == (4.0, 90.0)
    assert [value for value in traffic.latency_ms if value is not None] == [4.0]
    assert len(traffic.moments) == SPANS[span].count
    assert {(each["StartTime"], each["Period"]) for each in cloudwatch.asked} == {
        (traffic.moments[0], SPANS[span].step.total_seconds())
    }
    assert traffic.moments[-1] <= NOW < traffic.moments[-1] + SPANS[span].step
