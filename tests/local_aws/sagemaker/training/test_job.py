from __future__ import annotations

import io
import json
import tarfile
from itertools import pairwise
from typing import Any

import pytest

from local_aws.container_images import IMAGE_CLASSIFICATION_METRICS
from local_aws.sagemaker.training.job import MetricLog
from tests.support.local_aws import (
    BUCKET,
    TOY_IMAGE,
    RunningLocalAws,
    channel_of,
    eventually,
    finished_job,
    log_lines,
    training_request,
)


def files_of_archive(s3: Any, uri: str) -> dict[str, bytes]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with tarfile.open(fileobj=io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive.getmembers()]
        return {name: file.read() for name, file in members if file is not None}


def said(lines: list[str], word: str) -> Any:
    return json.loads(next(line for line in lines if line.startswith(word)).partition(" ")[2])


def rule(name: str) -> dict[str, Any]:
    return {"RuleConfigurationName": name, "RuleEvaluatorImage": "rules:1", "RuleParameters": {"rule_to_invoke": name}}


DEBUGGER: dict[str, Any] = {
    "DebugHookConfig": {"S3OutputPath": f"s3://{BUCKET}/jobs", "HookParameters": {"train.save_interval": "100"}},
    "DebugRuleConfigurations": [rule("VanishingGradient"), rule("Overfit")],
    "ProfilerConfig": {"S3OutputPath": f"s3://{BUCKET}/jobs", "ProfilingIntervalInMilliseconds": 500},
    "ProfilerRuleConfigurations": [rule("ProfilerReport")],
}


@pytest.fixture(scope="module")
def completed(sagemaker: Any) -> dict[str, Any]:
    """A finished job with everything a request can ask of the container."""
    request = training_request(
        "completed",
        HyperParameters={"epochs": "3", "output": "a report"},
        AlgorithmSpecification={
            "TrainingImage": TOY_IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "validation:accuracy", "Regex": r"Validation-accuracy=([0-9.]+)"}],
        },
        InputDataConfig=[channel_of("train", "data/train", ContentType="application/x-recordio")],
        Environment={"MY_VARIABLE": "mine"},
        Tags=[{"Key": "team", "Value": "vision"}],
        **DEBUGGER,
    )
    sagemaker.create_training_job(**request)
    return finished_job(sagemaker, "completed")


def test_settings_of_debugger_are_kept_and_no_rule_pretends_to_be_evaluated(completed: dict[str, Any]) -> None:
    assert {field: completed[field] for field in DEBUGGER} == DEBUGGER
    assert completed["ProfilingStatus"] == "Enabled"
    statuses = completed["DebugRuleEvaluationStatuses"] + completed["ProfilerRuleEvaluationStatuses"]
    assert [status["RuleConfigurationName"] for status in statuses] == [
        "VanishingGradient",
        "Overfit",
        "ProfilerReport",
    ]
    assert {status["RuleEvaluationStatus"] for status in statuses} == {"Stopped"}
    assert all("evaluates none" in status["StatusDetails"] for status in statuses)


def test_a_job_completes_through_every_status(completed: dict[str, Any]) -> None:
    assert completed["TrainingJobStatus"] == completed["SecondaryStatus"] == "Completed", completed.get("FailureReason")
    transitions = completed["SecondaryStatusTransitions"]
    assert [t["Status"] for t in transitions] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(t["StatusMessage"] for t in transitions)
    assert all(now["EndTime"] == after["StartTime"] for now, after in pairwise(transitions))
    assert completed["CreationTime"] <= completed["TrainingStartTime"] <= completed["TrainingEndTime"]
    assert completed["TrainingTimeInSeconds"] >= 1
    assert completed["BillableTimeInSeconds"] >= 1


def test_describe_tells_what_was_asked_and_the_defaults(completed: dict[str, Any]) -> None:
    assert completed["TrainingJobArn"] == "arn:aws:sagemaker:us-east-1:123456789012:training-job/completed"
    assert completed["HyperParameters"] == {"epochs": "3", "output": "a report"}
    assert completed["Environment"] == {"MY_VARIABLE": "mine"}
    assert completed["StoppingCondition"] == {"MaxRuntimeInSeconds": 600}
    assert completed["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3DataDistributionType"] == "FullyReplicated"
    assert completed["EnableManagedSpotTraining"] is False


def test_the_last_value_of_a_metric_is_final(completed: dict[str, Any]) -> None:
    (metric,) = completed["FinalMetricDataList"]
    assert (metric["MetricName"], round(metric["Value"], 3)) == ("validation:accuracy", 0.6)


def test_artifacts_lie_where_aws_puts_them(completed: dict[str, Any], s3: Any) -> None:
    uri = completed["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == f"s3://{BUCKET}/jobs/completed/output/model.tar.gz"
    assert files_of_archive(s3, uri) == {"weights.params": b"weights"}
    assert files_of_archive(s3, uri.replace("model.tar", "output.tar")) == {"report.txt": b"a report"}


def test_the_container_finds_what_the_contract_promises(completed: dict[str, Any], logs: Any) -> None:
    lines = log_lines(logs, "completed")
    environment = said(lines, "environment")
    assert environment["MY_VARIABLE"] == "mine"
    assert environment["TRAINING_JOB_NAME"] == "completed"
    assert environment["TRAINING_JOB_ARN"] == completed["TrainingJobArn"]
    assert int(environment["SM_NUM_CPUS"]) >= 1
    assert said(lines, "inputdataconfig") == {
        "train": {
            "TrainingInputMode": "File",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
            "ContentType": "application/x-recordio",
        }
    }
    assert said(lines, "resourceconfig")["hosts"] == ["algo-1"]
    assert "file train/train.rec b'records'" in lines


def test_the_log_stream_is_named_as_on_aws(completed: dict[str, Any], logs: Any) -> None:
    streams = logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="completed/", orderBy="LogStreamName", limit=1
    )["logStreams"]
    seconds = int(completed["CreationTime"].timestamp())
    assert seconds <= int(streams[0]["logStreamName"].removeprefix("completed/algo-1-")) <= seconds + 60


def test_nothing_of_a_finished_job_stays_on_disk(completed: dict[str, Any], local_aws: RunningLocalAws) -> None:
    eventually(lambda: not list(local_aws.state_dir.rglob("training-jobs/completed")))


def test_tags_of_a_job(completed: dict[str, Any], sagemaker: Any) -> None:
    arn = completed["TrainingJobArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "stage", "Value": "test"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["team"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "stage", "Value": "test"}]
    with pytest.raises(sagemaker.exceptions.ClientError, match="Could not find resource"):
        sagemaker.list_tags(ResourceArn=arn + "-unknown")


def test_jobs_are_listed_and_found(completed: dict[str, Any], sagemaker: Any) -> None:
    listed = sagemaker.list_training_jobs(NameContains="Complete", StatusEquals="Completed")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in listed] == ["completed"]
    assert listed[0]["TrainingEndTime"] == completed["TrainingEndTime"]
    found = sagemaker.search(
        Resource="TrainingJob",
        SearchExpression={
            "Filters": [
                {"Name": "HyperParameters.epochs", "Operator": "GreaterThan", "Value": "2"},
                {"Name": "Metrics.validation:accuracy", "Operator": "GreaterThanOrEqualTo", "Value": "0.59"},
                {"Name": "TrainingJobStatus", "Operator": "Equals", "Value": "Completed"},
                {"Name": "Tags.nothing", "Operator": "NotExists"},
            ]
        },
    )["Results"]
    assert [result["TrainingJob"]["TrainingJobName"] for result in found] == ["completed"]


def test_a_name_is_taken_until_the_job_is_deleted(sagemaker: Any) -> None:
    request = training_request("taken")
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="must be unique within an AWS account and region"):
        sagemaker.create_training_job(**request)
    finished_job(sagemaker, "taken")
    sagemaker.delete_training_job(TrainingJobName="taken")
    with pytest.raises(
        sagemaker.exceptions.ClientError, match=r"\(ValidationException\).*Requested resource not found"
    ):
        sagemaker.describe_training_job(TrainingJobName="taken")
    with pytest.raises(sagemaker.exceptions.ClientError, match="Could not find resource"):
        sagemaker.list_tags(ResourceArn=arn)


def test_regions_do_not_see_each_other(completed: dict[str, Any], local_aws: RunningLocalAws) -> None:
    assert local_aws.client("sagemaker", region="eu-west-1").list_training_jobs()["TrainingJobSummaries"] == []


def test_metrics_of_the_built_in_algorithm_need_no_definition() -> None:
    metrics = MetricLog(IMAGE_CLASSIFICATION_METRICS)
    for line in (
        "[01/02/2024 10:00:00 INFO 1] Epoch[0] Train-accuracy=0.150391",
        "[01/02/2024 10:00:00 INFO 1] Epoch[0] Validation-accuracy=0.253906",
        "[01/02/2024 10:00:00 INFO 1] Epoch[1] Validation-accuracy=nonsense",
        "[01/02/2024 10:00:00 INFO 1] Epoch[1] Validation-accuracy=0.5",
    ):
        metrics.read(line)
    assert metrics.history("validation:accuracy") == [0.253906, 0.5]
    assert {metric["MetricName"]: metric["Value"] for metric in metrics.final()} == {
        "train:accuracy": 0.150391,
        "train:accuracy:epoch": 0.150391,
        "validation:accuracy": 0.5,
        "validation:accuracy:epoch": 0.5,
    }


def test_uncompressed_output_is_a_folder(sagemaker: Any, s3: Any) -> None:
    request = training_request(
        "uncompressed",
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/jobs/", "CompressionType": "NONE"},
        InputDataConfig=[],
    )
    del request["InputDataConfig"]
    sagemaker.create_training_job(**request)
    job = finished_job(sagemaker, "uncompressed")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/jobs/uncompressed/output/model/"
    assert (
        s3.get_object(Bucket=BUCKET, Key="jobs/uncompressed/output/model/weights.params")["Body"].read() == b"weights"
    )


def test_checkpoints_are_laid_down_and_kept(sagemaker: Any, s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="laid-down/epoch-7", Body=b"before")
    request = training_request(
        "checkpoints",
        HyperParameters={"checkpoint": "from this job", "epochs": "2"},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/laid-down/"},
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120},
    )
    sagemaker.create_training_job(**request)
    job = finished_job(sagemaker, "checkpoints")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["EnableManagedSpotTraining"] is True
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]
    assert s3.get_object(Bucket=BUCKET, Key="laid-down/epoch-1")["Body"].read() == b"from this job"
    assert s3.get_object(Bucket=BUCKET, Key="laid-down/epoch-7")["Body"].read() == b"before"


def test_jobs_beyond_the_slots_wait_in_order(sagemaker: Any) -> None:
    names = [f"queued-{i}" for i in range(4)]
    for name in names:
        sagemaker.create_training_job(**training_request(name, HyperParameters={"seconds": "0.3"}))
    jobs = [finished_job(sagemaker, name) for name in names]
    starts = [job["TrainingStartTime"] for job in jobs]
    ends = sorted(job["TrainingEndTime"] for job in jobs)
    assert max(starts[:2]) <= min(starts[2:])  # two begin at once, in either order
    assert starts[2] >= ends[0]
    assert starts[3] >= ends[1]


def test_a_running_job_can_be_updated(sagemaker: Any) -> None:
    request = training_request("updated", HyperParameters={"seconds": "60"}, ProfilerConfig={"DisableProfiler": False})
    sagemaker.create_training_job(**request)
    sagemaker.update_training_job(TrainingJobName="updated", ProfilerConfig={"DisableProfiler": True})
    job = sagemaker.describe_training_job(TrainingJobName="updated")
    assert (job["ProfilerConfig"]["DisableProfiler"], job["ProfilingStatus"]) == (True, "Disabled")
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.delete_training_job(TrainingJobName="updated")
    sagemaker.stop_training_job(TrainingJobName="updated")
    assert finished_job(sagemaker, "updated")["TrainingJobStatus"] == "Stopped"
