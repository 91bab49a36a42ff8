"""Watches the queue that S3 tells about new images."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

SQS_TRIGGER = "airflow.providers.amazon.aws.triggers.sqs.SqsSensorTrigger"


class NewImagesTrigger(BaseEventTrigger):
    """The provider's SQS trigger, named without being imported.

    What the triggerer runs is what `serialize` names: the trigger to which `MessageQueueTrigger(scheme="sqs")` hands
    over. A DAG file that builds that one imports boto3 at every parse; this one does not. One look takes up to a
    hundred messages, so that a large upload starts a few runs and not one for every ten images.

    :param queue_url: the queue; a message is deleted when it is received
    :param poll_seconds: seconds between two looks
    """

    def __init__(
        self, *, queue_url: str, region: str | None = None, aws_conn_id: str = "aws_default", poll_seconds: int = 30
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, Any] = {
            "sqs_queue": queue_url,
            "waiter_delay": poll_seconds,
            "max_messages": 10,
            "num_batches": 10,
            "region_name": region,
            "aws_conn_id": aws_conn_id,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The provider's trigger and its arguments, those left out at their defaults."""
        return SQS_TRIGGER, {name: value for name, value in self.arguments.items() if value is not None}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Run as the provider's trigger."""
        from airflow.providers.amazon.aws.triggers.sqs import SqsSensorTrigger

        async for event in SqsSensorTrigger(**self.arguments).run():
            yield event
