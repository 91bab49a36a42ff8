from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from include.deployment.traffic import alarm_names, delete_alarms, deployment_config, fired_alarms, put_alarms
from include.preflight.conf_checks import violations
from include.run_conf import RolloutConf, RunConf, RunConfError


@pytest.fixture
def cloudwatch() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "cloudwatch", region_name="eu-central-1", aws_access_key_id="testing", aws_secret_access_key="testing"
        )


def rollout(**fields: Any) -> dict[str, Any]:
    """The DeploymentConfig of a rollout, which AWS's own model allows."""
    conf = RunConf.from_conf({"endpoint": {"rollout": fields}}).endpoint.rollout
    config = deployment_config(conf, "pets")
    request = {"EndpointName": "pets", "EndpointConfigName": "pets-1", **config}
    assert violations("sagemaker", "UpdateEndpoint", request) == []
    found: dict[str, Any] = config.get("DeploymentConfig", {})
    return found


def test_without_steps_and_waits_the_update_is_sagemakers_own() -> None:
    assert deployment_config(RolloutConf(), "pets") == {}


def test_a_canary_moves_a_part_then_all_and_waits_after_both() -> None:
    policy = rollout(kind="canary", size_percent=25, wait_seconds=600)["BlueGreenUpdatePolicy"]
    assert policy == {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 25},
            "WaitIntervalInSeconds": 600,
        },
        "MaximumExecutionTimeoutInSeconds": 4800,
    }


def test_a_linear_rollout_moves_equal_steps() -> None:
    policy = rollout(kind="linear", size_percent=30, wait_seconds=60)["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"]["LinearStepSize"] == {"Type": "CAPACITY_PERCENT", "Value": 30}
    assert policy["MaximumExecutionTimeoutInSeconds"] == 4 * 60 + 3600


def test_a_rolling_rollout_replaces_machines_in_batches() -> None:
    assert rollout(kind="rolling")["RollingUpdatePolicy"] == {
        "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 10},
        "WaitIntervalInSeconds": 300,
        "MaximumExecutionTimeoutInSeconds": 6600,
    }


def test_all_at_once_may_be_watched_while_the_old_machines_still_run() -> None:
    assert rollout(wait_seconds=120)["BlueGreenUpdatePolicy"]["TerminationWaitInSeconds"] == 120


@pytest.mark.parametrize("kind", ["all_at_once", "canary", "linear", "rolling"])
def test_every_rollout_that_waits_is_watched_by_the_endpoints_alarms(kind: str) -> None:
    alarms = rollout(kind=kind, wait_seconds=60)["AutoRollbackConfiguration"]["Alarms"]
    assert [alarm["AlarmName"] for alarm in alarms] == [
        "image-classification-pets-server-errors",
        "image-classification-pets-model-errors",
        "image-classification-pets-latency",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"kind": "linear", "size_percent": 5},
            "endpoint.rollout.size_percent = 5: a linear step is 10 to 50 percent: change it, or endpoint.rollout.kind",
        ),
        (
            {"kind": "rolling", "size_percent": 4},
            "endpoint.rollout.size_percent = 4: a rolling step is 5 to 50 percent: change it, or endpoint.rollout.kind",
        ),
        (
            {"kind": "canary", "wait_seconds": 0},
            "endpoint.rollout.wait_seconds = 0: no alarm has time to watch a canary step: give it some "
            "minutes, or choose all_at_once",
        ),
        (
            {"kind": "linear", "wait_seconds": 3600},
            "endpoint.rollout.wait_seconds = 3600: 10 steps would wait 36000 seconds, and SageMaker gives an update "
            "28800, of which machines may take 3600 to start: wait at most 2520, or take larger steps",
        ),
    ],
)
def test_a_rollout_that_sagemaker_refuses_is_refused_before_the_run(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RunConfError, match=re.escape(message)):
        RunConf.from_conf({"endpoint": {"rollout": fields}})


SERVERLESS = {"endpoint.serverless.memory_mb": 1024}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (
            {"endpoint.instance_count": 2},
            "endpoint.instance_count = 2: a serverless endpoint has no machines: set it to 1, or leave "
            "endpoint.serverless.memory_mb empty",
        ),
        (
            {"endpoint.rollout.kind": "canary"},
            "endpoint.rollout.kind = canary: a serverless endpoint has no machines to move traffic between: set it to "
            "all_at_once",
        ),
        (
            {"endpoint.rollout.wait_seconds": 60},
            "endpoint.rollout.wait_seconds = 60: a serverless endpoint has no old machines to keep: leave it empty",
        ),
        (
            {"endpoint.capture_percent": 10},
            "endpoint.capture_percent = 10: a serverless endpoint has no data capture: set it to 0",
        ),
        (
            {"endpoint.serverless.memory_mb": 1500},
            "endpoint.serverless.memory_mb = 1500: must be one of 1024, 2048, 3072, 4096, 5120, 6144",
        ),
    ],
)
def test_what_a_serverless_endpoint_cannot_have_is_refused(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(RunConfError, match=re.escape(message)):
        RunConf.from_conf({**SERVERLESS, **conf})


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (
            {"target": 600},
            "endpoint.autoscaling.target = 600: no machine is added without endpoint.autoscaling.maximum",
        ),
        (
            {"maximum": 4},
            "endpoint.autoscaling.target = nothing: give the requests per minute above which machines are added",
        ),
        (
            {"minimum": 5, "maximum": 4, "target": 600},
            "endpoint.autoscaling.maximum = 4: must be at least endpoint.autoscaling.minimum (5)",
        ),
        (
            {"minimum": 2, "maximum": 4, "target": 600},
            "endpoint.instance_count = 1: must be between the bounds of endpoint.autoscaling, 2 and 4",
        ),
    ],
)
def test_bounds_that_do_not_fit_each_other_are_refused(scaling: dict[str, Any], message: str) -> None:
    with pytest.raises(RunConfError, match=re.escape(message)):
        RunConf.from_conf({"endpoint.autoscaling": scaling})


def test_burstable_machines_are_not_scaled() -> None:
    scaled = {"endpoint.autoscaling": {"maximum": 4, "target": 600}}
    message = (
        "endpoint.instance_type = ml.t2.medium: SageMaker does not scale burstable machines: take another one, or "
        "leave endpoint.autoscaling.maximum empty"
    )
    with pytest.raises(RunConfError, match=re.escape(message)):
        RunConf.from_conf({"endpoint.instance_type": "ml.t2.medium", **scaled})
    for conf in ({"endpoint.instance_type": "ml.t2.medium"}, {"endpoint.instance_type": "ml.trn1.2xlarge", **scaled}):
        RunConf.from_conf(conf)


def test_a_serverless_endpoint_is_not_scaled() -> None:
    scaling = {"endpoint.autoscaling": {"maximum": 4, "target": 600}}
    with pytest.raises(
        RunConfError, match=r"endpoint\.autoscaling\.maximum = 4: a serverless endpoint has no machines"
    ):
        RunConf.from_conf({**SERVERLESS, **scaling})


@pytest.mark.parametrize(
    "fields", [{"size_percent": 51}, {"size_percent": 0}, {"wait_seconds": 3601}, {"kind": "blue_green"}]
)
def test_values_beyond_every_kind_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RunConfError, match=r"endpoint\.rollout\."):
        RunConf.from_conf({"endpoint": {"rollout": fields}})


def test_the_alarms_watch_the_machines_of_the_new_configuration_alone(cloudwatch: Any) -> None:
    put_alarms(cloudwatch, "pets", config="pets-2", variant="champion", tags=[{"Key": "owner", "Value": "me"}])
    alarms = cloudwatch.describe_alarms()["MetricAlarms"]
    assert sorted(alarm["AlarmName"] for alarm in alarms) == sorted(alarm_names("pets"))
    for alarm in alarms:
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
        assert dimensions == {"EndpointName": "pets", "VariantName": "champion", "EndpointConfigName": "pets-2"}
        assert (alarm["Namespace"], alarm["Period"], alarm["TreatMissingData"]) == ("AWS/SageMaker", 60, "notBreaching")


def test_an_alarm_that_undid_an_earlier_update_does_not_undo_the_next_one(cloudwatch: Any) -> None:
    put_alarms(cloudwatch, "pets", config="pets-2", variant="champion")
    latency = "image-classification-pets-latency"
    cloudwatch.set_alarm_state(AlarmName=latency, StateValue="ALARM", StateReason="Threshold Crossed.")
    assert fired_alarms(cloudwatch, "pets") == [f"{latency} (Threshold Crossed)"]

    put_alarms(cloudwatch, "pets", config="pets-3", variant="champion")

    assert fired_alarms(cloudwatch, "pets") == []


def test_only_the_endpoints_own_alarms_are_deleted(cloudwatch: Any) -> None:
    for endpoint in ("pets", "pets-2"):
        put_alarms(cloudwatch, endpoint, config="config", variant="champion")
    assert sorted(delete_alarms(cloudwatch, "pets")) == sorted(alarm_names("pets"))
    assert delete_alarms(cloudwatch, "pets") == []
    assert len(cloudwatch.describe_alarms()["MetricAlarms"]) == 3
