"""Images in S3 and a registered model -> a table of names and probabilities, by one batch transform."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import task, task_group

from image_classification.context import RunningTask
from image_classification.links import ReportsLink, WrittenLink, with_links
from image_classification.operators.sagemaker_job import TransformJobOperator

log = logging.getLogger(__name__)


@task_group(group_id="prediction", tooltip="Images in S3 -> names and probabilities")
def prediction(conf: Any, asked: Any, model: Any) -> Any:
    """The prediction stage: returns the document of the written table."""
    packed = pack_images.partial(model=model).expand(shard=plan(asked))
    transform = TransformJobOperator(
        task_id="transform_images",
        request=images_transform,
        inputs={"conf": conf, "model": model, "packed": packed},
        execution_timeout=timedelta(hours=6),
    )
    links = transform.operator_extra_links
    transform.operator_extra_links = tuple(
        link for link in links if not isinstance(link, ReportsLink)
    )  # there are none
    written = write_predictions(asked, model, packed, transform.output)  # type: ignore[arg-type]
    return with_links(
        written,
        WrittenLink("Predictions", lambda document: document["uri"]),
        WrittenLink("Predictions in S3", lambda document: f"{document['uri'].rpartition('/')[0]}/"),
    )


@task
def plan(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """List the images and share them out; passes on the shards to map over."""
    from include.evaluation.batch_prediction import PredictionLayout, plan_images

    running = RunningTask.current()
    shards = plan_images(running.client("s3"), asked["source"], PredictionLayout.of(running.settings, running.run))
    log.info("%d images in %d shards.", sum(shard.images for shard in shards), len(shards))
    return [shard.model_dump(mode="json") for shard in shards]


@task(
    map_index_template="{{ task.op_kwargs['shard']['index'] }}", show_return_value_in_logs=False, multiple_outputs=False
)
def pack_images(model: dict[str, Any], shard: dict[str, Any]) -> dict[str, Any]:
    """Pack the images of one shard as the model's training images were; a retry writes the same objects again."""
    from include.evaluation.batch_prediction import ImageShard, PredictingModel, PredictionLayout, pack_image_shard

    running = RunningTask.current()
    packed = pack_image_shard(
        running.client("s3"),
        ImageShard.model_validate(shard),
        PredictionLayout.of(running.settings, running.run),
        PredictingModel.model_validate(model).dataset.packing,
    )
    log.info("%d images are packed. Not packed: %s.", packed.packed, packed.bad or "none")
    return packed.model_dump(mode="json")


def images_transform(name: str, running: RunningTask, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The batch transform of the packed images by the chosen model."""
    from include.deployment.endpoint import ensure_model, model_request
    from include.evaluation.batch_prediction import PackedShard, PredictingModel, PredictionLayout, packed_images
    from include.evaluation.prediction import transform_request, write_manifest
    from include.run_conf import RunConf

    settings, run, s3 = running.settings, running.run, running.client("s3")
    chosen = PredictingModel.model_validate(inputs["model"])
    shards = [PackedShard.model_validate(shard) for shard in inputs["packed"]]
    images = packed_images(s3, shards, PredictionLayout.of(settings, run))
    conf = RunConf.from_conf(inputs["conf"])
    model = model_request(chosen.container, settings=settings, run=run, dataset=chosen.dataset)
    return transform_request(
        name,
        model=ensure_model(running.client("sagemaker"), model),
        manifest=write_manifest(s3, images, settings=settings, job=name),
        largest=images.largest,
        content_type=chosen.container.transform_type(chosen.dataset.packing.encoding),
        conf=conf,
        settings=settings,
        dataset=chosen.dataset,
        run=run,
    )


@task(multiple_outputs=False)
def write_predictions(
    asked: dict[str, Any], model: dict[str, Any], packed: list[dict[str, Any]], transform: dict[str, Any]
) -> dict[str, Any]:
    """Write the table of names and probabilities, and remove the packed images."""
    from include.evaluation import batch_prediction
    from include.run_conf.endpoint import PredictionConf

    running = RunningTask.current()
    written = batch_prediction.write_predictions(
        running.client("s3"),
        [batch_prediction.PackedShard.model_validate(shard) for shard in packed],
        job=transform["name"],
        asked=PredictionConf.model_validate(asked),
        model=batch_prediction.PredictingModel.model_validate(model),
        settings=running.settings,
        layout=batch_prediction.PredictionLayout.of(running.settings, running.run),
    )
    log.info("%s", written.note)
    log.info("The table: %s", written.uri)
    return written.model_dump(mode="json")
