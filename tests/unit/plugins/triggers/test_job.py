from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.serde import serialize
from airflow.serialization.decoders import smart_decode_trigger_kwargs

from image_classification.context import AwsAccess
from image_classification.triggers.job import SageMakerJobTrigger
from tests.support.faulty_aws import event_of
from tests.support.local_aws import RunningLocalAws, training_request

ACCESS = AwsAccess("aws_team", "eu-west-1", "/etc/ca.pem", {"retries": {"max_attempts": 2}})


def as_the_triggerer_rebuilds_it(trigger: SageMakerJobTrigger) -> SageMakerJobTrigger:
    class_path, arguments = trigger.serialize()
    assert class_path == "image_classification.triggers.job.SageMakerJobTrigger"
    stored = json.loads(json.dumps(serialize(arguments)))
    return SageMakerJobTrigger(**{name: smart_decode_trigger_kwargs(value) for name, value in stored.items()})


def test_connection_region_verify_and_botocore_configuration_survive_the_deferral() -> None:
    trigger = SageMakerJobTrigger(
        kind="training_job", name="digits-1", poll_seconds=5, limit_seconds=7200.5, access=ACCESS.as_fields()
    )

    rebuilt = as_the_triggerer_rebuilds_it(trigger)

    assert rebuilt.access == ACCESS
    assert rebuilt.serialize() == trigger.serialize()
    hook = rebuilt.access.hook("sagemaker")
    assert (hook.aws_conn_id, hook._region_name, hook._verify) == ("aws_team", "eu-west-1", "/etc/ca.pem")
    assert hook._config
    assert hook._config.retries == {"max_attempts": 2}


def job_trigger(name: str, access: AwsAccess, **more: Any) -> SageMakerJobTrigger:
    return SageMakerJobTrigger(kind="training_job", name=name, poll_seconds=0.3, access=access.as_fields(), **more)


def test_a_trigger_that_an_earlier_version_stored_still_waits() -> None:
    earlier = {**job_trigger("digits-1", ACCESS).serialize()[1], "deadline": 1_800_000_000.5}
    del earlier["limit_seconds"]

    assert SageMakerJobTrigger(**earlier).limit_seconds is None


def test_prices_survive_the_deferral_and_may_be_absent_in_a_trigger_of_an_older_version() -> None:
    priced = job_trigger("digits-1", ACCESS, prices={"ml.g5.xlarge": 1.4})
    older = {name: value for name, value in priced.serialize()[1].items() if name != "prices"}

    assert as_the_triggerer_rebuilds_it(priced).prices == {"ml.g5.xlarge": 1.4}
    assert SageMakerJobTrigger(**older).prices == {}


async def test_triggers_that_wait_together_each_hear_their_own_job_and_its_log(
    aws: RunningLocalAws, sagemaker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"together-{uuid4().hex[:8]}" for _ in range(5)]
    for number, name in enumerate(names):
        sagemaker.create_training_job(**training_request(name, HyperParameters={"epochs": str(number + 1)}))
    triggers = [job_trigger(name, AwsAccess(region_name="us-east-1")) for name in names]
    for name, trigger in zip(names, triggers, strict=True):
        trigger._log = logging.getLogger(f"task.{name}")  # type: ignore[assignment]

    with caplog.at_level(logging.INFO, "task"):
        events = await asyncio.gather(*(event_of(trigger) for trigger in triggers))

    assert [event["status"] for event in events] == ["Completed"] * 5
    for number, name in enumerate(names):
        told = [record.message for record in caplog.records if record.name == f"task.{name}"]
        assert sum("Validation-accuracy" in line for line in told) == number + 1
        assert any(f"==> epoch {number + 1} of {number + 1}" in line and "s billable so far" in line for line in told)


async def test_a_role_of_another_account_is_assumed_as_the_connection_says(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    role = "arn:aws:iam::222222222222:role/team"
    monkeypatch.setenv("AIRFLOW_CONN_AWS_TEAM", json.dumps({"conn_type": "aws", "extra": {"role_arn": role}}))
    access = AwsAccess("aws_team", "us-east-1")
    name = f"abroad-{uuid4().hex[:8]}"
    access.client("s3").create_bucket(Bucket=f"team-{name}")
    access.client("s3").put_object(Bucket=f"team-{name}", Key="data/train/train.rec", Body=b"records")
    request = training_request(name, HyperParameters={"epochs": "1"})
    request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = f"s3://team-{name}/data/train/"
    request["OutputDataConfig"]["S3OutputPath"] = f"s3://team-{name}/jobs"
    access.client("sagemaker").create_training_job(**request)

    event = await event_of(as_the_triggerer_rebuilds_it(job_trigger(name, access)))

    assert event["status"] == "Completed"
    assert (await event_of(job_trigger(name, AwsAccess(region_name="us-east-1"))))["status"] == "Unknown"
    arn = access.client("sagemaker").describe_training_job(TrainingJobName=name)["TrainingJobArn"]
    assert ":222222222222:" in arn
