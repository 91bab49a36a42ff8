from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local_aws.aws_errors import AwsError
from local_aws.constraints import checked, pattern, service_model
from tests.support.local_aws import training_request


def refusal(action: str, request: Any) -> str:
    with pytest.raises(AwsError) as refused:
        checked("sagemaker", action, request)
    return str(refused.value)


def test_a_good_request_passes_unchanged() -> None:
    request = training_request("job", HyperParameters={"epochs": "3"}, Tags=[{"Key": "équipe", "Value": "a b"}])
    assert checked("sagemaker", "CreateTrainingJob", request) == request


def test_a_pattern_is_refused_in_the_words_of_aws() -> None:
    assert refusal("CreateTrainingJob", training_request("not_allowed")) == (
        "ValidationException: 1 validation error detected: Value 'not_allowed' at 'trainingJobName' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    )


def test_every_violation_is_named_at_its_place() -> None:
    request = training_request("a" * 64, RoleArn=None, ResourceConfig={"InstanceType": "ml.none", "InstanceCount": -1})
    request["InputDataConfig"][0]["ChannelName"] = "a b"
    said = refusal("CreateTrainingJob", request)
    assert said.startswith("ValidationException: 6 validation errors detected: ")
    for part in (
        "Value null at 'roleArn' failed to satisfy constraint: Member must not be null",
        "at 'trainingJobName' failed to satisfy constraint: Member must have length less than or equal to 63",
        "Value 'a b' at 'inputDataConfig.1.member.channelName' failed to satisfy constraint: Member must satisfy",
        "Value 'ml.none' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy enum value",
        "Value '-1' at 'resourceConfig.instanceCount' failed to satisfy constraint: "
        "Member must have value greater than or equal to 0",
    ):
        assert part in said


def test_maps_are_checked_key_and_value() -> None:
    said = refusal("CreateTrainingJob", training_request("job", HyperParameters={"k" * 257: "v", "k": "v" * 2501}))
    assert "at 'hyperParameters' failed to satisfy constraint: Map keys must satisfy constraint: [" in said
    assert "Map value must satisfy constraint: [Member must have length less than or equal to 2500" in said
    many = {f"k{i}": "v" for i in range(101)}
    assert "Member must have length less than or equal to 100" in refusal(
        "CreateTrainingJob", training_request("job", HyperParameters=many)
    )


def test_a_value_of_another_type_is_a_serialization_error() -> None:
    assert refusal("CreateTrainingJob", training_request("job", HyperParameters={"epochs": 3})) == (
        "SerializationException: NUMBER_VALUE can not be converted to a String at 'hyperParameters.epochs'"
    )
    assert refusal("ListTrainingJobs", {"MaxResults": True}).startswith("SerializationException: BOOLEAN_VALUE")
    assert refusal("ListTrainingJobs", []).startswith("SerializationException: START_ARRAY")


def test_timestamps_come_as_datetimes_and_unknown_members_are_left_out() -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    for given in (moment.timestamp(), "2024-01-01T00:00:00Z"):
        assert checked(
            "sagemaker", "ListTrainingJobs", {"CreationTimeAfter": given, "NoSuchField": 1, "NextToken": None}
        ) == {"CreationTimeAfter": moment}


def test_every_pattern_of_the_model_is_understood() -> None:
    model = service_model("sagemaker")
    for name in model.shape_names:
        if "pattern" in model.shape_for(name).metadata:
            pattern(model.shape_for(name).metadata["pattern"])
