"""Automatic scaling of endpoints: what Application Auto Scaling keeps, answers and refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import Scripted, unique
from tests.support.local_aws import ask, calls, eventually

DIMENSION = "sagemaker:variant:DesiredInstanceCount"
TRACKING = {
    "TargetValue": 70.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    "ScaleInCooldown": 300,
}


@pytest.fixture(scope="module")
def scaling(scripted: Scripted) -> Any:
    return scripted.client("application-autoscaling")


@pytest.fixture
def endpoint(scripted: Scripted, control: Any) -> Iterator[str]:
    name = created(scripted, control, scripted.config(all=(scripted.model(), 1.0), other=(scripted.model(), 1.0)))
    yield name
    with contextlib.suppress(ClientError):
        control.delete_endpoint(EndpointName=name)


def created(scripted: Scripted, control: Any, config: str) -> str:
    name = unique("scaled")
    control.create_endpoint(EndpointName=name, EndpointConfigName=config)
    assert scripted.settled(name)["EndpointStatus"] == "InService"
    return name


def target(endpoint: str, variant: str = "all") -> dict[str, str]:
    resource = f"endpoint/{endpoint}/variant/{variant}"
    return {"ServiceNamespace": "sagemaker", "ResourceId": resource, "ScalableDimension": DIMENSION}


def registered(scaling: Any, endpoint: str) -> dict[str, dict[str, Any]]:
    """The targets of an endpoint, by variant."""
    pages = scaling.get_paginator("describe_scalable_targets").paginate(ServiceNamespace="sagemaker")
    found = [one for page in pages for one in page["ScalableTargets"]]
    prefix = f"endpoint/{endpoint}/variant/"
    return {one["ResourceId"].removeprefix(prefix): one for one in found if one["ResourceId"].startswith(prefix)}


def policies(scaling: Any, endpoint: str) -> list[dict[str, Any]]:
    resource = target(endpoint)["ResourceId"]
    found: list[dict[str, Any]] = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=resource)[
        "ScalingPolicies"
    ]
    return found


def test_a_target_is_kept_and_described(scaling: Any, endpoint: str) -> None:
    arn = scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)["ScalableTargetARN"]
    found = registered(scaling, endpoint)["all"]
    assert datetime.now(UTC) - found.pop("CreationTime") < timedelta(minutes=1)
    assert found == {
        **target(endpoint),
        "ScalableTargetARN": arn,
        "MinCapacity": 1,
        "MaxCapacity": 4,
        "RoleARN": "arn:aws:iam::123456789012:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
        "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
        "SuspendedState": {
            "DynamicScalingInSuspended": False,
            "DynamicScalingOutSuspended": False,
            "ScheduledScalingSuspended": False,
        },
    }
    assert arn.startswith("arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/")


def test_a_target_that_is_registered_again_takes_what_is_given(scaling: Any, endpoint: str) -> None:
    first = scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)
    suspended = {"DynamicScalingInSuspended": True}
    again = scaling.register_scalable_target(**target(endpoint), MaxCapacity=9, SuspendedState=suspended)
    assert again["ScalableTargetARN"] == first["ScalableTargetARN"]
    found = registered(scaling, endpoint)["all"]
    assert (found["MinCapacity"], found["MaxCapacity"]) == (1, 9)
    assert found["SuspendedState"]["DynamicScalingInSuspended"]


def test_a_policy_is_kept_and_described(scaling: Any, endpoint: str) -> None:
    scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)
    put = {"PolicyName": "per-instance", "PolicyType": "TargetTrackingScaling", **target(endpoint)}
    answers = [
        scaling.put_scaling_policy(**put, TargetTrackingScalingPolicyConfiguration={**TRACKING, "TargetValue": value})
        for value in (50.0, 70.0)
    ]
    assert answers[0]["PolicyARN"] == answers[1]["PolicyARN"]
    (found,) = policies(scaling, endpoint)
    assert found["TargetTrackingScalingPolicyConfiguration"] == TRACKING
    assert (found["PolicyName"], found["PolicyARN"]) == ("per-instance", answers[1]["PolicyARN"])
    scaling.delete_scaling_policy(PolicyName="per-instance", **target(endpoint))
    assert policies(scaling, endpoint) == []
    activities = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")
    assert activities["ScalingActivities"] == []


def schedules(scaling: Any, endpoint: str) -> list[dict[str, Any]]:
    where = {"ServiceNamespace": "sagemaker", "ResourceId": target(endpoint)["ResourceId"]}
    found: list[dict[str, Any]] = scaling.describe_scheduled_actions(**where)["ScheduledActions"]
    return found


def test_a_schedule_is_kept_until_it_or_its_target_goes(scaling: Any, endpoint: str) -> None:
    where, nights = target(endpoint), {"ScheduledActionName": "nights"}
    scaling.register_scalable_target(**where, MinCapacity=1, MaxCapacity=4)
    with pytest.raises(ClientError, match="needs a Schedule and a ScalableTargetAction"):
        scaling.put_scheduled_action(**where, **nights, Schedule="cron(0 22 * * ? *)")
    limits = {"MinCapacity": 2, "MaxCapacity": 8}
    scaling.put_scheduled_action(
        **where, **nights, Schedule="cron(0 22 * * ? *)", Timezone="Europe/Berlin", ScalableTargetAction=limits
    )
    scaling.put_scheduled_action(**where, **nights, Schedule="cron(0 23 * * ? *)")

    (found,) = schedules(scaling, endpoint)
    assert (found["Schedule"], found["Timezone"]) == ("cron(0 23 * * ? *)", "Europe/Berlin")
    assert found["ScalableTargetAction"] == limits

    scaling.delete_scheduled_action(**where, **nights)
    assert schedules(scaling, endpoint) == []
    scaling.put_scheduled_action(**where, **nights, Schedule="rate(1 day)", ScalableTargetAction=limits)
    scaling.deregister_scalable_target(**where)
    assert schedules(scaling, endpoint) == []


def test_a_deregistered_target_takes_its_policies_with_it(scaling: Any, endpoint: str) -> None:
    for _ in range(2):
        scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)
        assert policies(scaling, endpoint) == []
        scaling.put_scaling_policy(
            PolicyName="steps",
            StepScalingPolicyConfiguration={"AdjustmentType": "ChangeInCapacity", "StepAdjustments": []},
            **target(endpoint),
        )
        scaling.deregister_scalable_target(**target(endpoint))
        assert registered(scaling, endpoint) == {}


def test_a_deleted_endpoint_is_no_target_any_more(
    scaling: Any, control: Any, scripted: Scripted, endpoint: str
) -> None:
    scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)
    config = control.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    control.delete_endpoint(EndpointName=endpoint)
    assert registered(scaling, endpoint) == {}

    def create_again() -> bool:
        try:
            control.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        except ClientError:
            return False
        return True

    eventually(create_again)
    scripted.settled(endpoint)
    assert registered(scaling, endpoint) == {}


def test_targets_live_through_an_update_as_long_as_their_variant(
    scripted: Scripted, scaling: Any, control: Any, endpoint: str
) -> None:
    for variant in ("all", "other"):
        scaling.register_scalable_target(**target(endpoint, variant), MinCapacity=1, MaxCapacity=4)
    broken = scripted.config(all=(scripted.broken_model(), 1.0))
    for config, left in ((broken, {"all", "other"}), (scripted.config(all=(scripted.model(), 1.0)), {"all"})):
        control.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        scripted.settled(endpoint)
        assert set(registered(scaling, endpoint)) == left


def test_a_target_keeps_its_machine(scripted: Scripted, scaling: Any, control: Any, endpoint: str) -> None:
    config = unique("config")
    variant = {"VariantName": "all", "ModelName": scripted.model(), "InitialInstanceCount": 1}
    control.create_endpoint_config(
        EndpointConfigName=config, ProductionVariants=[{**variant, "InstanceType": "ml.c5.large"}]
    )
    scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)
    with pytest.raises(ClientError, match=r"can't be changed from ml.m5.large to ml.c5.large .* automatic scaling"):
        control.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    scaling.deregister_scalable_target(**target(endpoint))
    control.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    assert scripted.settled(endpoint)["EndpointConfigName"] == config


def test_the_count_that_was_scaled_to_survives_an_update_that_retains_it(
    scripted: Scripted, control: Any, endpoint: str
) -> None:
    changes = [
        {"VariantName": "all", "DesiredInstanceCount": 3, "DesiredWeight": 2.0},
        {"VariantName": "other", "DesiredInstanceCount": 2},
    ]
    control.update_endpoint_weights_and_capacities(EndpointName=endpoint, DesiredWeightsAndCapacities=changes)
    scripted.settled(endpoint)
    config = scripted.config(all=(scripted.model(), 1.0), other=(scripted.model(), 1.0))
    seen = {}
    for excluded in ("DesiredWeight", "DesiredInstanceCount"):
        control.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config,
            RetainAllVariantProperties=True,
            ExcludeRetainedVariantProperties=[{"VariantPropertyType": excluded}],
        )
        variants = scripted.settled(endpoint)["ProductionVariants"]
        seen[excluded] = [(one["CurrentInstanceCount"], one["CurrentWeight"]) for one in variants]
    assert seen == {"DesiredWeight": [(3, 1.0), (2, 1.0)], "DesiredInstanceCount": [(1, 1.0), (1, 1.0)]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ResourceId": "endpoint/nowhere/variant/all"}, "no endpoint variant endpoint/nowhere/variant/all in service"),
        ({"ResourceId": "service/cluster/all"}, "Unsupported service namespace, resource type or scalable dimension"),
        ({"ScalableDimension": "ecs:service:DesiredCount"}, "Unsupported service namespace"),
        ({"ScalableDimension": "sagemaker:variant:DesiredProvisionedConcurrency"}, "is not available in the local AWS"),
        ({"ScalableDimension": "sagemaker:variant:Size"}, "enum value set"),
        ({"MinCapacity": 5}, "Maximum capacity cannot be less than minimum capacity"),
    ],
)
def test_targets_that_cannot_be_are_refused(scaling: Any, endpoint: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message) as refusal:
        scaling.register_scalable_target(**{**target(endpoint), "MinCapacity": 1, "MaxCapacity": 4, **change})
    assert refusal.value.response["Error"]["Code"] == "ValidationException"


def test_a_variant_that_is_not_of_the_endpoint_is_refused(scaling: Any, endpoint: str) -> None:
    with pytest.raises(ClientError, match="There is no endpoint variant"):
        scaling.register_scalable_target(**target(endpoint, "nobody"), MinCapacity=1, MaxCapacity=4)


def test_both_limits_are_needed_first(scaling: Any, endpoint: str) -> None:
    with pytest.raises(ClientError, match="MinCapacity and MaxCapacity must both be given"):
        scaling.register_scalable_target(**target(endpoint), MaxCapacity=4)


@pytest.mark.parametrize(
    ("capacity", "reason"),
    [
        ({"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}, "is serverless"),
        ({"InstanceType": "ml.t2.medium", "InitialInstanceCount": 1}, "ml.t2.medium is burstable"),
    ],
)
def test_only_whole_instances_are_scaled(
    scripted: Scripted, scaling: Any, control: Any, capacity: dict[str, Any], reason: str
) -> None:
    config = unique("config")
    variant = {"VariantName": "all", "ModelName": scripted.model(), **capacity}
    control.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
    name = created(scripted, control, config)
    with pytest.raises(ClientError, match=reason):
        scaling.register_scalable_target(**target(name), MinCapacity=1, MaxCapacity=4)


def test_what_is_not_registered_is_not_found(scaling: Any, endpoint: str) -> None:
    named = target(endpoint)
    tracking = {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": TRACKING}
    calls_on_nothing = {
        "No scalable target registered": lambda: scaling.put_scaling_policy(PolicyName="a", **tracking, **named),
        "No scalable target found": lambda: scaling.deregister_scalable_target(**named),
        "No scaling policy found": lambda: scaling.delete_scaling_policy(PolicyName="a", **named),
    }
    for message, call in calls_on_nothing.items():
        with pytest.raises(ClientError, match=f"{message} for service namespace: sagemaker") as refusal:
            call()
        assert refusal.value.response["Error"]["Code"] == "ObjectNotFoundException"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"PolicyType": "PredictiveScaling"}, "PolicyType PredictiveScaling is not available in the local AWS"),
        ({"PolicyType": "TargetTrackingScaling"}, "TargetTrackingScalingPolicyConfiguration must be given"),
        ({"TargetTrackingScalingPolicyConfiguration": TRACKING}, "can't be given for the policy type StepScaling"),
        (
            {
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    **TRACKING,
                    "PredefinedMetricSpecification": {
                        "PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"
                    },
                },
            },
            "LambdaProvisionedConcurrencyUtilization can't be used",
        ),
        (
            {
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {"TargetValue": 1.0},
            },
            "Either PredefinedMetricSpecification or",
        ),
    ],
)
def test_contradictory_policies_are_refused(scaling: Any, endpoint: str, policy: dict[str, Any], message: str) -> None:
    scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)
    with pytest.raises(ClientError, match=message):
        scaling.put_scaling_policy(PolicyName="a", **target(endpoint), **policy)


def test_its_calls_are_counted_and_can_be_made_to_fail(scripted: Scripted, scaling: Any) -> None:
    url, action = scripted.running.url, "application-autoscaling:DescribeScalableTargets"
    before = calls(url).get(action, 0)
    ask(url, "faults", {"action": action, "code": "ThrottlingException", "message": "no", "status": 400, "times": 1})
    with pytest.raises(ClientError, match="ThrottlingException"):
        scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
    scaling.describe_scalable_targets(ServiceNamespace="sagemaker")
    assert calls(url)[action] == before + 2


def test_targets_of_an_account_are_not_another_ones(scripted: Scripted, scaling: Any, endpoint: str) -> None:
    scaling.register_scalable_target(**target(endpoint), MinCapacity=1, MaxCapacity=4)
    elsewhere = scripted.running.client("application-autoscaling", "eu-west-1")
    assert elsewhere.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_the_targets_of_other_services_are_left_to_moto(scaling: Any) -> None:
    table = {
        "ServiceNamespace": "dynamodb",
        "ResourceId": "table/pets",
        "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
    }
    scaling.register_scalable_target(**table, MinCapacity=1, MaxCapacity=4)
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="dynamodb")["ScalableTargets"]
    assert found["ResourceId"] == "table/pets"


def test_a_dimension_is_asked_for_together_with_a_resource(scaling: Any) -> None:
    for ask_for in (scaling.describe_scalable_targets, scaling.describe_scaling_policies):
        with pytest.raises(ClientError, match="ScalableDimension can only be given together with a resource ID"):
            ask_for(ServiceNamespace="sagemaker", ScalableDimension=DIMENSION)
