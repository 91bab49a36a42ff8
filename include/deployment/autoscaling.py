"""How many machines an endpoint has, by the requests that come: a target of Application Auto Scaling.

Sources: API reference of RegisterScalableTarget, PutScalingPolicy and DeregisterScalableTarget (which deletes policies
and scheduled actions too); developer guide, "Update endpoints that use auto scaling": an update to another machine is
refused while the endpoint is registered.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from include.sagemaker.answers import existing
from include.sagemaker.naming import tags_of

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient

    from include.run_conf.endpoint import AutoscalingConf

log = logging.getLogger(__name__)

VARIANT = "champion"
"""The one variant of every endpoint of this project."""
NAMESPACE = "sagemaker"
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
    where = {"ServiceNamespace": NAMESPACE, "ScalableDimension": DIMENSION}
    targets = client.describe_scalable_targets(**where, ResourceIds=[_resource(endpoint)])["ScalableTargets"]
    if not targets:
        return None
    policies = client.describe_scaling_policies(**where, ResourceId=_resource(endpoint))["ScalingPolicies"]
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
        ServiceNamespace=NAMESPACE, ResourceId=_resource(endpoint), ScalableDimension=DIMENSION
    )
    return True


def lost_by_pause(client: Any, endpoint: str) -> list[str]:
    """The policies and scheduled actions that `pause` deletes and `resume` cannot make again: a person made them."""
    where = {"ServiceNamespace": NAMESPACE, "ScalableDimension": DIMENSION, "ResourceId": _resource(endpoint)}
    policies = client.describe_scaling_policies(**where)["ScalingPolicies"]
    actions = client.describe_scheduled_actions(**where)["ScheduledActions"]
    return sorted(
        [str(policy["PolicyName"]) for policy in policies if not _is_ours(endpoint, policy)]
        + [str(action["ScheduledActionName"]) for action in actions]
    )


def _is_ours(endpoint: str, policy: Mapping[str, Any]) -> bool:
    tracked = {**(policy.get("TargetTrackingScalingPolicyConfiguration") or {})}
    if tracked.get("DisableScaleIn") is False:
        del tracked["DisableScaleIn"]
    target = tracked.get("TargetValue", 0)
    return policy["PolicyName"] == _policy_name(endpoint) and target == int(target) and tracked == _tracking(target)


def pause(client: Any, sagemaker: SageMakerClient, endpoint: str, arn: str) -> None:
    """Stop scaling until `resume`; a second call changes nothing."""
    live = live_scaling(client, endpoint)
    if live is not None:
        _note(sagemaker, arn, PAUSED_TAG, str(live))
        stop_scaling(client, endpoint)


def resume(client: Any, sagemaker: SageMakerClient, endpoint: str) -> None:
    """Scale an endpoint as before `pause`; one that was not paused, or is changing, stays as it is."""
    described = existing(sagemaker.describe_endpoint, EndpointName=endpoint)
    if described is None or described["EndpointStatus"] != "InService":
        return
    arn = described["EndpointArn"]
    paused = Scaling.of_tag(tags_of(sagemaker, arn).get(PAUSED_TAG))
    if paused is not None:
        _put(client, endpoint, paused)
        _note(sagemaker, arn, PAUSED_TAG, "")


def resume_or_log(client: Any, sagemaker: SageMakerClient, endpoint: str) -> None:
    """`resume` on the way to another error, which it must not hide: its own errors are logged."""
    try:
        resume(client, sagemaker, endpoint)
    except (BotoCoreError, ClientError) as error:
        log.error("Endpoint %s is not scaled until the next deployment to it: %s", endpoint, error)


def scale(client: Any, sagemaker: SageMakerClient, endpoint: str, wanted: Scaling | None) -> None:
    """Scale an endpoint as a deployment asks.

    What a person has changed by hand since stays, unless something else is asked than by the last deployment.
    """
    resume(client, sagemaker, endpoint)
    arn = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointArn"]
    noted = Scaling.of_tag(tags_of(sagemaker, arn).get(SCALING_TAG))
    if wanted == noted:
        return
    if wanted is None:
        stop_scaling(client, endpoint)
    else:
        _put(client, endpoint, wanted)
    _note(sagemaker, arn, SCALING_TAG, str(wanted or ""))


def _put(client: Any, endpoint: str, scaling: Scaling) -> None:
    where = {"ServiceNamespace": NAMESPACE, "ResourceId": _resource(endpoint), "ScalableDimension": DIMENSION}
    client.register_scalable_target(**where, MinCapacity=scaling.minimum, MaxCapacity=scaling.maximum)
    if scaling.target is not None:
        client.put_scaling_policy(
            **where,
            PolicyName=_policy_name(endpoint),
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=_tracking(scaling.target),
        )


def _policy_name(endpoint: str) -> str:
    return f"image-classification-{endpoint}"


def _tracking(target: float) -> dict[str, Any]:
    return {"TargetValue": float(target), "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC}}


def _resource(endpoint: str) -> str:
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def _note(sagemaker: SageMakerClient, arn: str, key: str, value: str) -> None:
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": key, "Value": value}])
