"""New images start a retraining: the schedule of the DAG, and the watch of the queue to which S3 sends their events.

Sources: S3 user guide, "Event message structure" (`Records`, one for each object; `s3:TestEvent` when the notification
is set up); API reference of SQS ReceiveMessage (at most 10 messages a call) and DeleteMessageBatch.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from image_classification.context import AwsAccess, queue_settings, retraining_schedule
from include.sagemaker.api import Backoff, passing_fault

MESSAGES_AT_ONCE = 10
LONGEST_UPLOAD_SECONDS = 600.0
"""An upload that takes longer starts its first run after this many seconds."""

TEST_EVENT = "s3:TestEvent"


def on_new_images() -> Any:
    """The schedule: start as the settings' cron says, and on messages in the queue that they name, if any.

    The watcher deletes a message before Airflow has stored the event, so that one can be lost: hence the cron.
    """
    timetable = retraining_schedule()
    queue = queue_settings()
    if not queue:
        return timetable
    watcher = AssetWatcher(name="new-images-queue", trigger=NewImagesTrigger(**queue))
    return AssetOrTimeSchedule(timetable=timetable, assets=[Asset(name="new-images", watchers=[watcher])])


@dataclass
class Arrivals:
    """How many messages and images there were so far; nothing of the messages themselves is kept."""

    messages: int = 0
    images: int = 0

    def count(self, body: str) -> None:
        """Count a message about images, or about something that this project does not know."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, Mapping) and content.get("Event") == TEST_EVENT:
            return
        records = content.get("Records") if isinstance(content, Mapping) else None
        self.messages += 1
        self.images += len(records) if isinstance(records, list) else 0


class NewImagesTrigger(BaseEventTrigger):
    """Fires `{"messages", "images"}`, how many of each there were, once for all messages that wait or come together.

    It reads the queue until it is empty, and continues as long as each further poll finds more: an upload of a thousand
    images, or all that has arrived while nothing watched, is one event and starts one run.

    :param queue_url: the queue; a message is deleted when it is received
    :param region: region of the queue
    :param aws_conn_id: Airflow connection to AWS
    :param poll_seconds: seconds between two polls
    """

    def __init__(
        self, *, queue_url: str, region: str | None = None, aws_conn_id: str = "aws_default", poll_seconds: float = 30
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queue_url = queue_url
        self.region = region
        self.aws_conn_id = aws_conn_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments that make an equal trigger in the triggerer."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "queue_url": self.queue_url,
                "region": self.region,
                "aws_conn_id": self.aws_conn_id,
                "poll_seconds": self.poll_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the queue for as long as the triggerer runs."""
        access = AwsAccess(aws_conn_id=self.aws_conn_id, region_name=self.region)
        backoff = Backoff()
        while True:
            try:
                async with await access.hook("sqs").get_async_conn() as client:
                    while True:
                        arrivals = await self._arrivals(client)
                        backoff.failures = 0
                        if arrivals.messages:
                            self.log.info("%d messages about %d new images.", arrivals.messages, arrivals.images)
                            yield TriggerEvent({"messages": arrivals.messages, "images": arrivals.images})
                        await asyncio.sleep(backoff.wait(self.poll_seconds))
            except Exception as error:
                fault = passing_fault(error)
                if fault is None:
                    raise
                backoff.failures += 1
                self.log.warning("The queue %s could not be read just now (%s): trying again.", self.queue_url, fault)
            await asyncio.sleep(backoff.wait(self.poll_seconds))

    async def _arrivals(self, client: Any) -> Arrivals:
        """What the queue holds, and what arrives until a poll finds nothing more."""
        arrivals, last = Arrivals(), time.monotonic() + LONGEST_UPLOAD_SECONDS
        has_news = False
        while time.monotonic() < last:
            messages = await self._take(client)
            for message in messages:
                arrivals.count(message["Body"])
            if messages:
                has_news = True
            elif has_news:
                has_news = False
                await asyncio.sleep(self.poll_seconds)
            else:
                break
        return arrivals

    async def _take(self, client: Any) -> Sequence[Mapping[str, Any]]:
        """Take some messages out of the queue; none if it is empty."""
        answer = await client.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=MESSAGES_AT_ONCE, WaitTimeSeconds=1
        )
        messages: Sequence[Mapping[str, Any]] = answer.get("Messages", ())
        if messages:
            handles = [
                {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]} for place, message in enumerate(messages)
            ]
            await client.delete_message_batch(QueueUrl=self.queue_url, Entries=handles)
        return messages
