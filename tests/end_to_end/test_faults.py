"""What becomes of a run, and of the job that costs money, when something dies or somebody intervenes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion
from include.run_conf import RunConf
from include.sagemaker.naming import job_name
from tests.support.live_airflow import PAUSE, LiveAirflow, Operator, conf_of
from tests.support.local_aws import eventually, finished_job
from tests.support.world import GATED_ALGORITHM, SMALL, World, digits, gated_image, running_world

pytestmark = pytest.mark.end_to_end

TRAIN = "training.train"
DAGS = ("train_model", "image_classification")
REPORTS = "evaluate_endpoint"
WAIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def gates(module_path: Path) -> Path:
    """The folder in which a file called like a training job lets that job end."""
    folder = module_path / "gates"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def world(module_path: Path, gates: Path) -> Iterator[World]:
    with running_world(module_path / "aws", *arguments(gates)) as world:
        yield world


def arguments(gates: Path) -> list[str]:
    """Start options of the local AWS: four jobs at a time, of an algorithm whose jobs wait for their gate."""
    return ["--jobs", "4", "--image", gated_image(gates)]


@pytest.fixture(scope="module")
def version(world: World) -> DatasetVersion:
    world.drop(digits("0", "1", count=15))
    bucket, conf = world.settings.data_bucket, RunConf.from_conf(SMALL).dataset
    plan = plan_version(world.s3, conf, data_bucket=bucket, run_id="by hand", run_after=datetime.now(UTC))
    return publish_version(world.s3, plan, [pack_shard(world.s3, plan, shard) for shard in plan.shards])


@dataclass(frozen=True)
class People:
    """A topic, and the queue of somebody who is subscribed to it."""

    topic: str
    queue: str
    sqs: Any

    def heard(self) -> list[str]:
        """The subjects that have come since."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"])["Subject"] for message in found]


@pytest.fixture(scope="module")
def people(world: World) -> People:
    sns, sqs = world.aws.client("sns"), world.aws.client("sqs")
    topic, queue = sns.create_topic(Name="people")["TopicArn"], sqs.create_queue(QueueName="people")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return People(topic, queue, sqs)


@pytest.fixture(scope="module")
def airflow(module_path: Path, world: World, people: People, migrated_database: Path) -> Iterator[LiveAirflow]:
    variable = json.dumps({**json.loads(world.settings.to_json()), "notify": people.topic})
    dags = [*DAGS, REPORTS]
    airflow = LiveAirflow(module_path, world, migrated_database, dags=dags, AIRFLOW_VAR_IMAGE_CLASSIFICATION=variable)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.end()


@pytest.fixture
def operator(airflow: LiveAirflow) -> Iterator[Operator]:
    with airflow.operator() as operator:
        for dag_id in DAGS:
            operator.wait_for_dag(dag_id, WAIT_SECONDS)
            operator.unpause(dag_id)
        yield operator


@dataclass(frozen=True)
class Waiting:
    """A run whose training task waits, deferred, for its job."""

    dag_id: str
    run_id: str
    job: str
    gates: Path

    def let_end(self, job: str) -> None:
        (self.gates / job).touch()


Begin = Callable[[str, dict[str, Any]], Waiting]


@pytest.fixture
def begin(operator: Operator, gates: Path) -> Iterator[Begin]:
    """Starts a run and waits until its training task shows what the triggerer reads; runs end with the test."""
    begun: list[Waiting] = []

    def begin(dag_id: str, conf: dict[str, Any]) -> Waiting:
        run_id = operator.trigger(dag_id, conf)
        run = Waiting(dag_id, run_id, name_of(dag_id, run_id), gates)
        begun.append(run)
        eventually(lambda: operator.task(dag_id, run_id, TRAIN).state == "deferred", WAIT_SECONDS, pause=PAUSE)
        eventually(lambda: "Validation-accuracy" in log_of(operator, run), WAIT_SECONDS, pause=PAUSE)
        assert "Could not read served logs" not in log_of(operator, run)
        return run

    yield begin
    for run in begun:
        operator.abandon(run.dag_id, run.run_id)


def name_of(dag_id: str, run_id: str, attempt: int = 1) -> str:
    return job_name(dag_id=dag_id, run_id=run_id, task_id=TRAIN, map_index=0, attempt=attempt)


def container_of(world: World, job: str) -> psutil.Process | None:
    """The process in which a training job trains."""
    for process in psutil.Process(world.aws.process.pid).children(recursive=True):
        try:
            if str(GATED_ALGORITHM) in process.cmdline()[:2] and process.environ().get("TRAINING_JOB_NAME") == job:
                return process
        except psutil.Error:
            continue
    return None


def jobs_of(world: World, run: Waiting) -> dict[str, str]:
    """The status of every training job that a run's task ever started."""
    names = [name_of(run.dag_id, run.run_id, attempt) for attempt in range(1, 5)]
    return {name: status for name, status in world.training_jobs().items() if name in names}


def log_of(operator: Operator, run: Waiting) -> str:
    return "\n".join(operator.log_lines(run.dag_id, run.run_id, operator.task(run.dag_id, run.run_id, TRAIN)))


@pytest.mark.usefixtures("operator")
def test_the_demos_airflow_listens_on_loopback_alone(airflow: LiveAirflow) -> None:
    assert airflow.listening_on() == {"127.0.0.1"}


def test_people_hear_of_a_failed_run_from_the_dag_processor(operator: Operator, people: People) -> None:
    operator.wait_for_dag(REPORTS, WAIT_SECONDS)
    operator.unpause(REPORTS)
    assert eventually(lambda: operator.begin(REPORTS, "told", {"dataset.name": "nothing"}), 60)

    assert operator.finished(REPORTS, "told").state == "failed"

    told = "[failed] evaluate_endpoint of nothing failed at choose_endpoints"
    assert eventually(lambda: told in people.heard(), 60, pause=PAUSE)


def test_the_scheduler_writes_the_note_of_a_run(operator: Operator) -> None:
    operator.wait_for_dag(REPORTS, WAIT_SECONDS)
    operator.unpause(REPORTS)
    assert eventually(lambda: operator.begin(REPORTS, "noted", {}), 60)

    assert operator.finished(REPORTS, "noted").state == "success"

    note = operator.note(REPORTS, "noted") or ""
    assert note.partition("\n")[0] == "No dataset has an endpoint: nothing was measured"


def test_an_airflow_killed_while_a_job_runs_finds_its_job_again_when_it_is_back(
    airflow: LiveAirflow, begin: Begin, world: World, version: DatasetVersion
) -> None:
    run = begin("train_model", conf_of(version))
    assert airflow.kill() > 4
    airflow.start()
    run.let_end(run.job)

    with airflow.operator() as again:
        finished = again.finished(run.dag_id, run.run_id)
        model = again.returned(run.dag_id, run.run_id, "registration.register_model")

    assert finished.state == "success"
    assert jobs_of(world, run) == {run.job: "Completed"}
    assert f"/{run.job}/" in model["artifact"]


def test_another_triggerer_goes_on_waiting_where_one_was_killed(
    airflow: LiveAirflow, operator: Operator, begin: Begin, world: World, version: DatasetVersion
) -> None:
    run = begin("train_model", conf_of(version))
    assert airflow.kill("triggerer") > 0
    airflow.start("triggerer", "--skip-serve-logs")
    run.let_end(run.job)

    assert operator.finished_task(run.dag_id, run.run_id, TRAIN).state == "success"
    assert jobs_of(world, run) == {run.job: "Completed"}


def test_a_job_killed_from_outside_fails_its_task_at_once_with_the_reason_and_the_log(
    operator: Operator, begin: Begin, world: World, version: DatasetVersion
) -> None:
    conf = conf_of(version, endpoint__name="never-made")
    run = begin("image_classification", conf)
    container = container_of(world, run.job)
    assert container is not None
    container.kill()

    finished = operator.finished(run.dag_id, run.run_id)
    task, log = operator.task(run.dag_id, run.run_id, TRAIN), log_of(operator, run)

    assert finished.state == "failed"
    assert task.state == "failed"
    reason = world.sagemaker.describe_training_job(TrainingJobName=run.job)["FailureReason"]
    assert reason.startswith("AlgorithmError: the container was killed from outside by SIGKILL")
    assert reason.endswith("exit code: 137")
    assert f"The training job {run.job} ended as Failed: {reason}" in log
    assert "Validation-accuracy=0.500000" in log
    assert jobs_of(world, run) == {run.job: "Failed"}
    assert operator.task(run.dag_id, run.run_id, "deployment.deploy").state == "upstream_failed"
    assert "never-made" not in world.endpoints()


@pytest.mark.parametrize("state", ["failed", "success"])
def test_marking_a_waiting_task_stops_its_job(
    state: str, operator: Operator, begin: Begin, world: World, version: DatasetVersion
) -> None:
    run = begin("train_model", conf_of(version))

    operator.mark(run.dag_id, run.run_id, TRAIN, state)

    assert finished_job(world.sagemaker, run.job)["TrainingJobStatus"] == "Stopped"
    # A task that is marked as succeeded has no result, so that there is no model to select.
    assert operator.finished(run.dag_id, run.run_id).state == "failed"
    assert operator.task(run.dag_id, run.run_id, TRAIN).state == state
    assert jobs_of(world, run) == {run.job: "Stopped"}


def test_clearing_a_waiting_task_stops_its_job_before_another_starts(
    operator: Operator, begin: Begin, world: World, version: DatasetVersion
) -> None:
    run = begin("train_model", conf_of(version))
    second = name_of(run.dag_id, run.run_id, attempt=2)
    run.let_end(second)

    operator.clear(run.dag_id, run.run_id, TRAIN)

    assert finished_job(world.sagemaker, run.job)["TrainingJobStatus"] == "Stopped"
    assert operator.finished_task(run.dag_id, run.run_id, TRAIN).state == "success"
    assert jobs_of(world, run) == {run.job: "Stopped", second: "Completed"}
    first_end = world.sagemaker.describe_training_job(TrainingJobName=run.job)["TrainingEndTime"]
    assert world.sagemaker.describe_training_job(TrainingJobName=second)["CreationTime"] >= first_end


def test_a_task_whose_local_aws_was_started_again_fails_and_starts_no_other_job(
    operator: Operator, begin: Begin, world: World, version: DatasetVersion, gates: Path
) -> None:
    run = begin("train_model", conf_of(version))
    world.aws.end(signal.SIGKILL)

    world.start_again(*arguments(gates))

    task = operator.finished_task(run.dag_id, run.run_id, TRAIN)
    assert task.state == "failed"
    if task.try_number > 1:  # Airflow took the executor's word that the task waits for its end, and tried it again
        notes = operator.notes(run.dag_id, run.run_id, TRAIN)
        assert any("state mismatch" in note for note in notes), notes
        return
    assert f"AWS does not have the training job {run.job} any more" in log_of(operator, run)
    assert world.training_jobs() == {}
