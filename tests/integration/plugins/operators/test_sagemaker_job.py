from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import AirflowFailException, TaskDeferralError, TaskDeferralTimeout, TaskDeferred
from botocore.exceptions import ClientError

from image_classification.context import AwsAccess
from image_classification.operators.sagemaker_job import (
    SageMakerJobOperator,
    TrainingJobOperator,
    TransformJobOperator,
    TuningJobOperator,
)
from include.sagemaker.epochs import epochs_of_job
from include.sagemaker.naming import Run
from include.training.run_jobs import epochs_of_attempt
from tests.support.local_aws import BUCKET, ROLE, TOY_IMAGE, RunningLocalAws, ask, finished_job, training_request
from tests.support.running_task import SETTINGS

pytestmark = pytest.mark.usefixtures("aws")


RULE = {"RuleConfigurationName": "Overfit", "RuleEvaluatorImage": "rules:1"}


def make_operator(*, execution_timeout: timedelta | None = None, **hyperparameters: str) -> TrainingJobOperator:
    def request(name: str, *_: Any) -> dict[str, Any]:
        return training_request(name, HyperParameters=hyperparameters, DebugRuleConfigurations=[RULE])

    return TrainingJobOperator(
        task_id="train", request=request, inputs={}, retries=2, execution_timeout=execution_timeout
    )


def tuning_request(name: str, *_: Any) -> dict[str, Any]:
    """A tuning job of one training job, which fails."""
    job = training_request("", HyperParameters={})
    definition = {name: value for name, value in job.items() if name not in ("TrainingJobName", "HyperParameters")}
    algorithm = {
        **definition["AlgorithmSpecification"],
        "MetricDefinitions": [{"Name": "validation:accuracy", "Regex": "Validation-accuracy=(.*)"}],
    }
    rate = {"Name": "learning_rate", "MinValue": "0.01", "MaxValue": "0.1"}
    return {
        "HyperParameterTuningJobName": name,
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
    run = Run("chain", context()["ti"].run_id)
    assert operator.jobs_url.endswith(f"/runs/chain/{quote(run.run_id, safe='')}")
    assert operator.reports_url.endswith(f"/reports/{run.name}/")
    assert any("Epoch[1] Validation-accuracy=0.5" in line for line in caplog.messages)
    assert any("==> epoch 2 of 2" in line for line in caplog.messages)
    assert any("rule Overfit: Stopped (The local AWS keeps the rules" in line for line in caplog.messages)
    assert [rule["rule"] for rule in result["rules"]] == ["Overfit"]


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


async def test_a_failed_job_tells_reason_and_log_and_clearing_starts_the_next_attempt(context: Any) -> None:
    operator = make_operator(exit="1", failure="num_classes is wrong")
    event = await event_of(deferred(operator, context()))

    with pytest.raises(AirflowFailException, match="num_classes is wrong") as failure:
        operator.execute_complete(context(), event)
    cleared = deferred(make_operator(), context(try_number=2, max_tries=3))

    assert "Epoch[0] Validation-accuracy" in str(failure.value)
    assert cleared.trigger.serialize()[1]["name"] != event["name"]
    assert (await event_of(cleared))["status"] == "Completed"


async def test_the_next_attempt_takes_up_the_checkpoint_and_its_result_is_that_of_all_epochs(
    context: Any, aws: RunningLocalAws
) -> None:
    run_id = context()["ti"].run_id
    tags = {"dag": "chain", "run": run_id, "task": "train"}

    def request(name: str, *_: Any) -> dict[str, Any]:
        return training_request(
            name,
            HyperParameters={"epochs": "4", "checkpoint": "so far", "fail_after_epoch": "1"},
            CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/{run_id}"},
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    operator = TrainingJobOperator(task_id="train", request=request, inputs={}, retries=2)
    event = await event_of(deferred(operator, context()))
    with pytest.raises(Exception, match="out of order"):
        operator.execute_complete(context(), event)

    second = await event_of(deferred(operator, context(try_number=2, max_tries=3)))
    result = operator.execute_complete(context(), second)

    assert second["name"] != event["name"]
    assert (result["kept_epoch"], result["value"]) == (4, pytest.approx(0.7))
    sagemaker, logs = aws.client("sagemaker"), aws.client("logs")
    assert [epoch.epoch for epoch in epochs_of_job(logs, second["name"])] == [2, 3], "what it trained itself"
    assert [epoch.epoch for epoch in epochs_of_attempt(sagemaker, logs, second["name"])] == [0, 1, 2, 3]


async def test_a_retry_of_a_task_whose_end_airflow_did_not_hear_of_pays_for_no_second_failure(
    sagemaker: Any, context: Any
) -> None:
    event = await event_of(deferred(make_operator(exit="1", failure="num_classes is wrong"), context()))
    before = sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]

    with pytest.raises(AirflowFailException, match=f"{event['name']} ended as Failed: .*num_classes is wrong"):
        make_operator().execute(context(try_number=2))

    assert sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"] == before


async def test_a_retry_after_a_failure_of_aws_starts_the_next_attempt(context: Any, aws: RunningLocalAws) -> None:
    ask(aws.url, "faults", {"failure_reason": "InternalServerError: We encountered an internal error. Please retry."})
    event = await event_of(deferred(make_operator(), context()))

    retried = deferred(make_operator(), context(try_number=2))

    assert event["status"] == "Failed"
    assert (await event_of(retried))["status"] == "Completed"


async def test_a_retry_after_a_limit_pays_for_no_second_job_that_reaches_it(context: Any) -> None:
    def request(name: str, *_: Any) -> dict[str, Any]:
        limit = {"MaxRuntimeInSeconds": 1}
        return training_request(name, HyperParameters={"seconds": "60"}, StoppingCondition=limit)

    operator = make_operator()
    operator.request = request
    event = await event_of(deferred(operator, context()))

    assert event["status"] == "Stopped"
    with pytest.raises(AirflowFailException, match=r"reached resources\.max_runtime_seconds"):
        operator.execute(context(try_number=2))


async def test_a_job_without_model_or_objective_is_refused_and_clearing_starts_the_next_attempt(
    sagemaker: Any, context: Any
) -> None:
    useless = {"silent": "1", "forget_model": "1"}
    event = await event_of(deferred(make_operator(**useless), context()))

    with pytest.raises(AirflowFailException) as refused:
        make_operator(**useless).execute_complete(context(), event)
    before = sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]
    with pytest.raises(AirflowFailException, match="completed, and its model cannot be used"):
        make_operator(**useless).execute(context(try_number=2))

    assert sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"] == before
    assert f"{TOY_IMAGE} left no model in /opt/ml/model: s3://{BUCKET}/jobs/{event['name']}/" in str(refused.value)
    assert "reports no validation:accuracy" in str(refused.value)
    assert "if its run conf has to change.\nIts last lines:" in str(refused.value)
    assert "  Epoch[0] Train-accuracy=0.5" in str(refused.value)
    cleared = deferred(make_operator(), context(try_number=2, max_tries=3))
    assert (await event_of(cleared))["name"] != event["name"]


async def test_a_tuning_job_whose_jobs_print_no_objective_is_paid_for_once_and_says_what_to_print(context: Any) -> None:
    def request(name: str, *_: Any) -> dict[str, Any]:
        body = tuning_request(name)
        body["TrainingJobDefinition"]["StaticHyperParameters"] = {"silent": "1"}
        return body

    operator = TuningJobOperator(task_id="tune", request=request, inputs={})
    event = await event_of(deferred(operator, context()))

    with pytest.raises(
        AirflowFailException, match="No objective metrics found after running 1 training jobs"
    ) as failed:
        operator.execute_complete(context(), event)
    assert "printed no validation:accuracy: the regular expression Validation-accuracy=(.*) finds" in str(failed.value)
    assert "  Epoch[0] Train-accuracy=0.5" in str(failed.value)


async def test_a_tuning_job_whose_best_job_left_no_model_is_refused(context: Any) -> None:
    def request(name: str, *_: Any) -> dict[str, Any]:
        body = tuning_request(name)
        body["TrainingJobDefinition"]["StaticHyperParameters"] = {"forget_model": "1"}
        return body

    operator = TuningJobOperator(task_id="tune", request=request, inputs={})
    event = await event_of(deferred(operator, context()))

    with pytest.raises(AirflowFailException, match=r"left no model in /opt/ml/model: s3://\S+ has no file") as refused:
        operator.execute_complete(context(), event)
    assert "  Epoch[0] Validation-accuracy=0.4" in str(refused.value)


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
    operator = make_operator(seconds="3")  # a job that has ended at once leaves nothing to wait for
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
    operator.request = lambda name, *_: training_request(name, RoleArn="arn:aws:iam::123456789012:user/me")

    with pytest.raises(AirflowFailException, match="AWS did not take the training job"):
        operator.execute(context())


async def test_a_job_that_aws_has_forgotten_ends_the_task_and_no_retry_starts_another(context: Any) -> None:
    deferral = deferred(make_operator(), context())
    deferral.trigger.name = f"gone-{time.time_ns()}"  # type: ignore[attr-defined]

    event = await event_of(deferral)

    assert event["status"] == "Unknown"
    with pytest.raises(AirflowFailException, match="AWS does not have the training job gone-"):
        make_operator().execute_complete(context(), event)


async def test_a_job_that_is_forgotten_after_its_end_was_seen_ends_the_task_too(context: Any) -> None:
    event = {**await event_of(deferred(make_operator(), context())), "name": f"gone-{time.time_ns()}"}

    with pytest.raises(AirflowFailException, match="AWS does not have the training job gone-"):
        make_operator().execute_complete(context(), event)


class FullAccount:
    """A client whose account is full at first; everything else is the real one's."""

    def __init__(self, sagemaker: Any, refusals: int, message: str) -> None:
        self._sagemaker, self._refusals, self._message = sagemaker, refusals, message

    def __getattr__(self, action: str) -> Any:
        if action.startswith("create_") and self._refusals:
            self._refusals -= 1
            raise ClientError({"Error": {"Code": "ResourceLimitExceeded", "Message": self._message}}, action)
        return getattr(self._sagemaker, action)


def fill_account(monkeypatch: pytest.MonkeyPatch, sagemaker: Any, limit: int, refusals: int = 1) -> None:
    message = f"service limit 'ml.g5.xlarge' is {limit} Instances, with ... and a request delta of 1 Instances."
    full = FullAccount(sagemaker, refusals, message)
    client = AwsAccess.client
    monkeypatch.setattr(
        AwsAccess, "client", lambda access, service: full if service == "sagemaker" else client(access, service)
    )


async def test_a_full_account_is_waited_for_without_a_worker_and_without_using_up_a_try(
    context: Any, sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_account(monkeypatch, sagemaker, limit=1)
    operator = make_operator()

    waiting = deferred(operator, context())
    assert (waiting.method_name, type(waiting.trigger).__name__) == ("execute_when_free", "PauseTrigger")
    with pytest.raises(TaskDeferred) as started:
        operator.execute_when_free(context(), None, **(waiting.kwargs or {}))

    assert (await event_of(started.value))["status"] == "Completed"


def test_a_quota_that_is_too_small_fails_at_once_and_says_what_to_do(
    context: Any, sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_account(monkeypatch, sagemaker, limit=0)

    with pytest.raises(AirflowFailException, match=r"Raise the quota 'ml.g5.xlarge'"):
        make_operator().execute(context())


def test_a_full_account_is_not_waited_for_for_ever(
    context: Any, sagemaker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_account(monkeypatch, sagemaker, limit=1)

    with pytest.raises(AirflowFailException, match="has not been free for 6:00:00"):
        make_operator().execute_when_free(context(), None, waited=7 * 3600.0)


@pytest.mark.parametrize("hours", [-9, 9])
async def test_a_task_waits_for_its_turn_by_no_clock_that_can_be_set(
    context: Any, sagemaker: Any, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    fill_account(monkeypatch, sagemaker, limit=1)
    now = time.time
    first = deferred(make_operator(), context())

    fill_account(monkeypatch, sagemaker, limit=1)
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    with pytest.raises(TaskDeferred) as second:
        make_operator().execute_when_free(context(), None, **(first.kwargs or {}))

    (class_path, pause), kwargs = second.value.trigger.serialize(), second.value.kwargs or {}
    assert kwargs["waited"] == pause["seconds"] + (first.kwargs or {})["waited"]
    assert 0 < pause["seconds"] < 60
    assert await event_of(second.value) == pause
    assert class_path.endswith(".PauseTrigger")


def test_a_retried_tuning_task_attaches_to_its_running_job(sagemaker: Any, context: Any) -> None:
    def slow(name: str, *_: Any) -> dict[str, Any]:
        request = tuning_request(name)
        request["TrainingJobDefinition"]["StaticHyperParameters"] = {"seconds": "60", "save_on_sigterm": "1"}
        return request

    first, second = (TuningJobOperator(task_id="tune", request=slow, inputs={}) for _ in range(2))
    name = deferred(first, context()).trigger.serialize()[1]["name"]

    assert deferred(second, context(try_number=2)).trigger.serialize()[1]["name"] == name
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def test_a_retried_transform_task_attaches_to_its_running_job(sagemaker: Any, context: Any) -> None:
    created: list[str] = []

    def transform(name: str, *_: Any) -> dict[str, Any]:
        created.append(name)
        model = f"model-{uuid4().hex[:8]}"
        artifact = {"Image": TOY_IMAGE, "ModelDataUrl": f"s3://{BUCKET}/data/train/train.rec"}
        sagemaker.create_model(ModelName=model, PrimaryContainer=artifact, ExecutionRoleArn=ROLE)
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/train/"}}
        return {
            "TransformJobName": name,
            "ModelName": model,
            "TransformInput": {"DataSource": source, "ContentType": "application/x-image"},
            "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/transform/{name}"},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        }

    first, second = (TransformJobOperator(task_id="transform", request=transform, inputs={}) for _ in range(2))
    name = deferred(first, context()).trigger.serialize()[1]["name"]
    sagemaker.describe_transform_job(TransformJobName=name)
    unfinished = {"TransformJobName": name, "TransformJobStatus": "InProgress"}
    second._find = lambda *_: unfinished  # type: ignore[method-assign]

    assert deferred(second, context(try_number=2)).trigger.serialize()[1]["name"] == name
    assert created == [name]


def test_a_job_of_another_installation_is_neither_taken_nor_stopped(
    aws: RunningLocalAws, sagemaker: Any, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = deferred(make_operator(seconds="60", save_on_sigterm="1"), context()).trigger.serialize()[1]["name"]
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "output_bucket": "mine-alone"}))
    aws.client("s3").create_bucket(Bucket="mine-alone")
    operator = make_operator(seconds="60", save_on_sigterm="1")
    operator.request = lambda name, *_: training_request(
        name,
        HyperParameters={"seconds": "60", "save_on_sigterm": "1"},
        OutputDataConfig={"S3OutputPath": "s3://mine-alone/jobs"},
    )

    mine = deferred(operator, context()).trigger.serialize()[1]["name"]
    with pytest.raises(TaskDeferralTimeout):
        fail_as_airflow_does(operator, context(), TriggerFailureReason.TRIGGER_TIMEOUT)

    assert mine != theirs
    assert finished_job(sagemaker, mine)["TrainingJobStatus"] == "Stopped"
    assert sagemaker.describe_training_job(TrainingJobName=theirs)["TrainingJobStatus"] == "InProgress"
    sagemaker.stop_training_job(TrainingJobName=theirs)


def test_two_runs_of_the_same_conf_start_jobs_of_different_names(sagemaker: Any, context: Any) -> None:
    other = context()
    other["ti"].run_id = f"run-{uuid4()}"

    mine, theirs = (deferred(make_operator(), run).trigger.serialize()[1]["name"] for run in (context(), other))

    assert mine != theirs
