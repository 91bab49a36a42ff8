"""What the SageMaker SDK v2's PyTorch estimator and tuner send of a script: RESULT, as JSON.

Nothing is sent: the requests are taken where the estimator would hand them to AWS, and telemetry finds a closed port.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import boto3
from sagemaker import Session
from sagemaker.pytorch import PyTorch
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner, IntegerParameter

os.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"
SOURCE = "s3://models-of-acme/code/0a1b2c3d/sourcedir.tar.gz"
METRICS = [{"Name": "validation:accuracy", "Regex": "Validation-accuracy=([0-9.]+)"}]


def estimator(client: Any, **settings: Any) -> PyTorch:
    boto = boto3.Session(region_name="eu-central-1", aws_access_key_id="local", aws_secret_access_key="local")
    return PyTorch(
        entry_point="train.py",
        source_dir=SOURCE,
        role="arn:aws:iam::123456789012:role/training",
        instance_count=1,
        instance_type="ml.g5.xlarge",
        framework_version="2.6.0",
        py_version="py312",
        hyperparameters={"network": "resnet34", "batch_size": 32, "lr": 0.01, "flip": False},
        metric_definitions=METRICS,
        output_path="s3://models-of-acme/jobs",
        sagemaker_session=Session(boto_session=boto, sagemaker_client=client, default_bucket="models-of-acme"),
        **settings,
    )


def trained(**settings: Any) -> dict[str, Any]:
    client = MagicMock()
    estimator(client, **settings).fit({"train": "s3://acme/train/"}, job_name="the-job", wait=False)
    request: dict[str, Any] = client.create_training_job.call_args.kwargs
    return request


def tuned() -> dict[str, Any]:
    client = MagicMock()
    tuner = HyperparameterTuner(
        estimator(client),
        "validation:accuracy",
        {
            "lr": ContinuousParameter(0.001, 0.003),
            "batch_size": IntegerParameter(32, 128),
            "network": CategoricalParameter(["resnet18", "resnet34"]),
        },
        METRICS,
        max_jobs=2,
    )
    tuner.fit({"train": "s3://acme/train/"}, job_name="the-job", wait=False)
    request: dict[str, Any] = client.create_hyper_parameter_tuning_job.call_args.kwargs
    return request


requests = {"trained": trained(), "isolated": trained(enable_network_isolation=True), "tuned": tuned()}
Path(sys.argv[1]).write_text(json.dumps(requests, default=str))
