from __future__ import annotations

import json

from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import serialize
from airflow.serialization.decoders import smart_decode_trigger_kwargs
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from image_classification.aws import AwsAccess
from image_classification.triggers.new_images import SQS_TRIGGER, NewImagesTrigger
from image_classification.triggers.sagemaker_job import SageMakerJobTrigger

ACCESS = AwsAccess("aws_team", "eu-west-1", "/etc/ca.pem", {"retries": {"max_attempts": 2}})


def as_the_triggerer_rebuilds_it(trigger: SageMakerJobTrigger) -> SageMakerJobTrigger:
    class_path, arguments = trigger.serialize()
    assert class_path == "image_classification.triggers.sagemaker_job.SageMakerJobTrigger"
    stored = json.loads(json.dumps(serialize(arguments)))
    return SageMakerJobTrigger(**{name: smart_decode_trigger_kwargs(value) for name, value in stored.items()})


def test_connection_region_verify_and_botocore_configuration_survive_the_deferral() -> None:
    trigger = SageMakerJobTrigger(
        kind="training_job", name="digits-1", poll_seconds=5, deadline=1_800_000_000.5, access=ACCESS.as_fields()
    )

    rebuilt = as_the_triggerer_rebuilds_it(trigger)

    assert rebuilt.access == ACCESS
    assert rebuilt.serialize() == trigger.serialize()
    hook = rebuilt.access.hook("sagemaker")
    assert (hook.aws_conn_id, hook._region_name, hook._verify) == ("aws_team", "eu-west-1", "/etc/ca.pem")
    assert hook._config.retries == {"max_attempts": 2}


class FaultyClient:
    """Fails as botocore does, then describes a job."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)

    async def describe_training_job(self, TrainingJobName: str) -> dict[str, str]:
        if self.faults:
            raise self.faults.pop(0)
        return {"TrainingJobName": TrainingJobName, "TrainingJobStatus": "Completed"}


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeTrainingJob")


def waiting_trigger() -> SageMakerJobTrigger:
    return SageMakerJobTrigger(kind="training_job", name="digits-1", poll_seconds=0, access=ACCESS.as_fields())


async def test_throttling_and_lost_connections_are_waited_out() -> None:
    lost = EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
    client = FaultyClient(refusal("ThrottlingException"), lost, ReadTimeoutError(endpoint_url="http://127.0.0.1:1"))

    event = await waiting_trigger()._final_event(client, None)

    assert event.payload["status"] == "Completed"
    assert client.faults == []


async def test_what_aws_refuses_for_good_ends_the_wait_with_its_reason() -> None:
    event = await waiting_trigger()._final_event(FaultyClient(refusal("AccessDeniedException")), None)

    assert event.payload["status"] == "Unreachable"
    assert "AccessDeniedException" in event.payload["message"]


def test_the_watcher_of_new_images_becomes_the_providers_sqs_trigger() -> None:
    class_path, arguments = NewImagesTrigger(
        queue_url="http://127.0.0.1/q", region="eu-west-1", poll_seconds=2
    ).serialize()

    trigger = import_string(class_path)(**arguments)

    assert class_path == SQS_TRIGGER
    assert (trigger.sqs_queue, trigger.region_name, trigger.waiter_delay) == ("http://127.0.0.1/q", "eu-west-1", 2)
