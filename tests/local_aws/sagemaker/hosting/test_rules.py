from __future__ import annotations

from typing import Any

import pytest

from local_aws.aws_errors import AwsError
from local_aws.sagemaker.hosting.rules import check_deployment, check_replacement


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def rolling(size: dict[str, Any]) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": size, "WaitIntervalInSeconds": 0}}


def blue_green(**routing: Any) -> dict[str, Any]:
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"WaitIntervalInSeconds": 0, **routing}}}


@pytest.mark.parametrize(
    "config",
    [
        {},
        rolling(percent(5)),
        rolling(percent(50)),
        rolling({"Type": "INSTANCE_COUNT", "Value": 2}),
        blue_green(Type="ALL_AT_ONCE"),
        blue_green(Type="CANARY", CanarySize=percent(1)),
        blue_green(Type="LINEAR", LinearStepSize=percent(10)),
    ],
)
def test_deployments_within_their_bounds_pass(config: dict[str, Any]) -> None:
    check_deployment(config, instances=4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (rolling(percent(4)), "5 to 50 percent"),
        (rolling(percent(51)), "5 to 50 percent"),
        (rolling({"Type": "INSTANCE_COUNT", "Value": 3}), "5 to 50 percent of the endpoint's 4 instances, not 3"),
        ({**rolling(percent(10)), **blue_green(Type="ALL_AT_ONCE")}, "not both"),
        (blue_green(Type="LINEAR", CanarySize=percent(10)), "CanarySize can't be given"),
        (blue_green(Type="LINEAR"), "LinearStepSize is required"),
    ],
)
def test_deployments_beyond_their_bounds_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(AwsError, match=message):
        check_deployment(config, instances=4)


def test_a_step_of_few_instances_is_too_small_for_a_large_fleet() -> None:
    config = blue_green(Type="LINEAR", LinearStepSize={"Type": "INSTANCE_COUNT", "Value": 1})
    check_deployment(config, instances=10)
    with pytest.raises(AwsError, match="10 to 50 percent of the endpoint's 11 instances, not 1 instances"):
        check_deployment(config, instances=11)


SERVERLESS = {"VariantName": "a", "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}


@pytest.mark.parametrize(
    ("config", "variants", "message"),
    [
        (rolling(percent(50)), [{"VariantName": "a"}, {"VariantName": "b"}], "several variants: a, b"),
        (rolling(percent(50)), [SERVERLESS], "variant a, which is serverless"),
        (rolling(percent(50)), [{"VariantName": "b"}], "variant names of the old one: a, not b"),
        (blue_green(Type="CANARY", CanarySize=percent(1)), [{"VariantName": "b"}], "variant names of the old one"),
    ],
)
def test_what_cannot_take_over_in_steps_is_refused(
    config: dict[str, Any], variants: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(AwsError, match=message):
        check_replacement(config, variants, {"a": SERVERLESS in variants})


@pytest.mark.parametrize(
    ("config", "variants"),
    [
        ({}, [{"VariantName": "b"}]),
        (blue_green(Type="ALL_AT_ONCE"), [{"VariantName": "b"}, {"VariantName": "c"}]),
        (blue_green(Type="CANARY", CanarySize=percent(1)), [SERVERLESS]),
        (rolling(percent(50)), [{"VariantName": "a"}]),
    ],
)
def test_other_variants_may_take_over_at_once(config: dict[str, Any], variants: list[dict[str, Any]]) -> None:
    check_replacement(config, variants, {"a": SERVERLESS in variants})


def test_instances_cannot_be_replaced_by_a_serverless_variant() -> None:
    with pytest.raises(AwsError, match="An endpoint that has instances can't be updated to a serverless one"):
        check_replacement({}, [SERVERLESS], {"a": False})
    check_replacement({}, [{"VariantName": "a"}], {"a": True})
