from __future__ import annotations

import json
from typing import Any

from airflow.sdk.serde import serialize
from airflow.serialization.decoders import smart_decode_trigger_kwargs

from image_classification.context import AwsAccess
from image_classification.triggers.job import SageMakerJobTrigger

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
