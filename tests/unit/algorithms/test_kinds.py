"""What jobs of a script and of a container are sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from include.algorithms.algorithm import IncompatibleModelError
from include.algorithms.kinds import algorithm_of
from include.datasets.replay import Replay
from include.run_conf import RunConf
from include.sagemaker.job_results import Objective
from include.training.best_model import BestModel
from include.training.job_requests import incremental_request, training_request, tuning_request
from tests.support.documents import dataset_version, settings
from tests.unit.training.test_job_requests import RUN, assert_aws_takes

VERSION = "s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/"
SCRIPT = {"training.algorithm.kind": "script"}
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/flowers@sha256:" + "0a" * 32
CONTAINER = {"training.algorithm.kind": "container", "training.algorithm.image": IMAGE}
HYPERPARAMETERS = {"network": "resnet34", "lr": 0.01, "batch_size": 32, "flip": False}


def request(make: Any, conf: Mapping[str, Any], *, given: Any = None, **more: Any) -> dict[str, Any]:
    algorithm = algorithm_of(RunConf.from_conf(conf), given or settings())
    body: dict[str, Any] = make("the-job", algorithm=algorithm, dataset=dataset_version(), run=RUN, **more)
    assert_aws_takes("CreateHyperParameterTuningJob" if make is tuning_request else "CreateTrainingJob", body)
    return body


def channels(body: Mapping[str, Any]) -> dict[str, str]:
    return {each["ChannelName"]: each["DataSource"]["S3DataSource"]["S3Uri"] for each in body["InputDataConfig"]}


def test_every_hyperparameter_of_a_script_is_json_as_the_toolkit_reads_it() -> None:
    body = request(training_request, {**SCRIPT, "training.algorithm.hyperparameters": HYPERPARAMETERS})

    sent = {name: json.loads(value) for name, value in body["HyperParameters"].items()}
    assert HYPERPARAMETERS.items() <= sent.items()
    assert sent["sagemaker_program"] == "train.py"
    assert sent["sagemaker_job_name"] == "the-job"
    assert sent["sagemaker_region"] == "eu-central-1"
    assert body["Environment"] == {"IMAGE_CLASSIFICATION_OBJECTIVE": "Maximize validation:accuracy"}


def test_the_projects_own_scripts_are_told_that_an_image_has_several_labels() -> None:
    several = dataset_version(multi_label=True)
    own = algorithm_of(RunConf.from_conf(SCRIPT), settings())
    other = algorithm_of(RunConf.from_conf({**SCRIPT, "training.algorithm.source": "s3://acme/mine/"}), settings())

    assert own.base_hyperparameters(several) == {"multi_label": "true"}
    assert own.base_hyperparameters(dataset_version()) == other.base_hyperparameters(several) == {}


def test_a_container_is_sent_texts_as_they_are() -> None:
    body = request(
        training_request,
        {
            **CONTAINER,
            "training.algorithm.hyperparameters": HYPERPARAMETERS,
            "training.algorithm.train_arguments": ["fit", "--fast"],
        },
    )

    assert body["HyperParameters"] == {"network": "resnet34", "lr": "0.01", "batch_size": "32", "flip": "false"}
    assert body["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert body["AlgorithmSpecification"]["ContainerArguments"] == ["fit", "--fast"]


def test_what_a_search_found_is_sent_on_without_a_second_pair_of_quotes() -> None:
    found = {"network": '"resnet50"', "lr": "0.0023", "_tuning_objective_metric": "validation:accuracy"}
    body = request(training_request, {**SCRIPT, "training.algorithm.hyperparameters": HYPERPARAMETERS}, tuned=found)

    sent = body["HyperParameters"]
    assert (sent["network"], sent["lr"], sent["batch_size"]) == ('"resnet50"', "0.0023", "32")
    assert "_tuning_objective_metric" not in sent


def test_the_lines_that_the_pytorch_scripts_print_are_metrics() -> None:
    defined = request(training_request, SCRIPT)["AlgorithmSpecification"]["MetricDefinitions"]

    assert [each["Name"] for each in defined] == [
        "train:accuracy",
        "train:loss",
        "validation:accuracy",
        "validation:loss",
    ]


def test_metrics_and_objective_are_what_the_conf_says() -> None:
    conf = {
        **CONTAINER,
        "training.algorithm.metric_definitions": {"val_loss": "val_loss: ([0-9.]+)"},
        "training.algorithm.objective": {"metric": "val_loss", "direction": "Minimize"},
    }
    body = request(training_request, conf)

    assert body["AlgorithmSpecification"]["MetricDefinitions"] == [{"Name": "val_loss", "Regex": "val_loss: ([0-9.]+)"}]
    assert Objective.of_job(body) == Objective(metric="val_loss", direction="Minimize")
    search = request(tuning_request, {**conf, "training.mode": "tune", "tuning.ranges": {"lr": {"min": 0.1, "max": 1}}})
    assert search["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] == {
        "Type": "Minimize",
        "MetricName": "val_loss",
    }
    assert Objective.of_job(search["TrainingJobDefinition"]) == Objective.of_search(search)


def test_ranges_are_of_the_kind_that_the_hyperparameter_is_of() -> None:
    ranges = {
        "lr": {"min": 0, "max": 1},
        "batch_size": {"min": 8, "max": 64},
        "depth": {"min": 2, "max": 8},
        "dropout": {"min": 0, "max": 1, "kind": "continuous"},
        "network": ["resnet18", "resnet34"],
        "width": [16, 32],
    }
    body = request(
        tuning_request,
        {
            **SCRIPT,
            "training.mode": "tune",
            "training.algorithm.hyperparameters": HYPERPARAMETERS,
            "tuning.ranges": ranges,
            "tuning.epochs": 3,
        },
    )

    found = body["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert {kind: [each["Name"] for each in spans] for kind, spans in found.items()} == {
        "ContinuousParameterRanges": ["lr", "dropout"],
        "IntegerParameterRanges": ["batch_size", "depth"],
        "CategoricalParameterRanges": ["network", "width"],
    }
    assert [each["Values"] for each in found["CategoricalParameterRanges"]] == [
        ['"resnet18"', '"resnet34"'],
        ["16", "32"],
    ]
    static = body["TrainingJobDefinition"]["StaticHyperParameters"]
    assert (static["flip"], static["epochs"]) == ("false", "3")
    assert not static.keys() & ranges.keys()


@pytest.mark.parametrize(
    ("chosen", "wanted"),
    [
        ("recordio", {"train": "train/", "validation": "validation/", "labels": "labels.json"}),
        ("folders", {"train": "folders/train/", "validation": "folders/validation/", "labels": "labels.json"}),
        ("manifest", {"manifest": "manifest.parquet", "labels": "labels.json"}),
    ],
)
def test_images_come_as_the_conf_asks_for_them(chosen: str, wanted: dict[str, str]) -> None:
    body = request(training_request, {**CONTAINER, "training.algorithm.channels": chosen})

    assert channels(body) == {name: f"{VERSION}{key}" for name, key in wanted.items()}


def test_weights_and_the_like_are_further_channels() -> None:
    weights = {"training.algorithm.further_channels": {"weights": "s3://acme-weights/resnet34.pth"}}

    assert channels(request(training_request, {**SCRIPT, **weights}))["weights"] == "s3://acme-weights/resnet34.pth"


BASE = BestModel(
    job="base-job",
    algorithm="script",
    objective=Objective.VALIDATION_ACCURACY,
    value=0.9,
    artifact="s3://models-of-acme/jobs/base-job/output/model.tar.gz",
    hyperparameters={"network": '"resnet34"', "lr": "0.01", "epochs": "20"},
)


def test_a_model_of_a_script_is_trained_further_with_the_base_jobs_hyperparameters_and_the_changes() -> None:
    changes = {"incremental.algorithm_hyperparameters": {"lr": 0.001, "epochs": 3}}
    replay = Replay(dataset_version(), "datasets/pets/20260102T030405Z-0a1b2c3d/replay/0.5-ab/train/", 4, 2, 4, ())
    body = request(incremental_request, {**SCRIPT, **changes}, base=BASE, replay=replay)

    sent = body["HyperParameters"]
    assert (sent["network"], sent["lr"], sent["epochs"]) == ('"resnet34"', "0.001", "3")
    assert channels(body)["model"] == BASE.artifact
    assert channels(body)["train"] == f"{VERSION}replay/0.5-ab/train/"


def test_a_model_of_another_algorithm_is_not_trained_further() -> None:
    with pytest.raises(IncompatibleModelError, match=r"base-job was trained by script, .*kind is container"):
        request(incremental_request, CONTAINER, base=BASE)


def test_a_container_without_a_network_gets_its_script_as_a_channel() -> None:
    body = request(training_request, SCRIPT, given=settings(network_isolation=True))

    submitted = json.loads(body["HyperParameters"]["sagemaker_submit_directory"])
    assert submitted == "/opt/ml/input/data/code/sourcedir.tar.gz"
    assert "code" in channels(body)


def test_the_image_follows_machine_and_version() -> None:
    conf = {**SCRIPT, "training.algorithm.framework_version": "2.8", "resources.instance_type": "ml.c5.xlarge"}
    image = request(training_request, conf)["AlgorithmSpecification"]["TrainingImage"]

    assert image == "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-training:2.8.0-cpu-py312"


def test_another_source_begins_without_the_checkpoints_of_this_one() -> None:
    def place(source: str) -> str:
        body = request(training_request, {**SCRIPT, "training.algorithm.source": source})
        return str(body["CheckpointConfig"]["S3Uri"])

    assert place("algorithms/pytorch") == place("algorithms/pytorch") != place("s3://acme/sourcedir.tar.gz")


def test_a_model_of_a_script_is_served_by_the_code_in_it() -> None:
    conf = RunConf.from_conf({**SCRIPT, "endpoint.instance_type": "ml.g5.xlarge"})
    container = algorithm_of(conf, settings()).container(BASE.artifact)

    assert "/pytorch-inference:" in container.image
    assert "-gpu-" in container.image
    assert container.artifact == BASE.artifact
    assert container.environment["SAGEMAKER_PROGRAM"] == "inference.py"
    assert container.environment["SAGEMAKER_SUBMIT_DIRECTORY"] == "/opt/ml/model/code"


def test_a_container_serves_with_its_own_image_unless_the_conf_names_another() -> None:
    types = {"training.algorithm.inference.content_types": ["image/jpeg"]}
    registered = algorithm_of(RunConf.from_conf({**CONTAINER, **types}), settings()).container("s3://m").specification
    other = RunConf.from_conf({**CONTAINER, "training.algorithm.inference.image": "acme/serve:1"})

    assert registered["Containers"] == [{"Image": IMAGE, "ModelDataUrl": "s3://m"}]
    assert registered["SupportedContentTypes"] == ["image/jpeg"]
    assert algorithm_of(other, settings()).container("s3://m").image == "acme/serve:1"
