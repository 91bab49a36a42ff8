"""Which settings change what an endpoint serves: those that do give its configuration another name, all others none.

A field that is new stands in neither table, and the test says so.
"""

from __future__ import annotations

from typing import Any

import croniter  # type: ignore[import-untyped]  # noqa: F401  (when loaded it starts a process, which no unit test may)
import pytest

from include.run_conf import RunConf
from include.run_conf.fields import known_fields
from include.settings import Settings
from tests.unit.deployment.test_endpoint import deployment

SERVES_OTHERWISE: dict[str, Any] = {
    "endpoint.name": "live",
    "endpoint.instance_type": "ml.c5.xlarge",
    "endpoint.instance_count": 2,
    "endpoint.capture_percent": 20,
    "endpoint.serverless.memory_mb": 2048,
    "endpoint.serverless.concurrency": 7,
}
"""Fields of the run conf, each with another value than its default."""
SERVES_ALIKE: dict[str, Any] = {
    "endpoint.keep": False,
    "endpoint.deploy": False,
    "endpoint.keep_previous": 5,
    "endpoint.autoscaling.minimum": 1,
    "endpoint.autoscaling.maximum": 4,
    "endpoint.autoscaling.target": 600,
    "endpoint.rollout.kind": "canary",
    "endpoint.rollout.size_percent": 50,
    "endpoint.rollout.wait_seconds": 60,
}
NETWORK = {"subnets": ["subnet-a"], "security_group_ids": ["sg-1"]}
SETTINGS_OTHERWISE: dict[str, dict[str, Any]] = {
    "execution_role_arn": {"execution_role_arn": "arn:aws:iam::123456789012:role/other"},
    "kms_key_id": {"kms_key_id": "alias/models"},
    "subnets": NETWORK,
    "security_group_ids": {**NETWORK, "security_group_ids": ["sg-2"]},
    "network_isolation": {"network_isolation": True},
}
SETTINGS_ALIKE: dict[str, Any] = {
    "region": "us-east-1",
    "image_uri": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mine:2",
    "data_bucket": "other-images",
    "output_bucket": "other-models",
    "queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/queue",
    "aws_conn_id": "other",
    "owner": "me",
    "tags": {"team": "x"},
    "poll_seconds": 7,
    "keep_alive_seconds": 60,
    "imagenet_weights": False,
    "prices": {"ml.m5.large": 1.0},
    "source_networks": ["10.0.0.0/8"],
    "archive_max_gb": 7,
    "archive_max_ratio": 7,
    "lines": {"pets": {"endpoint.keep_previous": 2}},
    "notify": "arn:aws:sns:eu-central-1:123456789012:models",
    "notify_arguments": {},
    "endpoint_check_cron": "30 5 * * *",
    "retraining_cron": "30 5 * * *",
    "registry_group_prefix": "other",
}


def served(given: dict[str, Any] | None = None, **conf: Any) -> tuple[str, str]:
    """The names of the configuration and of its model."""
    made = deployment(given=given, **conf)
    return made.config_name, str(made.model["ModelName"])


def test_every_setting_is_known_to_change_what_is_served_or_not() -> None:
    fields = {field.name for field in known_fields(RunConf) if field.name.startswith("endpoint.")}
    assert {*SERVES_OTHERWISE, *SERVES_ALIKE} == fields
    assert {*SETTINGS_OTHERWISE, *SETTINGS_ALIKE} == set(Settings.model_fields)


@pytest.mark.parametrize("field", SERVES_OTHERWISE)
def test_a_field_that_changes_what_is_served_changes_the_name(field: str) -> None:
    before = {"endpoint.serverless.memory_mb": 1024} if field == "endpoint.serverless.concurrency" else {}
    assert served(**before, **{field: SERVES_OTHERWISE[field]})[0] != served(**before)[0]


@pytest.mark.parametrize("field", SERVES_ALIKE)
def test_a_field_that_changes_nothing_of_it_does_not(field: str) -> None:
    scaled = {name: value for name, value in SERVES_ALIKE.items() if "autoscaling" in name}
    assert served(**(scaled if field in scaled else {field: SERVES_ALIKE[field]})) == served()


@pytest.mark.parametrize("setting", SETTINGS_OTHERWISE)
def test_a_setting_that_changes_what_is_served_changes_the_name(setting: str) -> None:
    before = NETWORK if setting == "security_group_ids" else {}
    assert served(SETTINGS_OTHERWISE[setting])[0] != served(before)[0]
    assert (served(SETTINGS_OTHERWISE[setting])[1] == served(before)[1]) is (setting == "kms_key_id")


@pytest.mark.parametrize("setting", SETTINGS_ALIKE)
def test_a_setting_that_changes_nothing_of_it_does_not(setting: str) -> None:
    assert served({setting: SETTINGS_ALIKE[setting]}) == served()


def test_any_two_changes_have_names_of_their_own() -> None:
    names = [served()[0]]
    alone = {field: value for field, value in SERVES_OTHERWISE.items() if field != "endpoint.serverless.concurrency"}
    names += [served(**{field: value})[0] for field, value in alone.items()]
    names += [served(given)[0] for given in SETTINGS_OTHERWISE.values()]
    assert len({*names}) == len(names)
