"""The traffic of an endpoint: how an update moves it, the alarms that move it back, and how many machines take it.

The alarms of a rollout watch the new machines alone: during an update SageMaker counts requests under the name of the
configuration too. The number of machines follows the requests by a target of Application Auto Scaling. An update to
another machine is refused while the endpoint is registered there, and DeregisterScalableTarget deletes policies and
scheduled actions too.

Sources: API reference of UpdateEndpoint (DeploymentConfig), PutMetricAlarm, RegisterScalableTarget, PutScalingPolicy
and DeregisterScalableTarget; developer guide, "Auto-Rollback Configuration and Monitoring", "Amazon SageMaker AI
metrics in Amazon CloudWatch" and "Update endpoints that use auto scaling".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from include.run_conf.endpoint import LONGEST_ROLLOUT, START_OF_MACHINES, RolloutConf
from include.sagemaker.api import existing
from include.sagemaker.naming import tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.run_conf.endpoint import AutoscalingConf

log = logging.getLogger(__name__)

ALARM_PREFIX = "image-classification"
METRIC_NAMESPACE = "AWS/SageMaker"
PERIOD_SECONDS = 60
"""SageMaker sends the metrics of an endpoint once a minute."""
LEAST_TIMEOUT = 600

VARIANT = "champion"
"""The one variant of every endpoint of this project."""
SCALING_NAMESPACE = "sagemaker"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
METRIC = "SageMakerVariantInvocationsPerInstance"
SCALING_TAG = "autoscaling"
"""Tag of an endpoint: what the last deployment asked for (`1-4:600`); empty: nothing."""
PAUSED_TAG = "autoscaling-paused"
"""Tag of an endpoint: what comes back when an update to another machine has ended; empty: nothing."""
RETAINED: dict[str, Any] = {
    "RetainAllVariantProperties": True,
    "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DataCaptureConfig"}],
}
"""Members of UpdateEndpoint that keep the live count of an endpoint that is scaled."""


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
        return f"{ALARM_PREFIX}-{endpoint}-{self.suffix}"


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
            Namespace=METRIC_NAMESPACE,
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
    names = [alarm["AlarmName"] for alarm in _existing_alarms(cloudwatch, endpoint)]
    if names:
        cloudwatch.delete_alarms(AlarmNames=names)
    return names


def fired_alarms(cloudwatch: Any, endpoint: str) -> list[str]:
    """The alarms of an endpoint that are in ALARM now, each with CloudWatch's reason."""
    return [
        f"{alarm['AlarmName']} ({str(alarm.get('StateReason', '')).rstrip('.')})"
        for alarm in _existing_alarms(cloudwatch, endpoint)
        if alarm["StateValue"] == "ALARM"
    ]


def _existing_alarms(cloudwatch: Any, endpoint: str) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = cloudwatch.describe_alarms(AlarmNames=alarm_names(endpoint))["MetricAlarms"]
    return found


@dataclass(frozen=True)
class Scaling:
    """The bounds of an endpoint's machines, and how many requests a minute one of them gets.

    `target` is None if no policy of this kind is there: a person scales it otherwise.
    """

    minimum: int
    maximum: int
    target: int | None

    def __str__(self) -> str:
        return f"{self.minimum}-{self.maximum}:{self.target or 0}"

    @classmethod
    def of(cls, conf: AutoscalingConf) -> Self | None:
        """What a run conf asks for; None if that is a fixed number of machines."""
        return None if conf.maximum is None else cls(conf.minimum, conf.maximum, conf.target)

    @classmethod
    def of_tag(cls, value: str | None) -> Self | None:
        """What a tag notes; None if it notes nothing."""
        found = re.fullmatch(r"(\d+)-(\d+):(\d+)", value or "")
        return cls(int(found[1]), int(found[2]), int(found[3]) or None) if found else None


def live_scaling(client: Any, endpoint: str) -> Scaling | None:
    """How an endpoint is scaled; None if it is not."""
    where = {"ServiceNamespace": SCALING_NAMESPACE, "ScalableDimension": DIMENSION}
    targets = client.describe_scalable_targets(**where, ResourceIds=[_scaled_variant(endpoint)])["ScalableTargets"]
    if not targets:
        return None
    policies = client.describe_scaling_policies(**where, ResourceId=_scaled_variant(endpoint))["ScalingPolicies"]
    tracked = [policy.get("TargetTrackingScalingPolicyConfiguration") or {} for policy in policies]
    values = [
        int(each["TargetValue"])
        for each in tracked
        if (each.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType") == METRIC
    ]
    return Scaling(targets[0]["MinCapacity"], targets[0]["MaxCapacity"], values[0] if values else None)


def stop_scaling(client: Any, endpoint: str) -> bool:
    """Leave an endpoint with the machines that it has; whether it was scaled."""
    if live_scaling(client, endpoint) is None:
        return False
    client.deregister_scalable_target(
        ServiceNamespace=SCALING_NAMESPACE, ResourceId=_scaled_variant(endpoint), ScalableDimension=DIMENSION
    )
    return True


def lost_by_pause(client: Any, endpoint: str) -> list[str]:
    """The policies and scheduled actions that a pause deletes and nothing makes again: a person made them."""
    where = {
        "ServiceNamespace": SCALING_NAMESPACE,
        "ScalableDimension": DIMENSION,
        "ResourceId": _scaled_variant(endpoint),
    }
    policies = client.describe_scaling_policies(**where)["ScalingPolicies"]
    actions = client.describe_scheduled_actions(**where)["ScheduledActions"]
    return sorted(
        [str(policy["PolicyName"]) for policy in policies if not _is_our_policy(endpoint, policy)]
        + [str(action["ScheduledActionName"]) for action in actions]
    )


def _is_our_policy(endpoint: str, policy: Mapping[str, Any]) -> bool:
    tracked = {**(policy.get("TargetTrackingScalingPolicyConfiguration") or {})}
    if tracked.get("DisableScaleIn") is False:
        del tracked["DisableScaleIn"]
    target = tracked.get("TargetValue", 0)
    return policy["PolicyName"] == _scaling_policy(endpoint) and target == int(target) and tracked == _tracking(target)


def pause_scaling(client: Any, sagemaker: SageMakerClient, endpoint: str, arn: str) -> None:
    """Stop scaling until `resume_scaling`; a second call changes nothing."""
    live = live_scaling(client, endpoint)
    if live is not None:
        _note_on_endpoint(sagemaker, arn, PAUSED_TAG, str(live))
        stop_scaling(client, endpoint)


def resume_scaling(client: Any, sagemaker: SageMakerClient, endpoint: str) -> None:
    """Scale an endpoint as before `pause_scaling`; one that was not paused, or is changing, stays as it is."""
    described = existing(sagemaker.describe_endpoint, EndpointName=endpoint)
    if described is None or described["EndpointStatus"] != "InService":
        return
    arn = described["EndpointArn"]
    paused = Scaling.of_tag(tags_of(sagemaker, arn).get(PAUSED_TAG))
    if paused is not None:
        _register_scaling(client, endpoint, paused)
        _note_on_endpoint(sagemaker, arn, PAUSED_TAG, "")


def resume_scaling_or_log(client: Any, sagemaker: SageMakerClient, endpoint: str) -> None:
    """`resume_scaling` on the way to another error, which it must not hide: its own errors are logged."""
    try:
        resume_scaling(client, sagemaker, endpoint)
    except (BotoCoreError, ClientError) as error:
        log.error("Endpoint %s is not scaled until the next deployment to it: %s", endpoint, error)


def scale_endpoint(client: Any, sagemaker: SageMakerClient, endpoint: str, wanted: Scaling | None) -> None:
    """Scale an endpoint as a deployment asks.

    What a person has changed by hand since stays, unless something else is asked than by the last deployment.
    """
    resume_scaling(client, sagemaker, endpoint)
    arn = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointArn"]
    noted = Scaling.of_tag(tags_of(sagemaker, arn).get(SCALING_TAG))
    if wanted == noted:
        return
    if wanted is None:
        stop_scaling(client, endpoint)
    else:
        _register_scaling(client, endpoint, wanted)
    _note_on_endpoint(sagemaker, arn, SCALING_TAG, str(wanted or ""))


def _register_scaling(client: Any, endpoint: str, scaling: Scaling) -> None:
    where = {
        "ServiceNamespace": SCALING_NAMESPACE,
        "ResourceId": _scaled_variant(endpoint),
        "ScalableDimension": DIMENSION,
    }
    client.register_scalable_target(**where, MinCapacity=scaling.minimum, MaxCapacity=scaling.maximum)
    if scaling.target is not None:
        client.put_scaling_policy(
            **where,
            PolicyName=_scaling_policy(endpoint),
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=_tracking(scaling.target),
        )


def _scaling_policy(endpoint: str) -> str:
    return f"image-classification-{endpoint}"


def _tracking(target: float) -> dict[str, Any]:
    return {"TargetValue": float(target), "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC}}


def _scaled_variant(endpoint: str) -> str:
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def _note_on_endpoint(sagemaker: SageMakerClient, arn: str, key: str, value: str) -> None:
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": value}])
