"""A model -> how good it is on the held-out images, with a report in S3."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import task, task_group

from image_classification.context import RunningTask
from image_classification.links import WrittenLink, with_links
from image_classification.operators.sagemaker_job import TransformJobOperator
from image_classification.stages.training import base_model, final_model

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


def test_images_transform(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The batch transform of the packed test images by the selected model."""
    from include.datasets.packed_test_images import write_packed_test_images
    from include.datasets.version import DatasetVersion
    from include.deployment.endpoint import ensure_model, model_request
    from include.evaluation.transform import payload_mb, transform_request, write_manifest
    from include.run_conf import RunConf

    settings, run, s3 = running.settings, running.run, running.client("s3")
    dataset = DatasetVersion.model_validate(inputs["dataset"])
    model = model_request(final_model(inputs["models"]).artifact, settings=settings, run=run, dataset=dataset)
    images = write_packed_test_images(s3, dataset)
    payload_mb(images.largest)  # refuses what no request can hold, before there is a model to clean up
    return transform_request(
        name,
        model=ensure_model(running.client("sagemaker"), model),
        manifest=write_manifest(s3, images, settings=settings, job=name),
        largest=images.largest,
        conf=RunConf.from_conf(inputs["conf"]),
        settings=settings,
        dataset=dataset,
        run=run,
    )


@task(trigger_rule="none_failed")
def evaluate(
    conf: dict[str, Any], dataset: dict[str, Any], models: dict[str, Any], transform: dict[str, Any]
) -> dict[str, Any]:
    """Measure the answers and write the report: figures, predictions, a page, and one archive of all of it."""
    from include.datasets.version import DatasetVersion
    from include.evaluation import evaluate as evaluation_of_answers
    from include.evaluation.leaderboard import load_leaderboard
    from include.run_conf import RunConf
    from include.sagemaker.job_results import describe_training_job

    running = RunningTask.current()
    s3 = running.client("s3")
    run_conf = RunConf.from_conf(conf)
    measured = evaluation_of_answers.evaluate(
        s3,
        running.client("logs"),
        job=describe_training_job(running.client("sagemaker"), final_model(models).job),
        best=base_model(models),
        transform_job=transform["name"],
        dataset=DatasetVersion.model_validate(dataset),
        settings=running.settings,
        run=running.run,
        top_k=run_conf.training.hyperparameters.top_k,
        leaderboard=load_leaderboard(s3, models["leaderboard"]),
        run_conf=run_conf,
    )
    interval = measured.accuracy_interval
    certain = f" (95 %: {interval.low:.4f} to {interval.high:.4f})" if interval else ""
    log.info("Accuracy on %d held-out images: %.4f%s", measured.images, measured.accuracy, certain)
    return measured.model_dump(mode="json")
