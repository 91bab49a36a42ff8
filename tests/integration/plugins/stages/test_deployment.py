"""Endpoints that are changed only while nothing speaks against it, and taken down after their run, or stay."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from image_classification.context import RunningTask
from image_classification.operators.endpoint import EndpointOperator
from image_classification.stages.deployment import approved_deployment, check_again, tear_down
from include.deployment.registry import RegisteredModel, decided, read_model
from include.evaluation.metrics import Evaluation
from include.promotion.champion import champion_of
from include.run_conf import RunConf
from include.settings import Settings
from tests.support.documents import dataset_version, deployment_inputs
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import SETTINGS, run_as_task, running_task
from tests.support.served_models import IMAGE, deployed, registered


@pytest.fixture(autouse=True)
def in_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    run_as_task(monkeypatch)


@pytest.mark.parametrize(
    ("conf", "approval", "reason"),
    [
        ({"endpoint.keep": True}, "Approved", "endpoint.keep is on"),
        ({"endpoint.keep": False, "endpoint.deploy": False}, "Approved", "endpoint.deploy is off"),
        ({"endpoint.keep": False}, "PendingManualApproval", "version 1 is PendingManualApproval"),
    ],
)
@pytest.mark.usefixtures("aws")
def test_an_endpoint_stays_where_it_is_to_be_kept_or_was_not_deployed(
    conf: dict[str, Any], approval: str, reason: str
) -> None:
    with pytest.raises(AirflowSkipException, match=reason):
        tear_down.function(**deployment_inputs(conf, approval))


def test_taking_down_what_is_gone_already_is_no_error(aws: RunningLocalAws) -> None:
    inputs = deployment_inputs({"endpoint.keep": False, "endpoint.name": "never-there"})

    assert tear_down.function(**inputs) == []


class Line:
    """A dataset whose endpoint serves version 1, and runs that have compared their models with it."""

    def __init__(self, aws: RunningLocalAws) -> None:
        self.aws, self.dataset = aws, f"pets-{uuid4().hex[:8]}"
        self.settings = Settings.from_variable({**SETTINGS, "image_uri": IMAGE})
        self.champion = registered(aws, self.settings, self.dataset)
        deployed(aws, self.settings, self.champion)

    def inputs(self, model: RegisteredModel, *, compared: bool = True, **conf: Any) -> dict[str, Any]:
        """The documents of a run with this model, which a person chose if it was not `compared`."""
        evaluation = Evaluation(
            job=model.job,
            images=20,
            accuracy=0.9,
            classes={},
            report_uri=f"s3://{BUCKET}/reports/run/report.html",
            metrics_uri=f"s3://{BUCKET}/reports/run/metrics.json",
            champion=self.champion.arn,
        )
        return {
            "conf": RunConf.from_conf({"dataset.name": self.dataset, **conf}).model_dump(mode="json"),
            "dataset": dataset_version(name=self.dataset).model_dump(mode="json"),
            "model": model.model_dump(mode="json"),
            "evaluation": evaluation.model_dump(mode="json") if compared else None,
        }

    def registered(self) -> RegisteredModel:
        return registered(self.aws, self.settings, self.dataset)

    def check(self, model: RegisteredModel, **conf: Any) -> None:
        check_again(running_task(self.settings), self.inputs(model, **conf))

    def now(self, model: RegisteredModel) -> tuple[str, str | None]:
        known = read_model(self.aws.client("sagemaker"), model.arn)
        return known.approval, known.reason


def test_a_version_that_a_person_rejected_since_is_not_deployed(aws: RunningLocalAws) -> None:
    pets = Line(aws)
    model = pets.registered()
    pets.check(model)
    decided(aws.client("sagemaker"), model, "Rejected", "Rejected by Ada: wrong labels.")

    with pytest.raises(AirflowSkipException, match=r"version 2 is Rejected by now: Rejected by Ada: wrong labels\."):
        pets.check(model)
    with pytest.raises(AirflowFailException, match="version 2 is Rejected by now"):
        pets.check(model, compared=False)


def test_a_version_that_was_deleted_since_is_not_deployed(aws: RunningLocalAws) -> None:
    pets = Line(aws)
    model = pets.registered()
    aws.client("sagemaker").delete_model_package(ModelPackageName=model.arn)

    with pytest.raises(AirflowSkipException, match="version 2 was deleted from the model registry"):
        pets.check(model)


def test_a_version_that_was_compared_with_an_earlier_champion_waits_for_a_person(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    place = "image_classification.stages.deployment.announce"
    monkeypatch.setattr(place, lambda _, occasion, text, **__: told.append(f"{occasion}: {text}"))
    pets = Line(aws)
    model, other = pets.registered(), pets.registered()
    deployed(aws, pets.settings, other)
    reason = "Not deployed: it was compared with version 1, and version 3 is the champion by now: run again."

    pets.check(model, compared=False)  # a person chose it
    pets.check(model, **{"promotion.compare": "off"})
    pets.check(other)  # it is the champion itself
    assert told == []
    with pytest.raises(AirflowSkipException, match=f"version 2 is PendingManualApproval. {reason}"):
        pets.check(model)
    assert pets.now(model) == ("PendingManualApproval", reason)
    assert told == [f"refused: {pets.dataset} v2: {reason}"]
    with pytest.raises(AirflowSkipException, match="version 2 is PendingManualApproval by now"):
        pets.check(model)


async def test_of_two_runs_at_once_the_later_one_is_not_deployed_without_a_comparison(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = Line(aws)
    monkeypatch.setattr(RunningTask, "of", lambda context: running_task(pets.settings))
    context: Any = {"ti": SimpleNamespace(dag_id="chain", run_id="run", task_id="deployment.deploy")}
    test: Any = SimpleNamespace(images=(), differences=lambda *_: [])
    slow = {"endpoint.rollout": {"kind": "canary", "size_percent": 50, "wait_seconds": 5}}
    models = [pets.registered(), pets.registered()]
    first, second = (
        EndpointOperator(
            task_id="deploy",
            deployment=approved_deployment,
            smoke_test=lambda *_: test,
            check=check_again,
            inputs=pets.inputs(model, **slow),
        )
        for model in models
    )

    with pytest.raises(TaskDeferred) as updating:
        first.execute(context)
    with pytest.raises(TaskDeferred) as waiting:
        second.execute(context)
    assert waiting.value.method_name == "execute_when_free"
    (free,) = [event.payload async for event in waiting.value.trigger.run()]
    with pytest.raises(AirflowSkipException, match="version 2 is the champion by now"):
        second.execute_when_free(context, free)
    first.execute_complete(context, free, **(updating.value.kwargs or {}))

    champion = champion_of(aws.client("sagemaker"), settings=pets.settings, dataset=pets.dataset)
    assert champion is not None
    assert champion.version.arn == models[0].arn
    assert pets.now(models[1])[0] == "PendingManualApproval"


def test_an_endpoint_whose_version_was_rejected_after_it_was_deployed_is_taken_down_all_the_same(
    aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = Line(aws)
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "image_uri": IMAGE}))
    trial = {"endpoint.keep": False, "endpoint.name": f"{pets.dataset}-trial"}
    model = pets.registered()
    deployed(aws, pets.settings, model, **trial)
    decided(aws.client("sagemaker"), model, "Rejected", "Rejected by Ada.")
    inputs = pets.inputs(model, **trial)
    inputs.pop("evaluation")

    assert f"{pets.dataset}-trial" in tear_down.function(**inputs)
