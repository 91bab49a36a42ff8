"""What jobs and endpoints send to CloudWatch, read as dashboards and SDKs read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.local_aws.sagemaker.conftest import Scripted, unique
from tests.support.local_aws import (
    ALGORITHM_IMAGE,
    TOY_IMAGE,
    RunningLocalAws,
    eventually,
    finished_job,
    training_request,
)

ACCURACY = [
    {"Name": "train:accuracy", "Regex": r"Train-accuracy=(\S+)"},
    {"Name": "validation:accuracy", "Regex": r"Validation-accuracy=(\S+)"},
]
EVERYTHING = ["Average", "Sum", "Minimum", "Maximum", "SampleCount"]


def points(cloudwatch: Any, namespace: str, metric: str, **dimensions: str) -> list[dict[str, Any]]:
    """The datapoints of the last hour, a minute each, with every statistic."""
    now = datetime.now(UTC)
    found: list[dict[str, Any]] = cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=EVERYTHING,
    )["Datapoints"]
    return found


@pytest.fixture(scope="module")
def cloudwatch(local_aws: RunningLocalAws) -> Any:
    return local_aws.client("cloudwatch")


@pytest.fixture(scope="module")
def measured_job(sagemaker: Any, s3: Any) -> dict[str, Any]:
    """A finished job of two epochs, a second each."""
    algorithm = {"TrainingImage": TOY_IMAGE, "TrainingInputMode": "File", "MetricDefinitions": ACCURACY}
    wanted = {"epochs": "2", "seconds": "1"}
    sagemaker.create_training_job(
        **training_request("measured", AlgorithmSpecification=algorithm, HyperParameters=wanted)
    )
    return finished_job(sagemaker, "measured")


def test_the_metrics_of_a_job_are_there_when_it_has_ended(cloudwatch: Any, measured_job: dict[str, Any]) -> None:
    found = points(cloudwatch, "/aws/sagemaker/TrainingJobs", "validation:accuracy", TrainingJobName="measured")

    assert sum(point["Sum"] for point in found) == pytest.approx(0.4 + 0.5)
    assert sum(point["SampleCount"] for point in found) == 2
    assert min(point["Minimum"] for point in found) == 0.4
    assert {point["Unit"] for point in found} == {"None"}
    begin = measured_job["TrainingStartTime"].replace(second=0, microsecond=0)
    assert all(begin <= point["Timestamp"] <= measured_job["TrainingEndTime"] for point in found)
    assert all(point["Timestamp"].second == 0 for point in found)


def test_the_sdk_finds_every_value_between_start_and_end_of_the_job(
    cloudwatch: Any, measured_job: dict[str, Any]
) -> None:
    # TrainingJobAnalytics of the SDK v2 asks so: from TrainingStartTime to a minute after TrainingEndTime.
    names = [definition["Name"] for definition in measured_job["AlgorithmSpecification"]["MetricDefinitions"]]
    for name in names:
        found = cloudwatch.get_metric_statistics(
            Namespace="/aws/sagemaker/TrainingJobs",
            MetricName=name,
            Dimensions=[{"Name": "TrainingJobName", "Value": "measured"}],
            StartTime=measured_job["TrainingStartTime"],
            EndTime=measured_job["TrainingEndTime"] + timedelta(minutes=1),
            Period=60,
            Statistics=["Average", "SampleCount"],
        )["Datapoints"]
        assert sum(point["SampleCount"] for point in found) == 2
    assert names == ["train:accuracy", "validation:accuracy"]


@pytest.mark.parametrize("metric", ["CPUUtilization", "MemoryUtilization", "DiskUtilization"])
def test_a_job_reports_what_its_instance_uses(cloudwatch: Any, measured_job: dict[str, Any], metric: str) -> None:
    found = points(cloudwatch, "/aws/sagemaker/TrainingJobs", metric, Host="measured/algo-1")
    assert found
    assert {point["Unit"] for point in found} == {"Percent"}
    assert all(0 <= point["Minimum"] <= point["Maximum"] for point in found)
    if metric == "MemoryUtilization":
        assert all(0 < point["Average"] < 100 for point in found)


def test_a_metric_is_found_by_exactly_its_dimensions(cloudwatch: Any, measured_job: dict[str, Any]) -> None:
    assert not points(cloudwatch, "/aws/sagemaker/TrainingJobs", "validation:accuracy")
    assert not points(cloudwatch, "/aws/sagemaker/TrainingJobs", "validation:accuracy", TrainingJobName="another")
    assert not points(cloudwatch, "AWS/SageMaker", "validation:accuracy", TrainingJobName="measured")


def test_a_dashboard_gets_the_same_from_get_metric_data(cloudwatch: Any, measured_job: dict[str, Any]) -> None:
    metric = {
        "Namespace": "/aws/sagemaker/TrainingJobs",
        "MetricName": "train:accuracy",
        "Dimensions": [{"Name": "TrainingJobName", "Value": "measured"}],
    }
    (result,) = cloudwatch.get_metric_data(
        MetricDataQueries=[{"Id": "a", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}}],
        StartTime=measured_job["TrainingStartTime"],
        EndTime=measured_job["TrainingEndTime"] + timedelta(minutes=1),
    )["MetricDataResults"]
    assert sum(result["Values"]) == pytest.approx(0.5 + 0.6)


def test_only_the_image_of_aws_has_metrics_that_nobody_defined(sagemaker: Any, s3: Any) -> None:
    definitions = {}
    for number, image in enumerate((ALGORITHM_IMAGE, TOY_IMAGE)):
        name = f"defined-{number}"
        sagemaker.create_training_job(**training_request(name, image))
        specification = sagemaker.describe_training_job(TrainingJobName=name)["AlgorithmSpecification"]
        definitions[number] = [definition["Name"] for definition in specification.get("MetricDefinitions", [])]
        sagemaker.stop_training_job(TrainingJobName=name)
    assert "validation:accuracy" in definitions[0]
    assert definitions[1] == []


@pytest.fixture(scope="module")
def invoked(scripted: Scripted, control: Any, runtime: Any) -> str:
    """An endpoint of two instances that was asked five times: well, badly (400), with an error inside (500)."""
    name = unique("measured")
    model = scripted.model("good")
    variant = {"VariantName": "all", "ModelName": model, "InitialInstanceCount": 2, "InstanceType": "ml.m5.large"}
    control.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    control.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert scripted.settled(name)["EndpointStatus"] == "InService"
    for body in (b"x", b"slow", b"bad image", b"fault", b"bad image"):
        try:
            runtime.invoke_endpoint(EndpointName=name, Body=body)
        except runtime.exceptions.ModelError:
            continue
    return name


@pytest.mark.parametrize(
    ("metric", "total", "unit"),
    [
        ("Invocations", 5, "None"),
        ("InvocationsPerInstance", 2.5, "None"),
        ("Invocation4XXErrors", 2, "None"),
        ("Invocation5XXErrors", 1, "None"),
        ("InvocationModelErrors", 3, "None"),
    ],
)
def test_invocations_are_counted(scripted: Scripted, invoked: str, metric: str, total: float, unit: str) -> None:
    found = eventually(lambda: _all_five(scripted, invoked, metric))
    assert sum(point["Sum"] for point in found) == total
    assert {point["Unit"] for point in found} == {unit}


def test_latencies_are_microseconds(scripted: Scripted, invoked: str) -> None:
    model = eventually(lambda: _all_five(scripted, invoked, "ModelLatency"))
    overhead = eventually(lambda: _all_five(scripted, invoked, "OverheadLatency"))
    assert {point["Unit"] for point in (*model, *overhead)} == {"Microseconds"}
    assert max(point["Maximum"] for point in model) >= 1_000_000
    assert min(point["Minimum"] for point in overhead) > 0


def test_an_endpoint_reports_what_its_instances_use(scripted: Scripted, invoked: str) -> None:
    cloudwatch = scripted.client("cloudwatch")
    for metric in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
        found = eventually(
            lambda metric=metric: points(
                cloudwatch, "/aws/sagemaker/Endpoints", metric, EndpointName=invoked, VariantName="all"
            )
        )
        assert {point["Unit"] for point in found} == {"Percent"}


def _all_five(scripted: Scripted, endpoint: str, metric: str) -> list[dict[str, Any]]:
    found = points(scripted.client("cloudwatch"), "AWS/SageMaker", metric, EndpointName=endpoint, VariantName="all")
    return found if sum(point["SampleCount"] for point in found) == 5 else []


def test_a_transform_job_reports_what_its_instance_uses(scripted: Scripted, control: Any) -> None:
    name = unique("transform")
    bucket, _, key = scripted.put("picture.jpg", b"slow").removeprefix("s3://").partition("/")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{key}"}
    control.create_transform_job(
        TransformJobName=name,
        ModelName=scripted.model("good"),
        TransformInput={"DataSource": {"S3DataSource": source}},
        TransformOutput={"S3OutputPath": f"s3://{bucket}/out"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    eventually(lambda: control.describe_transform_job(TransformJobName=name)["TransformJobStatus"] == "Completed")
    cloudwatch = scripted.client("cloudwatch")
    known = cloudwatch.list_metrics(Namespace="/aws/sagemaker/TransformJobs", MetricName="CPUUtilization")["Metrics"]
    (host,) = [d["Value"] for metric in known for d in metric["Dimensions"] if d["Value"].startswith(f"{name}/i-")]
    assert points(cloudwatch, "/aws/sagemaker/TransformJobs", "MemoryUtilization", Host=host)


def test_a_request_that_botocore_compresses_is_read(cloudwatch: Any) -> None:
    name = f"compressed-{unique('metric')}"
    data = [{"MetricName": name, "Value": float(number), "Unit": "None"} for number in range(500)]

    cloudwatch.put_metric_data(Namespace="tests", MetricData=data)  # more than 10 KB: its body is gzip

    (found,) = points(cloudwatch, "tests", name)
    assert (found["SampleCount"], found["Maximum"]) == (500, 499)
