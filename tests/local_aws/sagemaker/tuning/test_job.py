from __future__ import annotations

import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.sagemaker.conftest import BUCKET, IMAGE, Scripted, unique, wait_for
from tests.support.local_aws import ROLE

OBJECTIVE = {"Type": "Maximize", "MetricName": "validation:accuracy"}
METRICS = [{"Name": "validation:accuracy", "Regex": r"Validation-accuracy=(\S+)"}]


def definition(**changes: Any) -> dict[str, Any]:
    return {
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": METRICS,
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/tuning"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
        "StaticHyperParameters": {"epochs": "1"},
        **changes,
    }


def qualities(*values: str) -> dict[str, Any]:
    return {"CategoricalParameterRanges": [{"Name": "quality", "Values": list(values)}]}


def between(low: str, high: str) -> dict[str, Any]:
    return {"ContinuousParameterRanges": [{"Name": "quality", "MinValue": low, "MaxValue": high}]}


def request(ranges: dict[str, Any], *, jobs: int | None = 3, parallel: int = 2, **config: Any) -> dict[str, Any]:
    limits = {"MaxParallelTrainingJobs": parallel, **({"MaxNumberOfTrainingJobs": jobs} if jobs else {})}
    return {
        "HyperParameterTuningJobName": unique("tune"),
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": OBJECTIVE,
            "ResourceLimits": limits,
            "ParameterRanges": ranges,
            **config,
        },
        "TrainingJobDefinition": definition(),
    }


def tuned(control: Any, document: dict[str, Any]) -> dict[str, Any]:
    """Run a tuning job to its end and describe it."""
    control.create_hyper_parameter_tuning_job(**document)
    name = document["HyperParameterTuningJobName"]
    return wait_for(
        lambda: control.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda said: said["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"),
    )


def training_jobs(control: Any, name: str, **options: Any) -> list[dict[str, Any]]:
    listed = control.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName=name, **options)
    jobs: list[dict[str, Any]] = listed["TrainingJobSummaries"]
    return jobs


def values(jobs: list[dict[str, Any]]) -> list[float]:
    return [job["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for job in jobs]


def test_a_random_search_trains_its_jobs_and_names_the_best(control: Any) -> None:
    description = tuned(control, request(between("0.1", "0.9"), jobs=4, RandomSeed=3))
    name = description["HyperParameterTuningJobName"]
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    assert description["TrainingJobStatusCounters"]["Completed"] == 4
    assert description["ObjectiveStatusCounters"] == {"Succeeded": 4, "Pending": 0, "Failed": 0}
    jobs = training_jobs(control, name, SortBy="FinalObjectiveMetricValue", SortOrder="Descending")
    assert values(jobs) == sorted(values(jobs), reverse=True)
    assert description["BestTrainingJob"]["TrainingJobName"] == jobs[0]["TrainingJobName"]
    assert "OverallBestTrainingJob" not in description
    assert sorted(job["TrainingJobName"][len(name) :][:4] for job in jobs) == ["-001", "-002", "-003", "-004"]
    assert all(re.fullmatch(rf"{name}-\d{{3}}-[0-9a-f]{{8}}", job["TrainingJobName"]) for job in jobs)
    job = control.describe_training_job(TrainingJobName=jobs[0]["TrainingJobName"])
    assert job["TuningJobArn"] == description["HyperParameterTuningJobArn"]
    assert job["HyperParameters"] == {
        "epochs": "1",
        "_tuning_objective_metric": "validation:accuracy",
        **jobs[0]["TunedHyperParameters"],
    }
    assert float(jobs[0]["TunedHyperParameters"]["quality"]) == pytest.approx(values(jobs)[0], abs=1e-5)


def test_a_seed_repeats_the_search(control: Any) -> None:
    runs = [tuned(control, request(between("0.1", "0.9"), jobs=3, parallel=1, RandomSeed=7)) for _ in range(2)]
    first, second = ([job["TunedHyperParameters"] for job in training_jobs(control, name)] for name in names(runs))
    assert first == second


def names(descriptions: list[dict[str, Any]]) -> list[str]:
    return [description["HyperParameterTuningJobName"] for description in descriptions]


def test_a_grid_trains_every_combination_without_a_number_of_jobs(control: Any) -> None:
    ranges = {
        "CategoricalParameterRanges": [
            {"Name": "quality", "Values": ["0.2", "0.8", "0.5"]},
            {"Name": "optimizer", "Values": ["sgd", "adam"]},
        ]
    }
    description = tuned(control, request(ranges, jobs=None, parallel=3, Strategy="Grid"))
    jobs = training_jobs(control, description["HyperParameterTuningJobName"])
    assert len({tuple(sorted(job["TunedHyperParameters"].items())) for job in jobs}) == 6
    assert description["BestTrainingJob"]["TunedHyperParameters"]["quality"] == "0.8"


def test_minimising_takes_the_smallest(control: Any) -> None:
    objective = {**OBJECTIVE, "Type": "Minimize"}
    document = request(qualities("0.7", "0.3"), jobs=None, Strategy="Grid", HyperParameterTuningJobObjective=objective)
    best = tuned(control, document)["BestTrainingJob"]
    assert best["TunedHyperParameters"] == {"quality": "0.3"}
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Type"] == "Minimize"


def test_early_stopping_really_stops_the_weak(control: Any) -> None:
    document = request(
        qualities("0.9", "0.8", "0.1"), jobs=None, parallel=3, Strategy="Grid", TrainingJobEarlyStoppingType="Auto"
    )
    document["TrainingJobDefinition"] = definition(StaticHyperParameters={"epochs": "20", "epoch_seconds": "0.1"})
    description = tuned(control, document)
    assert description["TrainingJobStatusCounters"]["Stopped"] >= 1
    jobs = training_jobs(control, description["HyperParameterTuningJobName"], StatusEquals="Stopped")
    assert "0.1" in [job["TunedHyperParameters"]["quality"] for job in jobs]
    assert description["BestTrainingJob"]["TunedHyperParameters"] == {"quality": "0.9"}


def test_hyperband_stops_jobs_at_its_rungs(control: Any) -> None:
    document = request(
        qualities("0.9", "0.1", "0.12", "0.14", "0.16", "0.18"),
        jobs=6,
        parallel=3,
        Strategy="Hyperband",
        RandomSeed=1,
        StrategyConfig={"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}},
    )
    document["TrainingJobDefinition"] = definition(StaticHyperParameters={"epochs": "9", "epoch_seconds": "0.1"})
    description = tuned(control, document)
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    assert description["TrainingJobStatusCounters"]["Stopped"] >= 1
    assert description["BestTrainingJob"]["TunedHyperParameters"] == {"quality": "0.9"}


def test_the_target_objective_ends_the_search(control: Any) -> None:
    criteria = {"TargetObjectiveMetricValue": 0.5}
    document = request(between("0.6", "0.9"), jobs=20, parallel=1, TuningJobCompletionCriteria=criteria)
    description = tuned(control, document)
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    assert len(training_jobs(control, description["HyperParameterTuningJobName"])) == 1


def test_jobs_without_improvement_end_the_search(control: Any) -> None:
    criteria = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}
    document = request(qualities("0.5"), jobs=20, parallel=1, TuningJobCompletionCriteria=criteria)
    description = tuned(control, document)
    assert description["TuningJobCompletionDetails"]["NumberOfTrainingJobsObjectiveNotImproving"] == 3
    assert description["TrainingJobStatusCounters"]["Completed"] == 4


def test_failed_jobs_do_not_end_the_search_but_nothing_else_does(control: Any) -> None:
    document = request(qualities("fail", "0.5"), jobs=None, parallel=1, Strategy="Grid")
    description = tuned(control, document)
    assert description["HyperParameterTuningJobStatus"] == "Completed"
    counters = description["TrainingJobStatusCounters"]
    assert (counters["Completed"], counters["NonRetryableError"]) == (1, 1)
    description = tuned(control, request(qualities("fail"), jobs=2, parallel=1))
    assert description["HyperParameterTuningJobStatus"] == "Failed"
    assert "All training jobs failed" in description["FailureReason"]
    assert "this job was told to fail" in description["FailureReason"]
    assert "BestTrainingJob" not in description


def test_a_search_without_an_objective_in_the_logs_fails(control: Any) -> None:
    document = request(qualities("0.1", "0.2"), jobs=2)
    document["TrainingJobDefinition"] = definition(StaticHyperParameters={"mode": "silent"})
    description = tuned(control, document)
    assert description["HyperParameterTuningJobStatus"] == "Failed"
    assert "No objective metrics found after running 2 training jobs" in description["FailureReason"]
    assert description["ObjectiveStatusCounters"]["Failed"] == 2


def test_a_diverged_job_is_never_the_best(control: Any) -> None:
    description = tuned(control, request(qualities("nan", "0.5"), jobs=None, parallel=1, Strategy="Grid"))
    assert description["BestTrainingJob"]["TunedHyperParameters"] == {"quality": "0.5"}
    assert description["ObjectiveStatusCounters"] == {"Succeeded": 1, "Pending": 0, "Failed": 1}


def test_a_stopped_search_stops_its_jobs(control: Any) -> None:
    document = request(between("0.1", "0.9"), jobs=9, parallel=2)
    document["TrainingJobDefinition"] = definition(StaticHyperParameters={"epochs": "1000", "epoch_seconds": "0.1"})
    name = document["HyperParameterTuningJobName"]
    control.create_hyper_parameter_tuning_job(**document)
    wait_for(lambda: training_jobs(control, name), lambda jobs: len(jobs) == 2)
    control.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    description = wait_for(
        lambda: control.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name),
        lambda said: said["HyperParameterTuningJobStatus"] == "Stopped",
    )
    assert description["TrainingJobStatusCounters"]["Stopped"] == 2
    assert description["TrainingJobStatusCounters"]["InProgress"] == 0
    with pytest.raises(ClientError, match="Stopped"):
        control.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def test_a_warm_start_learns_from_its_parent_and_knows_the_best_of_both(control: Any) -> None:
    parent = tuned(control, request(between("0.1", "0.9"), jobs=4, RandomSeed=1))
    document = request(between("0.1", "0.2"), jobs=2, Strategy="Bayesian")
    document["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent["HyperParameterTuningJobName"]}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    child = tuned(control, document)
    assert child["HyperParameterTuningJobStatus"] == "Completed"
    overall = child["OverallBestTrainingJob"]
    assert overall["TrainingJobName"] == parent["BestTrainingJob"]["TrainingJobName"]
    assert overall["TuningJobName"] == parent["HyperParameterTuningJobName"]


def test_several_definitions_share_the_budget(control: Any) -> None:
    document = request({}, jobs=4)
    config = document["HyperParameterTuningJobConfig"]
    del config["ParameterRanges"], config["HyperParameterTuningJobObjective"], document["TrainingJobDefinition"]
    document["TrainingJobDefinitions"] = [
        definition(DefinitionName=name, TuningObjective=OBJECTIVE, HyperParameterRanges=ranges)
        for name, ranges in (("weak", between("0.1", "0.2")), ("strong", between("0.8", "0.9")))
    ]
    description = tuned(control, document)
    jobs = training_jobs(control, description["HyperParameterTuningJobName"])
    assert sorted(job["TrainingJobDefinitionName"] for job in jobs) == ["strong", "strong", "weak", "weak"]
    assert description["BestTrainingJob"]["TrainingJobDefinitionName"] == "strong"


def test_describing_gives_every_list_and_default(control: Any) -> None:
    document = request(between("0.1", "0.9"), jobs=1, parallel=1)
    description = tuned(control, document)
    config = description["HyperParameterTuningJobConfig"]
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    ranges = config["ParameterRanges"]
    assert ranges["IntegerParameterRanges"] == ranges["CategoricalParameterRanges"] == []
    assert ranges["ContinuousParameterRanges"][0]["ScalingType"] == "Auto"
    static = description["TrainingJobDefinition"]["StaticHyperParameters"]
    assert static == {"epochs": "1", "_tuning_objective_metric": "validation:accuracy"}


def test_resources_of_the_newer_form_are_told_in_the_older_too(control: Any) -> None:
    document = request(qualities("0.5"), jobs=1)
    resources = document["TrainingJobDefinition"].pop("ResourceConfig")
    document["TrainingJobDefinition"]["HyperParameterTuningResourceConfig"] = resources
    described = tuned(control, document)["TrainingJobDefinition"]
    assert described["ResourceConfig"] == described["HyperParameterTuningResourceConfig"] == resources


def test_listing_goes_by_pages(control: Any) -> None:
    name = tuned(control, request(between("0.1", "0.9"), jobs=3))["HyperParameterTuningJobName"]
    paginator = control.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    pages = list(paginator.paginate(HyperParameterTuningJobName=name, PaginationConfig={"PageSize": 2}))
    assert [len(page["TrainingJobSummaries"]) for page in pages] == [2, 1]
    summaries = control.list_hyper_parameter_tuning_jobs(NameContains=name)["HyperParameterTuningJobSummaries"]
    assert [summary["HyperParameterTuningJobStatus"] for summary in summaries] == ["Completed"]


def test_a_name_is_taken_once_and_unknown_ones_are_not_found(control: Any) -> None:
    document = request(qualities("0.5"), jobs=1, parallel=1)
    tuned(control, document)
    with pytest.raises(control.exceptions.ResourceInUse):
        control.create_hyper_parameter_tuning_job(**document)
    for call in (
        control.describe_hyper_parameter_tuning_job,
        control.stop_hyper_parameter_tuning_job,
        control.list_training_jobs_for_hyper_parameter_tuning_job,
    ):
        with pytest.raises(control.exceptions.ResourceNotFound, match="can't find a tuning job"):
            call(HyperParameterTuningJobName="nobody")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Strategy": "Grid", "ParameterRanges": between("0.1", "0.9")}, "CategoricalParameterRanges only"),
        ({"Strategy": "Grid"}, "number of distinct categorical combinations, which is 2"),
        ({"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto"}, "must be Off for the Hyperband"),
        ({"StrategyConfig": {"HyperbandStrategyConfig": {"MaxResource": 9}}}, "for the Hyperband strategy only"),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 11, "MaxNumberOfTrainingJobs": 20}}, "parallel training jobs"),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxNumberOfTrainingJobs": 751}}, "751"),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxRuntimeInSeconds": 31 * 86400}}, "run time.* 2592000"),
        ({"ResourceLimits": {"MaxParallelTrainingJobs": 1}}, "MaxNumberOfTrainingJobs is required"),
        ({"ParameterRanges": {}}, "At least one hyperparameter range"),
        ({"ParameterRanges": between("0.9", "0.1")}, "MinValue must not be greater"),
        ({"ParameterRanges": between("low", "high")}, "must be numbers"),
        (
            {"ParameterRanges": {"CategoricalParameterRanges": [{"Name": "epochs", "Values": ["1"]}]}},
            "static and tunable",
        ),
        ({"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "loss"}}, "metric definitions"),
    ],
)
def test_contradictory_requests_are_refused_before_a_job_starts(
    control: Any, change: dict[str, Any], message: str
) -> None:
    document = request(qualities("0.1", "0.2"), jobs=3, parallel=1)
    document["HyperParameterTuningJobConfig"].update(change)
    with pytest.raises(ClientError, match=message) as refusal:
        control.create_hyper_parameter_tuning_job(**document)
    assert refusal.value.response["Error"]["Code"] in ("ValidationException", "ResourceLimitExceeded")


@pytest.mark.parametrize(
    ("scaling", "low", "high", "message"),
    [
        ("Logarithmic", "0", "1", "greater than 0"),
        ("ReverseLogarithmic", "0.5", "1", "0 <= values < 1"),
    ],
)
def test_scalings_have_their_own_bounds(control: Any, scaling: str, low: str, high: str, message: str) -> None:
    ranges = {
        "ContinuousParameterRanges": [{"Name": "quality", "MinValue": low, "MaxValue": high, "ScalingType": scaling}]
    }
    with pytest.raises(ClientError, match=message):
        control.create_hyper_parameter_tuning_job(**request(ranges))


def test_an_unknown_image_and_an_objective_of_no_algorithm_are_refused(control: Any) -> None:
    document = request(qualities("0.1"), jobs=1, parallel=1)
    specification = {"TrainingImage": "1.dkr.ecr.us-east-1.amazonaws.com/nobody:1", "TrainingInputMode": "File"}
    document["TrainingJobDefinition"] = definition(AlgorithmSpecification=specification)
    with pytest.raises(ClientError, match="nobody"):
        control.create_hyper_parameter_tuning_job(**document)
    specification["TrainingImage"] = "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
    with pytest.raises(ClientError, match="can't tune: quality"):
        control.create_hyper_parameter_tuning_job(**document)
    document["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"] = {
        "Type": "Minimize",
        "MetricName": "validation:accuracy",
    }
    with pytest.raises(ClientError, match="isn't valid for the"):
        control.create_hyper_parameter_tuning_job(**document)


def test_warm_starts_need_finished_parents_with_the_same_objective_and_ranges(control: Any, scripted: Scripted) -> None:
    del scripted
    document = request(between("0.1", "0.9"), jobs=1, parallel=1)
    warm_start = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "nobody"}],
        "WarmStartType": "TransferLearning",
    }
    with pytest.raises(ClientError, match="doesn't exist"):
        control.create_hyper_parameter_tuning_job(**document, WarmStartConfig=warm_start)
    parent = tuned(control, document)["HyperParameterTuningJobName"]
    warm_start["ParentHyperParameterTuningJobs"] = [{"HyperParameterTuningJobName": parent}]
    child = request(between("0.1", "0.9"), HyperParameterTuningJobObjective={**OBJECTIVE, "Type": "Minimize"})
    with pytest.raises(ClientError, match="objective metric must be the same"):
        control.create_hyper_parameter_tuning_job(**child, WarmStartConfig=warm_start)
    child = request(qualities("0.5"))
    with pytest.raises(ClientError, match=f"type of a range must be the same .* {parent}: quality"):
        control.create_hyper_parameter_tuning_job(**child, WarmStartConfig=warm_start)
