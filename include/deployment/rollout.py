"""How an update of an endpoint moves its traffic, and the alarms that move it back.

The alarms watch the new machines alone: during an update SageMaker counts requests under the name of the configuration
too. Sources: API reference of UpdateEndpoint (DeploymentConfig) and PutMetricAlarm; developer guide, "Auto-Rollback
Configuration and Monitoring" and "Amazon SageMaker AI metrics in Amazon CloudWatch".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.run_conf.endpoint import LONGEST_ROLLOUT, START_OF_MACHINES, RolloutConf

PREFIX = "image-classification"
NAMESPACE = "AWS/SageMaker"
PERIOD_SECONDS = 60
"""SageMaker sends the metrics of an endpoint once a minute."""
LEAST_TIMEOUT = 600


@dataclass(frozen=True)
class Alarm:
    """What is watched while the traffic moves: above the threshold in one minute, all of it moves back.

    `statistic` is a member of PutMetricAlarm with its value. A minute without requests is a good one.
    """

    suffix: str
    metric: str
    statistic: Mapping[str, str]
    threshold: float
    meaning: str

    def name(self, endpoint: str) -> str:
        """The alarm of an endpoint."""
        return f"{PREFIX}-{endpoint}-{self.suffix}"


AVERAGE = {"Statistic": "Average"}
ALARMS = (
    Alarm("server-errors", "Invocation5XXErrors", AVERAGE, 0.01, "More than 1 % of the requests were answered by 5xx."),
    Alarm("model-errors", "InvocationModelErrors", AVERAGE, 0.05, "More than 5 % of the requests got no 2xx answer."),
    Alarm("latency", "ModelLatency", {"ExtendedStatistic": "p99"}, 10e6, "One request in 100 took more than 10 s."),
)
"""The first two average a 1 for each error and a 0 for each other request; the latency is in microseconds."""


def alarm_names(endpoint: str) -> list[str]:
    """The alarms that watch the updates of an endpoint."""
    return [alarm.name(endpoint) for alarm in ALARMS]


def deployment_config(rollout: RolloutConf, endpoint: str) -> dict[str, Any]:
    """The member `DeploymentConfig` of UpdateEndpoint; empty if all traffic moves at once and nothing is watched.

    Alarms are read as long as something waits: after each step, and after all traffic has moved if it moves at once.
    """
    if not rollout.in_steps and not rollout.wait:
        return {}
    size = {"Type": "CAPACITY_PERCENT", "Value": rollout.size_percent}
    longest = {"MaximumExecutionTimeoutInSeconds": longest_seconds(rollout)}
    wait = {"WaitIntervalInSeconds": rollout.wait}
    if rollout.kind == "rolling":
        policy = {"RollingUpdatePolicy": {"MaximumBatchSize": size, **wait, **longest}}
    else:
        routing = {
            "canary": {"Type": "CANARY", "CanarySize": size, **wait},
            "linear": {"Type": "LINEAR", "LinearStepSize": size, **wait},
            "all_at_once": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
        }[rollout.kind]
        last = {} if rollout.in_steps else {"TerminationWaitInSeconds": rollout.wait}
        policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **last, **longest}}
    alarms = [{"AlarmName": name} for name in alarm_names(endpoint)]
    return {"DeploymentConfig": {**policy, "AutoRollbackConfiguration": {"Alarms": alarms}}}


def last_rollout(endpoint: Mapping[str, Any]) -> str:
    """The kind of rollout with which a described endpoint was updated last; empty if that update had none."""
    last = endpoint.get("LastDeploymentConfig") or {}
    if "RollingUpdatePolicy" in last:
        return "rolling"
    routing = (last.get("BlueGreenUpdatePolicy") or {}).get("TrafficRoutingConfiguration") or {}
    return str(routing.get("Type", "")).lower()


def longest_seconds(rollout: RolloutConf) -> int:
    """After how long SageMaker gives the update up: the waits, and an hour for the machines to start."""
    return min(LONGEST_ROLLOUT, max(LEAST_TIMEOUT, rollout.steps * rollout.wait + START_OF_MACHINES))


def put_alarms(
    cloudwatch: Any, endpoint: str, *, config: str, variant: str, tags: Sequence[Mapping[str, str]] = ()
) -> None:
    """Watch the machines of one configuration.

    Alarms of an earlier update are deleted first. A changed one would keep its state, such as the ALARM after which the
    earlier update was undone.
    """
    delete_alarms(cloudwatch, endpoint)
    watched = {"EndpointName": endpoint, "VariantName": variant, "EndpointConfigName": config}
    for alarm in ALARMS:
        cloudwatch.put_metric_alarm(
            AlarmName=alarm.name(endpoint),
            AlarmDescription=f"{alarm.meaning} It rolls back the update of endpoint {endpoint} to {config}.",
            Namespace=NAMESPACE,
            MetricName=alarm.metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in watched.items()],
            **alarm.statistic,
            Period=PERIOD_SECONDS,
            EvaluationPeriods=1,
            Threshold=alarm.threshold,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
            Tags=list(tags),
        )


def delete_alarms(cloudwatch: Any, endpoint: str) -> list[str]:
    """Delete the alarms of an endpoint that are there; returns their names."""
    names = [alarm["AlarmName"] for alarm in _existing(cloudwatch, endpoint)]
    if names:
        cloudwatch.delete_alarms(AlarmNames=names)
    return names


def fired_alarms(cloudwatch: Any, endpoint: str) -> list[str]:
    """The alarms of an endpoint that are in ALARM now, each with CloudWatch's reason."""
    return [
        f"{alarm['AlarmName']} ({str(alarm.get('StateReason', '')).rstrip('.')})"
        for alarm in _existing(cloudwatch, endpoint)
        if alarm["StateValue"] == "ALARM"
    ]


def _existing(cloudwatch: Any, endpoint: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = cloudwatch.describe_alarms(AlarmNames=alarm_names(endpoint))["MetricAlarms"]
    return found
