"""Asynchronous endpoints: what is accepted is answered in S3, or its failure lies there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from local_aws.aws_errors import AwsError
from local_aws.sagemaker.core.serving import Answer, ContainerUnreachableError
from local_aws.sagemaker.hosting.asynchronous import AsyncInput, AsyncInvocations, AsyncRequest
from local_aws.storage import S3Location
from tests.local_aws.sagemaker.conftest import BUCKET, Scripted, unique
from tests.local_aws.sagemaker.gates import Gate
from tests.local_aws.sagemaker.test_metrics import points
from tests.support.local_aws import eventually

OUTPUT = f"s3://{BUCKET}/answers"
FAILURE = f"s3://{BUCKET}/failures"
SEVEN_MB = bytes(range(256)) * (7 * 4096)


@dataclass(frozen=True)
class World:
    """The local AWS with the asynchronous endpoints of these tests, and a queue that hears their topics."""

    scripted: Scripted
    control: Any
    runtime: Any

    def config(self, answer: str = "good", *, instances: int = 1, **changes: Any) -> str:
        name = unique("config")
        variant = {"VariantName": "all", "ModelName": self.scripted.model(answer), "InstanceType": "ml.m5.large"}
        output = {"S3OutputPath": OUTPUT, "S3FailurePath": FAILURE}
        self.control.create_endpoint_config(
            EndpointConfigName=name,
            **{
                "ProductionVariants": [{**variant, "InitialInstanceCount": instances}],
                "AsyncInferenceConfig": {"OutputConfig": output},
                **changes,
            },
        )
        return name

    def endpoint(self, config: str | None = None) -> str:
        name = unique("async")
        self.control.create_endpoint(EndpointName=name, EndpointConfigName=config or self.config())
        assert self.scripted.settled(name)["EndpointStatus"] == "InService"
        return name

    def invoke(self, endpoint: str, payload: bytes, **options: Any) -> dict[str, Any]:
        """Send a payload through S3."""
        accepted: dict[str, Any] = self.runtime.invoke_endpoint_async(
            EndpointName=endpoint, InputLocation=self.scripted.put("payload", payload), **options
        )
        return accepted

    def content(self, uri: str) -> dict[str, Any] | None:
        """An object; None if there is none."""
        location = S3Location.parse(uri)
        try:
            found: dict[str, Any] = self.scripted.client("s3").get_object(Bucket=location.bucket, Key=location.key)
        except ClientError:
            return None
        return {"body": found["Body"].read(), "type": found["ContentType"]}

    def arrived(self, uri: str) -> dict[str, Any]:
        """An object, as soon as it is there."""
        found: dict[str, Any] = eventually(lambda: self.content(uri))
        return found

    def topic(self) -> tuple[str, str]:
        """A topic, and the queue that gets its messages."""
        sns, sqs = self.scripted.client("sns"), self.scripted.client("sqs")
        topic: str = sns.create_topic(Name=unique("topic"))["TopicArn"]
        queue: str = sqs.create_queue(QueueName=unique("queue"))["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return topic, queue

    def message(self, queue: str) -> dict[str, Any]:
        """The next notification in a queue."""
        sqs = self.scripted.client("sqs")
        (message,) = eventually(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        event: dict[str, Any] = json.loads(json.loads(message["Body"])["Message"])
        return event


@pytest.fixture(scope="module")
def world(scripted: Scripted, control: Any, runtime: Any) -> World:
    return World(scripted, control, runtime)


@pytest.fixture(scope="module")
def endpoint(world: World) -> str:
    return world.endpoint()


def test_an_accepted_request_is_answered_in_s3(world: World, endpoint: str) -> None:
    accepted = world.invoke(endpoint, b"image", ContentType="image/jpeg", Accept="text/x", InferenceId="first")
    assert accepted["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert accepted["InferenceId"] == "first"
    answer = world.arrived(accepted["OutputLocation"])
    assert answer["type"] == "application/json"
    said = json.loads(answer["body"])
    assert (said["model"], said["bytes"]) == ("good", 5)
    assert (said["content_type"], said["accept"]) == ("image/jpeg", "text/x")
    assert said["payload_mb"] == "1024"
    assert accepted["OutputLocation"].startswith(f"{OUTPUT}/")
    assert accepted["FailureLocation"].startswith(f"{FAILURE}/")
    assert world.content(accepted["FailureLocation"]) is None


def test_a_payload_may_be_larger_than_an_invocation_in_real_time(world: World, endpoint: str) -> None:
    accepted = world.invoke(endpoint, SEVEN_MB, Accept="application/octet-stream")
    assert world.arrived(accepted["OutputLocation"])["body"] == SEVEN_MB
    assert not list(world.scripted.state_dir.rglob("async/*/*/payload"))


def test_a_small_payload_may_come_with_the_request(world: World, endpoint: str) -> None:
    accepted = world.runtime.invoke_endpoint_async(EndpointName=endpoint, Body=b"x" * 128_000)
    assert json.loads(world.arrived(accepted["OutputLocation"])["body"])["bytes"] == 128_000
    assert len(accepted["InferenceId"]) == 36


def test_the_place_of_an_answer_can_be_named(world: World, endpoint: str) -> None:
    named = {"S3OutputPathExtension": "day/one/", "Filename": "answer.json"}
    accepted = world.invoke(endpoint, b"image", **named)
    assert accepted["OutputLocation"] == f"{OUTPUT}/day/one/answer.json"
    world.arrived(accepted["OutputLocation"])


def test_what_the_container_refuses_is_a_failure_with_its_words(world: World, endpoint: str) -> None:
    accepted = world.invoke(endpoint, b"bad image")
    failure = world.arrived(accepted["FailureLocation"])
    assert failure == {"body": b"this is no image", "type": "text/plain"}
    assert world.content(accepted["OutputLocation"]) is None


def test_a_payload_that_is_not_there_is_a_failure(world: World, endpoint: str) -> None:
    absent = f"s3://{BUCKET}/absent"
    accepted = world.runtime.invoke_endpoint_async(EndpointName=endpoint, InputLocation=absent)
    failure = world.arrived(accepted["FailureLocation"])
    assert f"The payload {absent} can't be downloaded".encode() in failure["body"]


def test_a_request_whose_container_dies_is_a_failure_and_the_next_is_answered(world: World) -> None:
    endpoint = world.endpoint()
    accepted = world.invoke(endpoint, b"die")
    assert b"or its container ended" in world.arrived(accepted["FailureLocation"])["body"]

    def answered() -> dict[str, Any] | None:
        again = world.invoke(endpoint, b"image")
        eventually(lambda: world.content(again["OutputLocation"]) or world.content(again["FailureLocation"]))
        return world.content(again["OutputLocation"])

    eventually(answered)


def test_topics_hear_of_answers_and_of_failures(world: World) -> None:
    (success, told), (error, told_of_failures) = world.topic(), world.topic()
    output = {
        "S3OutputPath": OUTPUT,
        "NotificationConfig": {"SuccessTopic": success, "ErrorTopic": error},
    }
    endpoint = world.endpoint(world.config(AsyncInferenceConfig={"OutputConfig": output}))
    for queue in (told, told_of_failures):
        trial = {"eventName": "TestNotification", "eventVersion": "1.0", "eventSource": "aws:sagemaker"}
        assert world.message(queue) == trial
    good = world.invoke(endpoint, b"image", ContentType="image/jpeg", InferenceId="good")
    message = world.message(told)
    assert message["invocationStatus"] == "Completed"
    assert message["responseParameters"] == {
        "contentType": "application/json",
        "outputLocation": good["OutputLocation"],
    }
    assert message["requestParameters"].pop("inputLocation").endswith("/payload")
    assert message["requestParameters"] == {"contentType": "image/jpeg", "endpointName": endpoint}
    assert (message["inferenceId"], message["awsRegion"]) == ("good", "us-east-1")
    assert (message["eventName"], message["eventSource"]) == ("InferenceResult", "aws:sagemaker")
    assert message["receivedTime"] <= message["eventTime"]
    bad = world.invoke(endpoint, b"fault", InferenceId="bad")
    assert "FailureLocation" not in bad
    message = world.message(told_of_failures)
    assert (message["invocationStatus"], message["inferenceId"]) == ("Failed", "bad")
    assert message["failureReason"].startswith("ClientError: Received server error (500) from model. See the SageMaker")


def test_an_endpoint_whose_topic_is_not_there_is_refused(world: World) -> None:
    topic = "arn:aws:sns:us-east-1:123456789012:nobody"
    output = {"S3OutputPath": OUTPUT, "NotificationConfig": {"ErrorTopic": topic}}
    config = world.config(AsyncInferenceConfig={"OutputConfig": output})
    with pytest.raises(ClientError, match=f"The topic {topic} .* can't be published to") as refusal:
        world.control.create_endpoint(EndpointName=unique("async"), EndpointConfigName=config)
    assert refusal.value.response["Error"]["Code"] == "ValidationException"


def one_at_a_time() -> dict[str, Any]:
    return {
        "OutputConfig": {"S3OutputPath": OUTPUT, "S3FailurePath": FAILURE},
        "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
    }


def test_an_instance_gets_as_many_requests_at_once_as_it_may_have(world: World, tmp_path: Path) -> None:
    config = world.config(instances=2, AsyncInferenceConfig=one_at_a_time())
    endpoint, gates = world.endpoint(config), [Gate(tmp_path) for _ in range(3)]
    accepted = [world.invoke(endpoint, gate.body) for gate in gates]
    gates[0].wait_until_reached()
    gates[1].wait_until_reached()
    assert not gates[2].is_reached()
    assert [world.content(one["OutputLocation"]) for one in accepted] == [None, None, None]
    gates[0].open()
    gates[2].open()
    gates[1].open()
    assert [world.arrived(one["OutputLocation"])["body"] for one in accepted] == [b"waited"] * 3


def test_an_update_loses_nothing_that_was_accepted(world: World, tmp_path: Path) -> None:
    endpoint, gate = world.endpoint(world.config(AsyncInferenceConfig=one_at_a_time())), Gate(tmp_path)
    held = world.invoke(endpoint, gate.body)
    gate.wait_until_reached()
    waiting = [world.invoke(endpoint, b"image") for _ in range(3)]
    fresh = world.config("better", AsyncInferenceConfig=one_at_a_time())
    world.control.update_endpoint(EndpointName=endpoint, EndpointConfigName=fresh)
    described = world.scripted.settled(endpoint)
    assert described["EndpointConfigName"] == fresh
    assert described["AsyncInferenceConfig"] == one_at_a_time()
    gate.open()
    assert world.arrived(held["OutputLocation"])["body"] == b"waited"
    models = [json.loads(world.arrived(one["OutputLocation"])["body"])["model"] for one in waiting]
    assert models == ["better"] * 3


def test_a_deleted_endpoint_says_what_it_did_not_answer(world: World, tmp_path: Path) -> None:
    endpoint, gate = world.endpoint(world.config(AsyncInferenceConfig=one_at_a_time())), Gate(tmp_path)
    accepted = [world.invoke(endpoint, body) for body in (gate.body, b"image", b"image")]
    gate.wait_until_reached()
    world.control.delete_endpoint(EndpointName=endpoint)
    for one in accepted:
        assert b"The endpoint was deleted before" in world.arrived(one["FailureLocation"])["body"]
        assert world.content(one["OutputLocation"]) is None
    with pytest.raises(world.runtime.exceptions.ValidationError, match="not found"):
        world.invoke(endpoint, b"image")


def test_only_asynchronous_endpoints_are_invoked_asynchronously_and_only_so(world: World, endpoint: str) -> None:
    with pytest.raises(world.runtime.exceptions.ValidationError, match="is asynchronous: invoke it with"):
        world.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"image")
    in_real_time = unique("endpoint")
    config = world.scripted.config(all=(world.scripted.model(), 1.0))
    world.control.create_endpoint(EndpointName=in_real_time, EndpointConfigName=config)
    world.scripted.settled(in_real_time)
    with pytest.raises(world.runtime.exceptions.ValidationError, match="is not asynchronous"):
        world.invoke(in_real_time, b"image")
    with pytest.raises(world.runtime.exceptions.ValidationError, match="Endpoint nowhere of account"):
        world.invoke("nowhere", b"image")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Provide exactly one of InputLocation and Body"),
        ({"Body": b"x", "InputLocation": f"s3://{BUCKET}/x"}, "Provide exactly one of InputLocation and Body"),
        ({"Body": b"x" * 128_001}, "less than or equal to 128000"),
        ({"InputLocation": f"https://{BUCKET}.s3.amazonaws.com/x"}, "is not available in the local AWS"),
        ({"InputLocation": "bucket/x"}, "at 'inputLocation' failed to satisfy constraint"),
        ({"Body": b"x", "RequestTTLSeconds": 21_601}, "at 'requestTTLSeconds' .*less than or equal to 21600"),
        (
            {"Body": b"x", "InvocationTimeoutSeconds": 3601},
            "at 'invocationTimeoutSeconds' .*less than or equal to 3600",
        ),
        ({"Body": b"x", "Filename": "../x"}, "at 'filename' failed to satisfy constraint"),
    ],
)
def test_invocations_that_break_the_model_are_refused(
    world: World, endpoint: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(world.runtime.exceptions.ValidationError, match=message):
        world.runtime.invoke_endpoint_async(EndpointName=endpoint, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AsyncInferenceConfig": {"OutputConfig": {}}}, "without S3OutputPath is not available"),
        (
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "https://b.s3.amazonaws.com"}}},
            "S3OutputPath https://b.s3.amazonaws.com .* is not available",
        ),
        (
            {
                "AsyncInferenceConfig": {
                    "OutputConfig": {
                        "S3OutputPath": OUTPUT,
                        "NotificationConfig": {"IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"]},
                    }
                }
            },
            "IncludeInferenceResponseIn is not available",
        ),
        (
            {
                "DataCaptureConfig": {
                    "InitialSamplingPercentage": 1,
                    "DestinationS3Uri": OUTPUT,
                    "CaptureOptions": [{"CaptureMode": "Input"}],
                }
            },
            "DataCaptureConfig together with AsyncInferenceConfig is not available",
        ),
    ],
)
def test_configurations_that_cannot_be_are_refused(world: World, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClientError, match=message):
        world.config(**changes)


def test_a_serverless_endpoint_is_not_asynchronous(world: World) -> None:
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    variant = {"VariantName": "all", "ModelName": world.scripted.model(), **serverless}
    with pytest.raises(ClientError, match="AsyncInferenceConfig can't be given for a serverless endpoint"):
        world.config(ProductionVariants=[variant])


def test_its_metrics_are_those_of_asynchronous_endpoints(world: World) -> None:
    endpoint, cloudwatch = world.endpoint(), world.scripted.client("cloudwatch")
    for body in (b"image", b"bad image", b"fault"):
        accepted = world.invoke(endpoint, body)
        eventually(lambda one=accepted: world.content(one["OutputLocation"]) or world.content(one["FailureLocation"]))

    def found(metric: str, **dimensions: str) -> list[dict[str, Any]]:
        return points(cloudwatch, "AWS/SageMaker", metric, EndpointName=endpoint, **dimensions)

    def total(metric: str) -> float:
        return sum(point["Sum"] for point in found(metric, VariantName="all"))

    eventually(lambda: total("InvocationsProcessed") == 3)
    counts = {"Invocation4XXErrors": 1, "Invocation5XXErrors": 1, "InvocationFailures": 2, "Invocations": 0}
    assert {metric: total(metric) for metric in counts} == counts
    units = {
        "ModelLatency": "Microseconds",
        "RequestDownloadLatency": "Microseconds",
        "ResponseUploadLatency": "Microseconds",
        "TimeInBacklog": "Milliseconds",
        "TotalProcessingTime": "Milliseconds",
    }
    for metric, unit in units.items():
        (point, *_) = found(metric, VariantName="all")
        assert (point["Unit"], point["Maximum"] > 0) == (unit, True), metric
    backlog = found("ApproximateBacklogSize")
    assert {(point["Minimum"], point["Maximum"], point["Unit"]) for point in backlog} == {(0.0, 1.0, "Count")}
    assert {point["Unit"] for point in found("ApproximateAgeOfOldestRequest")} == {"Seconds"}


@dataclass
class Container:
    """A variant that says what it is told to, or gives no answer."""

    answers: list[Answer | None] = field(default_factory=list)
    is_stopped: bool = False
    sent: dict[str, float] = field(default_factory=dict)

    @property
    def model(self) -> Any:
        return self

    def invoke(self, payload: Any, *_: Any) -> Answer:
        assert payload == b"image" or payload.read() == b"image"
        answer = self.answers.pop(0)
        if answer is None:
            raise ContainerUnreachableError("connection refused")
        return answer

    def send(self, values: dict[str, float], unit: str = "None") -> None:
        del unit
        self.sent.update(values)


class FakeAws:
    """S3 and SNS that keep what they are sent; `full` buckets take nothing."""

    region = "us-east-1"

    def __init__(self, folder: Path, size: int = 5) -> None:
        self.objects: dict[str, bytes] = {}
        self.messages: list[dict[str, Any]] = []
        self.size = size
        self._folder = folder

    @property
    def s3(self) -> Any:
        return self

    @property
    def sns(self) -> Any:
        return self

    def directory(self, *names: str) -> Path:
        return self._folder.joinpath(*names)

    def head_object(self, **_: Any) -> dict[str, int]:
        return {"ContentLength": self.size}

    def download_file(self, bucket: str, key: str, target: str, **_: Any) -> None:
        del bucket, key
        Path(target).write_bytes(b"image")

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> None:
        if Bucket == "full":
            raise ClientError({"Error": {"Code": "NoSuchBucket", "Message": "absent"}}, "PutObject")
        self.objects[Key] = Body

    def publish(self, *, TopicArn: str, Message: str) -> None:
        if TopicArn == "absent":
            raise ClientError({"Error": {"Code": "NotFound", "Message": "absent"}}, "Publish")
        self.messages.append(json.loads(Message))


GOOD = Answer(200, b"answer", "text/plain", HTTPMessage())


def request(bucket: str = "answers", topic: str = "topic", **changes: Any) -> AsyncRequest:
    failure = S3Location("failures", "failure")
    asked = AsyncInput(S3Location("payloads", "a"), {"Content-Type": "image/jpeg"})
    place = S3Location(bucket, "answer")
    return AsyncRequest(
        "pets",
        **{
            "asked": asked,
            "inference_id": "1",
            "output": place,
            "failure": failure,
            "success_topic": topic,
            "error_topic": topic,
            **changes,
        },
    )


def answered(aws: FakeAws, asked: AsyncRequest, *containers: Container) -> None:
    """Let containers answer, one after another as updates replace them; then the endpoint is deleted."""
    left = iter(containers)

    @contextlib.contextmanager
    def route(name: str) -> Iterator[Any]:
        assert name == "pets"
        container = next(left, None)
        if container is None:
            raise AwsError("ValidationError", "Endpoint pets not found.")
        yield container

    AsyncInvocations(cast(Any, aws), cast(Any, route)).answer(asked)
    assert not list(aws.directory().rglob("payload"))


def test_a_request_whose_fleet_is_replaced_is_sent_to_the_new_one(tmp_path: Path) -> None:
    aws, old, new = FakeAws(tmp_path), Container([None], is_stopped=True), Container([GOOD])
    answered(aws, request(), old, new)
    assert aws.objects == {"answer": b"answer"}
    assert "InvocationsProcessed" not in old.sent
    assert new.sent["InvocationsProcessed"] == 1.0


def test_a_request_whose_endpoint_is_deleted_meanwhile_is_a_failure(tmp_path: Path) -> None:
    aws = FakeAws(tmp_path)
    answered(aws, request(), Container([None], is_stopped=True))
    assert b"The endpoint was deleted" in aws.objects["failure"]
    assert [message["invocationStatus"] for message in aws.messages] == ["Failed"]


def test_a_fleet_that_is_stopped_for_good_is_asked_once(tmp_path: Path) -> None:
    aws, stopped = FakeAws(tmp_path), Container([None], is_stopped=True)
    answered(aws, request(), stopped, stopped)
    assert b"The endpoint was deleted" in aws.objects["failure"]


def test_a_request_that_waited_too_long_is_not_answered_any_more(tmp_path: Path) -> None:
    aws, container = FakeAws(tmp_path), Container([])
    asked = AsyncInput(b"image", {}, longest_wait=60)
    answered(aws, request(asked=asked, arrived=time.monotonic() - 61), container)
    assert b"longer than RequestTTLSeconds (60)" in aws.objects["failure"]
    assert (container.sent["ExpiredRequests"], container.sent["InvocationFailures"]) == (1.0, 1.0)


def test_a_payload_above_a_gibibyte_is_a_failure(tmp_path: Path) -> None:
    aws, container = FakeAws(tmp_path, size=(1 << 30) + 1), Container([])
    answered(aws, request(), container)
    assert b"has 1073741825 bytes, at most 1073741824 are allowed" in aws.objects["failure"]
    assert container.sent["RequestDownloadFailures"] == 1.0
    largest = FakeAws(tmp_path, size=1 << 30)
    answered(largest, request(), Container([GOOD]))
    assert largest.objects == {"answer": b"answer"}


def test_an_answer_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    aws, container = FakeAws(tmp_path), Container([GOOD])
    answered(aws, request(bucket="full"), container)
    assert b"The answer can't be written to s3://full/answer" in aws.objects["failure"]
    assert container.sent["ResponseUploadFailures"] == 1.0


def test_an_answer_stays_one_although_nobody_can_be_told(tmp_path: Path) -> None:
    aws, container = FakeAws(tmp_path), Container([GOOD])
    answered(aws, request(topic="absent"), container)
    assert aws.objects == {"answer": b"answer"}
    assert container.sent["NotificationFailures"] == 1.0
    assert "InvocationFailures" not in container.sent


def test_where_no_failures_are_kept_a_failure_is_still_published(tmp_path: Path) -> None:
    aws = FakeAws(tmp_path)
    answered(aws, request(failure=None), Container([None]))
    assert aws.objects == {}
    assert "or its container ended (connection refused)" in aws.messages[0]["failureReason"]


def test_what_goes_wrong_here_is_a_failure_too(tmp_path: Path) -> None:
    aws, container = FakeAws(tmp_path), Container([])  # which has no answer to give
    answered(aws, request(), container)
    assert aws.objects["failure"] == b"InternalFailure: The local AWS failed: IndexError: pop from empty list"


def test_no_topic_means_no_message(tmp_path: Path) -> None:
    aws = FakeAws(tmp_path)
    answered(aws, request(success_topic=None), Container([GOOD]))
    assert aws.messages == []
