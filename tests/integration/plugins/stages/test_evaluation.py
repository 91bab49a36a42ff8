"""Who answers the test images, and that nobody is asked twice, whenever a task is killed; on the local AWS."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from image_classification.context import AwsAccess
from image_classification.operators.sagemaker_job import TransformJobOperator
from image_classification.stages import evaluation
from image_classification.stages.evaluation import champions_transform, find_champion
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion
from include.evaluation.held_out_answers import HeldOutAnswers, keep, kept_at
from include.promotion.champion import FoundChampion
from include.run_conf import DatasetConf, RunConf, SplitConf
from include.settings import Settings
from include.training.best_model import BestModel
from tests.support.documents import BEST_MODEL
from tests.support.killed import KilledError, kill_after
from tests.support.local_aws import BUCKET, RunningLocalAws
from tests.support.running_task import SETTINGS, left_out, run_as_task
from tests.support.served_models import IMAGE, put_model, registered
from tests.support.squares import jpeg

LABELS = ["bright", "dark"]


@pytest.fixture
def settings(aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> Settings:
    variable = {**SETTINGS, "image_uri": IMAGE}
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(variable))
    return Settings.from_variable(variable)


@pytest.fixture
def dataset(aws: RunningLocalAws) -> DatasetVersion:
    """A published version of its own with a few test images."""
    s3, name = aws.client("s3"), f"squares-{uuid4().hex[:8]}"
    for place, label in enumerate(LABELS):
        for number in range(6):
            s3.put_object(Bucket=BUCKET, Key=f"{name}/{label}/{number}.jpg", Body=jpeg(1 - place, number))
    plan = plan_version(
        s3,
        DatasetConf(
            name=name,
            source=[f"s3://{BUCKET}/{name}/"],
            split=SplitConf(train=0.4, validation=0.2, test=0.4),
        ),
        data_bucket=BUCKET,
        run_id="run",
        run_after=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return publish_version(s3, plan, [pack_shard(s3, plan, shard) for shard in plan.shards])


def documents(aws: RunningLocalAws, dataset: DatasetVersion, **conf: Any) -> dict[str, Any]:
    """The inputs of the evaluation stage's tasks, for a model that was trained now."""
    model = BestModel.model_validate({**BEST_MODEL, "artifact": put_model(aws)})
    return {
        "conf": RunConf.from_conf({"dataset.name": dataset.name, **conf}).model_dump(mode="json"),
        "dataset": dataset.model_dump(mode="json"),
        "models": {"select_best": model.model_dump(mode="json"), "train_incremental": None},
    }


def champion(inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> FoundChampion | None:
    handed_on: dict[str, Any] = {}
    run_as_task(monkeypatch, handed_on=handed_on)
    document = find_champion.function(inputs["conf"], inputs["dataset"], inputs["models"])
    found = FoundChampion.model_validate(document) if document else None
    answers = found is not None and not found.unlike
    assert left_out(handed_on) == (set() if answers else {"evaluation.transform_by_champion"})
    return found


def execute(run_id: str, inputs: dict[str, Any], request: Any = champions_transform, try_number: int = 1) -> Any:
    """One try of a transform task."""
    operator = TransformJobOperator(task_id="transform", request=request, inputs=inputs, retries=2)
    ti = SimpleNamespace(
        dag_id="chain", run_id=run_id, task_id="evaluation.t", map_index=-1, try_number=try_number, max_tries=2
    )
    return operator.execute({"ti": ti})  # type: ignore[typeddict-item]


def jobs_of(aws: RunningLocalAws, model: str) -> list[str]:
    """The transform jobs in which the model of this artifact answered."""
    sagemaker = aws.client("sagemaker")
    pages = sagemaker.get_paginator("list_transform_jobs").paginate()
    names = [job["TransformJobName"] for page in pages for job in page["TransformJobSummaries"]]
    models = {name: sagemaker.describe_transform_job(TransformJobName=name)["ModelName"] for name in names}
    return [
        name
        for name, used in models.items()
        if sagemaker.describe_model(ModelName=used)["PrimaryContainer"]["ModelDataUrl"] == model
    ]


def test_a_first_model_is_compared_with_none(
    aws: RunningLocalAws, settings: Settings, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = documents(aws, dataset)

    assert champion(inputs, monkeypatch) is None
    with pytest.raises(AirflowSkipException, match="there is no champion"):
        execute("first", {**inputs, "champion": None})


def test_the_champion_is_not_asked_if_it_is_not_to_be_compared(
    aws: RunningLocalAws, settings: Settings, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registered(aws, settings, dataset.name, labels=dataset.labels)
    inputs = documents(aws, dataset, **{"promotion.compare": "off"})
    found = champion(inputs, monkeypatch)

    assert found is not None
    assert (found.version, found.unlike) == (version, "promotion.compare is off")
    with pytest.raises(AirflowSkipException, match=r"version 1: promotion\.compare is off"):
        execute("off", {**inputs, "champion": found.model_dump(mode="json")})
    assert jobs_of(aws, version.artifact) == []


def test_answers_that_are_kept_are_not_paid_for_again(
    aws: RunningLocalAws, settings: Settings, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registered(aws, settings, dataset.name, labels=dataset.labels)
    inputs = documents(aws, dataset)
    found = champion(inputs, monkeypatch)
    assert found is not None
    own = BestModel.model_validate(inputs["models"]["select_best"])
    for job, artifact in ((version.job, version.artifact), (own.job, own.artifact)):
        answers = HeldOutAnswers.of(
            [(1, "1.jpg", (0.0,))], [[1.0, 0.0]], model=job, dataset=dataset.uri, labels=LABELS, multi_label=False
        )
        keep(aws.client("s3"), kept_at(settings, dataset, job=job, artifact=artifact), answers)

    for request in (champions_transform, evaluation.test_images_transform):
        with pytest.raises(AirflowSkipException, match="has answered these images before"):
            execute("kept", {**inputs, "champion": found.model_dump(mode="json")}, request)
    assert jobs_of(aws, version.artifact) == jobs_of(aws, own.artifact) == []


def test_a_task_that_is_killed_at_any_step_and_tried_again_asks_the_champion_once(
    aws: RunningLocalAws, settings: Settings, dataset: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(aws, settings, dataset.name, labels=dataset.labels)
    inputs = documents(aws, dataset)
    new_client = AwsAccess._new_client
    killed = 0
    for step in itertools.count(1):
        # Another champion for each step: each has its own jobs.
        version = registered(aws, settings, dataset.name, labels=dataset.labels)
        found = champion(inputs, monkeypatch)
        assert found is not None
        assert found.version == version
        asked, run_id = {**inputs, "champion": found.model_dump(mode="json")}, f"run-{uuid4()}"
        mortal = kill_after(step)
        with monkeypatch.context() as patch, pytest.raises((KilledError, TaskDeferred)) as end:
            patch.setattr(AwsAccess, "_new_client", lambda *given: mortal(new_client(*given)))  # noqa: B023
            execute(run_id, asked)
        before = jobs_of(aws, version.artifact)
        with suppress(TaskDeferred):  # unless the job is done already
            execute(run_id, asked, try_number=2)

        (job,) = jobs_of(aws, version.artifact)
        assert before in ([], [job])
        if isinstance(end.value, TaskDeferred):
            break
        killed += 1
    assert killed >= 5, "before and after the images, the model, the manifest and the job"
