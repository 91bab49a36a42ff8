"""Train, tune, deploy and predict with the `sagemaker` SDK (v3), on a dataset version that Airflow has built.

    make sagemaker                                     # makes .venv-sagemaker
    .venv-sagemaker/bin/python examples/train_tune_deploy.py \
        s3://BUCKET/datasets/NAME/VERSION/ picture.jpg --role arn:aws:iam::ACCOUNT:role/NAME

It does by hand what the DAG `train_model` and an endpoint do, as a notebook would: copy what you need. The steps are in
the order of `main`. The result is printed as JSON.

The same script runs on AWS and on the local AWS; the environment decides. On AWS it takes credentials and region as
every AWS client does. For the local AWS start `make local`, and put `.local/run` before the command: it sets
AWS_ENDPOINT_URL, a region and credentials. The role there is
arn:aws:iam::123456789012:role/image-classification-sagemaker.

On AWS it costs money: a training job, `--tuning-jobs` more, and an endpoint, which the script deletes at the end.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from sagemaker.core import image_uris
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter
from sagemaker.core.resources import Endpoint, EndpointConfig, Model, TrainingJob
from sagemaker.core.shapes import ContainerDefinition, ProductionVariant
from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig, StoppingCondition
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

OBJECTIVE = "validation:accuracy"
LARGEST_SIDE = 224  # what the algorithm's pretrained networks were made for


def main() -> None:
    """Run the steps one after the other."""
    arguments = parse_arguments()
    dataset = read_dataset(arguments.dataset)
    channels = [
        InputData(channel_name=name, data_source=f"{dataset.uri}{name}/", content_type="application/x-recordio")
        for name in ("train", "validation")
    ]

    # 1. One job, with a learning rate of your choice. `train` prints the job's log while it runs.
    base = trainer(arguments, dataset, learning_rate=arguments.learning_rate)
    base.train(input_data_config=channels, wait=True, logs=True)

    # 2. A few jobs more, with learning rates that SageMaker chooses.
    tuner = HyperparameterTuner(
        trainer(arguments, dataset),
        OBJECTIVE,
        {"learning_rate": ContinuousParameter(0.001, 0.1, scaling_type="Logarithmic")},
        objective_type="Maximize",
        max_jobs=arguments.tuning_jobs,
        max_parallel_jobs=min(2, arguments.tuning_jobs),
        base_tuning_job_name=dataset.name[:20],  # SageMaker allows 32 letters, and the SDK adds the time
    )
    tuner.tune(inputs=channels, wait=True)

    # 3. The best of them all.
    trained = base._latest_training_job  # the SDK has no public name for it
    jobs = [described(trained.training_job_name), described(tuner.best_training_job())]
    best = max(jobs, key=accuracy)

    # 4. An endpoint that serves it, asked about your pictures.
    endpoint = deploy(best, arguments)
    try:
        predictions = {str(picture): predict(endpoint, picture, dataset.labels) for picture in arguments.pictures}
    finally:
        if not arguments.keep_endpoint:
            endpoint.delete()

    result = {
        "training_job": jobs[0].training_job_name,
        "best_tuning_job": jobs[1].training_job_name,
        "deployed": best.training_job_name,
        "artifact": best.model_artifacts.s3_model_artifacts,
        OBJECTIVE: accuracy(best),
        "endpoint": endpoint.endpoint_name if arguments.keep_endpoint else None,
        "predictions": predictions,
    }
    print(json.dumps(result, indent=2))


@dataclass(frozen=True)
class Dataset:
    """What a training job has to know of a dataset version: a part of its `dataset.json`."""

    uri: str
    """With its closing slash; the channels lie below it."""
    name: str
    labels: list[str]
    """Class names in the order of the classes."""
    training_images: int
    validation_images: int
    smallest_side: int
    """Shortest edge of any packed image in pixels: no image shape may be larger."""
    multi_label: bool


def read_dataset(uri: str) -> Dataset:
    """The dataset version at `s3://BUCKET/datasets/NAME/VERSION/`."""
    uri = f"{uri.rstrip('/')}/"
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    stored = boto3.client("s3").get_object(Bucket=bucket, Key=f"{prefix}dataset.json")
    document = json.loads(stored["Body"].read())
    return Dataset(
        uri=uri,
        name=document["name"],
        labels=document["labels"],
        training_images=document["counts"]["train"],
        validation_images=document["counts"]["validation"],
        smallest_side=document["smallest_side"],
        multi_label=document["multi_label"],
    )


def trainer(arguments: argparse.Namespace, dataset: Dataset, **hyperparameters: float) -> ModelTrainer:
    """The built-in image classification on `dataset`; a tuner adds the hyperparameters that are left out."""
    boto_session = boto3.Session()
    bucket = dataset.uri.split("/")[2]
    side = min(LARGEST_SIDE, dataset.smallest_side)
    return ModelTrainer(
        training_image=image_uris.retrieve("image-classification", region=boto_session.region_name),
        role=arguments.role,
        sagemaker_session=Session(boto_session=boto_session, default_bucket=bucket),
        base_job_name=dataset.name,
        compute=Compute(instance_type=arguments.training_instance, instance_count=1, volume_size_in_gb=50),
        output_data_config=OutputDataConfig(s3_output_path=arguments.output or f"s3://{bucket}/examples"),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=3600),
        hyperparameters={
            "num_layers": arguments.num_layers,
            "image_shape": f"3,{side},{side}",
            "num_classes": len(dataset.labels),
            "num_training_samples": dataset.training_images,
            "multi_label": int(dataset.multi_label),
            "mini_batch_size": min(32, dataset.training_images, dataset.validation_images),  # no channel may be smaller
            "epochs": arguments.epochs,
            **hyperparameters,
        },
    )


def described(name: str) -> TrainingJob:
    """A finished training job as SageMaker knows it."""
    return TrainingJob.get(training_job_name=name)


def accuracy(job: TrainingJob) -> float:
    """The objective after the job's last epoch."""
    return float(next(metric.value for metric in job.final_metric_data_list if metric.metric_name == OBJECTIVE))


def deploy(job: TrainingJob, arguments: argparse.Namespace) -> Endpoint:
    """An endpoint in service with the job's model. Model, endpoint configuration and endpoint have the job's name."""
    name = job.training_job_name
    container = ContainerDefinition(
        image=job.algorithm_specification.training_image, model_data_url=job.model_artifacts.s3_model_artifacts
    )
    Model.create(model_name=name, primary_container=container, execution_role_arn=arguments.role)
    variant = ProductionVariant(
        variant_name="AllTraffic",
        model_name=name,
        initial_instance_count=1,
        instance_type=arguments.endpoint_instance,
    )
    EndpointConfig.create(endpoint_config_name=name, production_variants=[variant])
    endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=name)
    endpoint.wait_for_status("InService")
    return endpoint


def predict(endpoint: Endpoint, picture: Path, labels: list[str]) -> dict[str, float]:
    """The probability of each class for a JPEG or PNG; the endpoint resizes it to the image shape."""
    answer: Any = endpoint.invoke(
        body=picture.read_bytes(), content_type="application/x-image", accept="application/json"
    )
    return dict(zip(labels, json.loads(answer.body.read()), strict=True))


def parse_arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", help="s3://BUCKET/datasets/NAME/VERSION/, as a run of build_dataset reports it")
    parser.add_argument("pictures", type=Path, nargs="+", help="JPEG or PNG files to classify")
    parser.add_argument("--role", required=True, help="ARN of the role that SageMaker's jobs and endpoints take")
    parser.add_argument("--output", help="where models are stored (s3://BUCKET/examples)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--num-layers", type=int, default=20, help="20 suits small pictures; 18, 50, 101 larger ones")
    parser.add_argument("--tuning-jobs", type=int, default=4)
    parser.add_argument("--training-instance", default="ml.p3.2xlarge")
    parser.add_argument("--endpoint-instance", default="ml.m5.large")
    parser.add_argument("--keep-endpoint", action="store_true", help="leave the endpoint, and its costs, to you")
    return parser.parse_args()


if __name__ == "__main__":
    main()
