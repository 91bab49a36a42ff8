"""Metrics read from a job's log lines by the regular expressions of its metric definitions."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from local_aws.sagemaker.core.area import Document
from local_aws.sagemaker.core.resource_table import now

_EPOCH_VALUE = r"Epoch\[\d+\] {}-accuracy=(\S+)"
IMAGE_CLASSIFICATION_METRICS: tuple[Mapping[str, str], ...] = tuple(
    {"Name": f"{channel}:accuracy{suffix}", "Regex": _EPOCH_VALUE.format(word)}
    for channel, word in (("train", "Train"), ("validation", "Validation"))
    for suffix in ("", ":epoch")
)
"""The metrics of the built-in image-classification algorithm, from the lines it prints at the end of every epoch."""


@dataclass(frozen=True)
class MetricValue:
    """One value of a metric, with the time at which its line came."""

    name: str
    value: float
    time: datetime


class MetricLog:
    """The values of one job's metrics, in the order of its lines.

    `on_value` is called for every value as it comes, in the thread that reads the container's output.
    """

    def __init__(self, definitions: Sequence[Mapping[str, str]]) -> None:
        self._definitions = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._lock = threading.Lock()
        self._values: list[MetricValue] = []
        self.on_value: Callable[[MetricValue], None] | None = None

    def read(self, line: str) -> list[MetricValue]:
        """Look for metrics in a line and return them; what is not a number is passed over."""
        found_values = []
        for name, expression in self._definitions:
            found = expression.search(line)
            if found is None:
                continue
            try:
                value = MetricValue(name, float(found.group(1) if expression.groups else found.group()), now())
            except (TypeError, ValueError):
                continue
            found_values.append(value)
            with self._lock:
                self._values.append(value)
            if self.on_value is not None:
                self.on_value(value)
        return found_values

    def history(self, name: str) -> list[float]:
        """Return every value of a metric so far."""
        with self._lock:
            return [value.value for value in self._values if value.name == name]

    def last(self, name: str) -> MetricValue | None:
        """Return the latest value of a metric, or None."""
        with self._lock:
            return next((value for value in reversed(self._values) if value.name == name), None)

    def final(self) -> list[Document]:
        """Return the API's FinalMetricDataList: the last value of every metric."""
        latest = [self.last(name) for name, _ in self._definitions]
        return [{"MetricName": v.name, "Value": v.value, "Timestamp": v.time} for v in latest if v is not None]
