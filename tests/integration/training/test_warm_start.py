"""Which tuning jobs a search starts with, as a local AWS holds them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from include.algorithms.kinds import algorithm_of
from include.datasets.version import DatasetVersion
from include.run_conf import RunConf
from include.sagemaker.naming import Run
from include.training.job_requests import tuning_request
from include.training.warm_start import WarmStart, WarmStartError, warm_start
from tests.support.documents import dataset_version, settings
from tests.support.local_aws import BUCKET, ROOT, RunningLocalAws, eventually, start_local_aws

SCRIPTED = ROOT / "tests/local_aws/sagemaker/scripted_algorithm.py"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
INSTALLATION = settings(data_bucket=BUCKET, output_bucket=BUCKET, region="us-east-1", image_uri=IMAGE)
CONF = {
    "training.mode": "tune",
    "tuning.max_jobs": 1,
    "tuning.max_parallel_jobs": 1,
    "tuning.ranges": {"learning_rate": {"min": 0.01, "max": 0.1}},
}
Tune = Callable[..., str]
GRID = {"tuning.strategy": "Grid", "tuning.ranges": {"learning_rate": [0.01, 0.1]}}


def version(name: str, number: str) -> DatasetVersion:
    return dataset_version(name=name, version=number, uri=f"s3://{BUCKET}/datasets/{name}/{number}/")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLocalAws]:
    image = f"image-classification={sys.executable} {SCRIPTED}"
    running = start_local_aws(tmp_path_factory.mktemp("aws"), "--jobs", "4", "--image", image)
    try:
        running.client("s3").create_bucket(Bucket=BUCKET)
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def sagemaker(aws: RunningLocalAws) -> Any:
    return aws.client("sagemaker")


@pytest.fixture(scope="module")
def tune(aws: RunningLocalAws, sagemaker: Any) -> Tune:
    """Runs a tuning job of a dataset version, to its end unless it is told to go on."""

    def tune(name: str, dataset: DatasetVersion, *, ends: bool = True, **changes: Any) -> str:
        for split in ("train", "validation"):
            key = f"datasets/{dataset.name}/{dataset.version}/{split}/{split}.rec"
            aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"records")
        request = search(name, dataset, **changes)
        if not ends:
            request["TrainingJobDefinition"]["StaticHyperParameters"]["epoch_seconds"] = "60"
        sagemaker.create_hyper_parameter_tuning_job(**request)
        if ends:
            describe = sagemaker.describe_hyper_parameter_tuning_job
            eventually(
                lambda: describe(HyperParameterTuningJobName=name)["HyperParameterTuningJobStatus"] == "Completed"
            )
        return name

    return tune


def resolved(sagemaker: Any, dataset: DatasetVersion, **changes: Any) -> WarmStart | None:
    conf = RunConf.from_conf({**CONF, **changes})
    return warm_start(sagemaker, conf, dataset, search("child", dataset, **changes))


def search(name: str, dataset: DatasetVersion, **changes: Any) -> dict[str, Any]:
    """The request of a tuning job."""
    algorithm = algorithm_of(RunConf.from_conf({**CONF, **changes}), INSTALLATION)
    return tuning_request(name, algorithm=algorithm, dataset=dataset, run=Run("d", "r"))


def test_without_parents_the_search_starts_anew(sagemaker: Any) -> None:
    assert resolved(sagemaker, version("pets", "1")) is None


def test_latest_without_an_earlier_tuning_job_says_so_and_starts_anew(
    sagemaker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert resolved(sagemaker, version("never-tuned", "1"), **{"tuning.warm_start.from": "latest"}) is None
    assert "No finished tuning job of dataset never-tuned to start with: the search starts from scratch." in caplog.text


def test_latest_is_the_newest_finished_tuning_job_of_the_dataset(sagemaker: Any, tune: Tune) -> None:
    first, second = version("owls", "1"), version("owls", "2")
    tune("owls-old", first)
    tune("owls-new", first)
    tune("owls-grid", first, **GRID)
    tune("owls-top-two", first, **{"training.hyperparameters.top_k": 2})
    tune("owls-and-more", version("owls-and-more", "1"))
    tune("owls-running", first, ends=False)
    latest = {"tuning.warm_start.from": "latest"}

    assert resolved(sagemaker, first, **latest) == WarmStart(["owls-new"], "IdenticalDataAndAlgorithm")
    assert resolved(sagemaker, second, **latest) == WarmStart(["owls-new"], "TransferLearning")
    assert resolved(sagemaker, first, **GRID, **latest) == WarmStart(["owls-grid"], "IdenticalDataAndAlgorithm")
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="owls-running")


def test_a_type_that_is_given_stays(sagemaker: Any, tune: Tune) -> None:
    tune("foxes-1", version("foxes", "1"))
    changes = {"tuning.warm_start.from": ["foxes-1"], "tuning.warm_start.type": "TransferLearning"}

    assert resolved(sagemaker, version("foxes", "1"), **changes) == WarmStart(["foxes-1"], "TransferLearning")


def test_named_parents_that_cannot_be_learned_from_are_told_all_at_once(sagemaker: Any, tune: Tune) -> None:
    dataset = version("bats", "1")
    tune("bats-running", dataset, ends=False)
    tune("bats-grid", dataset, **GRID)
    parents = ["bats-running", "bats-grid", "nobodys"]

    with pytest.raises(WarmStartError) as refused:
        resolved(sagemaker, dataset, **{"tuning.warm_start.from": parents})

    told = [(problem.value, problem.remedy) for problem in refused.value.problems]
    assert ("bats-running", "is InProgress: wait until it has ended, or name another") in told
    assert ("nobodys", "there is no tuning job of this name here") in told
    kind = "has ranges of another kind for learning_rate: give tuning.ranges of the same kind"
    assert ("bats-grid", kind) in told
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="bats-running")


def test_a_search_really_starts_with_its_parents(sagemaker: Any, tune: Tune) -> None:
    dataset = version("cats", "1")
    tune("cats-1", dataset)
    start = resolved(sagemaker, dataset, **{"tuning.warm_start.from": "latest"})

    assert start is not None
    sagemaker.create_hyper_parameter_tuning_job(**start.added_to(search("cats-2", dataset)))
    said = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="cats-2")
    assert said["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "cats-1"}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
