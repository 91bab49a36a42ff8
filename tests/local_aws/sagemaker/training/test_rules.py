from __future__ import annotations

from typing import Any

import pytest

from local_aws.aws_errors import AwsError
from local_aws.sagemaker.training.rules import check_training_job
from tests.support.local_aws import BUCKET, TOY_IMAGE, channel_of, training_request

ALGORITHM = {"TrainingImage": TOY_IMAGE, "TrainingInputMode": "File"}
RESOURCES = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5}


def test_a_good_request_passes() -> None:
    check_training_job(
        training_request(
            "good",
            EnableManagedSpotTraining=True,
            StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
            CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints"},
            Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "1"}],
        )
    )


def metric(name: str, expression: str = "x=(.*)") -> dict[str, str]:
    return {"Name": name, "Regex": expression}


def rule(name: str) -> dict[str, str]:
    return {"RuleConfigurationName": name, "RuleEvaluatorImage": TOY_IMAGE}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 61, "MaxWaitTimeInSeconds": 60},
            },
            "be greater than or equal to MaxRuntimeInSeconds (given: 60, MaxRuntimeInSeconds: 61)",
        ),
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds. It must be present"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
            "must not be present unless EnableManagedSpotTraining is true",
        ),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 2419201}}, "exceeds the maximum of 2419200 seconds (28 days)"),
        ({"InputDataConfig": [channel_of("train", "a"), channel_of("train", "b")]}, "train is given 2 times"),
        ({"InputDataConfig": [channel_of("..", "a")]}, "Channel name '..' is not a folder name"),
        ({"InputDataConfig": [{"ChannelName": "a", "DataSource": {}}]}, "channel a must have an S3DataSource"),
        (
            {"OutputDataConfig": {"S3OutputPath": "https://b/jobs"}},
            "'https://b/jobs' is not an S3 URI: s3://bucket/prefix",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "s3://My_Bucket/jobs"}}, "'My_Bucket' is not a bucket name"),
        ({"CheckpointConfig": {"S3Uri": "s3://bucket", "LocalPath": "/tmp/x"}}, "LocalPath '/tmp/x' is not allowed"),
        ({"CheckpointConfig": {"S3Uri": "s3://bucket", "LocalPath": "/opt/ml/../x"}}, "is not allowed"),
        ({"ResourceConfig": {"InstanceCount": 1}}, "ResourceConfig.InstanceType is required"),
        ({"ResourceConfig": {**RESOURCES, "InstanceCount": 0}}, "InstanceCount must be at least 1"),
        ({"ResourceConfig": {**RESOURCES, "VolumeSizeInGB": 0}}, "VolumeSizeInGB must be at least 1"),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "must have a TrainingImage or an AlgorithmName"),
        (
            {"AlgorithmSpecification": {**ALGORITHM, "MetricDefinitions": [metric("a"), metric("a")]}},
            "Metric names must be unique: a is given 2 times",
        ),
        (
            {"AlgorithmSpecification": {**ALGORITHM, "MetricDefinitions": [metric("a", "(")]}},
            "The regular expression '(' of metric a is not valid",
        ),
        (
            {"DebugRuleConfigurations": [rule("Overfit")], "ProfilerRuleConfigurations": [rule("Overfit")]},
            "RuleConfigurationName must be unique: Overfit is given 2 times",
        ),
        (
            {"DebugHookConfig": {"S3OutputPath": "https://b/x"}},
            "DebugHookConfig.S3OutputPath: 'https://b/x' is not an S3",
        ),
        (
            {"ProfilerConfig": {"ProfilingIntervalInMilliseconds": 300}},
            "ProfilingIntervalInMilliseconds 300 is not one of 100, 200, 500, 1000, 5000, 60000",
        ),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "Duplicate tag keys found: a"),
        ({"Tags": [{"Key": "aws:x", "Value": "1"}]}, "Tag keys must not begin with aws:"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AwsError) as refused:
        check_training_job(training_request("job", **changes))
    assert refused.value.code == "ValidationException"
    assert said in refused.value.message


def test_several_problems_are_named_at_once() -> None:
    request = training_request("job", ResourceConfig={}, OutputDataConfig={"S3OutputPath": "nowhere"})
    with pytest.raises(AwsError, match=r"3 validation errors detected: .*nowhere.*InstanceType.*InstanceCount"):
        check_training_job(request)


def source_of(kind: str) -> dict[str, Any]:
    return {"S3DataSource": {"S3DataType": kind, "S3Uri": "s3://bucket/x"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"AlgorithmSpecification": {**ALGORITHM, "TrainingInputMode": "Pipe"}}, "input mode Pipe (channel train)"),
        ({"InputDataConfig": [channel_of("a", "x", InputMode="Pipe")]}, "input mode Pipe (channel a)"),
        (
            {"InputDataConfig": [{"ChannelName": "a", "DataSource": source_of("AugmentedManifestFile")}]},
            "S3DataType AugmentedManifestFile of channel a",
        ),
        (
            {"InputDataConfig": [{"ChannelName": "a", "DataSource": {"FileSystemDataSource": {}}}]},
            "FileSystemDataSource of channel a",
        ),
        ({"AlgorithmSpecification": {"AlgorithmName": "mine", "TrainingInputMode": "File"}}, "AlgorithmName"),
    ],
)
def test_what_only_aws_can_do_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AwsError) as refused:
        check_training_job(training_request("job", **changes))
    assert refused.value.code == "NotImplemented"
    assert said in refused.value.message
