from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import AirflowFailException, TaskDeferralError, TaskDeferralTimeout, TaskDeferred

from image_classification.operators.sagemaker_job import JobOrder, SageMakerJobOperator
from image_classification.operators.training_jobs import TrainingJobOperator, TuningJobOperator
from tests.local_aws.running import finished_job, training_request

pytestmark = pytest.mark.usefixtures("aws")


def make_operator(*, execution_timeout: timedelta | None = None, **hyperparameters: str) -> TrainingJobOperator:
    def request(order: JobOrder) -> dict[str, Any]:
        return training_request(order.name, HyperParameters=hyperparameters)

    return TrainingJobOperator(task_id="train", request=request, inputs={}, execution_timeout=execution_timeout)


def tuning_request(order: JobOrder) -> dict[str, Any]:
    """A tuning job of one training job, which fails."""
    job = training_request("", HyperParameters={})
    definition = {name: value for name, value in job.items() if name not in ("TrainingJobName", "HyperParameters")}
    algorithm = {
        **definition["AlgorithmSpecification"],
        "MetricDefinitions": [{"Name": "validation:accuracy", "Regex": "Validation-accuracy=(.*)"}],
    }
    rate = {"Name": "learning_rate", "MinValue": "0.01", "MaxValue": "0.1"}
    return {
        "HyperParameterTuningJobName": order.name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "validation:accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [rate]},
        },
        "TrainingJobDefinition": {
            **definition,
            "AlgorithmSpecification": algorithm,
            "StaticHyperParameters": {"exit": "1", "failure": "no such optimizer"},
        },
    }


@pytest.fixture
def context() -> Callable[..., Any]:
    run_id = f"run-{uuid4()}"

    def of_try(try_number: int = 1, max_tries: int = 2) -> Any:
        ti = SimpleNamespace(
            dag_id="chain", run_id=run_id, task_id="train", map_index=-1, try_number=try_number, max_tries=max_tries
        )
        return {"ti": ti}

    return of_try


def deferred(operator: SageMakerJobOperator, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        operator.execute(context)
    return raised.value


async def event_of(deferral: TaskDeferred) -> dict[str, Any]:
    async for event in deferral.trigger.run():
        payload: dict[str, Any] = event.payload
        return payload
    raise AssertionError("the trigger did not fire")


async def test_a_job_is_started_waited_for_and_handed_on_as_a_small_result(
    context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    operator = make_operator(epochs="2")
    deferral = deferred(operator, context())
    deferral.trigger._log = logging.getLogger("job")  # type: ignore[attr-defined]

    with caplog.at_level(logging.INFO, "job"):
        event = await event_of(deferral)
    result = operator.execute_complete(context(), event)

    assert event["status"] == "Completed"
    assert result["name"] == event["name"]
    assert result["hyperparameters"] == {"epochs": "2"}
    assert result["artifact"].endswith(f"{event['name']}/output/model.tar.gz")
    assert event["name"] in operator.console_url
    assert any("Epoch[1] Validation-accuracy=0.5" in line for line in caplog.messages)
    assert any("==> epoch 2 of 2" in line for line in caplog.messages)


async def test_a_retried_task_attaches_to_its_running_job(context: Any) -> None:
    first = deferred(make_operator(seconds="60"), context())
    second = deferred(make_operator(seconds="60"), context(try_number=2))

    assert second.trigger.serialize()[1]["name"] == first.trigger.serialize()[1]["name"]
    assert second.method_name == "execute_complete"
    await second.trigger.on_kill()


async def test_a_task_whose_job_is_done_uses_it_again(context: Any) -> None:
    event = await event_of(deferred(make_operator(), context()))

    result = make_operator().execute(context(try_number=2))

    assert result["name"] == event["name"]


async def test_a_job_that_another_try_starts_at_the_same_moment_is_attached_to(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deferred(make_operator(seconds="60"), context())
    late = make_operator(seconds="60")
    monkeypatch.setattr(late, "_find", lambda *_: None)

    second = deferred(late, context(try_number=2))

    assert second.trigger.serialize()[1]["name"] == first.trigger.serialize()[1]["name"]
    await second.trigger.on_kill()


async def test_a_failed_job_tells_reason_and_log_and_a_retry_starts_the_next_attempt(context: Any) -> None:
    operator = make_operator(exit="1", failure="num_classes is wrong")
    event = await event_of(deferred(operator, context()))

    with pytest.raises(AirflowFailException, match="num_classes is wrong") as failure:
        operator.execute_complete(context(), event)
    retried = deferred(make_operator(), context(try_number=2))

    assert "Epoch[0] Validation-accuracy" in str(failure.value)
    assert retried.trigger.serialize()[1]["name"] != event["name"]
    assert (await event_of(retried))["status"] == "Completed"


async def test_a_failed_tuning_job_tells_what_became_of_its_training_jobs(sagemaker: Any, context: Any) -> None:
    operator = TuningJobOperator(task_id="tune", request=tuning_request, inputs={})
    event = await event_of(deferred(operator, context()))

    with pytest.raises(AirflowFailException, match=r"001-\w+ Failed: AlgorithmError: no such optimizer"):
        operator.execute_complete(context(), event)
    assert len(event["name"]) <= 32


async def test_a_task_cleared_or_marked_while_deferred_stops_its_job(sagemaker: Any, context: Any) -> None:
    operator = make_operator(seconds="60", save_on_sigterm="1")
    deferral = deferred(operator, context())

    await deferral.trigger.on_kill()

    name = deferral.trigger.serialize()[1]["name"]
    assert finished_job(sagemaker, name)["TrainingJobStatus"] == "Stopped"
    with pytest.raises(AirflowFailException, match="somebody stopped it"):
        operator.execute_complete(context(), await event_of(deferral))


def test_a_task_killed_on_its_worker_stops_its_job(sagemaker: Any, context: Any) -> None:
    operator = make_operator(seconds="60", save_on_sigterm="1")
    name = deferred(operator, context()).trigger.serialize()[1]["name"]

    operator.on_kill()

    assert finished_job(sagemaker, name)["TrainingJobStatus"] == "Stopped"


async def test_a_cleared_task_that_finds_its_old_job_alive_starts_another_when_that_has_stopped(
    sagemaker: Any, context: Any
) -> None:
    cleared = deferred(make_operator(seconds="60", save_on_sigterm="1"), context())
    operator = make_operator()
    waiting = deferred(operator, context(try_number=2))
    await cleared.trigger.on_kill()

    event = await event_of(waiting)
    with pytest.raises(TaskDeferred) as started:
        operator.execute_complete(context(try_number=2), event, **(waiting.kwargs or {}))

    assert event["status"] == "Stopped"
    assert started.value.trigger.serialize()[1]["name"] != event["name"]
    assert (await event_of(started.value))["status"] == "Completed"


async def test_a_job_over_its_execution_timeout_is_stopped(sagemaker: Any, context: Any) -> None:
    operator = make_operator(seconds="60", save_on_sigterm="1", execution_timeout=timedelta(seconds=0.2))

    event = await event_of(deferred(operator, context()))

    assert event["status"] == "TimedOut"
    assert finished_job(sagemaker, event["name"])["TrainingJobStatus"] == "Stopped"
    with pytest.raises(AirflowFailException, match="took longer than"):
        operator.execute_complete(context(), event)


def fail_as_airflow_does(operator: TrainingJobOperator, context: Any, error: str) -> None:
    operator.resume_execution(TRIGGER_FAIL_REPR, {"error": error}, context)


def test_a_job_is_stopped_when_airflow_itself_gives_up_waiting(sagemaker: Any, context: Any) -> None:
    operator = make_operator(seconds="60", save_on_sigterm="1")
    name = deferred(operator, context()).trigger.serialize()[1]["name"]

    with pytest.raises(TaskDeferralTimeout):
        fail_as_airflow_does(operator, context(), TriggerFailureReason.TRIGGER_TIMEOUT)

    assert finished_job(sagemaker, name)["TrainingJobStatus"] == "Stopped"


def test_a_crashed_trigger_leaves_the_job_to_the_retry_and_stops_it_when_there_is_none(
    sagemaker: Any, context: Any
) -> None:
    operator = make_operator(seconds="60", save_on_sigterm="1")
    name = deferred(operator, context()).trigger.serialize()[1]["name"]

    with pytest.raises(TaskDeferralError):
        fail_as_airflow_does(operator, context(try_number=1), "crashed")
    assert sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "InProgress"
    with pytest.raises(TaskDeferralError):
        fail_as_airflow_does(operator, context(try_number=3), "crashed")

    assert finished_job(sagemaker, name)["TrainingJobStatus"] == "Stopped"


def test_a_request_that_aws_refuses_ends_the_task_at_once(context: Any) -> None:
    operator = make_operator()
    operator.request = lambda order: training_request(order.name, RoleArn="arn:aws:iam::123456789012:user/me")

    with pytest.raises(AirflowFailException, match="AWS did not take the training job"):
        operator.execute(context())


async def test_a_job_that_cannot_be_described_is_said_to_be_unreachable(context: Any) -> None:
    trigger = deferred(make_operator(), context()).trigger
    trigger.name = f"gone-{time.time_ns()}"

    async for event in trigger.run():
        assert event.payload["status"] == "Unreachable"
        assert "gone-" in event.payload["name"]
