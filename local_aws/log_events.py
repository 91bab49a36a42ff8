"""The lines of containers in CloudWatch Logs, in batches, as they come."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_logs.type_defs import InputLogEventTypeDef

BATCH_EVENTS = 1000
BATCH_BYTES = 900_000
BATCH_SECONDS = 0.5
LONGEST_MESSAGE = 200_000

log = logging.getLogger(__name__)


class LogStream:
    """One log stream that a container writes to; `write` never waits for the service.

    A service that refuses the lines does not disturb the job: the loss is logged, the job continues.
    """

    def __init__(self, logs: CloudWatchLogsClient, group: str, stream: str) -> None:
        self._logs = logs
        self._group = group
        self._stream = stream
        self._lines: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
        self._last = 0
        self._make(self._make_group)
        self._make(self._make_stream)
        self._sender = threading.Thread(target=self._send_all, name=f"logs {stream}", daemon=True)
        self._sender.start()

    def write(self, line: str) -> None:
        """Queue a line with the time of now."""
        self._last = max(self._last, int(time.time() * 1000))
        for start in range(0, max(1, len(line)), LONGEST_MESSAGE):
            self._lines.put((self._last, line[start : start + LONGEST_MESSAGE] or " "))

    def close(self) -> None:
        """Send what is queued, and wait for it."""
        self._lines.put(None)
        self._sender.join()

    def _make_group(self) -> None:
        self._logs.create_log_group(logGroupName=self._group)

    def _make_stream(self) -> None:
        self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)

    def _make(self, what: Callable[[], None]) -> None:
        try:
            what()
        except (ClientError, BotoCoreError) as error:
            response = getattr(error, "response", {})
            if response.get("Error", {}).get("Code") != "ResourceAlreadyExistsException":
                log.warning("no log stream %s: %s", self._stream, error)

    def _send_all(self) -> None:
        closing = False
        while not closing:
            batch, closing = self._next_batch()
            if batch:
                self._send(batch)

    def _next_batch(self) -> tuple[list[InputLogEventTypeDef], bool]:
        """Collect lines for a moment after the first; tell whether the stream was closed."""
        batch: list[InputLogEventTypeDef] = []
        size, deadline = 0, None
        while len(batch) < BATCH_EVENTS and size < BATCH_BYTES:
            try:
                timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                entry = self._lines.get(timeout=timeout)
            except queue.Empty:
                break
            if entry is None:
                return batch, True
            deadline = deadline or time.monotonic() + BATCH_SECONDS
            batch.append({"timestamp": entry[0], "message": entry[1]})
            size += len(entry[1].encode()) + 26
        return batch, False

    def _send(self, batch: list[InputLogEventTypeDef]) -> None:
        try:
            self._logs.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=batch)
        except (ClientError, BotoCoreError) as error:
            log.warning("%d lines of %s are lost: %s", len(batch), self._stream, error)
