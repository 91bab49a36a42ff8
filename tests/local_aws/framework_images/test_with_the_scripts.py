"""The scripts of `algorithms/pytorch` in AWS's PyTorch images: trained, deployed, asked."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from include.evaluation.job_traces import read_traces
from include.sagemaker.job_results import JobResult
from tests.local_aws.framework_images.conftest import TRAINING_IMAGE, Scripts
from tests.local_aws.framework_images.test_serve import create_endpoint, serving
from tests.support.local_aws import BUCKET, ROOT, channel_of, log_lines, training_request
from tests.support.squares import jpeg, records

SOURCE = ROOT / "algorithms" / "pytorch"
METRICS = [
    {"Name": f"{channel.lower()}:accuracy", "Regex": rf"Epoch\[\d+\] {channel}-accuracy=([0-9.]+)"}
    for channel in ("Train", "Validation")
]


def test_the_scripts_train_on_record_files_and_answer_as_the_built_in_algorithm_does(
    scripts: Scripts, sagemaker: Any, s3: Any, logs: Any, local_aws: Any
) -> None:
    data, name = uuid4().hex, f"scripts-{uuid4().hex[:8]}"
    for channel, content in (("train", records(32, seed=0, side=32)), ("validation", records(16, 1000, 32))):
        s3.put_object(Bucket=BUCKET, Key=f"{data}/{channel}/{channel}.rec", Body=content)
    s3.put_object(Bucket=BUCKET, Key=f"{data}/labels.json", Body=json.dumps(["dark", "bright"]).encode())
    source = scripts.put({path.name: path.read_bytes() for path in SOURCE.iterdir() if path.is_file()})
    values = {"sagemaker_program": "train.py", "sagemaker_submit_directory": source, "network": "resnet18"}
    values |= {"image_size": 32, "epochs": 1, "batch_size": 16, "augmentation": "none", "loader_workers": 0}
    sagemaker.create_training_job(
        **training_request(
            name,
            HyperParameters={key: json.dumps(value) for key, value in values.items()},
            AlgorithmSpecification={
                "TrainingImage": TRAINING_IMAGE, "TrainingInputMode": "File", "MetricDefinitions": METRICS
            },
            InputDataConfig=[
                channel_of("train", f"{data}/train/"),
                channel_of("validation", f"{data}/validation/"),
                channel_of("labels", f"{data}/labels.json"),
            ],
        )
    )  # fmt: skip
    job = scripts.finished(name)

    assert job["TrainingJobStatus"] == "Completed", log_lines(logs, name)[-20:]
    assert {metric["MetricName"] for metric in job["FinalMetricDataList"]} == {"train:accuracy", "validation:accuracy"}
    traces = read_traces(s3, local_aws.client("cloudwatch"), JobResult.of_training_job(job))
    assert traces.missing == ()
    assert traces.steps["step"].tolist() == [0, 1]
    assert ("conv1", "gradient") in traces.tensors
    assert set(traces.instance) == {"CPUUtilization", "MemoryUtilization", "DiskUtilization"}
    model = serving(sagemaker, job["ModelArtifacts"]["S3ModelArtifacts"], SAGEMAKER_PROGRAM="inference.py")
    endpoint = create_endpoint(sagemaker, model)
    assert endpoint["EndpointStatus"] == "InService", endpoint.get("FailureReason")
    runtime = local_aws.client("sagemaker-runtime")
    ask = {"EndpointName": model, "ContentType": "application/x-image"}
    probabilities = json.loads(runtime.invoke_endpoint(**ask, Body=jpeg(1, seed=5000, side=32))["Body"].read())
    assert len(probabilities) == 2
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ClientError, match=r"\(400\)"):
        runtime.invoke_endpoint(**ask, Body=b"no image")
    sagemaker.delete_endpoint(EndpointName=model)
