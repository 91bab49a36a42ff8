"""What a running training job has cost so far.

Sources: API reference of DescribeTrainingJob: `TrainingStartTime` ("you are billed for the time interval between this
time and the value of TrainingEndTime"), `BillableTimeInSeconds` (times `InstanceCount` is what is billed; under spot it
is less than the training's own time, and known only at the end), `SecondaryStatusTransitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

UNBILLED = frozenset(
    {"Pending", "Starting", "LaunchingMLInstances", "PreparingTrainingStack", "Interrupted", "Restarting"}
)
"""Secondary statuses in which a job has no machine."""


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


def billed_so_far(description: Mapping[str, Any], at: float, prices: Mapping[str, float]) -> str:
    """The same for a person: seconds, machines, and USD where the price of an hour is known."""
    resources = description.get("ResourceConfig") or {}
    machines, price = int(resources.get("InstanceCount", 1)), prices.get(resources.get("InstanceType", ""))
    seconds = billable_seconds(description, at)
    at_most = "at most " if description.get("EnableManagedSpotTraining") else ""
    each = f" on each of {machines} machines" if machines > 1 else ""
    cost = f" ({at_most}{seconds * machines * price / 3600:.2f} USD)" if price is not None else ""
    return f"{at_most if not cost else ''}{seconds:.0f} s billable so far{each}{cost}"


def _end(end: datetime | None, at: float) -> float:
    return at if end is None else min(end.timestamp(), at)
