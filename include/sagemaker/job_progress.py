"""What a waiting task shows of its job: its own lines, each epoch and each change summed up, what it has cost so far.

Sources: API reference of DescribeTrainingJob: `TrainingStartTime` ("you are billed for the time interval between this
time and the value of TrainingEndTime"), `BillableTimeInSeconds` (times `InstanceCount` is what is billed; under spot it
is less than the training's own time, and known only at the end), `SecondaryStatusTransitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from include.sagemaker.epochs import EPOCH_LINE
from include.sagemaker.job_kinds import INTERRUPTED
from include.sagemaker.job_polling import LogLine
from include.sagemaker.job_results import RuleStatus, rule_statuses
from include.sagemaker.naming import by_machine

SHOWN = ("Train-accuracy", "Validation-accuracy", "Time cost")
"""What is shown of an epoch, by the names in the log."""
RESTART = "the spot machine was taken back: the job continues from its checkpoint as soon as it has another"
UNBILLED = frozenset(
    {"Pending", "Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Interrupted", "Restarting"}
)
"""Secondary statuses in which a job has no machine."""


@dataclass
class JobProgress:
    """The log of a job as it is shown: its lines, and each epoch summed up once.

    With several machines every line begins with the machine that wrote it, and the first machine's epochs are summed
    up: all of them log the same epochs, each with accuracies of its own. A machine that was started again begins a
    stream of its own, and its times are not counted from what another one wrote.
    """

    machines: int = 1
    epochs: int | None = None
    _streams: dict[str, EpochProgress] = field(default_factory=dict)

    def read(self, line: LogLine) -> tuple[str, str | None]:
        """The line as it is shown, and the summary of the epoch that it ends."""
        number, machine, _ = by_machine(line.stream)
        shown = f"[{machine}] {line.text}" if self.machines > 1 and machine else line.text
        if self.machines > 1 and number > 1:
            return shown, None
        progress = self._streams.setdefault(line.stream, EpochProgress())
        progress.epochs = self.epochs
        return shown, progress.read(line.text, line.at)


@dataclass
class EpochProgress:
    """Reads one machine's log lines of the algorithm and sums each epoch up in one line.

    The lines come in the order in which the algorithm writes them: train accuracy, time, validation accuracy.
    """

    epochs: int | None = None
    _seen: dict[str, float] = field(default_factory=dict)
    _ended: tuple[int, float] | None = None

    def read(self, line: str, at: float | None = None) -> str | None:
        """The summary of the epoch that `line` ends, None for every other line; `at` is its Unix time."""
        match = EPOCH_LINE.search(line)
        if match is None or match["name"] not in SHOWN:
            return None
        epoch, metric, value = int(match["epoch"]) + 1, match["name"], float(match["value"])
        self._seen[metric] = value
        if metric != "Validation-accuracy":
            return None
        summary = self._summary(epoch, at)
        self._ended, self._seen = (None if at is None else (epoch, at)), {}
        return summary

    def _summary(self, epoch: int, at: float | None) -> str:
        total = f" of {self.epochs}" if self.epochs else ""
        parts = [f"epoch {epoch}{total}"]
        if "Train-accuracy" in self._seen:
            parts.append(f"train accuracy {self._seen['Train-accuracy']:.4f}")
        parts.append(f"validation accuracy {self._seen['Validation-accuracy']:.4f}")
        seconds = self._seen.get("Time cost")
        if seconds is not None:
            parts.append(f"{seconds:.1f} s an epoch")
        whole = self._with_validation(epoch, at) or seconds
        if whole is not None and self.epochs and epoch < self.epochs:
            parts.append(f"about {format_duration(whole * (self.epochs - epoch))} left")
        return ", ".join(parts)

    def _with_validation(self, epoch: int, at: float | None) -> float | None:
        """Seconds from the end of the epoch before to the end of this one."""
        if self._ended is None or at is None or self._ended[0] != epoch - 1:
            return None
        return max(at - self._ended[1], self._seen.get("Time cost", 0.0))


@dataclass
class StatusProgress:
    """Reports a job's changes of status, each once: its own, its rules' of Debugger, its training jobs' if it tunes."""

    _told: set[tuple[Any, ...]] = field(default_factory=set)
    _last: str = ""
    _rules: set[RuleStatus] = field(default_factory=set)

    def read(self, description: Mapping[str, Any], status: str) -> list[str]:
        """A line for each change since the last description, in their order."""
        rules = rule_statuses(description)
        changed = [f"rule {rule}" for rule in rules if rule not in self._rules]
        self._rules = {*rules}
        return [*self._statuses(description, status), *changed]

    def _statuses(self, description: Mapping[str, Any], status: str) -> list[str]:
        transitions = description.get("SecondaryStatusTransitions")
        if transitions:
            return [line for transition in transitions if (line := self._transition(transition))]
        text = "; ".join(part for part in (status, _tuning(description)) if part)
        if text == self._last:
            return []
        self._last = text
        return [text]

    def _transition(self, transition: Mapping[str, Any]) -> str | None:
        status, message = str(transition["Status"]), str(transition.get("StatusMessage") or "")
        key = (status, transition.get("StartTime"), message)
        if key in self._told:
            return None
        self._told.add(key)
        return ": ".join(part for part in (status, message, RESTART if status in INTERRUPTED else "") if part)


def billed_so_far(description: Mapping[str, Any], at: float, prices: Mapping[str, float]) -> str:
    """The same for a person: seconds, machines, and USD if the price of an hour is known."""
    resources = description.get("ResourceConfig") or {}
    machines, price = int(resources.get("InstanceCount", 1)), prices.get(resources.get("InstanceType", ""))
    seconds = billable_seconds(description, at)
    at_most = "at most " if description.get("EnableManagedSpotTraining") else ""
    each = f" on each of {machines} machines" if machines > 1 else ""
    cost = f" ({at_most}{seconds * machines * price / 3600:.2f} USD)" if price is not None else ""
    return f"{at_most if not cost else ''}{seconds:.0f} s billable so far{each}{cost}"


def billable_seconds(description: Mapping[str, Any], at: float) -> float:
    """Seconds for which each machine of the job is billed at the Unix time `at`; under spot, at most."""
    if "BillableTimeInSeconds" in description:
        return float(description["BillableTimeInSeconds"])
    transitions = description.get("SecondaryStatusTransitions") or ()
    if not transitions and "TrainingStartTime" in description:
        return max(at - float(description["TrainingStartTime"].timestamp()), 0.0)
    periods = [
        (transition["StartTime"].timestamp(), _end(transition.get("EndTime"), at))
        for transition in transitions
        if transition["Status"] not in UNBILLED
    ]
    return sum((max(end - start, 0.0) for start, end in periods), 0.0)


def format_duration(seconds: float) -> str:
    """A duration as a person says it: `95 s`, `23 min`, `5 h 10 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _tuning(description: Mapping[str, Any]) -> str:
    counters = description.get("TrainingJobStatusCounters")
    if not counters:
        return ""
    limits = (description.get("HyperParameterTuningJobConfig") or {}).get("ResourceLimits") or {}
    total = f" of {limits['MaxNumberOfTrainingJobs']}" if limits.get("MaxNumberOfTrainingJobs") else ""
    text = f"{counters.get('Completed', 0)}{total} jobs completed, {counters.get('InProgress', 0)} running"
    others = {
        "failed": counters.get("NonRetryableError", 0),
        "failed and started again": counters.get("RetryableError", 0),
        "stopped": counters.get("Stopped", 0),
    }
    text += "".join(f", {count} {what}" for what, count in others.items() if count)
    return "; ".join(part for part in (text, _best(description.get("BestTrainingJob") or {})) if part)


def _best(job: Mapping[str, Any]) -> str:
    metric = job.get("FinalHyperParameterTuningJobObjectiveMetric")
    if not metric:
        return ""
    tuned = ", ".join(f"{name} {value}" for name, value in sorted((job.get("TunedHyperParameters") or {}).items()))
    return f"best last epoch so far {job['TrainingJobName']}: {metric['MetricName']} {metric['Value']:.4f}" + (
        f" with {tuned}" if tuned else ""
    )


def _end(end: datetime | None, at: float) -> float:
    return at if end is None else min(end.timestamp(), at)
