"""Queues of the local AWS: what a call does stays the same, and no call reads a whole queue but to find a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.sqs.models import Message, Queue, SQSBackend

from local_aws.moto_sqs import mend_sqs
from tests.support.local_aws import RunningLocalAws

COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@pytest.fixture
def sqs(local_aws: RunningLocalAws) -> Any:
    return local_aws.client("sqs")


@pytest.fixture
def queue(sqs: Any) -> Iterator[str]:
    url = sqs.create_queue(QueueName="many-messages")["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def counts(sqs: Any, queue: str) -> tuple[int, ...]:
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return tuple(int(found[name]) for name in COUNTS)


def test_messages_are_counted_as_they_are_seen_taken_and_delayed(sqs: Any, queue: str) -> None:
    for body in "abc":
        sqs.send_message(QueueUrl=queue, MessageBody=body)
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=600)
    assert counts(sqs, queue) == (3, 0, 1)

    (taken,) = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=600)["Messages"]
    assert counts(sqs, queue) == (2, 1, 1)

    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=taken["ReceiptHandle"], VisibilityTimeout=0)
    again = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600)["Messages"]
    assert {message["Body"] for message in again} == set("abc")
    assert counts(sqs, queue) == (0, 3, 1)


def test_a_message_is_deleted_by_any_handle_that_it_had_and_once(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="a")
    (first,) = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"]
    (second,) = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"]
    assert first["ReceiptHandle"] != second["ReceiptHandle"]

    for handle in (first["ReceiptHandle"], first["ReceiptHandle"], second["ReceiptHandle"]):
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)

    assert counts(sqs, queue) == (0, 0, 0)


def test_a_handle_of_another_queue_deletes_nothing(sqs: Any, queue: str) -> None:
    other = sqs.create_queue(QueueName="other-queue")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="a")
    (taken,) = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"]
    for handle in (taken["ReceiptHandle"], "made-up"):
        with pytest.raises(ClientError, match="ReceiptHandleIsInvalid"):
            sqs.delete_message(QueueUrl=other, ReceiptHandle=handle)
    assert counts(sqs, queue) == (1, 0, 0)


def test_fifo_queues_still_know_duplicates(sqs: Any) -> None:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    fifo = sqs.create_queue(QueueName="in-order.fifo", Attributes=attributes)["QueueUrl"]
    for body in ("a", "a", "b"):
        sqs.send_message(QueueUrl=fifo, MessageBody=body, MessageGroupId="one")
    assert counts(sqs, fifo)[0] == 2


class Watched(list[Message]):
    """A queue's messages, and how often all of them were read."""

    reads = 0

    def __iter__(self) -> Iterator[Message]:
        self.reads += 1
        return super().__iter__()


def test_a_call_does_not_read_all_messages_for_each_message() -> None:
    mend_sqs()
    backend = SQSBackend("us-east-1", "123456789012")
    backend.create_queue("q")
    queue: Queue = backend.get_queue("q")
    messages = queue._messages = Watched()

    for number in range(50):
        backend.send_message("q", str(number), system_attributes={})
    assert messages.reads == 0

    taken = backend.receive_message("q", 10, 0, 30)
    assert (len(taken), messages.reads) == (10, 1)

    backend.delete_message_batch(
        "q", [{"Id": str(place), "ReceiptHandle": one.receipt_handle} for place, one in enumerate(taken)]
    )
    assert (len(messages), messages.reads) == (40, 1)
