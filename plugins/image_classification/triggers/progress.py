"""A line for what happened in a job since the last look: an epoch ended, a tuning job has a better model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

METRIC = re.compile(r"Epoch\[(\d+)\] (Train-accuracy|Validation-accuracy|Time cost)=([-+.\deE]+)")


@dataclass
class EpochProgress:
    """Reads the algorithm's log lines and sums each epoch up in one line.

    The lines come in the order in which the algorithm writes them: train accuracy, time, validation accuracy.
    """

    epochs: int | None = None
    _seen: dict[str, float] = field(default_factory=dict)

    def read(self, line: str) -> str | None:
        """The summary of the epoch that `line` ends, None for every other line."""
        match = METRIC.search(line)
        if match is None:
            return None
        epoch, metric, value = int(match[1]), match[2], float(match[3])
        self._seen[metric] = value
        return self._summary(epoch + 1) if metric == "Validation-accuracy" else None

    def _summary(self, epoch: int) -> str:
        total = f" of {self.epochs}" if self.epochs else ""
        parts = [f"epoch {epoch}{total}"]
        if "Train-accuracy" in self._seen:
            parts.append(f"train accuracy {self._seen['Train-accuracy']:.4f}")
        parts.append(f"validation accuracy {self._seen['Validation-accuracy']:.4f}")
        seconds = self._seen.get("Time cost")
        if seconds is not None:
            parts.append(f"{seconds:.1f} s an epoch")
            if self.epochs and epoch < self.epochs:
                parts.append(f"about {seconds * (self.epochs - epoch):.0f} s left")
        return ", ".join(parts)


@dataclass
class StatusProgress:
    """Tells when a job's status changed, and for a tuning job how its training jobs are doing."""

    _last: str = ""

    def read(self, description: Mapping[str, Any], status: str) -> str | None:
        """One line if something changed since the last description."""
        text = ", ".join(part for part in (status, _secondary(description), _tuning(description)) if part)
        if text == self._last:
            return None
        self._last = text
        return text


def _secondary(description: Mapping[str, Any]) -> str:
    transitions = description.get("SecondaryStatusTransitions") or [{}]
    return str(transitions[-1].get("StatusMessage") or description.get("SecondaryStatus") or "")


def _tuning(description: Mapping[str, Any]) -> str:
    counters = description.get("TrainingJobStatusCounters")
    if not counters:
        return ""
    text = f"{counters.get('Completed', 0)} jobs completed, {counters.get('InProgress', 0)} running"
    best = description.get("BestTrainingJob", {})
    metric = best.get("FinalHyperParameterTuningJobObjectiveMetric")
    return (
        f"{text}, best so far {best['TrainingJobName']} {metric['MetricName']} {metric['Value']:.4f}"
        if metric
        else text
    )
