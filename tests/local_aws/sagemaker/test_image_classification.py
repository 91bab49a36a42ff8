"""The built-in algorithm through the API: tuned, hosted, asked for one image and for a folder of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.local_aws.sagemaker.conftest import BUCKET, Scripted, unique, wait_for
from tests.local_aws.sagemaker.tuning.test_job import OBJECTIVE, training_jobs, tuned
from tests.support.local_aws import ALGORITHM_IMAGE, ROLE, channel_of
from tests.support.pictures import png
from tests.support.squares import jpeg, records

ROOT = Path(__file__).parents[3]
HYPERPARAMETERS = {
    "num_layers": "20",
    "image_shape": "3,28,28",
    "num_classes": "2",
    "num_training_samples": "32",
    "mini_batch_size": "8",
    "epochs": "1",
}

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-mxnet/bin/python").exists(), reason="the algorithm's environment is not set up"
)


def channel(name: str, prefix: str) -> dict[str, Any]:
    made = channel_of(name, prefix, ContentType="application/x-recordio")
    made["DataSource"]["S3DataSource"]["S3Uri"] = f"s3://{BUCKET}/{prefix}"
    return made


def tuning_request(scripted: Scripted) -> dict[str, Any]:
    s3 = scripted.client("s3")
    s3.put_object(Bucket=BUCKET, Key="squares/train/train.rec", Body=records(32, 0))
    s3.put_object(Bucket=BUCKET, Key="squares/validation/validation.rec", Body=records(16, 1000))
    ranges = {"ContinuousParameterRanges": [{"Name": "learning_rate", "MinValue": "0.01", "MaxValue": "0.1"}]}
    return {
        "HyperParameterTuningJobName": unique("squares"),
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": OBJECTIVE,
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": ranges,
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {"TrainingImage": ALGORITHM_IMAGE, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "InputDataConfig": [channel("train", "squares/train"), channel("validation", "squares/validation")],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/squares/jobs"},
            "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            "StaticHyperParameters": HYPERPARAMETERS,
        },
    }


def answered_asynchronously(scripted: Scripted, model: str, image: bytes) -> list[float]:
    """What an asynchronous endpoint of a model answers to an image."""
    control, name = scripted.client("sagemaker"), unique("async")
    variant = {"VariantName": "all", "ModelName": model, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    control.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/squares/async"}},
    )
    control.create_endpoint(EndpointName=name, EndpointConfigName=name)
    assert scripted.settled(name)["EndpointStatus"] == "InService"
    accepted = scripted.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=name, InputLocation=scripted.put("large.png", image), ContentType="image/png"
    )
    found = stored(scripted, accepted["OutputLocation"])
    control.delete_endpoint(EndpointName=name)
    answer: list[float] = json.loads(found)
    return answer


def stored(scripted: Scripted, uri: str) -> bytes:
    """The content of an object, once it is there."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3 = scripted.client("s3")
    s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def test_the_best_of_two_tuned_models_classifies_images(scripted: Scripted, control: Any, runtime: Any) -> None:
    description = tuned(control, tuning_request(scripted))
    assert description["HyperParameterTuningJobStatus"] == "Completed", description.get("FailureReason")
    assert len(training_jobs(control, description["HyperParameterTuningJobName"])) == 2
    best = control.describe_training_job(TrainingJobName=description["BestTrainingJob"]["TrainingJobName"])
    url = best["ModelArtifacts"]["S3ModelArtifacts"]
    model = scripted.model(Image=ALGORITHM_IMAGE, ModelDataUrl=url)

    endpoint = unique("endpoint")
    control.create_endpoint(EndpointName=endpoint, EndpointConfigName=scripted.config(AllTraffic=(model, 1.0)))
    assert scripted.settled(endpoint)["EndpointStatus"] == "InService"
    answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=jpeg(1, 5000), ContentType="image/jpeg")
    probabilities = json.loads(answer["Body"].read())
    assert len(probabilities) == 2
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(runtime.exceptions.ModelError) as refusal:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"no image", ContentType="image/jpeg")
    assert 400 <= refusal.value.response["OriginalStatusCode"] < 500
    control.delete_endpoint(EndpointName=endpoint)

    large = png(2000, 2200)
    assert len(large) > 6_291_456
    assert len(answered_asynchronously(scripted, model, large)) == 2

    s3 = scripted.client("s3")
    for number in range(3):
        s3.put_object(Bucket=BUCKET, Key=f"squares/test/{number}.jpg", Body=jpeg(number % 2, 6000 + number))
    name = unique("transform")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/squares/test/"}}
    control.create_transform_job(
        TransformJobName=name,
        ModelName=model,
        TransformInput={"DataSource": source, "ContentType": "application/x-image"},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/squares/answers"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )
    job = wait_for(
        lambda: control.describe_transform_job(TransformJobName=name),
        lambda said: said["TransformJobStatus"] != "InProgress",
    )
    assert job["TransformJobStatus"] == "Completed", job
    answers = s3.list_objects_v2(Bucket=BUCKET, Prefix="squares/answers/")["Contents"]
    assert [entry["Key"] for entry in answers] == [f"squares/answers/{number}.jpg.out" for number in range(3)]
    for entry in answers:
        assert len(json.loads(s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())) == 2
