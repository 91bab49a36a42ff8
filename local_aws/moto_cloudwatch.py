"""moto's CloudWatch, with whole periods and exact dimensions, alarms that follow their metrics, and bounded memory.

The state of an alarm is worked out whenever an alarm is read: between two reads nobody can see it. Of many values the
older ones are kept as one summary a minute, as CloudWatch keeps those of more than three hours ago.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from moto.cloudwatch.exceptions import InvalidParameterValue
from moto.cloudwatch.models import (
    Alarm,
    CloudWatchBackend,
    MetricAggregatedDatum,
    MetricDatumBase,
    MetricStat,
    Statistics,
)

from local_aws import alarms

NOT_EVALUATED = "The local AWS evaluates alarms on one metric; this alarm has another kind of condition."
MOST_VALUES = 100_000
"""Values and summaries that an account keeps in a region; when there are more, the older half becomes summaries."""
ALARM_READERS = (
    "describe_alarms",
    "get_alarms_by_action_prefix",
    "get_alarms_by_alarm_name_prefix",
    "get_alarms_by_alarm_names",
)

_get_metric_data = CloudWatchBackend.get_metric_data
_put_metric_alarm = CloudWatchBackend.put_metric_alarm
_put_metric_data = CloudWatchBackend.put_metric_data
_putting = threading.Lock()
_set_alarm_state = CloudWatchBackend.set_alarm_state
_alarms_by_state = CloudWatchBackend.get_alarms_by_state_value


def mend_cloudwatch() -> None:
    """Put what CloudWatch does instead of what moto does."""
    backend: Any = CloudWatchBackend
    backend.get_metric_data = _get_metric_data_of_whole_minutes
    backend.get_metric_statistics = _get_metric_statistics
    backend.put_metric_data = _put_metric_data_within_bounds
    datum: Any = MetricDatumBase
    datum.__new__ = _untracked
    backend.put_metric_alarm = _put_alarm
    backend.set_alarm_state = _hold_alarm_state
    backend.get_alarms_by_state_value = _alarms_by_state_of_now
    for name in ALARM_READERS:
        setattr(backend, name, _evaluated(vars(CloudWatchBackend)[name]))


def _get_metric_data_of_whole_minutes(
    backend: CloudWatchBackend, queries: Any, start_time: datetime, *rest: Any, **named: Any
) -> Any:
    """Begin with the minute of the start, as CloudWatch does."""
    return _get_metric_data(backend, queries, _beginning(start_time, 60), *rest, **named)


def _get_metric_statistics(  # noqa: PLR0917 - moto calls it so
    backend: CloudWatchBackend,
    namespace: str,
    metric_name: str,
    start_time: datetime,
    end_time: datetime,
    period: int,
    stats: list[str],
    dimensions: list[dict[str, str]],
    unit: str | None = None,
) -> list[Statistics]:
    """Group values by whole periods and by exactly these dimensions, as CloudWatch does; moto does neither."""
    if start_time >= end_time:
        raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
    wanted = sorted((dimension["Name"], dimension["Value"]) for dimension in dimensions)
    start = _beginning(start_time, 60)
    periods: dict[datetime, Statistics] = {}
    for datum in backend.get_all_metrics():
        is_wanted = (datum.namespace, datum.name) == (namespace, metric_name) and start <= datum.timestamp < end_time
        if not is_wanted or unit not in (None, datum.unit):
            continue
        if sorted((dimension.name, dimension.value) for dimension in datum.dimensions) == wanted:
            moment = _beginning(datum.timestamp, period)
            statistics = periods.setdefault(moment, Statistics(stats, moment, datum.unit))
            statistics.metric_data.append(datum)
    return [periods[moment] for moment in sorted(periods)]


def _beginning(moment: datetime, period: int) -> datetime:
    """The beginning of the period of this many seconds in which a moment lies."""
    return moment - timedelta(seconds=moment.replace(tzinfo=UTC).timestamp() % period)


def _untracked(kind: type, *_: Any, **__: Any) -> Any:
    """A new object that moto does not keep beside the backend's own list, for a dashboard that nobody sees here."""
    return object.__new__(kind)


def _put_metric_data_within_bounds(backend: CloudWatchBackend, *arguments: Any, **named: Any) -> None:
    """Take values in, and make room where there are too many."""
    with _putting:
        _put_metric_data(backend, *arguments, **named)
        if len(backend.metric_data) > MOST_VALUES:
            older = len(backend.metric_data) - MOST_VALUES // 2
            summaries = summaries_of(backend.metric_data[:older])
            backend.metric_data[:older] = summaries[-(MOST_VALUES // 4) :]


def summaries_of(data: Iterable[MetricDatumBase]) -> list[MetricDatumBase]:
    """One summary for each metric and minute, the oldest minutes first."""
    summaries: dict[tuple[Any, ...], MetricAggregatedDatum] = {}
    for datum in data:
        least, most, count, total = _bounds(datum)
        minute = datum.timestamp.replace(second=0, microsecond=0)
        dimensions: Any = tuple((dimension.name, dimension.value) for dimension in datum.dimensions)
        key = (datum.namespace, datum.name, dimensions, datum.unit, minute)
        kept = summaries.get(key)
        if kept is None:
            named = [{"Name": name, "Value": value} for name, value in dimensions]
            summaries[key] = MetricAggregatedDatum(
                datum.namespace, datum.name, least, most, count, total, named, minute, datum.unit
            )
        else:
            kept.min, kept.max = min(kept.min, least), max(kept.max, most)
            kept.sample_count, kept.sum = kept.sample_count + count, kept.sum + total
    return sorted(summaries.values(), key=lambda datum: _in_utc(datum.timestamp))


def _put_alarm(backend: CloudWatchBackend, name: str, *rest: Any, **named: Any) -> Alarm:
    """Let a new alarm begin without data, and one that is changed keep its state, as CloudWatch does."""
    before = backend.alarms.get(name)
    alarm = _put_metric_alarm(backend, name, *rest, **named)
    if before is not None:
        alarm.state_value, alarm.state_reason = before.state_value, before.state_reason
        alarm.history = before.history
    elif alarm.rule is None:
        alarm.state_value = alarms.INSUFFICIENT_DATA
    return alarm


def _hold_alarm_state(backend: CloudWatchBackend, alarm_name: str, *rest: Any, **named: Any) -> None:
    """Set a state that lasts until the next evaluation CloudWatch would make."""
    _set_alarm_state(backend, alarm_name, *rest, **named)
    alarm: Any = backend.alarms[alarm_name]
    alarm.is_held = True


def _evaluated(read: Any) -> Any:
    """Let a method that reads alarms bring those it finds up to date."""

    def reading(backend: CloudWatchBackend, *arguments: Any, **named: Any) -> list[Alarm]:
        found = list(read(backend, *arguments, **named))
        for alarm in found:
            _evaluate(backend, alarm)
        return found

    return reading


def _alarms_by_state_of_now(backend: CloudWatchBackend, target_state: str) -> Any:
    """Bring every alarm up to date before those in one state are chosen."""
    backend.describe_alarms()
    return _alarms_by_state(backend, target_state)


def _evaluate(backend: CloudWatchBackend, alarm: Any) -> None:
    """Bring the state of one alarm up to date; a composite one keeps its state."""
    if alarm.rule is not None:
        return
    watched = _watched(alarm)
    if watched is None:
        alarm.state_reason = NOT_EVALUATED
        return
    metric, rule = watched
    moment = datetime.now(UTC)
    if getattr(alarm, "is_held", False):
        if moment - _in_utc(alarm.state_updated_timestamp) < rule.hold:
            return
        alarm.is_held = False
    state = alarms.evaluate(rule, _samples(backend, metric, moment - rule.periods * rule.period), moment)
    if state is not None and state.value != alarm.state_value:
        alarm.update_state(state.reason, "{}", state.value)
    elif state is not None:
        alarm.state_reason = state.reason


def _watched(alarm: Alarm) -> tuple[MetricStat, alarms.Rule] | None:
    """The metric and the rule of an alarm; None for mathematics, anomalies and queries."""
    stats = [query.metric_stat for query in alarm.metric_data_queries if query.metric_stat is not None]
    if alarm.comparison_operator not in alarms.COMPARISONS or len(stats) < len(alarm.metric_data_queries):
        return None
    own = MetricStat(
        cast(Any, alarm), str(alarm.period), alarm.statistic or alarm.extended_statistic or "", alarm.unit or ""
    )
    (metric,) = stats[:1] or [own]
    if not alarms.is_statistic(metric.stat):
        return None
    return metric, alarms.Rule(
        comparison=alarm.comparison_operator,
        threshold=alarm.threshold,
        statistic=metric.stat,
        period=timedelta(seconds=int(metric.period)),
        evaluation_periods=alarm.evaluation_periods,
        datapoints_to_alarm=alarm.datapoints_to_alarm or alarm.evaluation_periods,
        missing=alarm.treat_missing_data or "missing",
        few_samples=alarm.evaluate_low_sample_count_percentile or "evaluate",
    )


def _samples(backend: CloudWatchBackend, wanted: MetricStat, since: datetime) -> list[alarms.Sample]:
    """What was sent of a metric since a moment, with exactly its dimensions."""
    metric = wanted.metric
    name, namespace, unit = metric.metric_name, metric.namespace, wanted.unit
    dimensions = sorted((dimension.name, dimension.value) for dimension in metric.dimensions)
    return [
        _sample(datum)
        for datum in list(backend.metric_data)
        if datum.name == name  # first what leaves out most: a long demo sends a hundred thousand values
        and datum.namespace == namespace
        and (not unit or datum.unit == unit)
        and _in_utc(datum.timestamp) >= since
        and sorted((dimension.name, dimension.value) for dimension in datum.dimensions) == dimensions
    ]


def _sample(datum: MetricDatumBase) -> alarms.Sample:
    least, most, count, total = _bounds(datum)
    return alarms.Sample(_in_utc(datum.timestamp), total, count, least, most)


def _bounds(datum: MetricDatumBase) -> tuple[float, float, float, float]:
    """The least and the largest value, how many they are, and their sum."""
    if isinstance(datum, MetricAggregatedDatum):
        return datum.min, datum.max, datum.sample_count, datum.sum
    value: float = cast(Any, datum).value
    return value, value, 1, value


def _in_utc(moment: datetime) -> datetime:
    """A moment of moto, whose moments without a zone are UTC."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
