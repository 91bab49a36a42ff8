"""Triggers that wait for jobs of the local AWS."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from uuid import uuid4

import pytest

from image_classification.context import AwsAccess
from tests.support.faulty_aws import event_of
from tests.support.local_aws import RunningLocalAws, training_request
from tests.unit.plugins.triggers.test_job import as_the_triggerer_rebuilds_it, job_trigger


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
