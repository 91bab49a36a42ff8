"""Train, tune and serve with the SageMaker SDK v3: writes what it saw as JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import boto3
from sagemaker.core import image_uris
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig, StoppingCondition
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

bucket, image_path, result_path = sys.argv[1:]
region = os.environ["AWS_DEFAULT_REGION"]
role = "arn:aws:iam::123456789012:role/SageMakerExecution"
boto_session = boto3.Session(region_name=region)
session = Session(boto_session=boto_session, default_bucket=bucket)
training_image = image_uris.retrieve("image-classification", region=region)
channels = [
    InputData(
        channel_name=channel,
        data_source=f"s3://{bucket}/{channel}/",
        content_type="application/x-recordio",
    )
    for channel in ("train", "validation")
]


def trainer(**hyperparameters: object) -> ModelTrainer:
    return ModelTrainer(
        training_image=training_image,
        role=role,
        sagemaker_session=session,
        base_job_name="sdk-v3",
        compute=Compute(instance_type="ml.p3.2xlarge", instance_count=1, volume_size_in_gb=50),
        output_data_config=OutputDataConfig(s3_output_path=f"s3://{bucket}/output"),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=3600),
        hyperparameters={
            "num_layers": 20,
            "image_shape": "3,28,28",
            "num_classes": 2,
            "num_training_samples": 32,
            "mini_batch_size": 8,
            "epochs": 1,
            **hyperparameters,
        },
    )


base = trainer(learning_rate=0.05)
base.train(input_data_config=channels, wait=True, logs=True)
job = base._latest_training_job
job.refresh()
artifact = job.model_artifacts.s3_model_artifacts

tuner = HyperparameterTuner(
    trainer(),
    "validation:accuracy",
    {"learning_rate": ContinuousParameter(0.001, 0.1)},
    objective_type="Maximize",
    max_jobs=2,
    max_parallel_jobs=2,
    base_tuning_job_name="sdk-v3",  # names end with the minute, and another client may have begun in it
)
tuner.tune(inputs=channels, wait=True)

name = job.training_job_name
model = Model.create(
    model_name=name,
    primary_container=ContainerDefinition(image=training_image, model_data_url=artifact),
    execution_role_arn=role,
    session=boto_session,
    region=region,
)
EndpointConfig.create(
    endpoint_config_name=name,
    production_variants=[
        ProductionVariant(
            variant_name="AllTraffic", model_name=name, initial_instance_count=1, instance_type="ml.m5.large"
        )
    ],
    session=boto_session,
    region=region,
)
endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=name, session=boto_session, region=region)
endpoint.wait_for_status("InService")
answer = endpoint.invoke(
    body=Path(image_path).read_bytes(), content_type="application/x-image", accept="application/json"
)
probabilities = json.loads(answer.body.read())
endpoint.delete()

Path(result_path).write_text(
    json.dumps(
        {
            "status": job.training_job_status,
            "metrics": [metric.metric_name for metric in job.final_metric_data_list],
            "artifact": artifact,
            "best_training_job": tuner.best_training_job(),
            "probabilities": probabilities,
        }
    )
)
