"""What runs and what it costs an hour, and an endpoint that is deleted because a person wants it, on the local AWS."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from include.clean_up.findings import carry_out
from include.clean_up.running import RunningMachines, costs_table, endpoint_to_delete, running_machines
from include.deployment.hosting import Hosting
from include.sagemaker.naming import Run
from tests.integration.clean_up.test_orphaned_endpoints import deployed, make_deployment
from tests.support.local_aws import training_request

PRICES = {"ml.m5.large": 0.115, "ml.g4dn.xlarge": 0.736}


def running(sagemaker: Any) -> dict[str, RunningMachines]:
    return {each.name: each for each in running_machines(sagemaker, lambda machine, _: PRICES.get(machine))}


@pytest.fixture
def endpoint(s3: Any, hosting: Hosting) -> str:
    run = Run("deploy_endpoint", f"run-{uuid4()}", "deployment.deploy")
    return deployed(hosting, make_deployment(s3, run, keep=True))


def test_endpoints_and_running_jobs_are_shown_with_machines_and_price(sagemaker: Any, endpoint: str) -> None:
    job = f"runs-{uuid4().hex[:8]}"
    sagemaker.create_training_job(**training_request(job, HyperParameters={"seconds": "60"}))

    found = running(sagemaker)

    assert (found[endpoint].what, found[endpoint].machine, found[endpoint].count) == ("endpoint", "ml.m5.large", 1)
    assert (found[endpoint].status, found[endpoint].usd_per_hour) == ("InService", 0.115)
    assert (found[job].what, found[job].status) == ("training job", "InProgress")
    sagemaker.stop_training_job(TrainingJobName=job)


def test_the_table_ends_with_the_sum_of_what_is_known() -> None:
    def row(name: str, machine: str, count: int, cost: float | None) -> RunningMachines:
        return RunningMachines.of("endpoint", (name, "InService"), (machine, count), cost)

    rows = [
        row("pets", "ml.m5.large", 2, 0.115),
        row("quiet", "serverless", 0, None),
        row("birds", "ml.p3.2xlarge", 1, None),
    ]
    table = costs_table(rows)
    assert table[1].split() == ["endpoint", "pets", "InService", "2", "x", "ml.m5.large", "0.230"]
    assert table[2].endswith("by request")
    assert table[-1] == (
        "In all 0.23 USD an hour, 166 a month; the price of ml.p3.2xlarge is not known (the setting prices may name "
        "it)."
    )
    assert costs_table([]) == ["Nothing runs: no endpoint, no training job, no batch transform."]


def test_an_endpoint_that_serves_is_deleted_if_a_person_wants_it(
    hosting: Hosting, sagemaker: Any, endpoint: str
) -> None:
    (looked,) = carry_out([endpoint_to_delete(hosting, endpoint)], done="deleted", dry_run=True)
    assert (looked.outcome, endpoint in running(sagemaker)) == ("would be deleted", True)

    (outcome,) = carry_out([endpoint_to_delete(hosting, endpoint)], done="deleted", dry_run=False)

    assert (outcome.name, outcome.outcome) == (endpoint, "deleted")
    assert running(sagemaker).get(endpoint, outcome).model_dump().get("status") in (None, "Deleting")


def test_an_endpoint_that_is_not_there_is_named(hosting: Hosting) -> None:
    with pytest.raises(ValueError, match="delete_endpoint = never-there: there is no such endpoint; show_what_runs"):
        endpoint_to_delete(hosting, "never-there")
