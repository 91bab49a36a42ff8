"""Metrics of jobs and endpoints on their way to CloudWatch, in batches, as they come."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

BATCH_SECONDS = 0.5
BATCH_DATA = 500
FLUSH_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MetricDatum:
    """One value of one metric; the unit is one of CloudWatch's: Percent, Microseconds, None, ..."""

    namespace: str
    name: str
    value: float
    dimensions: Mapping[str, str]
    unit: str = "None"
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_document(self) -> dict[str, Any]:
        """The member of PutMetricData."""
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Timestamp": self.time,
            "Dimensions": [{"Name": name, "Value": value} for name, value in self.dimensions.items()],
        }


class MetricFeed:
    """Sends metrics of one account and region; `put` never waits for the service.

    A service that refuses them does not disturb the job: the loss is logged. Values that are not numbers are left out,
    as CloudWatch takes none.
    """

    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch
        self._waiting: queue.SimpleQueue[MetricDatum | threading.Event] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sender: threading.Thread | None = None

    def put(self, *data: MetricDatum) -> None:
        """Queue values."""
        with self._lock:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_all, name="metrics", daemon=True)
                self._sender.start()
        for datum in data:
            if math.isfinite(datum.value):
                self._waiting.put(datum)

    def flush(self) -> None:
        """Wait until what was put before has been sent, ten seconds at most."""
        if self._sender is not None:
            sent = threading.Event()
            self._waiting.put(sent)
            sent.wait(FLUSH_SECONDS)

    def _send_all(self) -> None:
        while True:
            batch, flushed = self._next_batch()
            for namespace in {datum.namespace for datum in batch}:
                self._send(namespace, [datum.as_document() for datum in batch if datum.namespace == namespace])
            if flushed is not None:
                flushed.set()

    def _next_batch(self) -> tuple[list[MetricDatum], threading.Event | None]:
        """Collect values for a moment after the first, or until somebody waits for them."""
        batch: list[MetricDatum] = []
        deadline: float | None = None
        while len(batch) < BATCH_DATA:
            try:
                timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                entry = self._waiting.get(timeout=timeout)
            except queue.Empty:
                break
            if isinstance(entry, threading.Event):
                return batch, entry
            deadline = deadline or time.monotonic() + BATCH_SECONDS
            batch.append(entry)
        return batch, None

    def _send(self, namespace: str, data: list[dict[str, Any]]) -> None:
        try:
            self._cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
        except (ClientError, BotoCoreError) as error:
            log.warning("%d metric values of %s are lost: %s", len(data), namespace, error)
