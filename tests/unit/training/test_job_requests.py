from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from include.algorithms.algorithm import IncompatibleModelError
from include.algorithms.kinds import algorithm_of
from include.run_conf import RunConf
from include.sagemaker.containers import image_uri
from include.sagemaker.naming import Run
from include.training.best_model import BestModel
from include.training.job_requests import incremental_request, training_request, tuning_request
from include.training.warm_start import WarmStart
from tests.support.documents import BEST_MODEL, SMALL_NETWORK, dataset_version, settings

SAGEMAKER = botocore.session.get_session().get_service_model("sagemaker")
CONTAINER_METRICS = Path("containers/image_classification/metric_definitions.json")
LOG_LINE = "[01/02/2026 03:04:05 INFO 140413] Epoch[0] Validation-accuracy=0.253906"
RUN = Run("image_classification", "manual__2026-01-02")
BASE = BestModel(
    job="base-job",
    objective="validation:accuracy",
    value=0.9,
    artifact="s3://models-of-acme/jobs/base-job/output/model.tar.gz",
    hyperparameters={
        "num_layers": "20",
        "image_shape": "3,28,28",
        "num_classes": "3",
        "num_training_samples": "40",
        "multi_label": "0",
        "epochs": "10",
        "mini_batch_size": "16",
        "optimizer": "adam",
        "checkpoint_frequency": "5",
        "use_pretrained_model": "1",
    },
)


SMALL_BATCHES = {**SMALL_NETWORK, "training.hyperparameters.mini_batch_size": 32}


def request(kind: Any, conf: Mapping[str, Any], *, data: Any = None, given: Any = None, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = kind(
        "the-job",
        algorithm=algorithm_of(RunConf.from_conf(SMALL_BATCHES).changed_by(conf), given or settings()),
        dataset=data or dataset_version(),
        run=RUN,
        **more,
    )
    return body


def assert_aws_takes(operation: str, body: Mapping[str, Any]) -> None:
    """Check against botocore's model: what it checks itself, and enums, patterns and lengths on top."""
    shape = SAGEMAKER.operation_model(operation).input_shape
    report = ParamValidator().validate(body, shape)
    assert not report.has_errors(), report.generate_report()
    assert not list(violations(shape, body, operation))


def violations(shape: Any, value: Any, where: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from violations(shape.members[name], member, f"{where}.{name}")
    elif shape.type_name == "list":
        for member in value:
            yield from violations(shape.member, member, where)
    elif shape.type_name == "map":
        for key, member in value.items():
            yield from violations(shape.key, key, where)
            yield from violations(shape.value, member, f"{where}.{key}")
    elif shape.type_name == "string":
        yield from text_violations(shape, value, where)


def text_violations(shape: Any, value: str, where: str) -> Iterator[str]:
    pattern = shape.metadata.get("pattern", ".*")
    if shape.enum and value not in shape.enum:
        yield f"{where} = {value} is none of the enum"
    if "\\p" not in pattern and not re.fullmatch(pattern, value):
        yield f"{where} = {value} does not match {pattern}"
    if len(value) > shape.metadata.get("max", len(value)):
        yield f"{where} is too long"


def test_a_training_job_derives_everything_the_data_tells() -> None:
    body = request(training_request, {"training.hyperparameters.optimizer": "sgd"})
    assert_aws_takes("CreateTrainingJob", body)
    assert body["TrainingJobName"] == "the-job"
    assert body["HyperParameters"] == {
        "num_layers": "20",
        "image_shape": "3,28,28",
        "epochs": "5",
        "mini_batch_size": "32",
        "optimizer": "sgd",
        "num_classes": "3",
        "num_training_samples": "80",
        "multi_label": "0",
    }
    assert body["AlgorithmSpecification"]["TrainingImage"].endswith(
        ".dkr.ecr.eu-central-1.amazonaws.com/image-classification:1"
    )
    assert body["OutputDataConfig"] == {"S3OutputPath": "s3://models-of-acme/jobs"}
    assert [
        (channel["ChannelName"], channel["ContentType"], channel["DataSource"]["S3DataSource"])
        for channel in body["InputDataConfig"]
    ] == [
        (
            split,
            "application/x-recordio",
            {
                "S3DataType": "S3Prefix",
                "S3Uri": f"s3://images-of-acme/datasets/pets/20260102T030405Z-0a1b2c3d/{split}/",
                "S3DataDistributionType": "FullyReplicated",
            },
        )
        for split in ("train", "validation")
    ]


def test_everything_carries_dag_run_data_and_owner() -> None:
    body = request(training_request, {}, given=settings(owner="vision team", tags={"cost": "42"}))
    assert {tag["Key"]: tag["Value"] for tag in body["Tags"]} == {
        "cost": "42",
        "dag": "image_classification",
        "run": "manual__2026-01-02",
        "dataset-version": "pets/20260102T030405Z-0a1b2c3d",
        "owner": "vision team",
    }


def test_a_spot_job_keeps_checkpoints_and_waits() -> None:
    body = request(training_request, {"resources.spot": True, "resources.max_runtime_seconds": 3600})
    assert_aws_takes("CreateTrainingJob", body)
    assert body["EnableManagedSpotTraining"] is True
    assert body["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert body["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"


def test_every_attempt_of_a_task_keeps_its_checkpoints_in_one_place_and_what_learns_something_else_in_another() -> None:
    def place(conf: Mapping[str, Any], run: Run = RUN, kind: Any = training_request, **more: Any) -> str:
        body = kind("the-job", algorithm=algorithm_of(RunConf.from_conf(conf), settings()), run=run, **more)
        assert_aws_takes("CreateTrainingJob", body)
        return str(body["CheckpointConfig"]["S3Uri"])

    version, other = (
        dataset_version(),
        dataset_version(uri="s3://images-of-acme/datasets/pets/20260103T030405Z-0a1b2c3d/"),
    )
    machine = {"resources.instance_type": "ml.g5.2xlarge", "resources.spot": True}
    base = BestModel.model_validate(BEST_MODEL)
    first = place({}, dataset=version)
    others = [
        place({"training.hyperparameters.epochs": 3}, dataset=version),
        place({}, dataset=other),
        place({}, Run(RUN.dag_id, RUN.run_id, "training.train/1"), dataset=version),
        place({}, Run(RUN.dag_id, "manual__2"), dataset=version),
        place({}, dataset=version, kind=incremental_request, base=base),
        place({}, dataset=version, kind=incremental_request, base=base.model_copy(update={"artifact": "s3://b/m.gz"})),
    ]

    assert first.startswith("s3://models-of-acme/checkpoints/")
    assert place(machine, dataset=version) == first, "another machine goes on where the first one was"
    assert len({first, *others}) == 1 + len(others)


def test_network_and_key_come_from_the_settings() -> None:
    guarded = settings(kms_key_id="key-1", subnets=["subnet-1"], security_group_ids=["sg-1"], network_isolation=True)
    body = request(training_request, {"resources.instance_type": "ml.p3.2xlarge"}, given=guarded)
    assert_aws_takes("CreateTrainingJob", body)
    assert body["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert body["EnableNetworkIsolation"] is True
    assert body["OutputDataConfig"]["KmsKeyId"] == body["ResourceConfig"]["VolumeKmsKeyId"] == "key-1"


def test_a_machine_with_disks_of_its_own_takes_no_volume_key() -> None:
    body = request(training_request, {"resources.instance_type": "ml.g5.xlarge"}, given=settings(kms_key_id="key-1"))
    assert "VolumeKmsKeyId" not in body["ResourceConfig"]


def test_an_incremental_job_holds_the_network_and_changes_what_the_conf_says() -> None:
    body = request(incremental_request, {"incremental.hyperparameters.mini_batch_size": 8}, base=BASE)
    assert_aws_takes("CreateTrainingJob", body)
    assert body["HyperParameters"] == {
        "num_layers": "20",
        "image_shape": "3,28,28",
        "num_classes": "3",
        "num_training_samples": "80",
        "multi_label": "0",
        "epochs": "2",
        "learning_rate": "0.01",
        "mini_batch_size": "8",
        "optimizer": "adam",
        "checkpoint_frequency": "2",
    }
    model = body["InputDataConfig"][-1]
    assert (model["ChannelName"], model["ContentType"]) == ("model", "application/x-sagemaker-model")
    assert model["DataSource"]["S3DataSource"]["S3Uri"] == BASE.artifact


def test_an_incremental_job_with_other_classes_says_train_in_full() -> None:
    with pytest.raises(IncompatibleModelError) as refused:
        request(incremental_request, {}, base=BASE, data=dataset_version(labels=["cat", "dog"]))
    assert str(refused.value) == (
        "The base job has 3 classes, dataset pets/20260102T030405Z-0a1b2c3d has 2. "
        "Classes cannot be added to a model: train in full instead."
    )


def test_debugger_watches_full_jobs_and_no_jobs_of_a_search() -> None:
    rules = {"ProfilerReport": {}, "VanishingGradient": {"threshold": 1e-7}}
    conf = {"training.debugger": {"rules": rules, "hook": {"train.save_interval": 100}}}
    fields = {"DebugHookConfig", "DebugRuleConfigurations", "ProfilerConfig", "ProfilerRuleConfigurations"}

    base, further = request(training_request, conf), request(incremental_request, conf, base=BASE)

    for body in (base, further):
        assert_aws_takes("CreateTrainingJob", body)
        assert body["DebugHookConfig"]["S3OutputPath"] == body["OutputDataConfig"]["S3OutputPath"]
        assert body["DebugRuleConfigurations"][0]["RuleParameters"]["threshold"] == "1e-07"
    assert fields <= base.keys() & further.keys()
    assert not fields & request(training_request, {}).keys()
    assert not fields & request(tuning_request, {**conf, "training.mode": "tune"})["TrainingJobDefinition"].keys()


def test_a_tuning_job_without_ranges_takes_the_documented_ones_capped_by_the_data() -> None:
    body = request(tuning_request, {"training.mode": "tune", "tuning.seed": 7})
    assert_aws_takes("CreateHyperParameterTuningJob", body)
    config = body["HyperParameterTuningJobConfig"]
    ranges = config["ParameterRanges"]
    assert {span["Name"] for span in ranges["ContinuousParameterRanges"]} == {
        "beta_1",
        "beta_2",
        "eps",
        "gamma",
        "learning_rate",
        "momentum",
        "weight_decay",
    }
    assert ranges["IntegerParameterRanges"] == [
        {"Name": "mini_batch_size", "MinValue": "8", "MaxValue": "20", "ScalingType": "Auto"}
    ]
    assert ranges["CategoricalParameterRanges"] == [{"Name": "optimizer", "Values": ["sgd", "adam", "rmsprop", "nag"]}]
    assert config["RandomSeed"] == 7
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "validation:accuracy"}
    assert body["TrainingJobDefinition"]["StaticHyperParameters"] == {
        "num_layers": "20",
        "image_shape": "3,28,28",
        "epochs": "5",
        "num_classes": "3",
        "num_training_samples": "80",
        "multi_label": "0",
    }


def test_a_fixed_optimizer_is_tuned_by_what_it_reads() -> None:
    body = request(tuning_request, {"training.mode": "tune", "training.hyperparameters.optimizer": "adam"})
    ranges = body["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert {span["Name"] for span in ranges["ContinuousParameterRanges"]} == {
        "beta_1",
        "beta_2",
        "eps",
        "learning_rate",
    }
    assert "CategoricalParameterRanges" not in ranges


def test_a_dataset_below_the_smallest_documented_batch_leaves_the_batch_alone() -> None:
    data = dataset_version(counts={"train": 20, "validation": 6, "test": 6})
    body = request(tuning_request, {"training.mode": "tune"}, data=data)
    assert "IntegerParameterRanges" not in body["HyperParameterTuningJobConfig"]["ParameterRanges"]
    assert body["TrainingJobDefinition"]["StaticHyperParameters"]["mini_batch_size"] == "32"


def test_a_grid_runs_one_job_a_combination() -> None:
    body = request(
        tuning_request,
        {
            "training.mode": "tune",
            "tuning.strategy": "Grid",
            "tuning.ranges": {"mini_batch_size": [8, 16, 20], "learning_rate": [0.001, 0.003]},
        },
    )
    assert_aws_takes("CreateHyperParameterTuningJob", body)
    config = body["HyperParameterTuningJobConfig"]
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 2}
    assert config["ParameterRanges"] == {
        "CategoricalParameterRanges": [
            {"Name": "mini_batch_size", "Values": ["8", "16", "20"]},
            {"Name": "learning_rate", "Values": ["0.001", "0.003"]},
        ]
    }


def test_hyperband_spends_epochs() -> None:
    body = request(tuning_request, {"training.mode": "tune", "tuning.strategy": "Hyperband"})
    assert_aws_takes("CreateHyperParameterTuningJob", body)
    assert body["HyperParameterTuningJobConfig"]["StrategyConfig"] == {
        "HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 5}
    }


def test_an_image_of_ones_own_comes_from_the_settings() -> None:
    assert image_uri(settings(image_uri="acme/image-classification:2")) == "acme/image-classification:2"


@pytest.mark.parametrize(
    "image",
    [
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/image-classification:1",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/acme/image-classification:1",
        "813361260812.dkr.ecr.eu-central-1.amazonaws.com/other:1",
        "811284229777.dkr.ecr.eu-central-1.amazonaws.com/image-classification:1",
    ],
)
def test_an_image_of_ones_own_brings_the_definitions_of_its_metrics(image: str) -> None:
    given = settings(image_uri=image)
    plain = request(training_request, {}, given=given)
    further = request(incremental_request, {}, given=given, base=BASE)
    search = request(tuning_request, {"training.mode": "tune"}, given=given)
    assert_aws_takes("CreateTrainingJob", plain)
    assert_aws_takes("CreateTrainingJob", further)
    assert_aws_takes("CreateHyperParameterTuningJob", search)
    for body in (plain, further, search["TrainingJobDefinition"]):
        definitions = body["AlgorithmSpecification"]["MetricDefinitions"]
        assert definitions == json.loads(CONTAINER_METRICS.read_text())
        found = {metric["Name"]: re.search(metric["Regex"], LOG_LINE) for metric in definitions}
        assert {name: match[1] for name, match in found.items() if match} == {
            "validation:accuracy": "0.253906",
            "validation:accuracy:epoch": "0.253906",
        }


@pytest.mark.parametrize(
    "image",
    [
        "",
        "813361260812.dkr.ecr.eu-central-1.amazonaws.com/image-classification:latest",
        "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification",
        f"811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification@sha256:{'0' * 64}",
    ],
)
def test_awss_own_image_takes_no_definitions(image: str) -> None:
    body = request(training_request, {}, given=settings(image_uri=image))
    assert "MetricDefinitions" not in body["AlgorithmSpecification"]


LIMITS = {
    "tuning.max_jobs": 20,
    "tuning.max_parallel_jobs": 4,
    "tuning.max_runtime_seconds": 7200,
    "tuning.early_stopping": True,
    "tuning.completion": {"target": 0.97, "jobs_without_improvement": 5, "converged": True},
}


def test_a_tuning_job_ends_when_its_budget_or_its_aim_is_reached() -> None:
    body = request(tuning_request, {"training.mode": "tune", **LIMITS})
    assert_aws_takes("CreateHyperParameterTuningJob", body)
    config = body["HyperParameterTuningJobConfig"]
    assert config["ResourceLimits"] == {
        "MaxNumberOfTrainingJobs": 20,
        "MaxParallelTrainingJobs": 4,
        "MaxRuntimeInSeconds": 7200,
    }
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    assert config["TuningJobCompletionCriteria"] == {
        "TargetObjectiveMetricValue": 0.97,
        "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 5},
        "ConvergenceDetected": {"CompleteOnConvergence": "Enabled"},
    }


def test_without_an_aim_the_budget_alone_ends_a_tuning_job() -> None:
    config = request(tuning_request, {"training.mode": "tune"})["HyperParameterTuningJobConfig"]
    assert "TuningJobCompletionCriteria" not in config
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}


def test_ranges_of_all_types_and_scalings_reach_the_request() -> None:
    ranges = {
        "learning_rate": {"min": 1e-4, "max": 0.1, "scaling": "Logarithmic"},
        "momentum": {"min": 0.5, "max": 0.99, "scaling": "ReverseLogarithmic"},
        "weight_decay": {"min": 0.0, "max": 0.01, "scaling": "Linear"},
        "mini_batch_size": {"min": 8, "max": 20, "scaling": "Logarithmic"},
        "optimizer": ["sgd", "nag"],
    }
    body = request(tuning_request, {"training.mode": "tune", "tuning.ranges": ranges})
    assert_aws_takes("CreateHyperParameterTuningJob", body)
    assert body["HyperParameterTuningJobConfig"]["ParameterRanges"] == {
        "ContinuousParameterRanges": [
            {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.1", "ScalingType": "Logarithmic"},
            {"Name": "momentum", "MinValue": "0.5", "MaxValue": "0.99", "ScalingType": "ReverseLogarithmic"},
            {"Name": "weight_decay", "MinValue": "0.0", "MaxValue": "0.01", "ScalingType": "Linear"},
        ],
        "IntegerParameterRanges": [
            {"Name": "mini_batch_size", "MinValue": "8", "MaxValue": "20", "ScalingType": "Logarithmic"}
        ],
        "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["sgd", "nag"]}],
    }


@pytest.mark.parametrize("strategy", ["Bayesian", "Random", "Hyperband", "Grid"])
def test_a_tuning_job_may_have_fewer_epochs_than_the_base_job(strategy: str) -> None:
    conf = {
        "training.mode": "tune_then_train",
        "training.hyperparameters": {"epochs": 18, "checkpoint_frequency": 3},
        "tuning.strategy": strategy,
        "tuning.epochs": 3,
        "tuning.ranges": {"learning_rate": [0.01, 0.1]},
    }
    body = request(tuning_request, conf)
    assert_aws_takes("CreateHyperParameterTuningJob", body)
    static = body["TrainingJobDefinition"]["StaticHyperParameters"]
    assert (static["epochs"], static["checkpoint_frequency"]) == ("3", "3")
    assert "learning_rate" not in static
    hyperband = body["HyperParameterTuningJobConfig"].get("StrategyConfig", {})
    assert hyperband == (
        {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 3}} if strategy == "Hyperband" else {}
    )
    tuned = {"learning_rate": "0.1", "_tuning_objective_metric": "validation:accuracy"}
    full = request(training_request, conf, tuned=tuned)["HyperParameters"]
    assert (full["epochs"], full["learning_rate"]) == ("18", "0.1")
    assert "_tuning_objective_metric" not in full


def test_earlier_tuning_jobs_are_named_in_the_request() -> None:
    start = WarmStart(["tune-1", "tune-2"], "TransferLearning")
    body = start.added_to(request(tuning_request, {"training.mode": "tune"}))
    assert_aws_takes("CreateHyperParameterTuningJob", body)
    assert body["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [
            {"HyperParameterTuningJobName": "tune-1"},
            {"HyperParameterTuningJobName": "tune-2"},
        ],
        "WarmStartType": "TransferLearning",
    }


GUARDED = {
    "kms_key_id": "key-1",
    "subnets": ["subnet-1"],
    "security_group_ids": ["sg-1"],
    "network_isolation": True,
    "keep_alive_seconds": 600,
}


@pytest.mark.parametrize("kind", [training_request, incremental_request, tuning_request])
def test_what_the_installation_says_holds_for_every_kind_of_job(kind: Any) -> None:
    conf = {"training.mode": "both", "resources": {"instance_type": "ml.p3.2xlarge", "volume_gb": 77}}
    more = {"base": BASE} if kind is incremental_request else {}
    body = request(kind, conf, given=settings(**GUARDED), **more)
    assert_aws_takes("CreateHyperParameterTuningJob" if kind is tuning_request else "CreateTrainingJob", body)
    definition = body.get("TrainingJobDefinition", body)
    assert definition["ResourceConfig"] == {
        "InstanceType": "ml.p3.2xlarge",
        "InstanceCount": 1,
        "VolumeSizeInGB": 77,
        "VolumeKmsKeyId": "key-1",
        "KeepAlivePeriodInSeconds": 600,
    }
    assert definition["OutputDataConfig"]["KmsKeyId"] == "key-1"
    assert definition["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert definition["EnableNetworkIsolation"] is True


@pytest.mark.parametrize("kind", [training_request, incremental_request, tuning_request])
def test_spot_machines_keep_checkpoints_and_are_not_kept_warm(kind: Any) -> None:
    more = {"base": BASE} if kind is incremental_request else {}
    conf = {"training.mode": "both", "resources.spot": True}
    body = request(kind, conf, given=settings(keep_alive_seconds=600), **more)
    definition = body.get("TrainingJobDefinition", body)
    assert "KeepAlivePeriodInSeconds" not in definition["ResourceConfig"]
    assert definition["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"
    assert definition["EnableManagedSpotTraining"] is True


def test_machines_are_not_kept_unless_the_installation_says_so() -> None:
    assert "KeepAlivePeriodInSeconds" not in request(training_request, {})["ResourceConfig"]
