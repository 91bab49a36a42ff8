"""What a new model has to show before it serves, through Airflow, with a classifier that learns in a moment.

A person trains and deploys. New images arrive, and a retraining diverges: its learning rate is too high. Then one works
well. Each time the champion answers the same images, once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.evaluation.comparison import Comparison
from tests.support.answering_person import person
from tests.support.dag_test_runs import Run, Test, runner
from tests.support.world import DIGITS, SMALL, World, digits, running_world

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("airflow_database")]

CLASSIFIER = Path(__file__).parents[1] / "support" / "class_means.py"
DEFAULTS = {name: value for name, value in SMALL.items() if not name.startswith("promotion.")}
CHOSEN = {
    **DEFAULTS,
    "dataset.packing.shard_images": 100,
    "incremental.enabled": False,
    "training.hyperparameters.epochs": 1,
    "training.hyperparameters.mini_batch_size": 4,
}
"""A run conf that leaves the section `promotion` as it is by default."""
DIVERGES = {"incremental.hyperparameters.learning_rate": 1.0}


@pytest.fixture(scope="module")
def world(module_path: Path) -> Iterator[World]:
    image = f"image-classification={sys.executable} {CLASSIFIER}"
    with (
        pytest.MonkeyPatch.context() as patch,
        running_world(module_path / "aws", "--jobs", "4", "--image", image) as world,
    ):
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.drop(digits(*DIGITS, count=24))
        yield world


@pytest.fixture(scope="module")
def run_dag(airflow_database: None, world: World) -> Test:
    return runner()


def serves(world: World) -> str:
    """The configuration of the dataset's endpoint."""
    return str(world.sagemaker.describe_endpoint(EndpointName="digits")["EndpointConfigName"])


def transforms(world: World) -> set[str]:
    pages = world.sagemaker.get_paginator("list_transform_jobs").paginate()
    return {job["TransformJobName"] for page in pages for job in page["TransformJobSummaries"]}


def comparison_of(world: World, run: Run) -> Comparison:
    return Comparison.model_validate(world.document(run.returned["evaluation.evaluate"]["comparison_uri"]))


@pytest.fixture(scope="module")
def chain(run_dag: Test) -> Run:
    return run_dag("image_classification", CHOSEN)


@pytest.fixture(scope="module")
def served_before(world: World, chain: Run) -> str:
    return serves(world)


@pytest.fixture(scope="module")
def diverged(world: World, run_dag: Test, served_before: str) -> Run:
    """New images arrive, and the incremental training diverges."""
    world.drop(digits(*DIGITS, first=24, count=8))
    return run_dag("retrain_on_new_images", {"dataset.name": "digits", **DIVERGES})


@pytest.fixture(scope="module")
def again(world: World, run_dag: Test, diverged: Run) -> tuple[Run, set[str]]:
    """The same dataset version is trained on once more, from scratch; and the transform jobs of that run."""
    before = transforms(world)
    version = diverged.returned["dataset.publish"]["version"]
    run = run_dag("train_model", {**CHOSEN, "dataset.version": version})
    return run, transforms(world) - before


def test_a_first_model_is_approved_if_it_is_better_than_guessing(chain: Run) -> None:
    assert chain.state == "success"
    verdict = chain.returned["evaluation.evaluate"]["verdict"]
    assert verdict["reason"].startswith("There is no champion to compare with. Its accuracy is ")
    assert (chain.registered["verdict"], chain.registered["champion"]) == ("accepted", None)
    assert chain.tasks["evaluation.transform_by_champion"] == "skipped"


def test_a_retraining_whose_learning_rate_was_too_high_replaces_nothing(
    chain: Run, diverged: Run, world: World, served_before: str
) -> None:
    assert diverged.state == "success", "a refusal is an answer, not a failure"
    model, verdict = diverged.registered, diverged.returned["evaluation.evaluate"]["verdict"]
    assert not verdict["accepted"]
    assert (model["approval"], model["reason"]) == ("PendingManualApproval", verdict["reason"])
    assert (model["verdict"], model["champion"]) == ("refused", chain.registered["arn"])

    assert diverged.tasks["deployment.deploy"] == "skipped"
    assert serves(world) == served_before
    page = world.s3.get_object(Bucket=world.settings.output_bucket, Key=model["report"].split("/", 3)[3])["Body"].read()
    assert b"Refused" in page


def test_both_models_answered_the_same_images_and_the_new_ones_are_told_apart(
    chain: Run, diverged: Run, world: World
) -> None:
    comparison = comparison_of(world, diverged)
    images = diverged.returned["dataset.publish"]["counts"]["test"]
    before = chain.returned["dataset.publish"]["counts"]["test"]

    assert comparison.champion == chain.registered["job"]
    assert comparison.all_images.images == images
    assert comparison.all_images.champion > comparison.all_images.challenger
    assert comparison.new_images is not None
    assert comparison.new_images.images == images - before > 0


def test_a_champion_answers_the_images_of_a_version_once(
    chain: Run, diverged: Run, again: tuple[Run, set[str]], world: World
) -> None:
    run, jobs = again
    assert diverged.tasks["evaluation.transform_by_champion"] == "success"
    assert (run.state, run.tasks["evaluation.transform_by_champion"]) == ("success", "skipped")
    assert jobs == {run.returned["evaluation.transform_test_images"]["name"]}
    assert comparison_of(world, run).champion == chain.registered["job"]
    kept = world.keys(world.settings.output_bucket, "answers/digits/")
    assert len(kept) == 4, "the first model on two versions, and each of the others on one"


def test_a_model_that_is_not_worse_takes_the_champions_place_and_its_answers_are_paid_for(
    run_dag: Test, world: World, again: tuple[Run, set[str]]
) -> None:
    promoted, before = again[0].registered, transforms(world)
    assert promoted["approval"] == "Approved"
    conf = {"dataset.name": "digits", "model_version": promoted["version"]}
    assert run_dag("deploy_endpoint", conf).state == "success"

    run = run_dag("train_model", {**CHOSEN, "dataset.version": promoted["dataset_version"]})

    assert run.registered["champion"] == promoted["arn"]
    assert transforms(world) - before == {run.returned["evaluation.transform_test_images"]["name"]}


@pytest.fixture(scope="module")
def asking(again: tuple[Run, set[str]]) -> dict[str, Any]:
    """The conf of a run that asks a person, and that would deploy."""
    version = again[0].registered["dataset_version"]
    return {**CHOSEN, "dataset.version": version, "promotion.approval": "person"}


def test_a_yes_of_a_person_deploys_the_model(run_dag: Test, world: World, asking: dict[str, Any]) -> None:
    before = serves(world)

    with person("Approve", "It sees more sevens") as asked:
        run = run_dag("image_classification", asking)

    assert (run.state, len(asked)) == ("success", 1)
    assert run.registered["approval"] == "PendingManualApproval", "until somebody decides"
    approved = run.returned["registration.approve_model"]
    assert (approved["approval"], approved["reason"]) == ("Approved", "Approved by Ada: It sees more sevens.")
    assert asked[0].startswith(f"Approve image-classification-digits version {approved['version']}?\nNot worse than")
    assert serves(world) != before


def test_without_an_answer_in_time_nothing_is_deployed_and_nothing_fails(
    run_dag: Test, world: World, asking: dict[str, Any]
) -> None:
    before = serves(world)

    with person(None) as asked:
        run = run_dag("image_classification", {**asking, "promotion.approval_hours": 0.0001})

    assert (run.state, len(asked), run.tasks["deployment.deploy"]) == ("success", 1, "skipped")
    decided = run.returned["registration.approve_model"]
    assert decided["approval"] == run.returned["summarise"]["approval"] == "PendingManualApproval"
    assert decided["reason"].startswith("Nobody answered within 0.0001 h.")
    assert serves(world) == before
