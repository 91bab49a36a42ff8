"""Messages in a queue of the local AWS become one event of a few counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.local_aws import RunningLocalAws
from tests.unit.plugins.triggers.test_new_images import next_event, notification, watcher

NAMES = (f"queue-{number}" for number in itertools.count())


@pytest.fixture
def sqs(aws: RunningLocalAws) -> Any:
    return aws.client("sqs")


@pytest.fixture
def queue(sqs: Any) -> Iterator[str]:
    url = sqs.create_queue(QueueName=next(NAMES))["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def left(sqs: Any, queue: str) -> int:
    asked = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return int(asked["ApproximateNumberOfMessages"]) + int(asked["ApproximateNumberOfMessagesNotVisible"])


async def test_all_that_waits_is_one_event_of_counts(sqs: Any, queue: str) -> None:
    for number in range(12):
        entries = [
            {"Id": str(n), "MessageBody": notification(f"images/{number}/{n}.jpg", f"images/b/{number}-{n}.jpg")}
            for n in range(10)
        ]
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    watch = watcher(queue).run()

    assert await next_event(watch) == {"messages": 120, "images": 240}
    assert left(sqs, queue) == 0
    sqs.send_message(QueueUrl=queue, MessageBody=notification("images/late.jpg"))
    assert await next_event(watch) == {"messages": 1, "images": 1}
    await watch.aclose()
