"""A script and a container through the same chain: the write-ups' run confs, made small, on one dataset.

First the script is tuned, trained in full and deployed, on records. Then new images arrive, and its model is trained
further, on class folders. Then the container takes the dataset over, as any challenger may.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from include.sagemaker.job_results import describe_training_job
from include.training.run_jobs import epochs_of_attempt, tuning_result
from tests.support.airflow_home import ROOT
from tests.support.dag_test_runs import Run, Test, runner
from tests.support.documents import WRITE_UPS
from tests.support.local_aws import log_lines
from tests.support.world import DIGITS, World, digits, running_world

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.usefixtures("airflow_database"),
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (ROOT / ".venv-pytorch/bin/python").exists(),
        reason="the environment of the scripts (make pytorch) is absent",
    ),
]

IMAGES = 88
"""Of each digit, before the new ones arrive."""
DATASET = {
    "name": "digits",
    "packing": {"resize": 32},
    "split": {"train": 0.5, "validation": 0.25, "test": 0.25},
}
QUICK = {"network": "resnet18", "image_size": 32, "augmentation": "none", "loader_workers": 0, "statistics_every": 1}
WEIGHTS = """
import sys, torch
from residual_network import ResidualNetwork
torch.save(ResidualNetwork("resnet18", 1000).state_dict(), sys.argv[1])
"""


def example(name: str) -> dict[str, Any]:
    conf: dict[str, Any] = json.loads(WRITE_UPS[name].read_text(encoding="utf-8"))
    return conf


def changed(conf: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The conf with the changes in it, section by section."""
    merged = dict(conf)
    for name, value in changes.items():
        merged[name] = changed(merged.get(name, {}), value) if isinstance(value, Mapping) else value
    return merged


@pytest.fixture(scope="module")
def world(module_path: Path) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch, running_world(module_path / "aws", "--jobs", "2") as world:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.drop(digits(*DIGITS, count=IMAGES))
        yield world


@pytest.fixture(scope="module")
def run_dag(airflow_database: None, world: World) -> Test:
    return runner()


@pytest.fixture(scope="module")
def weights(world: World, module_path: Path) -> str:
    """Weights of another number of classes, in a file as torchvision has them."""
    file = module_path / "resnet18.pth"
    python = [str(ROOT / ".venv-pytorch/bin/python"), "-c", WEIGHTS, str(file)]
    subprocess.run(python, check=True, cwd=ROOT / "algorithms/pytorch", timeout=120)
    world.s3.upload_file(str(file), world.settings.data_bucket, "weights/resnet18.pth")
    return f"s3://{world.settings.data_bucket}/weights/resnet18.pth"


@pytest.fixture(scope="module")
def script(world: World, run_dag: Test, weights: str) -> Run:
    """The dog breeds' run conf: a script, tuned over learning rate and batch size, then trained in full."""
    algorithm = {"hyperparameters": {**QUICK, "epochs": 2, "batch_size": 32}, "further_channels": {"weights": weights}}
    smaller = {
        "training": {"algorithm": algorithm},
        "tuning": {"max_jobs": 2, "epochs": 1, "seed": 1, "ranges": {"network": ["resnet18"]}},
        "promotion": {"minimum_accuracy": 0.0},
    }
    conf = changed({**example("dog-breeds-script"), "dataset": DATASET}, smaller)
    return run_dag("image_classification", conf)


@pytest.fixture(scope="module")
def retraining(world: World, run_dag: Test, script: Run) -> Run:
    """New images arrive, and are read as class folders; whether the model is better is not what this is about."""
    world.drop(digits(*DIGITS, first=IMAGES, count=8))
    asked = {"dataset.name": "digits", "promotion.compare": "off", "training.algorithm.channels": "folders"}
    return run_dag("retrain_on_new_images", asked)


@pytest.fixture(scope="module")
def container(world: World, run_dag: Test, retraining: Run) -> Run:
    """The custom container's run conf on the same dataset."""
    smaller = {
        "training": {"algorithm": {"hyperparameters": {"epochs": 1, "image_size": 32}}},
        "promotion": {"compare": "off", "minimum_accuracy": 0.0},
        "endpoint": {"deploy": True},
    }
    conf = changed({**example("custom-container"), "dataset": DATASET}, smaller)
    return run_dag("image_classification", conf)


def job_of(world: World, run: Run) -> dict[str, Any]:
    """The training job of the model that a run registered."""
    described: dict[str, Any] = world.sagemaker.describe_training_job(TrainingJobName=run.registered["job"])
    return described


def served(world: World) -> dict[str, Any]:
    """The container that the dataset's endpoint serves."""
    endpoint = world.sagemaker.describe_endpoint(EndpointName="digits")
    config = world.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    (variant,) = config["ProductionVariants"]
    model: dict[str, Any] = world.sagemaker.describe_model(ModelName=variant["ModelName"])
    container: dict[str, Any] = model["PrimaryContainer"]
    return container


def test_a_script_is_tuned_trained_in_full_and_deployed(script: Run, world: World) -> None:
    assert script.state == "success", script.tasks
    tuned, full = script.returned["training.tune"], job_of(world, script)

    assert full["TrainingJobStatus"] == "Completed"
    sent = {name: json.loads(value) for name, value in full["HyperParameters"].items()}
    assert sent["batch_size"] in (32, 64, 128), "quoted once, as the script reads it"
    assert full["HyperParameters"]["lr"] == tuned["hyperparameters"]["lr"]
    assert sent["sagemaker_submit_directory"] == script.registered["source"]
    assert {channel["ChannelName"] for channel in full["InputDataConfig"]} == {
        "train",
        "validation",
        "labels",
        "weights",
    }
    assert script.registered["algorithm"] == "script"
    assert script.returned["deployment.deploy"]["status"] == "InService"
    assert script.returned["evaluation.evaluate"]["images"] == script.returned["dataset.publish"]["counts"]["test"]
    assert script.returned["deployment.predict"]["evaluation"]["images"] > 0


def test_the_search_is_read_from_its_logs_and_what_it_found_is_what_the_full_job_trains_with(
    script: Run, world: World
) -> None:
    sagemaker, logs, name = world.sagemaker, world.client("logs"), script.registered["job"]
    tuning = script.returned["training.tune"]["name"]
    search = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=tuning)

    found = tuning_result(sagemaker, logs, search)

    assert found.best_job, search
    assert (found.algorithm, found.kept_epoch) == ("script", 1)
    sent = job_of(world, script)["HyperParameters"]
    assert sent["network"] == found.hyperparameters["network"] == '"resnet18"'
    assert sent["lr"] == found.hyperparameters["lr"]
    assert any("network: resnet18" in line for line in log_lines(logs, name))
    epochs = epochs_of_attempt(sagemaker, logs, name)
    assert [epoch.epoch for epoch in epochs] == [0, 1]
    kept = next(epoch for epoch in reversed(epochs) if epoch.kept)
    result = describe_training_job(sagemaker, name).with_epochs(epochs)
    assert (result.value, result.kept_epoch) == (kept.validation_accuracy, kept.epoch + 1)
    assert result.dataset_uri == script.returned["dataset.publish"]["uri"]


def test_its_model_is_trained_further_when_images_arrive(retraining: Run, script: Run, world: World) -> None:
    assert retraining.state == "success", retraining.tasks
    name = retraining.returned["training.train_incremental"]["name"]
    job = world.sagemaker.describe_training_job(TrainingJobName=name)

    channels = {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in job["InputDataConfig"]}
    assert channels["model"] == script.registered["artifact"]
    assert all("/folders/" in channels[split] for split in ("train", "validation"))
    assert any("3 classes: 0, 1, 7" in line for line in log_lines(world.client("logs"), name))
    assert job["TrainingJobStatus"] == "Completed"
    assert retraining.registered["algorithm"] == "script"
    assert retraining.returned["evaluation.find_champion"]["version"]["arn"] == script.registered["arn"]
    assert retraining.returned["deployment.deploy"]["status"] == "InService"


def test_a_container_takes_the_dataset_over_like_any_challenger(container: Run, retraining: Run, world: World) -> None:
    assert container.state == "success", container.tasks
    job, model = job_of(world, container), container.registered

    assert job["AlgorithmSpecification"]["TrainingImage"] == model["image"] == served(world)["Image"]
    assert (model["algorithm"], model["source"]) == ("container", None)
    (folders,) = [each for each in job["InputDataConfig"] if each["ChannelName"] == "train"]
    assert "/folders/train/" in folders["DataSource"]["S3DataSource"]["S3Uri"]
    assert container.returned["evaluation.find_champion"]["version"]["arn"] == retraining.registered["arn"]
    assert served(world)["ModelDataUrl"] == model["artifact"]
    archive = world.keys(world.settings.output_bucket, f"jobs/{model['job']}/output/")
    assert any(key.endswith("model.tar.gz") for key in archive)
