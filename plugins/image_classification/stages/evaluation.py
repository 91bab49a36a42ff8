"""A model -> how good it is on the held-out images, with a report in S3."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task, task_group

from image_classification.context import AwsAccess
from image_classification.deployment_settings import load_settings
from image_classification.links import WrittenLink, with_links
from image_classification.models import base_model, final_model
from image_classification.operators.transform_job import TransformJobOperator

if TYPE_CHECKING:
    from image_classification.operators.sagemaker_job import JobOrder

log = logging.getLogger(__name__)


@task_group(group_id="evaluation", tooltip="A model -> how good it is on the held-out images")
def evaluation(conf: Any, dataset: Any, models: Any) -> Any:
    """The evaluation stage: returns the Evaluation's document."""
    transform = TransformJobOperator(
        task_id="transform_test_images",
        request=test_images_transform,
        inputs={"conf": conf, "dataset": dataset, "models": models},
        trigger_rule="none_failed",
        execution_timeout=timedelta(hours=6),
    )
    measured = evaluate(conf, dataset, models, transform.output)  # type: ignore[arg-type]
    return with_links(measured, WrittenLink("Report", lambda document: document["report_uri"]))


def test_images_transform(order: JobOrder) -> dict[str, Any]:
    """The batch transform of the packed test images by the model that goes on."""
    from include.datasets.packed_test_images import write_packed_test_images
    from include.datasets.version import DatasetVersion
    from include.deployment.model import ensure_model, model_request
    from include.evaluation.transform import payload_mb, transform_request, write_manifest
    from include.run_conf import RunConf

    settings, s3 = order.settings, order.access.client("s3")
    dataset = DatasetVersion.model_validate(order.inputs["dataset"])
    model = model_request(
        final_model(order.inputs["models"]).artifact, settings=settings, run=order.run, dataset=dataset
    )
    images = write_packed_test_images(s3, dataset)
    payload_mb(images.largest)  # refuses what no request can hold, before there is a model to clean up
    return transform_request(
        order.name,
        model=ensure_model(order.access.client("sagemaker"), model),
        manifest=write_manifest(s3, images, settings=settings, job=order.name),
        largest=images.largest,
        conf=RunConf.from_conf(order.inputs["conf"]),
        settings=settings,
        dataset=dataset,
        run=order.run,
    )


@task(trigger_rule="none_failed")
def evaluate(
    conf: dict[str, Any], dataset: dict[str, Any], models: dict[str, Any], transform: dict[str, Any]
) -> dict[str, Any]:
    """Measure the answers and write the report: metrics, confusion matrix, base against incremental, a page."""
    from include.datasets.version import DatasetVersion
    from include.evaluation import evaluate as evaluation_of_answers
    from include.evaluation.leaderboard_page import load_leaderboard
    from include.run_conf import RunConf
    from include.sagemaker.job_results import describe_training_job
    from include.sagemaker.naming import Run

    settings, ti = load_settings(), get_current_context()["ti"]
    access = AwsAccess.of(settings)
    s3 = access.client("s3")
    measured = evaluation_of_answers.evaluate(
        s3,
        access.client("logs"),
        job=describe_training_job(access.client("sagemaker"), final_model(models).job),
        best=base_model(models),
        transform_job=transform["name"],
        dataset=DatasetVersion.model_validate(dataset),
        settings=settings,
        run=Run(ti.dag_id, ti.run_id),
        top_k=RunConf.from_conf(conf).training.hyperparameters.top_k,
        leaderboard=load_leaderboard(s3, models["leaderboard"]),
    )
    log.info("Accuracy on %d held-out images: %.4f", measured.images, measured.accuracy)
    return measured.model_dump(mode="json")
