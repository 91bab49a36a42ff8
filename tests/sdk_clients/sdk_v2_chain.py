"""The notebook of the write-ups, end to end, on the SageMaker SDK v2: writes what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import boto3
import sagemaker
from sagemaker.analytics import TrainingJobAnalytics
from sagemaker.estimator import Estimator
from sagemaker.inputs import TrainingInput
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner

bucket, image_path, result_path = sys.argv[1:]
region = os.environ["AWS_DEFAULT_REGION"]
role = "arn:aws:iam::123456789012:role/SageMakerExecution"
session = sagemaker.Session(boto_session=boto3.Session(region_name=region), default_bucket=bucket)
training_image = sagemaker.image_uris.retrieve("image-classification", region)


def estimator(**hyperparameters: object) -> Estimator:
    made = Estimator(
        training_image,
        role,
        instance_count=1,
        instance_type="ml.p3.2xlarge",
        volume_size=50,
        max_run=3600,
        input_mode="File",
        output_path=f"s3://{bucket}/output",
        sagemaker_session=session,
    )
    made.set_hyperparameters(
        num_layers=20,
        image_shape="3,28,28",
        num_classes=2,
        num_training_samples=32,
        mini_batch_size=8,
        epochs=1,
        **hyperparameters,
    )
    return made


def recordio(channel: str) -> TrainingInput:
    return TrainingInput(
        f"s3://{bucket}/{channel}/",
        distribution="FullyReplicated",
        content_type="application/x-recordio",
        s3_data_type="S3Prefix",
    )


def curve(training_job: str) -> dict[str, list[float]]:
    """The values of every metric of a job, as the SDK reads them from CloudWatch."""
    frame = TrainingJobAnalytics(training_job, sagemaker_session=session).dataframe()
    return {str(name): [float(value) for value in values] for name, values in frame.groupby("metric_name")["value"]}


channels = {"train": recordio("train"), "validation": recordio("validation")}

base = estimator(learning_rate=0.05)
base.fit(inputs=channels, logs=True)

model_channel = TrainingInput(
    base.model_data,
    distribution="FullyReplicated",
    s3_data_type="S3Prefix",
    content_type="application/x-sagemaker-model",
)
incremental = estimator(learning_rate=0.01)
incremental.fit(inputs={**channels, "model": model_channel}, logs=True)

tuner = HyperparameterTuner(
    estimator(),
    "validation:accuracy",
    {"learning_rate": ContinuousParameter(0.001, 0.1), "optimizer": CategoricalParameter(["sgd", "adam"])},
    objective_type="Maximize",
    max_jobs=2,
    max_parallel_jobs=2,
)
tuner.fit(inputs=channels, include_cls_metadata=False)
tuner.wait()
best = HyperparameterTuner.attach(tuner.latest_tuning_job.name, sagemaker_session=session).best_estimator()

predictor = incremental.deploy(initial_instance_count=1, instance_type="ml.m5.large")
probabilities = json.loads(
    predictor.predict(Path(image_path).read_bytes(), initial_args={"ContentType": "application/x-image"})
)
endpoint = predictor.endpoint_name
predictor.delete_endpoint()

Path(result_path).write_text(
    json.dumps(
        {
            "metrics": [m["MetricName"] for m in base.latest_training_job.describe()["FinalMetricDataList"]],
            "curve": curve(base.latest_training_job.name),
            "final": {m["MetricName"]: m["Value"] for m in base.latest_training_job.describe()["FinalMetricDataList"]},
            "base_artifact": base.model_data,
            "incremental_artifact": incremental.model_data,
            "best_training_job": tuner.best_training_job(),
            "best_artifact": best.model_data,
            "tuned": tuner.analytics().dataframe()["TrainingJobStatus"].tolist(),
            "probabilities": probabilities,
            "endpoint": endpoint,
        }
    )
)
