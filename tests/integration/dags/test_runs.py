"""Runs that end before anything is paid for, through Airflow itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from sqlalchemy import select, update

from image_classification.defaults import FAILURE
from include.promotion.champion import Champion
from include.retraining import Retraining
from include.run_conf import RunConf
from include.sagemaker.naming import job_name
from tests.support import docker_stand_in
from tests.support.archives import zip_of
from tests.support.lines import CHAMPION
from tests.support.local_aws import BUCKET, ROLE, RunningLocalAws, start_local_aws, training_request
from tests.support.pictures import png

SETTINGS = {"data_bucket": BUCKET, "output_bucket": BUCKET, "execution_role_arn": ROLE, "region": "us-east-1"}


@pytest.fixture(scope="module")
def local_aws(tmp_path_factory: pytest.TempPathFactory, airflow_database: None) -> Iterator[RunningLocalAws]:
    running = start_local_aws(tmp_path_factory.mktemp("local_aws"))
    try:
        running.client("s3").create_bucket(Bucket=BUCKET)
        yield running
    finally:
        running.end()


@pytest.fixture(autouse=True)
def installation(local_aws: RunningLocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_aws.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps(SETTINGS))


def run(dag_bag: DagBag, dag_id: str, conf: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The state of a run of the DAG, and of its tasks."""
    dag_run = dag_bag.dags[dag_id].test(run_conf=conf)
    return dag_run.state, {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}


def test_a_wrong_conf_and_wrong_settings_come_in_one_message_and_start_nothing(
    dag_bag: DagBag, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_IMAGE_CLASSIFICATION", json.dumps({**SETTINGS, "region": "nowhere"}))

    state, tasks = run(
        dag_bag, "image_classification", {"endpoint": {"kepp": False}, "training.hyperparameters.epoch": 3}
    )

    output = capfd.readouterr().out
    assert state == DagRunState.FAILED
    assert tasks["check_conf"] == "failed"
    assert tasks["deployment.tear_down"] == "skipped"
    assert set(tasks.values()) == {"failed", "skipped", "upstream_failed"}
    assert "did you mean endpoint.keep?" in output
    assert "did you mean training.hyperparameters.epochs?" in output
    assert "region = nowhere" in output
    (kept,) = failures("image_classification")
    assert kept.startswith("This run cannot work and was not started: ")
    assert "endpoint.kepp" in kept


def failures(dag_id: str) -> list[str]:
    """What failed tasks of a DAG's last run handed on for its note."""
    from airflow.models.xcom import XComModel  # noqa: PLC0415  (the home comes first)

    with create_session() as session:
        last = select(DagRun.run_id).where(DagRun.dag_id == dag_id).order_by(DagRun.id.desc()).limit(1)
        rows = session.scalars(
            select(XComModel).where(
                XComModel.key == FAILURE, XComModel.dag_id == dag_id, XComModel.run_id == last.scalar_subquery()
            )
        )
        return [XComModel.deserialize_value(row) for row in rows]


def test_a_source_without_images_is_found_before_anything_is_built(
    dag_bag: DagBag, capfd: pytest.CaptureFixture[str]
) -> None:
    state, tasks = run(dag_bag, "build_dataset", {"dataset.source": f"s3://{BUCKET}/nothing/here/"})

    assert (state, tasks["check_conf"], tasks["dataset.plan"]) == (DagRunState.FAILED, "failed", "upstream_failed")
    assert "has no objects" in capfd.readouterr().out


def test_an_archive_is_unpacked_once(dag_bag: DagBag, local_aws: RunningLocalAws) -> None:
    pictures = {f"pets/{pet}/{n}.png": png(seed=n + 50 * place) for place, pet in enumerate("ab") for n in range(9)}
    local_aws.client("s3").put_object(Bucket=BUCKET, Key="pets.zip", Body=zip_of(pictures))
    conf = {"dataset": {"name": "pets", "source": [f"s3://{BUCKET}/pets.zip"]}}

    first, second = run(dag_bag, "build_dataset", conf), run(dag_bag, "build_dataset", conf)

    assert (first[0], set(first[1].values())) == (DagRunState.SUCCESS, {"success"})
    assert second[0] == DagRunState.SUCCESS
    assert second[1].pop("dataset.unpack") == "skipped"
    assert set(second[1].values()) == {"success"}


def test_a_retraining_without_new_images_ends_well_and_does_nothing(dag_bag: DagBag) -> None:
    state, tasks = run(dag_bag, "retrain_on_new_images", {})

    assert state == DagRunState.SUCCESS
    assert (tasks.pop("find_grown_datasets"), tasks.pop("find_new_images")) == ("success", "success")
    assert set(tasks.values()) == {"skipped"}


def test_a_look_starts_each_retraining_once_and_again_if_it_failed_and_the_images_are_still_new(
    dag_bag: DagBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grown(name: str) -> Retraining:
        champion = Champion(CHAMPION, None, "which was promoted last")
        parent = f"s3://{BUCKET}/datasets/{name}/v1/"
        return Retraining(RunConf.from_conf({"dataset.name": name}), champion, parent, new_images=3, fingerprint="1a")

    def look() -> list[str]:
        dag_run = dag_bag.dags["retrain_on_new_images"].test(run_conf={})
        assert dag_run.state == DagRunState.SUCCESS
        instances = dag_run.get_task_instances()
        started = sorted((ti.map_index, str(ti.state)) for ti in instances if ti.task_id == "start_retraining")
        return [state for _, state in started]

    monkeypatch.setattr("include.retraining.find_retrainings", lambda *_, **__: [grown("birds"), grown("pets")])
    birds, pets = "retrain__birds__v1__1a", "retrain__pets__v1__1a"

    assert look() == ["success", "success"]
    assert retrainings() == {birds: "queued", pets: "queued"}
    assert look() == ["skipped", "skipped"]
    set_state(pets, DagRunState.FAILED)

    assert look() == ["skipped", "success"]
    assert retrainings() == {birds: "queued", pets: "queued"}
    for run_id in (birds, pets):
        set_state(run_id, DagRunState.FAILED)


def retrainings() -> dict[str, str]:
    """The state of each run that a look started."""
    with create_session() as session:
        runs = session.scalars(select(DagRun).where(DagRun.run_id.startswith("retrain__")))
        return {run.run_id: str(run.state) for run in runs}


def set_state(run_id: str, state: DagRunState) -> None:
    with create_session() as session:
        session.execute(update(DagRun).where(DagRun.run_id == run_id).values(state=state))


def test_a_clean_up_asks_airflow_whether_a_task_still_waits_for_its_job(
    dag_bag: DagBag, local_aws: RunningLocalAws, caplog: pytest.LogCaptureFixture
) -> None:
    """`check_conf` stands for a task that failed after it had started a job."""
    ended = dag_bag.dags["build_dataset"].test(run_conf={"dataset.source": f"s3://{BUCKET}/nothing/here/"})
    sagemaker, s3 = local_aws.client("sagemaker"), local_aws.client("s3")
    s3.put_object(Bucket=BUCKET, Key="data/train/train.rec", Body=b"records")
    jobs = {}
    for run_id in (ended.run_id, "manual__of_another_airflow"):
        task = {"dag": "build_dataset", "run": run_id, "task": "check_conf"}
        jobs[run_id] = job_name(dag_id=task["dag"], run_id=run_id, task_id=task["task"])
        tags = [{"Key": key, "Value": value} for key, value in task.items()]
        sagemaker.create_training_job(
            **training_request(jobs[run_id], HyperParameters={"seconds": "60", "save_on_sigterm": "1"}, Tags=tags)
        )

    state, tasks = run(dag_bag, "clean_up", {})

    output = caplog.text
    assert (state, set(tasks.values())) == (DagRunState.SUCCESS, {"success"})
    assert f"check_conf of build_dataset, {ended.run_id} is failed" in output
    assert "this Airflow does not know check_conf of build_dataset, manual__of_another_airflow" in output
    stopped, left = (sagemaker.describe_training_job(TrainingJobName=name) for name in jobs.values())
    assert stopped["TrainingJobStatus"] in ("Stopping", "Stopped")
    assert left["TrainingJobStatus"] == "InProgress"


def test_a_folder_is_published_by_a_run_that_notes_the_address_of_the_image(
    dag_bag: DagBag, local_aws: RunningLocalAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "algorithms" / "flowers").mkdir(parents=True)
    (tmp_path / "algorithms" / "flowers" / "Dockerfile").write_text("FROM scratch\n")
    docker_stand_in.install(tmp_path)
    monkeypatch.setattr("include.algorithms.publish.PROJECT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    dag_run = dag_bag.dags["publish_training_image"].test(run_conf={"folder": "algorithms/flowers"})

    [image] = local_aws.client("ecr").describe_images(repositoryName="image-classification/flowers")["imageDetails"]
    published = dag_run.get_task_instances()[0].xcom_pull(task_ids="publish_image")
    assert dag_run.state == DagRunState.SUCCESS
    assert published["uri"].endswith(f"/image-classification/flowers@{image['imageDigest']}")
    assert image["imageTags"] == [published["tag"]]
