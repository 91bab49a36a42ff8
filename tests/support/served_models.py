"""Models of the container `scripted` of the tests' local AWS: registered, deployed and served within a second."""

from __future__ import annotations

import io
import tarfile
from typing import Any
from uuid import uuid4

from include.algorithms.kinds import algorithm_of
from include.datasets.version import DatasetVersion
from include.deployment.endpoint import Deployment, deploy, deployment_of, served
from include.deployment.hosting import Hosting
from include.deployment.registry import RegisteredModel, register_model
from include.evaluation.metrics import Evaluation
from include.promotion.champion import record_promotion
from include.run_conf import RunConf
from include.sagemaker.job_results import JobResult
from include.sagemaker.naming import Run
from include.settings import Settings
from tests.support.documents import dataset_version, described_training_job
from tests.support.local_aws import BUCKET, RunningLocalAws

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/scripted:1"
RUN = Run("image_classification", "manual__2026-01-02T03:04:05+00:00")


def put_model(aws: RunningLocalAws, file: str = "answer.txt", content: bytes = b"") -> str:
    """The address of a model.tar.gz with one file; the container does not start with one called broken.txt."""
    packed = io.BytesIO()
    member = tarfile.TarInfo(file)
    member.size = len(content)
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(member, io.BytesIO(content))
    key = f"{uuid4()}/model.tar.gz"
    aws.client("s3").put_object(Bucket=BUCKET, Key=key, Body=packed.getvalue())
    return f"s3://{BUCKET}/{key}"


def registered(
    aws: RunningLocalAws, settings: Settings, dataset: str, *, accuracy: float = 0.9, **changes: Any
) -> RegisteredModel:
    """The next version of a dataset's models; `changes` are those of its dataset version, which is in S3."""
    version = published(aws, dataset, **changes)
    job = f"job-{uuid4().hex[:8]}"
    artifacts = {"S3ModelArtifacts": put_model(aws)}
    return register_model(
        aws.client("sagemaker"),
        job=JobResult.of_training_job(described_training_job(job, ModelArtifacts=artifacts)),
        evaluation=Evaluation(
            job=job,
            images=20,
            accuracy=accuracy,
            classes={},
            report_uri=f"s3://{BUCKET}/reports/run/report.html",
            metrics_uri=f"s3://{BUCKET}/reports/run/metrics.json",
        ),
        dataset=version,
        algorithm=algorithm_of(RunConf(), settings),
        run=RUN,
    )


def published(aws: RunningLocalAws, dataset: str, **changes: Any) -> DatasetVersion:
    """A dataset version of which there is only its document."""
    named = dataset_version(name=dataset, **changes)
    version = named.model_copy(update={"uri": f"s3://{BUCKET}/datasets/{dataset}/{named.version}/"})
    body = version.model_dump_json().encode()
    aws.client("s3").put_object(Bucket=BUCKET, Key=version.layout.document, Body=body)
    return version


def deployed(aws: RunningLocalAws, settings: Settings, version: RegisteredModel, **conf: Any) -> Deployment:
    """The deployment of a version, once its endpoint serves it and that is noted as a promotion."""
    sagemaker = aws.client("sagemaker")
    run_conf = RunConf.from_conf({"dataset.name": version.dataset, **conf})
    deployment = deployment_of(version, conf=run_conf, settings=settings, run=RUN)
    deploy(Hosting.of(aws.client), deployment)
    in_service(aws, deployment.endpoint_name)
    served(sagemaker, deployment)
    record_promotion(sagemaker, version, endpoint=deployment.endpoint_name, keep=deployment.keep)
    return deployment


def in_service(aws: RunningLocalAws, endpoint: str) -> None:
    """Wait until an endpoint serves."""
    waiter = aws.client("sagemaker").get_waiter("endpoint_in_service")
    waiter.wait(EndpointName=endpoint, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
