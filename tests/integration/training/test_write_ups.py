"""The trainings of the write-ups, from the examples' own run confs, as a local AWS takes and runs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from include.algorithms.kinds import algorithm_of
from include.datasets.version import DatasetVersion
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult, describe_training_job
from include.sagemaker.naming import Run
from include.training.best_model import select_best
from include.training.job_requests import incremental_request, training_request, tuning_request
from include.training.run_jobs import RunJob, tuned_jobs
from tests.support.documents import WRITE_UPS, dataset_version, settings
from tests.support.local_aws import BUCKET, ROOT, RunningLocalAws, eventually, finished_job, start_local_aws
from tests.support.squares import records

EXAMPLES = {
    path.stem: path
    for path in WRITE_UPS.values()
    if "algorithm" not in json.loads(path.read_text(encoding="utf-8"))["training"]
}
"""Those of the built-in algorithm; tests/end_to_end/test_own_algorithms.py has the others."""
CLASSIFIER = ROOT / "tests/support/scripted_classifier.py"
INSTALLATION = settings(data_bucket=BUCKET, output_bucket=BUCKET, region="us-east-1")
RUN = Run("image_classification", "manual__2026-01-02")
TUNED = sorted(name for name, path in EXAMPLES.items() if "tuning" in json.loads(path.read_text(encoding="utf-8")))


def running(state: Path, *arguments: str) -> Iterator[RunningLocalAws]:
    aws = start_local_aws(state, "--jobs", "6", *arguments)
    try:
        aws.client("s3").create_bucket(Bucket=BUCKET)
        yield aws
    finally:
        aws.end()


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    """A local AWS whose algorithm takes no time: accuracies follow from the hyperparameters."""
    image = f"image-classification={sys.executable} {CLASSIFIER}"
    yield from running(tmp_path_factory.mktemp("aws"), "--image", image)


@pytest.fixture(scope="module")
def training_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    """A local AWS with the real algorithm."""
    yield from running(tmp_path_factory.mktemp("training-aws"))


def example(name: str, **sections: dict[str, Any]) -> RunConf:
    """An example's run conf; `sections` change fields where the stand-in is smaller."""
    conf = json.loads(EXAMPLES[name].read_text(encoding="utf-8"))
    for section, fields in sections.items():
        conf[section] = {**conf.get(section, {}), **fields}
    return RunConf.from_conf(conf)


def version(aws: RunningLocalAws, conf: RunConf, train: int = 15420, validation: int = 7594) -> DatasetVersion:
    """A dataset version with records of squares behind its channels, said to be as many as the write-up has."""
    uri = f"s3://{BUCKET}/datasets/{conf.dataset.name}/1/"
    for split, count in (("train", train), ("validation", validation)):
        body = records(min(count, 64), seed=0)
        key = f"datasets/{conf.dataset.name}/1/{split}/{split}.rec"
        aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    return dataset_version(
        name=conf.dataset.name,
        version="1",
        uri=uri,
        labels=["dark", "bright"],
        multi_label=conf.dataset.multi_label,
        counts={"train": train, "validation": validation, "test": 10},
    )


def trained(aws: RunningLocalAws, request: dict[str, Any]) -> JobResult:
    """Run a training job to its end."""
    sagemaker = aws.client("sagemaker")
    sagemaker.create_training_job(**request)
    finished_job(sagemaker, request["TrainingJobName"], seconds=120)
    return describe_training_job(sagemaker, request["TrainingJobName"])


def tuned(aws: RunningLocalAws, request: dict[str, Any]) -> dict[str, Any]:
    """Run a tuning job to its end, and describe it."""
    sagemaker, name = aws.client("sagemaker"), request["HyperParameterTuningJobName"]
    sagemaker.create_hyper_parameter_tuning_job(**request)

    def look() -> dict[str, Any] | None:
        said: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        return said if said["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping") else None

    described: dict[str, Any] = eventually(look, 180)
    return described


def inputs(conf: RunConf, dataset: DatasetVersion) -> dict[str, Any]:
    """What every request is made from."""
    return {"algorithm": algorithm_of(conf, INSTALLATION), "dataset": dataset, "run": RUN}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_base_job_of_an_example_runs_and_its_model_goes_on(aws: RunningLocalAws, name: str) -> None:
    conf = example(name)
    given = inputs(conf, version(aws, conf))

    base = trained(aws, training_request(f"{name}-base", **given))

    assert (base.status, base.instance_type) == ("Completed", conf.resources.instance_type)
    if not conf.incremental.enabled:
        return
    best = select_best([RunJob(base, "base")]).best
    incremental = trained(aws, incremental_request(f"{name}-next", base=best, **given))
    asked = conf.incremental.hyperparameters.as_strings()
    assert (incremental.status, incremental.role) == ("Completed", "incremental")
    assert asked.items() <= incremental.hyperparameters.items()
    assert incremental.hyperparameters["num_layers"] == base.hyperparameters["num_layers"]


@pytest.mark.parametrize("name", TUNED)
def test_the_tuning_job_of_an_example_runs_within_its_budget(aws: RunningLocalAws, name: str) -> None:
    conf = example(name)
    given = inputs(conf, version(aws, conf))

    described = tuned(aws, tuning_request(f"{name[:20]}-tune", **given))

    jobs = tuned_jobs(aws.client("sagemaker"), described)
    assert [job.status for job in jobs] == ["Completed"] * conf.tuning.max_jobs
    epochs = conf.tuning.epochs or conf.training.hyperparameters.epochs
    assert {job.hyperparameters["epochs"] for job in jobs} == {str(epochs)}
    best = select_best([RunJob(job, "tuning", tuning_job=f"{name}-tune") for job in jobs]).best
    assert best.job == described["BestTrainingJob"]["TrainingJobName"]


@pytest.mark.parametrize("scaling", ["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"])
@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Hyperband"])
def test_every_strategy_and_scaling_searches_every_type_of_range(
    aws: RunningLocalAws, strategy: str, scaling: str
) -> None:
    ranges = {
        "learning_rate": {"min": 0.001, "max": 0.5, "scaling": scaling},
        "mini_batch_size": {"min": 8, "max": 32},
        "optimizer": ["sgd", "adam"],
    }
    conf = RunConf.from_conf(
        {
            "dataset.name": "strategies",
            "training.mode": "tune",
            "training.hyperparameters.epochs": 4,
            "tuning.strategy": strategy,
            "tuning.max_jobs": 3,
            "tuning.max_parallel_jobs": 2,
            "tuning.ranges": ranges,
        }
    )
    given = inputs(conf, version(aws, conf))

    described = tuned(aws, tuning_request(f"{strategy}-{scaling}", **given))

    assert described["HyperParameterTuningJobStatus"] == "Completed", described.get("FailureReason")
    jobs = tuned_jobs(aws.client("sagemaker"), described)
    assert len(jobs) == 3
    for job in jobs:
        assert 0.001 <= float(job.hyperparameters["learning_rate"]) <= 0.5
        assert int(job.hyperparameters["mini_batch_size"]) in range(8, 33)
        assert job.hyperparameters["optimizer"] in ("sgd", "adam")


def test_cats_and_dogs_go_on_from_the_tuned_model_with_other_epochs_rate_and_batch(aws: RunningLocalAws) -> None:
    conf = example("cats-and-dogs")
    given = inputs(conf, version(aws, conf))
    described = tuned(aws, tuning_request("pets-tune-then-on", **given))
    jobs = tuned_jobs(aws.client("sagemaker"), described)

    best = select_best([RunJob(job, "tuning") for job in jobs]).best
    body = incremental_request("pets-next", base=best, **given)

    sent = body["HyperParameters"]
    assert (sent["epochs"], sent["learning_rate"], sent["mini_batch_size"], sent["top_k"]) == ("2", "0.01", "64", "2")
    assert body["InputDataConfig"][-1]["DataSource"]["S3DataSource"]["S3Uri"] == best.artifact
    assert trained(aws, body).status == "Completed"


@pytest.mark.skipif(
    not (ROOT / ".venv-mxnet/bin/python").exists(), reason="the algorithm's environment (make setup) is not there"
)
def test_dog_breeds_are_tuned_and_then_trained_with_the_best_for_real(training_aws: RunningLocalAws) -> None:
    small = {"num_layers": 20, "image_shape": "3,28,28", "epochs": 2}
    ranges = {"learning_rate": {"min": 0.001, "max": 0.003}, "mini_batch_size": [16, 32]}
    conf = example(
        "dog-breeds",
        training={"mode": "tune_then_train", "hyperparameters": small},
        tuning={"max_jobs": 2, "epochs": 1, "ranges": ranges, "seed": 1},
    )
    dataset = version(training_aws, conf, train=64, validation=32)
    given = inputs(conf, dataset)
    request = tuning_request("dogs-tune", **given)
    request["TrainingJobDefinition"]["Environment"] = {"OMP_NUM_THREADS": "1"}

    described = tuned(training_aws, request)
    found = JobResult.of_tuning_job(described)
    full = trained(training_aws, training_request("dogs-full", tuned=found.hyperparameters, **given))

    assert (described["HyperParameterTuningJobStatus"], full.status) == ("Completed", "Completed")
    assert full.hyperparameters["learning_rate"] == found.hyperparameters["learning_rate"]
    assert (full.hyperparameters["epochs"], full.hyperparameters["mini_batch_size"]) == (
        "2",
        found.hyperparameters["mini_batch_size"],
    )
    assert "validation:accuracy" in full.metrics
