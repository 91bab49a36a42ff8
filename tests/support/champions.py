"""Datasets with a champion, made without Airflow: a published version, and a model that was trained on it."""

from __future__ import annotations

from datetime import UTC, datetime

from include.algorithms.kinds import algorithm_of
from include.datasets.packing import pack_shard
from include.datasets.plan import plan_version
from include.datasets.publishing import publish_version
from include.datasets.version import DatasetVersion
from include.deployment.endpoint import deploy, deployment_of, served
from include.deployment.hosting import Hosting, end_probation
from include.deployment.registry import RegisteredModel, register_model
from include.evaluation.metrics import Evaluation
from include.promotion.champion import keep_run_conf, record_promotion
from include.run_conf import RunConf
from include.sagemaker.job_results import describe_training_job
from include.sagemaker.naming import Run
from include.settings import Settings
from include.training.job_requests import training_request
from tests.support.world import World


def publish(world: World, conf: RunConf, run_id: str = "by hand") -> DatasetVersion:
    """The dataset version that a run conf asks for."""
    plan = plan_version(
        world.s3,
        conf.dataset,
        data_bucket=world.settings.data_bucket,
        run_id=run_id,
        run_after=datetime.now(UTC),
    )
    return publish_version(world.s3, plan, [pack_shard(world.s3, plan, shard) for shard in plan.shards])


def register(
    world: World, conf: RunConf, *, version: DatasetVersion | None = None, job: str = "champion", waits: str = ""
) -> RegisteredModel:
    """A model of the conf's dataset, approved unless it waits: the conf is kept with it, its accuracy was not measured.

    It learns from a version that is published first, unless one is given; `job` begins the name of its training job.
    """
    settings, run = _settings(world), _run(conf)
    algorithm = algorithm_of(conf, settings)
    version = version or publish(world, conf, run.run_id)
    request = training_request(f"{job}-{conf.dataset.name}", algorithm=algorithm, dataset=version, run=run)
    world.sagemaker.create_training_job(**request)
    waiter = world.sagemaker.get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=request["TrainingJobName"], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    report = f"s3://{world.settings.output_bucket}/reports/{run.name}/"
    return register_model(
        world.sagemaker,
        job=describe_training_job(world.sagemaker, request["TrainingJobName"]),
        evaluation=Evaluation(
            job=request["TrainingJobName"],
            images=20,
            accuracy=0.5,
            classes={},
            report_uri=f"{report}report.html",
            metrics_uri=f"{report}metrics.json",
        ),
        dataset=version,
        algorithm=algorithm,
        run=run,
        run_conf=keep_run_conf(world.s3, conf, settings=settings, run=run),
        waits=waits,
    )


def promote(world: World, conf: RunConf, model: RegisteredModel) -> None:
    """Let a registered model serve at the endpoint of its dataset."""
    sagemaker, deployment = (
        world.sagemaker,
        deployment_of(model, conf=conf, settings=_settings(world), run=_run(conf)),
    )
    name = deployment.endpoint_name
    deploy(Hosting.of(world.client), deployment)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    served(sagemaker, deployment)
    record_promotion(sagemaker, model, endpoint=name, keep=True)
    end_probation(sagemaker, name, deployment.config_name, deployment.endpoint["Tags"])


def _settings(world: World) -> Settings:
    return Settings.from_variable(world.settings.to_json())


def _run(conf: RunConf) -> Run:
    return Run("image_classification", f"manual__{conf.dataset.name}")
