from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from include.sagemaker.billing import billable_seconds, billed_so_far


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def job(*stages: tuple[str, float, float | None], **more: Any) -> dict[str, Any]:
    transitions = [
        {"Status": status, "StartTime": at(start), **({"EndTime": at(end)} if end is not None else {})}
        for status, start, end in stages
    ]
    resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}
    return {"SecondaryStatusTransitions": transitions, "ResourceConfig": resources, **more}


def test_a_job_is_billed_from_the_moment_it_has_a_machine() -> None:
    running = job(("Starting", 0, 100), ("Downloading", 100, 130), ("Training", 130, None))

    assert billable_seconds(running, 230) == 130
    assert billed_so_far(running, 230, {}) == "130 s billable so far"


def test_an_interrupted_spot_job_is_not_billed_while_it_has_no_machine() -> None:
    stages = [("Training", 100.0, 200.0), ("Interrupted", 200.0, 500.0), ("Starting", 500.0, 600.0)]
    running = job(*stages, ("Training", 600, None), EnableManagedSpotTraining=True)

    assert billable_seconds(running, 650) == 150
    assert billed_so_far(running, 650, {}) == "at most 150 s billable so far"


def test_the_cost_is_told_where_the_price_of_the_machine_is_known() -> None:
    running = job(("Training", 0, None))
    running["ResourceConfig"]["InstanceCount"] = 2

    told = billed_so_far(running, 1800, {"ml.g5.xlarge": 1.5})

    assert told == "1800 s billable so far on each of 2 machines (1.50 USD)"


def test_what_aws_bills_in_the_end_goes_before_what_was_counted() -> None:
    assert billable_seconds(job(("Training", 0, 100), BillableTimeInSeconds=40), 100) == 40
