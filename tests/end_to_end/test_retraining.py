"""New images start retrainings through a running Airflow: one for each dataset, whatever becomes of the messages."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from demo.airflow_client import DagRun
from demo.bootstrap import SETTINGS_VARIABLE
from include.run_conf import RunConf
from tests.support.champions import register
from tests.support.live_airflow import PAUSE, LiveAirflow, Operator
from tests.support.local_aws import eventually
from tests.support.world import SMALL, World, digits, gated_image, running_world

pytestmark = pytest.mark.end_to_end

DAG = "retrain_on_new_images"
TRAIN = "training.train_incremental"
APPROVE = "registration.approve_model"
ASKS_A_PERSON = {"promotion.approval": "person", "endpoint.deploy": True}
"""What the settings' `lines` change for one dataset."""
WAIT_SECONDS = 180.0
NO_LOOK_BY_ITSELF = (datetime.now(UTC) + timedelta(minutes=40)).minute
"""The minute of the hourly look: not while these tests run, where it would take images before their event's look."""
DATASETS = {"digits": ["0", "1", "7"], "first-two": ["0", "1"]}
"""Two datasets of the same images, so that a new image can be new to both."""


@pytest.fixture(scope="module")
def gates(module_path: Path) -> Path:
    """The folder in which `open-after` lets training jobs end."""
    folder = module_path / "gates"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def world(module_path: Path, gates: Path) -> Iterator[World]:
    """Two datasets, each with a version and a champion that was never deployed."""
    with running_world(module_path / "aws", "--jobs", "4", "--image", gated_image(gates)) as world:
        world.drop(digits("0", "1", "7", count=12))
        (gates / "open-after").write_text("0")
        for name in DATASETS:
            put_champion(world, name)
        (gates / "open-after").unlink()
        yield world


def put_champion(world: World, dataset: str) -> None:
    """A dataset whose champion was never deployed."""
    conf = {
        **SMALL,
        "dataset.name": dataset,
        "dataset.labels": DATASETS[dataset],
        "training.hyperparameters.mini_batch_size": 4,
        "endpoint.deploy": False,
    }
    register(world, RunConf.from_conf(conf))


@pytest.fixture(scope="module")
def airflow(module_path: Path, world: World, migrated_database: Path) -> Iterator[LiveAirflow]:
    """An Airflow that reads its DAG files as often as it does by default."""
    cron = f"{NO_LOOK_BY_ITSELF} * * * *"
    settings = {
        **json.loads(world.settings.to_json()),
        "retraining_cron": cron,
        "lines": {"digits": ASKS_A_PERSON},
    }
    own = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30", SETTINGS_VARIABLE: json.dumps(settings)}
    airflow = LiveAirflow(module_path, world, migrated_database, dags=[DAG], **own)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.end()


@pytest.fixture(scope="module")
def operator(airflow: LiveAirflow) -> Iterator[Operator]:
    """A person before the Airflow."""
    with airflow.operator() as operator:
        operator.wait_for_dag(DAG, WAIT_SECONDS)
        yield operator


@dataclass(frozen=True)
class FirstLook:
    """The first look, and how long after the DAG was switched on Airflow had started it."""

    run: DagRun
    seconds: float


@pytest.fixture(scope="module")
def first_look(world: World, operator: Operator) -> FirstLook:
    """While the DAG is paused images arrive, S3 announces some of them twice, and somebody sends nonsense."""
    world.drop(digits("0", "1", first=12, count=3))
    sqs = world.aws.client("sqs")
    url = world.settings.queue_url
    again = '{"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": "images/0/012.png"}}}]}'
    for body in (again, again, "{half a mess", "[]"):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    operator.unpause(DAG)
    unpaused = time.monotonic()
    looks: list[DagRun] = eventually(lambda: event_runs(operator), WAIT_SECONDS, pause=PAUSE)
    seconds = time.monotonic() - unpaused
    return FirstLook(operator.finished(DAG, looks[0].run_id), seconds)


@pytest.fixture(scope="module")
def training(first_look: FirstLook, operator: Operator) -> dict[str, str]:
    """The retrainings that the first look started, by dataset, while both wait for their training jobs."""
    runs = retrainings(operator)
    for run_id in runs.values():
        waits = lambda run_id=run_id: operator.task(DAG, run_id, TRAIN).state == "deferred"  # noqa: E731
        eventually(waits, WAIT_SECONDS, pause=PAUSE)
    return runs


def event_runs(operator: Operator) -> list[DagRun]:
    """The runs that messages started, the latest first."""
    return [run for run in operator.dag_runs(DAG) if run.run_id.startswith("asset_triggered__")]


def retrainings(operator: Operator) -> dict[str, str]:
    """The latest retraining of each dataset, of those that looks started."""
    runs = [run.run_id for run in reversed(operator.dag_runs(DAG)) if run.run_id.startswith("retrain__")]
    return {run_id.split("__")[1]: run_id for run_id in runs}


def states(operator: Operator, run_id: str) -> dict[str, set[str]]:
    """The states of each task of a run."""
    found: dict[str, set[str]] = {}
    for task in operator.task_runs(DAG, run_id):
        found.setdefault(task.task_id, set()).add(str(task.state))
    return found


def incremental_jobs(world: World) -> list[str]:
    return [name for name in world.training_jobs() if not name.startswith("champion-")]


def test_the_queue_is_watched_within_a_minute_of_switching_the_dag_on(first_look: FirstLook) -> None:
    assert first_look.seconds < 60


def test_all_that_arrived_while_the_dag_was_paused_is_one_look(first_look: FirstLook, operator: Operator) -> None:
    look = first_look.run
    assert [run.run_id for run in event_runs(operator)] == [look.run_id]
    found = states(operator, look.run_id)
    assert look.state == "success"
    assert [found.pop(task) for task in ("find_grown_datasets", "start_retraining", "find_new_images")] == [
        {"success"}
    ] * 3
    assert set.union(*found.values()) == {"skipped"}


def test_two_datasets_that_have_grown_are_retrained_side_by_side(
    training: dict[str, str], operator: Operator, world: World
) -> None:
    assert training.keys() == DATASETS.keys()
    assert [operator.dag_run(DAG, run_id).state for run_id in training.values()] == ["running", "running"]
    assert [operator.dag_run(DAG, run_id).conf for run_id in training.values()] == [
        {"dataset": {"name": name}} for name in training
    ]
    assert len(incremental_jobs(world)) == 2


@pytest.fixture(scope="module")
def look_meanwhile(training: dict[str, str], operator: Operator, world: World) -> DagRun:
    """More images arrive while both datasets are retrained."""
    world.drop(digits("0", "1", first=15, count=2))
    looks: list[DagRun] = eventually(lambda: event_runs(operator)[:-1], WAIT_SECONDS, pause=PAUSE)
    return operator.finished(DAG, looks[0].run_id)


def test_images_that_arrive_meanwhile_start_no_second_retraining(
    training: dict[str, str], look_meanwhile: DagRun, operator: Operator, world: World
) -> None:
    assert look_meanwhile.state == "success"
    assert states(operator, look_meanwhile.run_id)["start_retraining"] == {"skipped"}
    by_hand = operator.trigger(DAG, {"dataset.name": "digits"})
    assert operator.finished(DAG, by_hand).state == "success"
    assert states(operator, by_hand)["dataset.plan"] == {"skipped"}
    assert retrainings(operator) == training
    assert len(incremental_jobs(world)) == 2


@pytest.fixture(scope="module")
def next_retrainings(training: dict[str, str], look_meanwhile: DagRun, operator: Operator) -> dict[str, str]:
    """What a look starts once a person has ended the retrainings before; the person ends these too, after growth."""
    for run_id in training.values():
        operator.abandon(DAG, run_id)
    for run_id in training.values():
        operator.finished(DAG, run_id)  # what takes things down runs first

    look = operator.trigger(DAG, {})

    assert operator.finished(DAG, look).state == "success"
    after = retrainings(operator)
    for run_id in after.values():
        assert operator.finished_task(DAG, run_id, "dataset.publish").state == "success"
        operator.abandon(DAG, run_id)
    for run_id in after.values():
        operator.finished(DAG, run_id)  # until then these runs have their datasets' turn
    return after


def test_a_look_takes_what_the_retrainings_before_it_had_not(
    training: dict[str, str], next_retrainings: dict[str, str]
) -> None:
    assert next_retrainings.keys() == DATASETS.keys()
    assert not set(next_retrainings.values()) & set(training.values())


@pytest.fixture(scope="module")
def unannounced(world: World, next_retrainings: dict[str, str]) -> Iterator[None]:
    """Images of one dataset arrive, and S3 sends no message about them."""
    bucket = world.settings.data_bucket
    announced = world.s3.get_bucket_notification_configuration(Bucket=bucket)
    announced.pop("ResponseMetadata")
    world.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    world.drop(digits("7", first=12, count=2))
    yield
    world.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=announced)


@dataclass(frozen=True)
class ScheduledLook:
    """A look that the schedule started, and the looks that messages had started before it."""

    run_id: str
    after_messages: list[str]


@pytest.fixture(scope="module")
def scheduled_look(airflow: LiveAirflow, operator: Operator, unannounced: None) -> ScheduledLook:
    """The schedule comes to its hour."""
    before = [run.run_id for run in event_runs(operator)]
    now = datetime.now(UTC)
    tick = now.replace(minute=NO_LOOK_BY_ITSELF, second=0, microsecond=0)
    if tick > now:  # after an earlier one than the last, the last would be due as well: two looks at once
        tick -= timedelta(hours=1)

    def scheduled() -> list[str]:
        runs = [run.run_id for run in operator.dag_runs(DAG) if run.run_id.startswith(f"scheduled__{tick:%Y-%m-%dT%H}")]
        if not runs:  # the DAG processor may have set the next time again, as it reads the DAG's file
            airflow.let_be_due(DAG, tick)
        return runs

    (look,) = eventually(scheduled, WAIT_SECONDS, pause=PAUSE)
    return ScheduledLook(look, before)


def test_the_schedule_finds_images_whose_message_was_lost(
    scheduled_look: ScheduledLook, operator: Operator, next_retrainings: dict[str, str]
) -> None:
    assert operator.finished(DAG, scheduled_look.run_id).state == "success"
    assert states(operator, scheduled_look.run_id)["start_retraining"] == {"success"}
    after = retrainings(operator)
    assert after["first-two"] == next_retrainings["first-two"], "it has no images of a 7"
    assert after["digits"] != next_retrainings["digits"]
    assert (operator.note(DAG, after["digits"]) or "").startswith("2 new images of digits since version ")
    assert [run.run_id for run in event_runs(operator)] == scheduled_look.after_messages


def test_a_retraining_waits_for_a_person_and_deploys_what_that_person_approves(
    scheduled_look: ScheduledLook, operator: Operator, world: World, gates: Path
) -> None:
    assert operator.finished(DAG, scheduled_look.run_id).state == "success"
    run_id = retrainings(operator)["digits"]
    (gates / "open-after").write_text("0")

    question = eventually(lambda: operator.question(DAG, run_id, APPROVE), WAIT_SECONDS, pause=PAUSE)

    model = operator.returned(DAG, run_id, "registration.register_model")
    assert question["subject"] == f"Approve {model['group']} version {model['version']}?"
    assert question["body"].startswith("Not worse than the champion: ")
    assert (question["options"], question["defaults"]) == (["Approve", "Reject"], ["Reject"])
    assert model["approval"] == "PendingManualApproval"
    assert world.endpoints() == {}, "nothing serves before the answer"

    operator.answer_until_ended(DAG, run_id, APPROVE, "Approve", reason="The new sevens look right.")

    assert operator.finished_task(DAG, run_id, "deployment.deploy").state == "success"
    assert operator.asset_events(DAG, run_id, APPROVE) == 1, "other teams hear of the decision"
    described = world.sagemaker.describe_model_package(ModelPackageName=model["arn"])
    assert described["ModelApprovalStatus"] == "Approved"
    assert described["ApprovalDescription"] == "Approved by admin: The new sevens look right."
    endpoint = world.sagemaker.describe_endpoint(EndpointName="digits")
    config = world.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    served = world.sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    assert (endpoint["EndpointStatus"], served["PrimaryContainer"]["ModelDataUrl"]) == ("InService", model["artifact"])
