"""moto's SQS with queues of thousands of messages: each call costs what it is about, not what lies in the queue.

moto counts the messages of a queue for each one that is sent and each one that is received, and reads all of them for
each one that is deleted. An upload of two thousand images took two minutes of work that way.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

from moto.core.utils import unix_time_millis
from moto.sqs import models
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import Message, Queue, SQSBackend

_received: WeakValueDictionary[str, Message] = WeakValueDictionary()
"""Messages by the receipt handles that they had."""
_sending = threading.local()

_attributes: Any = vars(Queue)["attributes"]
_mark_received = Message.mark_received
_send_message = SQSBackend.send_message


def mend_sqs() -> None:
    """Put the quick ways instead of moto's."""
    module: Any = models
    module.unix_time_millis = _now_in_milliseconds
    queue: Any = Queue
    queue.attributes = property(_attributes_unless_sending)
    queue.messages = property(_visible_messages)
    queue.approximate_number_of_messages_delayed = property(_count_of_delayed)
    queue.approximate_number_of_messages_not_visible = property(_count_of_invisible)
    queue.delete_message = _delete_message
    message: Any = Message
    message.mark_received = _note_received
    backend: Any = SQSBackend
    backend.send_message = _send_without_counting
    backend.is_message_valid_based_on_retention_period = _is_retained


def _now_in_milliseconds(moment: datetime | None = None) -> float:
    return time.time() * 1000 if moment is None else unix_time_millis(moment)


def _send_without_counting(backend: SQSBackend, *arguments: Any, **named: Any) -> Message:
    _sending.is_on = True
    try:
        return _send_message(backend, *arguments, **named)
    finally:
        _sending.is_on = False


def _attributes_unless_sending(queue: Queue) -> dict[str, Any]:
    """All attributes; a message that is sent asks for one that only FIFO queues have."""
    if getattr(_sending, "is_on", False) and not queue.fifo_queue:
        return {}
    attributes: dict[str, Any] = _attributes.fget(queue)
    return attributes


def _visible_messages(queue: Queue) -> list[Message]:
    now = time.time() * 1000
    return [one for one in queue._messages if one.visible_at < now and one.delayed_until <= now]


def _count_of_delayed(queue: Queue) -> int:
    now = time.time() * 1000
    return sum(one.delayed_until > now for one in queue._messages)


def _count_of_invisible(queue: Queue) -> int:
    now = time.time() * 1000
    return sum(one.visible_at >= now for one in queue._messages)


def _note_received(message: Message, visibility_timeout: int | None = None) -> None:
    _mark_received(message, visibility_timeout=visibility_timeout)
    _received[str(message.receipt_handle)] = message


def _delete_message(queue: Queue, receipt_handle: str) -> None:
    if receipt_handle in queue.deleted_messages:
        return
    message = _received.get(receipt_handle)
    if message is None or message not in queue._messages:
        raise ReceiptHandleIsInvalid
    queue.pending_messages.discard(message)
    queue.deleted_messages.update(str(handle) for handle in message.all_receipt_handles)
    queue._messages.remove(message)


def _is_retained(backend: SQSBackend, queue_name: str, message: Message) -> bool:
    kept: Any = backend.get_queue(queue_name)
    sent: Any = message.sent_timestamp
    return bool(kept.message_retention_period + sent / 1000 > time.time())
