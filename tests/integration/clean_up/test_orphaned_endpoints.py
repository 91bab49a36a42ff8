from __future__ import annotations

import io
import tarfile
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from include.clean_up.findings import Finding, carry_out
from include.clean_up.running import forgotten_endpoints, unserved
from include.deployment.endpoint import deploy, deployment_of, served
from include.deployment.hosting import Hosting, end_probation
from include.deployment.registry import RegisteredModel
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from include.settings import Settings
from tests.integration.clean_up.conftest import KnownRuns
from tests.support.local_aws import BUCKET, ROLE, eventually

SCRIPTED_IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scripted:1"
NOW = timedelta(seconds=-5)
SETTINGS = Settings(
    data_bucket=BUCKET, output_bucket=BUCKET, execution_role_arn=ROLE, region="us-east-1", image_uri=SCRIPTED_IMAGE
)


@pytest.fixture
def run() -> Run:
    return Run("deploy_endpoint", f"run-{uuid4()}", "deployment.deploy")


def make_deployment(s3: Any, run: Run, *, keep: bool, name: str | None = None) -> Any:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("answer.txt"), io.BytesIO())
    key = f"{uuid4()}/model.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=key, Body=packed.getvalue())
    model = RegisteredModel(
        arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/pets/1",
        group="pets",
        version=1,
        approval="Approved",
        artifact=f"s3://{BUCKET}/{key}",
        image=SCRIPTED_IMAGE,
        job="job",
        dataset="pets",
        dataset_version="v",
        dataset_uri="s3://data/datasets/pets/v/",
        accuracy=0.9,
    )
    conf = RunConf.from_conf({"endpoint.name": name or f"pets-{uuid4().hex[:8]}", "endpoint.keep": keep})
    return deployment_of(model, conf=conf, settings=SETTINGS, run=run)


def deployed(hosting: Hosting, deployment: Any) -> str:
    deploy(hosting, deployment)
    name = str(deployment.endpoint_name)
    in_service(hosting, name)
    served(hosting.sagemaker, deployment)
    end_probation(hosting.sagemaker, name, deployment.config_name, deployment.endpoint["Tags"])
    return name


def in_service(hosting: Hosting, name: str) -> None:
    eventually(
        lambda: hosting.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] in ("InService", "Failed")
    )


def forgotten(hosting: Hosting, airflow: KnownRuns, *, unknown_runs: bool) -> Any:
    return forgotten_endpoints(hosting, airflow, output_bucket=BUCKET, unknown_runs=unknown_runs)


def outcomes(found: Any, names: list[str]) -> dict[str, str]:
    mine: list[Finding] = [one for one in found if one.name in names]
    return {row.name: row.outcome for row in carry_out(mine, done="deleted", dry_run=False)}


def test_an_endpoint_that_was_not_to_be_kept_is_taken_down_when_its_run_is_over(
    hosting: Hosting, s3: Any, run: Run
) -> None:
    name = deployed(hosting, make_deployment(s3, run, keep=False))
    airflow = KnownRuns({(run.dag_id, run.run_id): {"deployment.deploy": "success"}})

    assert outcomes(forgotten(hosting, airflow, unknown_runs=True), [name]) == {}
    airflow.over.add((run.dag_id, run.run_id))
    assert outcomes(forgotten(hosting, airflow, unknown_runs=False), [name]) == {name: "deleted"}

    assert eventually(lambda: name not in [e["EndpointName"] for e in hosting.sagemaker.list_endpoints()["Endpoints"]])


def test_an_endpoint_of_an_unknown_run_is_told_and_left(hosting: Hosting, s3: Any, run: Run) -> None:
    name = deployed(hosting, make_deployment(s3, run, keep=False))

    assert outcomes(forgotten(hosting, KnownRuns(), unknown_runs=False), [name]) == {name: "left"}


def test_an_endpoint_of_a_run_that_another_installation_calls_the_same_stays(
    hosting: Hosting, s3: Any, run: Run
) -> None:
    name = deployed(hosting, make_deployment(s3, run, keep=False))
    mine = KnownRuns({(run.dag_id, run.run_id): {"deployment.deploy": "success"}}, {(run.dag_id, run.run_id)})

    found = forgotten_endpoints(hosting, mine, output_bucket="models-of-my-installation", unknown_runs=True)

    assert outcomes(found, [name]) == {}


def test_an_endpoint_that_a_later_run_wants_to_keep_stays(hosting: Hosting, s3: Any, run: Run) -> None:
    first = make_deployment(s3, run, keep=False)
    name = deployed(hosting, first)
    later = Run("deploy_endpoint", f"run-{uuid4()}")
    deployed(hosting, make_deployment(s3, later, keep=True, name=name))
    airflow = KnownRuns({(one.dag_id, one.run_id): {"deployment.deploy": "success"} for one in (run, later)})
    airflow.over |= set(airflow.states)

    assert outcomes(forgotten(hosting, airflow, unknown_runs=True), [name]) == {}


@pytest.mark.parametrize("keep", [True, False])
def test_an_endpoint_to_which_a_later_run_is_deploying_stays_until_that_run_is_over(
    hosting: Hosting, s3: Any, run: Run, keep: bool
) -> None:
    first = make_deployment(s3, run, keep=False)
    name, later = deployed(hosting, first), Run("deploy_endpoint", f"run-{uuid4()}")
    second = make_deployment(s3, later, keep=keep, name=name)
    deploy(hosting, second)
    in_service(hosting, name)  # its smoke test has not ended
    airflow = KnownRuns({(one.dag_id, one.run_id): {"deployment.deploy": "running"} for one in (run, later)})
    airflow.over.add((run.dag_id, run.run_id))

    assert outcomes(forgotten(hosting, airflow, unknown_runs=True), [name]) == {}

    airflow.over.add((later.dag_id, later.run_id))
    assert outcomes(forgotten(hosting, airflow, unknown_runs=True), [name]) == {name: "deleted"}
    left = {each["EndpointConfigName"] for each in hosting.sagemaker.list_endpoint_configs()["EndpointConfigs"]}
    assert not left & {first.config_name, second.config_name}, "that of before goes too, though it was not replaced yet"


def test_a_later_deployment_that_has_failed_takes_nothing_from_the_run_that_uses_the_endpoint(
    hosting: Hosting, s3: Any, run: Run
) -> None:
    name, failed = deployed(hosting, make_deployment(s3, run, keep=False)), Run("deploy_endpoint", f"run-{uuid4()}")
    deploy(hosting, make_deployment(s3, failed, keep=False, name=name))
    in_service(hosting, name)
    airflow = KnownRuns({(one.dag_id, one.run_id): {"deployment.deploy": "running"} for one in (run, failed)})
    airflow.over.add((failed.dag_id, failed.run_id))

    assert outcomes(forgotten(hosting, airflow, unknown_runs=True), [name]) == {}

    airflow.over.add((run.dag_id, run.run_id))
    assert outcomes(forgotten(hosting, airflow, unknown_runs=True), [name]) == {name: "deleted"}


def test_what_nothing_serves_is_deleted_and_what_serves_stays(hosting: Hosting, s3: Any, run: Run) -> None:
    old = make_deployment(s3, run, keep=True)
    name = deployed(hosting, old)
    previous, new = (make_deployment(s3, run, keep=True, name=name) for _ in range(2))
    deployed(hosting, previous)
    deployed(hosting, new)
    deployments = (old, previous, new)
    names = [one.config_name for one in deployments] + [str(one.model["ModelName"]) for one in deployments]

    assert outcomes(unserved(hosting.sagemaker, older_than=timedelta(days=30)), names) == {}
    assert outcomes(unserved(hosting.sagemaker, older_than=NOW), names) == {
        old.config_name: "deleted",
        str(old.model["ModelName"]): "deleted",
    }

    assert served(hosting.sagemaker, new).status == "InService"


def test_models_of_others_stay(hosting: Hosting, s3: Any, run: Run) -> None:
    body = make_deployment(s3, run, keep=True).model
    other = {**body, "ModelName": f"by-hand-{uuid4().hex[:8]}-v", "Tags": []}
    hosting.sagemaker.create_model(**other)

    assert outcomes(unserved(hosting.sagemaker, older_than=NOW), [other["ModelName"]]) == {}
