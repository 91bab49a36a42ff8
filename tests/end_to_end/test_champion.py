"""What a retraining continues from and how it runs, through Airflow, with a quick container.

A person trains on three digits and deploys. Somebody trains on two of them under the same name. New images arrive, a
person rolls back, and new images arrive again, twice: the second time the tasks are killed at their calls of AWS. A
person changes the endpoint by hand, and then a fourth digit arrives.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion
from include.promotion.champion import PROMOTED_TAG
from include.run_conf import RunConf
from include.sagemaker.naming import tags_of
from tests.support.dag_test_runs import Run, Test, runner
from tests.support.killed import Killer
from tests.support.world import DIGITS, SMALL, World, digits, running_world

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("airflow_database")]

CLASSIFIER = Path(__file__).parents[1] / "support" / "scripted_classifier.py"
FEWER = ["0", "1"]
CHOSEN = {
    **SMALL,
    "dataset.packing.shard_images": 50,
    "training.hyperparameters.mini_batch_size": 4,
    "incremental.hyperparameters": {"epochs": 1, "learning_rate": 0.01},
    "resources.instance_type": "ml.g5.xlarge",
    "resources.max_runtime_seconds": 1800,
    "promotion.minimum_accuracy": 0.05,
    "endpoint.name": "digits-live",
    "endpoint.instance_type": "ml.c5.large",
}
"""What a person chose: machines, threshold and the endpoint's name are not the defaults."""
SEEDS = int(os.environ.get("KILLED_RETRAININGS", "1"))
"""So many retrainings are killed, each with a seed of its own: few in `make test`, as each takes some seconds."""
PAID = ("CreateTrainingJob", "CreateTransformJob", "CreateModelPackage", "CreateEndpoint", "UpdateEndpoint")
"""What costs money, or changes what serves."""


@pytest.fixture(scope="module")
def world(module_path: Path) -> Iterator[World]:
    image = f"image-classification={sys.executable} {CLASSIFIER}"
    with (
        pytest.MonkeyPatch.context() as patch,
        running_world(module_path / "aws", "--jobs", "4", "--image", image) as world,
    ):
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.drop(digits(*DIGITS, count=12))
        yield world


@pytest.fixture(scope="module")
def run_dag(airflow_database: None, world: World) -> Test:
    return runner()


def base_of(world: World, run: Run) -> str:
    """The artifact from which a run's incremental training started."""
    job = run.returned["training.train_incremental"]["name"]
    channels = world.sagemaker.describe_training_job(TrainingJobName=job)["InputDataConfig"]
    (model,) = [channel for channel in channels if channel["ChannelName"] == "model"]
    return str(model["DataSource"]["S3DataSource"]["S3Uri"])


def served(world: World, endpoint: str) -> tuple[str, str]:
    """The artifact that an endpoint serves, and its machine."""
    described = world.sagemaker.describe_endpoint(EndpointName=endpoint)
    config = world.sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    (variant,) = config["ProductionVariants"]
    model = world.sagemaker.describe_model(ModelName=variant["ModelName"])
    return model["PrimaryContainer"]["ModelDataUrl"], variant["InstanceType"]


@pytest.fixture(scope="module")
def chain(world: World, run_dag: Test) -> Run:
    return run_dag("image_classification", CHOSEN)


@pytest.fixture(scope="module")
def fewer(world: World, chain: Run) -> DatasetVersion:
    """A newer version of the same dataset with two of its three classes."""
    conf = RunConf.from_conf({**SMALL, "dataset.labels": FEWER}).dataset
    later = datetime.now(UTC) + timedelta(seconds=2)
    plan = plan_version(world.s3, conf, data_bucket=world.settings.data_bucket, run_id="manual__fewer", run_after=later)
    return publish_version(world.s3, plan, [pack_shard(world.s3, plan, shard) for shard in plan.shards])


@pytest.fixture(scope="module")
def trained_on_fewer(run_dag: Test, fewer: DatasetVersion) -> Run:
    small = {name: value for name, value in CHOSEN.items() if name.startswith(("training.", "dataset.name"))}
    return run_dag("train_model", {**small, "dataset.version": fewer.version})


@pytest.fixture(scope="module")
def retraining(world: World, run_dag: Test, trained_on_fewer: Run) -> Run:
    """New images of all three digits arrive."""
    world.drop(digits(*DIGITS, first=12, count=4))
    return run_dag("retrain_on_new_images", {"dataset.name": "digits"})


@pytest.fixture(scope="module")
def after_rollback(world: World, run_dag: Test, chain: Run, retraining: Run) -> Run:
    """A person goes back to the first model, and then new images arrive."""
    conf = {"dataset.name": "digits", "model_version": chain.registered["version"]}
    assert run_dag("deploy_endpoint", conf).state == "success"
    world.drop(digits(*DIGITS, first=16, count=4))
    return run_dag("retrain_on_new_images", {"dataset.name": "digits"})


def test_the_whole_run_conf_is_kept_with_the_registered_model(chain: Run, world: World) -> None:
    assert chain.state == "success"
    model = chain.registered

    assert model["run_conf"] == model["report"].replace("report.html", "run_conf.json")
    assert RunConf.from_conf(world.document(model["run_conf"])) == RunConf.from_conf(CHOSEN)
    assert (model["classes"], model["packing"].split()[0]) == (3, "resize=28")


def test_a_model_of_fewer_classes_is_not_what_a_retraining_continues_from(
    chain: Run, trained_on_fewer: Run, retraining: Run, world: World, fewer: DatasetVersion
) -> None:
    challenger = trained_on_fewer.registered
    assert (trained_on_fewer.state, challenger["classes"]) == ("success", 2)
    assert challenger["approval"] == "PendingManualApproval"
    assert challenger["reason"].startswith("the endpoint digits-live serves 3 classes, this run has 2")

    assert retraining.state == "success"
    assert base_of(world, retraining) == chain.registered["artifact"]
    grown = DatasetVersion.model_validate(retraining.returned["dataset.publish"])
    assert grown.parent == chain.registered["dataset_uri"] != fewer.uri
    assert grown.labels == list(DIGITS)
    assert (grown.new_images, retraining.registered["classes"]) == (12, 3)


@pytest.mark.usefixtures("chain")
def test_a_run_that_would_replace_the_endpoint_by_fewer_classes_is_refused_before_it_trains(
    run_dag: Test, world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    jobs, serving = world.training_jobs(), served(world, "digits-live")

    run = run_dag("image_classification", {**CHOSEN, "dataset.labels": FEWER})

    assert (run.state, run.tasks["check_conf"]) == ("failed", "failed")
    assert (
        "dataset.labels = 2 classes: the endpoint digits-live serves 3 classes, this run has 2: give the dataset "
        "another name, or set promotion.allow_label_change"
    ) in capfd.readouterr().out
    assert (world.training_jobs(), served(world, "digits-live")) == (jobs, serving)


def test_a_scheduled_retraining_keeps_machines_threshold_and_endpoint(
    chain: Run, retraining: Run, world: World
) -> None:
    job = retraining.returned["training.train_incremental"]["name"]
    described = world.sagemaker.describe_training_job(TrainingJobName=job)
    kept = RunConf.from_conf(world.document(retraining.registered["run_conf"]))

    assert described["ResourceConfig"]["InstanceType"] == "ml.g5.xlarge"
    assert described["StoppingCondition"]["MaxRuntimeInSeconds"] == 1800
    assert described["HyperParameters"]["learning_rate"] == "0.01"
    assert kept.promotion.minimum_accuracy == 0.05
    assert retraining.returned["deployment.deploy"]["name"] == "digits-live"
    assert world.endpoints().keys() == {"digits-live"}


def test_after_a_rollback_the_next_retraining_starts_from_the_model_rolled_back_to(
    chain: Run, retraining: Run, after_rollback: Run, world: World
) -> None:
    assert after_rollback.state == "success"
    assert base_of(world, after_rollback) == chain.registered["artifact"]
    grown = DatasetVersion.model_validate(after_rollback.returned["dataset.publish"])
    assert grown.parent == retraining.returned["dataset.publish"]["uri"], "the newest version with its classes"
    assert served(world, "digits-live") == (after_rollback.registered["artifact"], "ml.c5.large")
    assert world.endpoints().keys() == {"digits-live"}, "the rollback named no endpoint"


def documents(world: World) -> dict[str, set[str]]:
    """What there is of each kind, by name."""

    def listed(operation: str, of: str, name: str, **asked: str) -> set[str]:
        pages = world.sagemaker.get_paginator(operation).paginate(**asked)
        return {each[name] for page in pages for each in page[of]}

    versions = world.keys(world.settings.data_bucket, "datasets/digits/")
    group = {"ModelPackageGroupName": "image-classification-digits"}
    return {
        "versions": {key for key in versions if key.endswith("/dataset.json")},
        "jobs": set(world.training_jobs()),
        "transforms": listed("list_transform_jobs", "TransformJobSummaries", "TransformJobName"),
        "registered": listed("list_model_packages", "ModelPackageSummaryList", "ModelPackageArn", **group),
    }


def turns(world: World) -> list[str]:
    """The run that has the turn, or had it last; none if nothing was retrained yet."""
    bucket = world.settings.data_bucket
    keys = world.keys(bucket, "datasets/digits/turn.json")
    return [world.document(f"s3://{bucket}/{key}")["run_id"] for key in keys]


def promoted(world: World) -> str | None:
    group = world.sagemaker.describe_model_package_group(ModelPackageGroupName="image-classification-digits")
    return tags_of(world.sagemaker, group["ModelPackageGroupArn"]).get(PROMOTED_TAG)


@pytest.mark.usefixtures("after_rollback")
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_retraining_whose_tasks_are_killed_does_and_pays_for_everything_once(
    seed: int, run_dag: Test, world: World
) -> None:
    """A task that is killed loses all that it has not written down, and begins anew, as Airflow's next try does."""
    world.drop(digits(*DIGITS, first=40 + 4 * seed, count=4))
    before, turn_before = documents(world), turns(world)
    killer = Killer(random.Random(seed))

    with killer.at_work():
        run = run_dag("retrain_on_new_images", {"dataset.name": "digits"})

    assert run.state == "success", run.tasks
    made = {kind: names - before[kind] for kind, names in documents(world).items()}
    assert {kind: len(names) for kind, names in made.items()} == {
        "versions": 1,
        "jobs": 1,
        "transforms": 2,
        "registered": 1,
    }
    asked_of = {world.sagemaker.describe_transform_job(TransformJobName=job)["ModelName"] for job in made["transforms"]}
    assert len(asked_of) == 2, "one transform job for the challenger, one for the champion"
    assert {name: killer.asked[name] for name in PAID} == {
        "CreateTrainingJob": 1,
        "CreateTransformJob": 2,
        "CreateModelPackage": 1,
        "CreateEndpoint": 0,
        "UpdateEndpoint": 1,
    }
    assert made["registered"] == {run.registered["arn"], promoted(world)}
    assert world.endpoints() == {"digits-live": "InService"}
    assert served(world, "digits-live")[0] == run.registered["artifact"]
    assert turns(world) not in ([], turn_before)
    assert killer.killed.total() >= 4


@pytest.fixture(scope="module")
def changed_by_hand(world: World, retraining: Run, after_rollback: Run) -> str:
    """A person puts another model on two machines, with a model and a configuration of their own.

    The value is the artifact that the endpoint serves then.
    """
    artifact: str = retraining.registered["artifact"]
    described = world.sagemaker.describe_endpoint(EndpointName="digits-live")
    config = world.sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    (variant,) = config["ProductionVariants"]
    model = world.sagemaker.describe_model(ModelName=variant["ModelName"])
    container = {"Image": model["PrimaryContainer"]["Image"], "ModelDataUrl": artifact}
    world.sagemaker.create_model(
        ModelName="by-hand", PrimaryContainer=container, ExecutionRoleArn=model["ExecutionRoleArn"]
    )
    by_hand = {
        "VariantName": "AllTraffic",
        "ModelName": "by-hand",
        "InstanceType": "ml.c5.large",
        "InitialInstanceCount": 2,
        "InitialVariantWeight": 1.0,
    }
    world.sagemaker.create_endpoint_config(EndpointConfigName="by-hand", ProductionVariants=[by_hand])
    world.sagemaker.update_endpoint(EndpointName="digits-live", EndpointConfigName="by-hand")
    waiter = world.sagemaker.get_waiter("endpoint_in_service")
    waiter.wait(EndpointName="digits-live", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return artifact


@pytest.fixture(scope="module")
def after_change_by_hand(world: World, run_dag: Test, changed_by_hand: str) -> Run:
    """New images arrive then."""
    world.drop(digits(*DIGITS, first=20, count=4))
    return run_dag("retrain_on_new_images", {"dataset.name": "digits"})


def test_after_a_change_by_hand_a_retraining_continues_from_what_serves_and_keeps_its_machines(
    changed_by_hand: str, after_change_by_hand: Run, world: World
) -> None:
    run = after_change_by_hand
    assert run.state == "success"
    assert base_of(world, run) == changed_by_hand
    (variant,) = run.returned["deployment.deploy"]["variants"]
    assert (variant["instance_type"], variant["instance_count"]) == ("ml.c5.large", 2)
    assert served(world, "digits-live") == (run.registered["artifact"], "ml.c5.large")
    assert world.endpoints().keys() == {"digits-live"}


@pytest.mark.usefixtures("after_change_by_hand")
def test_a_new_class_is_trained_by_the_run_that_a_look_starts_and_deployed_by_a_person(
    run_dag: Test, world: World
) -> None:
    world.drop(digits("3", count=12))
    before = served(world, "digits-live")

    look = run_dag("retrain_on_new_images", {"retraining.new_classes": "train"})

    (started,) = look.returned["find_grown_datasets"]
    assert (look.state, look.tasks["start_retraining"]) == ("success", "success")
    assert (started["trigger_dag_id"], started["note"]) == ("image_classification", "New classes of digits: 3")
    run = run_dag(started["trigger_dag_id"], started["conf"])
    assert run.state == "success"
    assert run.returned["dataset.publish"]["labels"] == [*DIGITS, "3"]
    assert served(world, "digits-live") == before, "no endpoint gets worse by itself"
    assert (run.registered["approval"], run.registered["reason"]) == (
        "PendingManualApproval",
        "the endpoint digits-live serves 3 classes, this run has 4, and promotion.allow_label_change is off",
    )
    chosen = {"dataset.name": "digits", "model_version": run.registered["version"]}
    assert run_dag("review_model", {**chosen, "decision": "approve", "reason": "All four are good."}).state == "success"
    assert run_dag("deploy_endpoint", chosen).state == "success"
    assert served(world, "digits-live") == (run.registered["artifact"], "ml.c5.large")
    assert run_dag("retrain_on_new_images", {}).returned["find_grown_datasets"] == []
