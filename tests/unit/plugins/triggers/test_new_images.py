"""Messages about new images become one event of a few counts, however many there are and whatever they hold."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

from image_classification.context import AwsAccess
from image_classification.triggers import new_images
from image_classification.triggers.new_images import NewImagesTrigger
from tests.support.faulty_aws import refusal


def notification(*keys: str) -> str:
    """What S3 sends about these objects."""
    records = [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": key, "size": 1000}}} for key in keys]
    return json.dumps({"Records": records})


def watcher(queue: str) -> Any:
    """The trigger as the triggerer makes it from the database."""
    trigger = NewImagesTrigger(queue_url=queue, region="us-east-1", poll_seconds=0.01)
    class_path, arguments = trigger.serialize()
    rebuilt = import_string(class_path)(**json.loads(json.dumps(arguments)))
    assert rebuilt.serialize() == trigger.serialize()
    return rebuilt


async def next_event(watch: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(60):
        return (await anext(watch)).payload


class Queue:
    """A queue whose answers are written down beforehand: lists of bodies, or the error that a call raises."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers = list(answers)
        self.deleted = 0

    async def receive_message(self, **_: Any) -> dict[str, Any]:
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return {"Messages": [{"Body": body, "ReceiptHandle": body[:5]} for body in answer]} if answer else {}

    async def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        self.deleted += len(arguments["Entries"])
        return {}


@pytest.fixture
def from_queue(monkeypatch: pytest.MonkeyPatch) -> Any:
    def watch(queue: Queue) -> AsyncIterator[Any]:
        @asynccontextmanager
        async def connection() -> AsyncIterator[Queue]:
            yield queue

        class Hook:
            async def get_async_conn(self) -> Any:
                return connection()

        monkeypatch.setattr(AwsAccess, "hook", lambda *_: Hook())
        monkeypatch.setattr("include.sagemaker.api.Backoff.wait", lambda *_: 0)
        return watcher("https://queue").run()

    return watch


async def test_an_upload_that_goes_on_is_one_event(from_queue: Any) -> None:
    queue = Queue([notification("a")], [], [notification("b", "c")], [], [], [notification("d")])
    watch = from_queue(queue)

    assert await next_event(watch) == {"messages": 2, "images": 3}
    assert await next_event(watch) == {"messages": 1, "images": 1}
    assert queue.deleted == 3


async def test_an_upload_without_an_end_starts_a_run_nevertheless(
    from_queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_images, "LONGEST_UPLOAD_SECONDS", 3.5)
    moments = itertools.count()
    monkeypatch.setattr(new_images, "time", SimpleNamespace(monotonic=lambda: next(moments)))

    assert await next_event(from_queue(Queue(*([notification("a")] for _ in range(100))))) == {
        "messages": 3,
        "images": 3,
    }


@pytest.mark.parametrize(
    ("body", "images"),
    [
        ("", 0),
        ("look again", 0),
        ("[" * 100_000, 0),
        ('"\\ud800"', 0),
        (json.dumps({"Records": "many"}), 0),
        (json.dumps({"Records": [None, 1]}), 2),
        (json.dumps({"Message": notification("a")}), 0),
    ],
)
async def test_a_message_that_is_not_from_s3_starts_a_run_and_harms_nothing(
    from_queue: Any, body: str, images: int
) -> None:
    assert await next_event(from_queue(Queue([body]))) == {"messages": 1, "images": images}


async def test_the_test_message_of_a_new_notification_starts_nothing(from_queue: Any) -> None:
    test = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "images"})

    assert await next_event(from_queue(Queue([test], [], [], [notification("a")]))) == {"messages": 1, "images": 1}


async def test_a_fault_that_passes_does_not_end_the_watch(from_queue: Any) -> None:
    queue = Queue(refusal("ThrottlingException"), refusal("ExpiredToken"), [notification("a")])

    assert await next_event(from_queue(queue)) == {"messages": 1, "images": 1}
    with pytest.raises(Exception, match="AccessDenied"):
        await next_event(from_queue(Queue(refusal("AccessDenied"))))
