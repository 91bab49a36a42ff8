"""A registered model that waits for a person: whether one is asked, what is asked, and what follows from the answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.standard.exceptions import HITLTriggerEventError
from airflow.sdk.definitions.asset import AssetAliasEvent
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.sdk.execution_time.context import OutletEventAccessors

from image_classification.operators.approval import ModelApprovalOperator
from include.algorithms.kinds import algorithm_of
from include.deployment.registry import RegisteredModel, decided, read_model, register_model
from include.evaluation.metrics import Evaluation, Interval, Verdict
from include.promotion.verdict import waiting_reason
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.settings import Settings
from tests.support.documents import described_training_job
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import SETTINGS, left_out
from tests.support.served_models import IMAGE, RUN, deployed, published, put_model, registered

ASKS = {"promotion.approval": "person", "promotion.approval_hours": 6}
REASON = "Not worse than the champion: its accuracy is 97.00%, the champion's 96.00%, on the same 100 images."


@pytest.fixture
def settings(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> Settings:
    variable = {**SETTINGS, "image_uri": IMAGE}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(variable))
    return Settings.from_variable(variable)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Airflow is told to ask."""
    questions: list[dict[str, Any]] = []
    place = "airflow.providers.standard.operators.hitl.upsert_hitl_detail"
    monkeypatch.setattr(place, lambda **question: questions.append(question))
    return questions


@pytest.fixture
def pets() -> str:
    return f"pets-{uuid4().hex[:8]}"


class Waiting:
    """A registered model of a run, and the task that asks about it."""

    def __init__(
        self, aws: RunningLocalAws, settings: Settings, dataset: str, *, refusal: str = "", **conf: Any
    ) -> None:
        self.events: list[AssetAliasEvent] = []
        self.aws, self.conf = aws, RunConf.from_conf({"dataset.name": dataset, **conf})
        verdict = Verdict(
            accepted=not refusal, reason=refusal or REASON, compare="not_worse", margin=0.01, minimum_accuracy=None
        )
        job = f"job-{uuid4().hex[:8]}"
        self.evaluation = Evaluation(
            job=job,
            images=100,
            accuracy=0.97,
            accuracy_interval=Interval(low=0.92, high=0.99),
            classes={},
            report_uri=f"s3://{BUCKET}/reports/run/report.html",
            metrics_uri=f"s3://{BUCKET}/reports/run/metrics.json",
            verdict=verdict,
        )
        artifact = {"S3ModelArtifacts": put_model(aws)}
        self.model = register_model(
            aws.client("sagemaker"),
            job=JobResult.of_training_job(described_training_job(job, ModelArtifacts=artifact)),
            evaluation=self.evaluation,
            dataset=published(aws, dataset),
            algorithm=algorithm_of(RunConf(), settings),
            run=RUN,
            refusal=refusal,
            waits=waiting_reason(self.conf, self.evaluation),
        )

    @property
    def operator(self) -> ModelApprovalOperator:
        inputs = {
            "conf": self.conf.model_dump(mode="json"),
            "evaluation": self.evaluation.model_dump(mode="json"),
            "model": self.model.model_dump(mode="json"),
        }
        return ModelApprovalOperator(task_id="approve_model", inputs=inputs)

    def execute(self) -> RegisteredModel:
        return RegisteredModel.model_validate(self.operator.execute(context()))

    def answer(
        self, choice: str, reason: str | None = "", *, who: str = "Ada", timed_out: bool = False
    ) -> RegisteredModel:
        """What the task hands on after an answer, as Airflow resumes it."""
        event = {
            "chosen_options": [choice],
            "params_input": {"reason": reason},
            "responded_at": datetime.now(UTC),
            "responded_by_user": None if timed_out else {"id": "1", "name": who},
            "timedout": timed_out,
        }
        running, operator = context(), self.operator
        model = RegisteredModel.model_validate(operator.execute_complete(running, event))
        assert model == read_model(self.aws.client("sagemaker"), self.model.arn)
        self.events = running["outlet_events"][operator.decisions].asset_alias_events
        return model


def context() -> Any:
    ti = type("TaskInstance", (), {"id": uuid4(), "dag_id": "train_model", "run_id": "run", "task_id": "approve_model"})
    return {"ti": ti, "task_instance": ti, "outlet_events": OutletEventAccessors()}


@pytest.mark.parametrize("choice", ["Approve", "Reject"])
def test_what_has_nothing_to_do_for_the_decided_model_is_left_out(
    aws: RunningLocalAws, settings: Settings, pets: str, choice: str
) -> None:
    waiting, running, handed_on = Waiting(aws, settings, pets, **ASKS), context(), {}
    running["ti"].xcom_push = lambda key, value: handed_on.update({key: value})
    operator = waiting.operator
    operator.idle = lambda _conf, model: [f"after.{model.approval}"]
    event = {"chosen_options": [choice], "params_input": {}, "responded_by_user": None, "timedout": False}
    operator.execute_complete(running, {**event, "responded_at": datetime.now(UTC)})

    assert left_out(handed_on) == {f"after.{choice}{'d' if choice == 'Approve' else 'ed'}"}


def test_nobody_is_asked_if_the_approval_is_automatic(
    aws: RunningLocalAws, settings: Settings, pets: str, asked: list[Any]
) -> None:
    waiting = Waiting(aws, settings, pets)

    assert waiting.execute() == waiting.model
    assert (waiting.model.approval, waiting.model.reason, asked) == ("Approved", REASON, [])


def test_nobody_is_asked_about_a_model_that_was_refused(
    aws: RunningLocalAws, settings: Settings, pets: str, asked: list[Any]
) -> None:
    waiting = Waiting(aws, settings, pets, refusal="Significantly worse than the champion.", **ASKS)

    model = waiting.execute()

    assert (model.approval, model.verdict, asked) == ("PendingManualApproval", "refused", [])
    assert model.reason == "Significantly worse than the champion."


def test_a_person_is_asked_with_the_verdict_the_figures_and_the_report(
    aws: RunningLocalAws, settings: Settings, pets: str, asked: list[Any]
) -> None:
    waiting = Waiting(aws, settings, pets, **ASKS)
    assert (waiting.model.approval, waiting.model.verdict) == ("PendingManualApproval", "accepted")
    assert waiting.model.reason == f"It waits for a person, as promotion.approval asks. {REASON}"

    with pytest.raises(TaskAwaitingInput) as parked:
        waiting.execute()

    (question,) = asked
    assert question["subject"] == f"Approve image-classification-{pets} version 1?"
    assert (question["options"], question["defaults"]) == (["Approve", "Reject"], ["Reject"])
    assert REASON in question["body"]
    assert "97.00% (95 %: 92.00% to 99.00%) on 100 held-out images" in question["body"]
    assert "/reports/run/report.html" in question["body"]
    assert f"Approve deploys it to the endpoint `{pets}`." in question["body"]
    assert parked.value.timeout == timedelta(hours=6)


def test_a_yes_approves_and_says_who_and_why(aws: RunningLocalAws, settings: Settings, pets: str) -> None:
    waiting = Waiting(aws, settings, pets, **ASKS)
    model = waiting.answer("Approve", "The new camera counts.")

    assert (model.approval, model.reason) == ("Approved", "Approved by Ada: The new camera counts.")
    (event,) = waiting.events
    assert (event.dest_asset_key.name, event.extra) == ("image-model", model.as_event())


def test_a_no_rejects_and_fails_nothing(aws: RunningLocalAws, settings: Settings, pets: str) -> None:
    model = Waiting(aws, settings, pets, **ASKS).answer("Reject", None)

    assert (model.approval, model.reason) == ("Rejected", "Rejected by Ada.")


def test_without_an_answer_in_time_the_model_stays_pending(aws: RunningLocalAws, settings: Settings, pets: str) -> None:
    model = Waiting(aws, settings, pets, **ASKS).answer("Reject", timed_out=True)

    assert model.approval == "PendingManualApproval"
    assert model.reason == (f"Nobody answered within 6 h. It waits for a person, as promotion.approval asks. {REASON}")


@pytest.mark.parametrize(
    ("choice", "timed_out", "told"),
    [
        ("Approve", False, []),
        ("Reject", False, ["Rejected by Ada: No."]),
        ("Reject", True, ["Nobody answered within 6 h."]),
    ],
)
def test_people_hear_of_a_model_that_a_person_did_not_approve(
    aws: RunningLocalAws,
    settings: Settings,
    pets: str,
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    *,
    timed_out: bool,
    told: list[str],
) -> None:
    said: list[str] = []
    place = "image_classification.operators.approval.announce"
    monkeypatch.setattr(place, lambda _, occasion, text, **__: said.append(f"{occasion}: {text}"))

    Waiting(aws, settings, pets, **ASKS).answer(choice, "No.", timed_out=timed_out)

    assert len(said) == len(told)
    assert all(text.startswith(f"refused: {pets} v1: {why}") for text, why in zip(said, told, strict=True))


def test_a_task_that_is_tried_again_after_the_decision_asks_nobody_again(
    aws: RunningLocalAws, settings: Settings, pets: str, asked: list[Any]
) -> None:
    waiting = Waiting(aws, settings, pets, **ASKS)
    approved = waiting.answer("Approve")

    assert waiting.execute() == approved
    assert asked == []


def test_a_decision_that_was_taken_elsewhere_meanwhile_stands(
    aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    waiting = Waiting(aws, settings, pets, **ASKS)
    decided(aws.client("sagemaker"), waiting.model, "Rejected", "Rejected by Grace: wrong labels.")

    model = waiting.answer("Approve")

    assert (model.approval, model.reason) == ("Rejected", "Rejected by Grace: wrong labels.")
    assert waiting.events == []


def test_a_yes_to_a_comparison_with_an_earlier_champion_approves_nothing(
    aws: RunningLocalAws, settings: Settings, pets: str
) -> None:
    waiting = Waiting(aws, settings, pets, **ASKS)
    deployed(aws, settings, registered(aws, settings, pets))

    model = waiting.answer("Approve", "It looks good")

    assert model.approval == "PendingManualApproval"
    assert model.reason == (
        "Approved by Ada: It looks good. But it was compared with none, and version 2 is the champion by now: "
        "run again."
    )


def test_an_error_of_the_answer_fails_the_task(aws: RunningLocalAws, settings: Settings, pets: str) -> None:
    waiting = Waiting(aws, settings, pets, **ASKS)

    with pytest.raises(HITLTriggerEventError, match="broken"):
        waiting.operator.execute_complete(context(), {"error": "broken", "error_type": "unknown"})

    assert read_model(aws.client("sagemaker"), waiting.model.arn).approval == "PendingManualApproval"
